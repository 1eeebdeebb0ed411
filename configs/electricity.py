"""What electricity costs and emits, and what a building draws beyond its accelerators: one file, `electricity.toml`."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from .catalog import ROOT
from .errors import ConfigError, nearest, shown
from .loader import Each, Number, Table, read_toml

_RATIO = Number("ratio of powers", 1.0, 5.0)
_PRICE = Number("US dollars per kWh", 0.0, 2.0)
_SCHEMA = {
    "pue": Table({"ratio": _RATIO, "low_ratio": _RATIO, "high_ratio": _RATIO}),
    "server": Table({"ratio": _RATIO, "low_ratio": _RATIO, "high_ratio": _RATIO}),
    "price": Table({"usd_per_kwh": _PRICE, "low_usd_per_kwh": _PRICE, "high_usd_per_kwh": _PRICE}),
    "co2": Table({"g_per_kwh": Each(Number("grams per kWh", 0.0, 2000.0))}),
}


@dataclass(frozen=True)
class ElectricityFacts:
    """Dollars per kWh, grams of CO2 equivalent per kWh by grid, and ratios of power.

    ``server_ratio`` is what a server draws over its boards (accelerators), ``pue`` (power usage effectiveness) what the
    building draws over its servers. ``tables`` hold low and high values and sources.
    """

    pue: float
    server_ratio: float
    usd_per_kwh: float
    co2_g_per_kwh: dict[str, float]
    tables: dict[str, Any]


@cache
def load_electricity() -> ElectricityFacts:
    """Load the shipped facts.

    Raises:
        ConfigError: the file breaks the layout.
    """
    raw = read_toml(ROOT / "electricity.toml", _SCHEMA)
    return ElectricityFacts(
        pue=raw["pue"]["ratio"],
        server_ratio=raw["server"]["ratio"],
        usd_per_kwh=raw["price"]["usd_per_kwh"],
        co2_g_per_kwh=raw["co2"]["g_per_kwh"],
        tables=raw,
    )


def grid_co2_g_per_kwh(grid: str) -> float:
    """Return grams of CO2 equivalent per kWh of a grid that the file knows.

    Raises:
        ConfigError: no such grid; names the nearest one.
    """
    known = load_electricity().co2_g_per_kwh
    if grid not in known:
        hint = nearest(grid, known) or f"; the grids are {', '.join(known)}"
        raise ConfigError(f"unknown grid '{shown(grid)}'{hint}")
    return known[grid]
