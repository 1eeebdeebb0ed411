"""Engine profiles: what share of a chip's datasheet rates serving software reaches, as measured."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .loader import Names, Number, Table, Text, read_toml

_FRACTION = Number("fraction of the datasheet rate", 0.05, 1.0)
_SCHEMA = {
    "name": Text(),
    "chips": Names(),
    "precisions": Names(),
    "efficiency": Table(
        {
            "matmul_fraction": _FRACTION,
            "hbm_fraction": _FRACTION,
            "link_fraction": _FRACTION,
            "overlap_exponent": Number("p of the p-norm of compute and memory time", 1.0, 64.0),
            "hop_latency_s": Number("seconds per all-reduce", 0.0, 1e-2),
            "layer_overhead_s": Number("seconds per layer and step", 0.0, 1e-2),
            "sequence_overhead_s": Number("seconds per sequence and step", 0.0, 1e-2),
            "kv_memory_fraction": Number("fraction of the HBM that weights leave", 0.1, 1.0),
            "fp4_matmul_ratio": Number("ratio of FP4 to FP8 matmul_fraction", 0.05, 1.0),
            "prefill_chunk_tokens": Number("tokens per prefill pass", 1.0, 1e6),
        }
    ),
    "accuracy": Table(
        {
            "rows": Number("measured rows", 1, 1e6),
            "max_batch": Number("sequences in the largest batch measured", 1, 1e9),
            "mdape": Number("fraction", 0.0, 10.0),
            "p90": Number("fraction", 0.0, 10.0),
            "unseen_chip_mdape": Number("fraction", 0.0, 10.0),
            "other_vendor_mdape": Number("fraction", 0.0, 10.0),
            "tpot_rows": Number("measured rows", 1, 1e6),
            "tpot_mdape": Number("fraction", 0.0, 10.0),
            "tpot_p90": Number("fraction", 0.0, 10.0),
            "hard_maximum_mdape": Number("fraction", 0.0, 10.0),
        }
    ),
}


@dataclass(frozen=True)
class EngineFacts:
    """Fitted efficiencies, ready for `hw.Efficiency`, with the error they leave on the rows they were fitted to.

    ``chips`` and ``precisions`` list what those rows were measured on.
    """

    id: str
    name: str
    chips: tuple[str, ...]
    precisions: tuple[str, ...]
    efficiency: dict[str, float]
    accuracy: dict[str, float]
    tables: dict[str, Any]


def load_engine(name: str) -> EngineFacts:
    """Load an engine profile by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("engines", name)
    raw = read_toml(path, _SCHEMA)
    numbers = {t: {k: v for k, v in raw[t].items() if isinstance(v, float)} for t in ("efficiency", "accuracy")}
    return EngineFacts(
        path.stem,
        raw["name"],
        tuple(raw["chips"]),
        tuple(raw["precisions"]),
        numbers["efficiency"],
        numbers["accuracy"],
        raw,
    )
