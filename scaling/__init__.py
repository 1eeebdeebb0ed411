"""What training buys: loss from parameters and tokens, and back.

The law modules import jax only when first used, so that range checks cost nothing.
"""

from typing import TYPE_CHECKING, Any

from .validity import PUBLIC_TEXT_TOKENS as PUBLIC_TEXT_TOKENS
from .validity import range_warnings as range_warnings

if TYPE_CHECKING:
    from .chinchilla import ChinchillaLaw as ChinchillaLaw


def __getattr__(name: str) -> Any:
    if name == "ChinchillaLaw":
        from .chinchilla import ChinchillaLaw

        return ChinchillaLaw
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
