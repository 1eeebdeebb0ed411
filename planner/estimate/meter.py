"""From joules of the boards to what a building's meter counts, in dollars and grams of CO2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import configs


@dataclass(frozen=True)
class Meter:
    """A building's meter.

    ``server_ratio`` is a server's power over that of its boards (hosts, memory), ``pue`` the building's over that of
    its servers (cooling, conversion). ``co2_g_per_kwh`` is None where no intensity was given. ``basis`` says of each
    number where it is from.
    """

    pue: float
    server_ratio: float
    usd_per_kwh: float
    co2_g_per_kwh: float | None
    basis: Mapping[str, str]

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> "Meter":
        """Resolve flags, named as on the command line with underscores; what is not given is as `configs` has it.

        Raises:
            configs.ConfigError: an unknown grid, or a grid beside an intensity.
        """
        facts = configs.load_electricity()
        tables = {"pue": "pue", "server_ratio": "server", "usd_per_kwh": "price"}
        basis = {k: "given" if k in asked else _source(facts.tables[table]) for k, table in tables.items()}
        grams = asked.get("co2_g_per_kwh")
        if "grid" in asked:
            if grams is not None:
                raise configs.ConfigError(
                    "--co2-g-per-kwh and --grid exclude each other: a grid has an intensity of its own"
                )
            grams = configs.grid_co2_g_per_kwh(asked["grid"])
            basis["co2_g_per_kwh"] = f"grid of {asked['grid']}, {_source(facts.tables['co2'])}"
        elif grams is not None:
            basis["co2_g_per_kwh"] = "given"
        pue, server_ratio, usd_per_kwh = (asked.get(k, getattr(facts, k)) for k in tables)
        return cls(pue, server_ratio, usd_per_kwh, grams, basis)

    def kwh(self, joules: float) -> float:
        """Return kilowatt-hours at the meter for ``joules`` of the boards."""
        return joules * self.server_ratio * self.pue / configs.KWH_J

    def usd(self, joules: float) -> float:
        """Return US dollars for ``joules`` of the boards."""
        return self.kwh(joules) * self.usd_per_kwh

    def grams_co2(self, joules: float) -> float | None:
        """Return grams of CO2 equivalent for ``joules`` of the boards; None where no intensity is known."""
        return None if self.co2_g_per_kwh is None else self.kwh(joules) * self.co2_g_per_kwh


def _source(table: Mapping[str, Any]) -> str:
    return f"{table['source']}, {table['date']}"
