"""What training buys: loss from parameters and tokens and back; laws fitted to runs, with their uncertainty.

The modules that need jax are imported when first used, so that range checks cost nothing. Fits are in
`scaling.fit`: `Runs`, `fit`, `bootstrap` and `profile`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .validity import PUBLIC_TEXT_TOKENS as PUBLIC_TEXT_TOKENS
from .validity import range_warnings as range_warnings

if TYPE_CHECKING:
    from .chinchilla import ChinchillaLaw as ChinchillaLaw
    from .forms import FORMS as FORMS
    from .forms import law_of as law_of
    from .law import Conditions as Conditions
    from .law import Law as Law

_WHERE = {
    "ChinchillaLaw": "chinchilla", "Conditions": "law", "Law": "law", "FORMS": "forms", "law_of": "forms",
}  # fmt: skip
__all__ = ["FORMS", "PUBLIC_TEXT_TOKENS", "ChinchillaLaw", "Conditions", "Law", "law_of", "range_warnings"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
