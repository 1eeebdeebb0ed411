"""How the shape of a transformer grows with its parameters, fitted to public models."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .loader import Number, Table, Text, read_toml

_EXPONENT = Number("dimensionless exponent, not negative", 0.0, 1.0)
_SCHEMA = {
    "name": Text(),
    "fit": Table(
        {
            "layers_at_1b": Number("layers at 1e9 parameters", 0.1, 1e4),
            "layers_exponent": _EXPONENT,
            "d_model_at_1b": Number("features at 1e9 parameters", 1.0, 1e6),
            "d_model_exponent": _EXPONENT,
            "kv_width_at_1b": Number("features at 1e9 parameters", 1.0, 1e6),
            "kv_width_exponent": _EXPONENT,
            "kv_heads": Number("key-value heads", 1.0, 1e4),
            "min_params": Number("parameters", 1.0, 1e15),
            "max_params": Number("parameters", 1.0, 1e15),
        }
    ),
}


@dataclass(frozen=True)
class ShapeFacts:
    """Power laws of layers, width and KV width in N (``fit``), ready for `planner.model.ShapeLaw`."""

    id: str
    name: str
    fit: dict[str, float]
    valid: dict[str, float]
    tables: dict[str, Any]


def load_shape(name: str) -> ShapeFacts:
    """Load a shape law by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("shapes", name)
    raw = read_toml(path, _SCHEMA)
    numbers = {k: v for k, v in raw["fit"].items() if isinstance(v, float)}
    valid = {k: numbers.pop(k) for k in ("min_params", "max_params")}
    return ShapeFacts(id=path.stem, name=raw["name"], fit=numbers, valid=valid, tables=raw)
