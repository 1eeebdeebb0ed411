"""Architectures of public dense transformers, as their config.json states them."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .loader import Number, Table, Text, read_toml

_SCHEMA = {
    "name": Text(),
    "architecture": Table(
        {
            "params": Number("parameters", 1e6, 1e14),
            "layers": Number("layers", 1, 1e4),
            "d_model": Number("features", 16, 1e6),
            "heads": Number("query heads", 1, 1e4),
            "kv_heads": Number("key-value heads", 1, 1e4),
            "head_dim": Number("features per head", 8, 1e4),
            "ffn": Number("features", 16, 1e7),
            "vocab": Number("tokens", 2, 1e7),
            "embeddings": Text(("tied", "untied")),
        }
    ),
}


@dataclass(frozen=True)
class ModelFacts:
    """The shape of one public model; ``params`` is the total that its publisher's weights hold."""

    id: str
    name: str
    params: float
    layers: float
    d_model: float
    heads: float
    kv_heads: float
    head_dim: float
    ffn: float
    vocab: float
    tied_embeddings: bool
    tables: dict[str, Any]


def load_model(name: str) -> ModelFacts:
    """Load a model by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("models", name)
    raw = read_toml(path, _SCHEMA)
    shape = raw["architecture"]
    numbers = {k: v for k, v in shape.items() if isinstance(v, float)}
    tied = shape["embeddings"] == "tied"
    return ModelFacts(id=path.stem, name=raw["name"], tied_embeddings=tied, tables=raw, **numbers)
