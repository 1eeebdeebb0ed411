"""Chip facts: peaks, memory, cores, links, power, rental price and measured training MFU, each with its source."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from .catalog import ids, path_of
from .errors import ConfigError, closest, nearest, shown
from .kernel_sets import KERNELS
from .loader import Names, Number, Table, Tables, Text, read_toml

PRECISIONS = ("bf16", "fp8", "int8", "fp4")
PRICE_MODES = ("on-demand", "reserved", "spot", "lease-estimate", "list")
_PEAK = Number("dense TFLOP/s", 1e-3, 1e5, required=False)
_OTHER = Table({"usd_per_hour": Number("US dollars per chip-hour", 0.001, 1e3), "provider": Text(required=False)})
_SCHEMA = {
    "name": Text(),
    "vendor": Text(),
    "class": Text(("datacenter", "workstation", "consumer", "laptop")),
    "announced": Text(date=True),
    "aliases": Names(required=False),
    "kernels_like": Text(required=False),
    "kernels": KERNELS,
    "peak_tflops": Table({"bf16": Number("dense TFLOP/s", 1e-3, 1e5), **dict.fromkeys(PRECISIONS[1:], _PEAK)}),
    "memory": Table(
        {
            "hbm_gb": Number("GB of 1e9 bytes", 1.0, 1e4),
            "visible_gb": Number("GB of 1e9 bytes that the driver reports", 1.0, 1e4, required=False),
            "hbm_gb_per_s": Number("GB/s of 1e9 bytes", 1.0, 1e6),
        }
    ),
    "cores": Table(
        {
            "count": Number("cores that tiles are scheduled on", 1, 1e5),
            "kind": Text(),
            "cache_mb": Number("MB of 1e6 bytes", 0.1, 1e5),
        }
    ),
    "scale_up": Table(
        {
            "kind": Text(),
            "gb_per_s": Number("GB/s, one direction, per chip", 1.0, 1e5),
            "domain_chips": Number("chips", 1, 1e5),
            "ring_chips": Number("chips", 1, 1e5, required=False),
        }
    ),
    "scale_out": Table({"kind": Text(), "gb_per_s": Number("GB/s, one direction, per chip", 0.1, 1e5)}),
    "power": Table({"tdp_w": Number("watts", 1.0, 1e5), "energy": Text()}),
    "price": Table(
        {
            "usd_per_hour": Number("US dollars per chip-hour", 0.001, 1e3),
            "mode": Text(PRICE_MODES),
            "provider": Text(required=False),
            "low_usd_per_hour": Number("US dollars per chip-hour", 0.001, 1e3, required=False),
            "high_usd_per_hour": Number("US dollars per chip-hour", 0.001, 1e3, required=False),
            "others": Tables(("reserved", "spot"), _OTHER),
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

    ``hbm_bytes`` is the advertised capacity, ``visible_bytes`` what the driver reports where that is known: vendors
    print GiB as GB. A slice of fewer than ``ring_chips`` of a torus has open ends, and its links carry half.
    ``cores`` counts what tiles are scheduled on (multiprocessors, compute units, matrix units) and ``cache_bytes`` the
    last on-chip memory they share; ``energy`` names the set of energy constants.
    ``usd_per_hour`` is None for a chip nobody rents out; ``training_mfu`` holds only what was
    measured. ``aliases`` are the names that people and tables know the chip by.
    ``tables`` keeps the file as read, with the source of each fact.
    """

    id: str
    name: str
    vendor: str
    chip_class: str
    peak_flops_per_s: dict[str, float]
    hbm_bytes: float
    visible_bytes: float
    hbm_bytes_per_s: float
    cores: float
    cache_bytes: float
    link_bytes_per_s: float
    domain_chips: float
    ring_chips: float
    scale_out_bytes_per_s: float
    power_w: float
    energy: str
    usd_per_hour: float | None
    training_mfu: dict[str, float]
    aliases: tuple[str, ...]
    tables: dict[str, Any]


def chip_named(name: str) -> str | None:
    """Return the id of the chip that people and tables call ``name``, case, marks and brackets ignored; else None."""
    plain = _plain(name)
    return _names().get(plain) or _names().get(plain.removeprefix("nvidia"))


