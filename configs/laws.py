"""Published scaling laws of the form L(N, D) = E + A / N^alpha + B / D^beta, in nats per token."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .loader import Number, Table, Text, read_toml

_SCHEMA = {
    "name": Text(),
    "form": Text(("chinchilla",)),
    "coefficients": Table(
        {
            "E": Number("nats per token", 0.0, 20.0),
            "A": Number("nats times parameters^alpha", 1e-6, 1e12),
            "B": Number("nats times tokens^beta", 1e-6, 1e12),
            "alpha": Number("dimensionless exponent", 0.01, 2.0),
            "beta": Number("dimensionless exponent", 0.01, 2.0),
        }
    ),
    "valid": Table(
        {
            "min_params": Number("parameters", 1.0, 1e15),
            "max_params": Number("parameters", 1.0, 1e15),
            "min_tokens": Number("tokens", 1.0, 1e18),
            "max_tokens": Number("tokens", 1.0, 1e18),
            "min_tokens_per_param": Number("tokens per parameter", 1e-6, 1e9),
            "max_tokens_per_param": Number("tokens per parameter", 1e-6, 1e9),
        }
    ),
    "conventions": Text(),
    "caveat": Text(required=False),
}
_VALID = tuple(_SCHEMA["valid"].keys) if isinstance(_SCHEMA["valid"], Table) else ()


@dataclass(frozen=True)
class LawFacts:
    """A law's coefficients, the range of the runs it was fitted to (``valid``), and its source."""

    id: str
    name: str
    coefficients: dict[str, float]
    valid: dict[str, float]
    conventions: str
    caveat: str
    tables: dict[str, Any]


def load_law(name: str) -> LawFacts:
    """Load a law by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("laws", name)
    raw = read_toml(path, _SCHEMA)
    return LawFacts(
        id=path.stem,
        name=raw["name"],
        coefficients={k: raw["coefficients"][k] for k in ("E", "A", "B", "alpha", "beta")},
        valid={k: raw["valid"][k] for k in _VALID},
        conventions=raw["conventions"],
        caveat=raw.get("caveat", ""),
        tables=raw,
    )
