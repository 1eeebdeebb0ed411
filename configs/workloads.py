"""Request mixes seen in production: how long prompts and answers are, and how much of a prompt is cached."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .loader import Number, Table, Text, read_toml

_SCHEMA = {
    "name": Text(),
    "requests": Table(
        {
            "input_tokens": Number("mean tokens per request", 1.0, 1e8),
            "output_tokens": Number("mean tokens per request", 1.0, 1e8),
            "cached_fraction": Number("fraction of input tokens", 0.0, 0.999),
        }
    ),
}


@dataclass(frozen=True)
class WorkloadFacts:
    """Mean request lengths in tokens and the fraction of input tokens answered from the prefix cache."""

    id: str
    name: str
    input_tokens: float
    output_tokens: float
    cached_fraction: float
    tables: dict[str, Any]


def load_workload(name: str) -> WorkloadFacts:
    """Load a workload by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("workloads", name)
    raw = read_toml(path, _SCHEMA)
    requests = raw["requests"]
    return WorkloadFacts(
        id=path.stem,
        name=raw["name"],
        input_tokens=requests["input_tokens"],
        output_tokens=requests["output_tokens"],
        cached_fraction=requests["cached_fraction"],
        tables=raw,
    )