@cache
def _names() -> dict[str, str]:
    found = {known: load_chip(known) for known in ids("chips")}
    # Ids last: what one chip is called may be another's id.
    aliases = {_plain(text): known for known, chip in found.items() for text in (*chip.aliases, chip.name)}
    return {**aliases, **{_plain(known): known for known in found}}


def _plain(text: str) -> str:
    return "".join(c for c in text.lower().split("(")[0] if c.isalnum())


def load_chip(name: str) -> ChipFacts:
    """Load a chip by id, by what people call it, or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, a file that breaks the layout, or one that names an unknown energy or kernel set.
    """
    if name not in ids("chips") and not name.endswith(".toml"):
        name = chip_named(name) or name
        if name not in ids("chips"):
            called = {text for known in ids("chips") for text in (known, *load_chip(known).aliases)}
            close = chip_named(closest(name, sorted(called)) or "")
            hint = f"; did you mean '{close}'?" if close else f"; the ids are {', '.join(ids('chips'))}"
            raise ConfigError(f"unknown chip '{shown(name)}'{hint}")
    path = path_of("chips", name)
    raw = read_toml(path, _SCHEMA)
    try:
        path_of("energy", raw["power"]["energy"])
    except ConfigError as error:
        raise ConfigError(f"{path}: power.energy: {error}") from None
    if "kernels_like" in raw:
        try:
            path_of("kernels", raw["kernels_like"])
        except ConfigError as error:
            raise ConfigError(f"{path}: kernels_like: {error}") from None
    # a user's file is never taken for a shipped chip
    return chip_of(name if name.endswith(".toml") else path.stem, raw)


def price_of(chip: ChipFacts, mode: str | None = None) -> float:
    """Return US dollars per chip-hour in a mode of rental, one of `PRICE_MODES`; None takes what the file puts first.

    A list price is what the provider asks on demand, so it answers for that mode too.

    Raises:
        ConfigError: no such mode, or the chip has no price, or none in this mode.
    """
    if mode is not None and mode not in PRICE_MODES:
        raise ConfigError(
            f"price mode '{shown(mode)}' must be one of {', '.join(PRICE_MODES)}{nearest(mode, PRICE_MODES)}"
        )
    price = chip.tables.get("price")
    if price is None:
        raise ConfigError(f"chip '{chip.id}' has no rental price")
    others = {other: table["usd_per_hour"] for other, table in price.get("others", {}).items()}
    found = {price["mode"]: price["usd_per_hour"], **others}
    if mode is None or (mode == "on-demand" and price["mode"] == "list"):
        mode = price["mode"]
    if mode not in found:
        has = ", ".join(f"{other} at {usd:g} US dollars an hour" for other, usd in found.items())
        raise ConfigError(f"chip '{chip.id}' has no {mode} price: it has {has}")
    return found[mode]


def chip_of(name: str, raw: dict[str, Any]) -> ChipFacts:
    """Return the chip that a file's tables describe, in SI units."""
    return ChipFacts(
        id=name,
        name=raw["name"],
        vendor=raw["vendor"],
        chip_class=raw["class"],
        peak_flops_per_s={p: raw["peak_tflops"][p] * 1e12 for p in PRECISIONS if p in raw["peak_tflops"]},
        hbm_bytes=raw["memory"]["hbm_gb"] * 1e9,
        visible_bytes=raw["memory"].get("visible_gb", raw["memory"]["hbm_gb"]) * 1e9,
        hbm_bytes_per_s=raw["memory"]["hbm_gb_per_s"] * 1e9,
        cores=raw["cores"]["count"],
        cache_bytes=raw["cores"]["cache_mb"] * 1e6,
        link_bytes_per_s=raw["scale_up"]["gb_per_s"] * 1e9,
        domain_chips=raw["scale_up"]["domain_chips"],
        ring_chips=raw["scale_up"].get("ring_chips", 1.0),
        scale_out_bytes_per_s=raw["scale_out"]["gb_per_s"] * 1e9,
        power_w=raw["power"]["tdp_w"],
        energy=raw["power"]["energy"],
        usd_per_hour=raw["price"]["usd_per_hour"] if "price" in raw else None,
        training_mfu={p: t["value"] for p, t in raw.get("training_mfu", {}).items()},
        aliases=tuple(raw.get("aliases", ())),
        tables=raw,
    )
