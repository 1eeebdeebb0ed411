"""Chip facts: peaks, memory, links, power, rental price and measured training MFU, each with its source."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .loader import Number, Table, Tables, Text, read_toml

PRECISIONS = ("bf16", "fp8", "int8", "fp4")
_MODES = ("on-demand", "reserved", "spot", "lease-estimate", "list")
_PEAK = Number("dense TFLOP/s", 1.0, 1e5, required=False)
_SCHEMA = {
    "name": Text(),
    "vendor": Text(),
    "class": Text(("datacenter", "workstation", "consumer", "laptop")),
    "announced": Text(date=True),
    "peak_tflops": Table({"bf16": Number("dense TFLOP/s", 1.0, 1e5), **dict.fromkeys(PRECISIONS[1:], _PEAK)}),
    "memory": Table(
        {
            "hbm_gb": Number("GB of 1e9 bytes", 1.0, 1e4),
            "hbm_gb_per_s": Number("GB/s of 1e9 bytes", 10.0, 1e6),
        }
    ),
    "scale_up": Table(
        {
            "kind": Text(),
            "gb_per_s": Number("GB/s, one direction, per chip", 1.0, 1e5),
            "domain_chips": Number("chips", 1, 1e5),
        }
    ),
    "scale_out": Table({"kind": Text(), "gb_per_s": Number("GB/s, one direction, per chip", 0.1, 1e5)}),
    "power": Table({"tdp_w": Number("watts", 1.0, 1e5)}),
    "price": Table(
        {
            "usd_per_hour": Number("US dollars per chip-hour", 0.001, 1e3),
            "mode": Text(_MODES),
            "provider": Text(required=False),
            "low_usd_per_hour": Number("US dollars per chip-hour", 0.001, 1e3, required=False),
            "high_usd_per_hour": Number("US dollars per chip-hour", 0.001, 1e3, required=False),
        },
        required=False,
    ),
    "training_mfu": Tables(
        PRECISIONS,
        Table(
            {
                "value": Number("fraction of the dense peak", 0.01, 1.0),
                "rows": Number("measured rows", 1, 1e6),
                "p10": Number("fraction of the dense peak", 0.0, 1.5, required=False),
                "p90": Number("fraction of the dense peak", 0.0, 1.5, required=False),
            }
        ),
    ),
}


@dataclass(frozen=True)
class ChipFacts:
    """One chip in SI units. Peaks are dense FLOP/s by precision; links count one direction per chip.

    ``usd_per_hour`` is None for a chip nobody rents out; ``training_mfu`` holds only what was
    measured. ``tables`` keeps the file as read, with the source of each fact.
    """

    id: str
    name: str
    vendor: str
    chip_class: str
    peak_flops_per_s: dict[str, float]
    hbm_bytes: float
    hbm_bytes_per_s: float
    link_bytes_per_s: float
    domain_chips: float
    scale_out_bytes_per_s: float
    power_w: float
    usd_per_hour: float | None
    training_mfu: dict[str, float]
    tables: dict[str, Any]


def load_chip(name: str) -> ChipFacts:
    """Load a chip by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("chips", name)
    raw = read_toml(path, _SCHEMA)
    return ChipFacts(
        id=name if name.endswith(".toml") else path.stem,  # a user's file is never taken for a shipped chip
        name=raw["name"],
        vendor=raw["vendor"],
        chip_class=raw["class"],
        peak_flops_per_s={p: raw["peak_tflops"][p] * 1e12 for p in PRECISIONS if p in raw["peak_tflops"]},
        hbm_bytes=raw["memory"]["hbm_gb"] * 1e9,
        hbm_bytes_per_s=raw["memory"]["hbm_gb_per_s"] * 1e9,
        link_bytes_per_s=raw["scale_up"]["gb_per_s"] * 1e9,
        domain_chips=raw["scale_up"]["domain_chips"],
        scale_out_bytes_per_s=raw["scale_out"]["gb_per_s"] * 1e9,
        power_w=raw["power"]["tdp_w"],
        usd_per_hour=raw["price"]["usd_per_hour"] if "price" in raw else None,
        training_mfu={p: t["value"] for p, t in raw.get("training_mfu", {}).items()},
        tables=raw,
    )
