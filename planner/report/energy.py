"""An estimate's energy as a person reads it: what a token takes by cause, and what that costs and emits."""

from collections.abc import Callable
from typing import Any

from rich.table import Table

from .bars import share_of
from .parts import table
from .units import energy_per, grams_of, percent, price

_CAUSES = {
    "arithmetic": "multiplying and adding",
    "overhead": "around the multipliers",
    "hbm": "memory",
    "hbm_overhead": "from memory to the units",
    "sram": "caches",
    "link": "links between chips",
    "scale_out": "network between servers",
    "static": "passing time",
    "idle": "idle in between",
}
_SHOWN = 0.0005  # least share of a cause in any column


def energy_table(answer: dict[str, Any]) -> Table:
    """Return joules per token by cause, at this load and for one sequence at a time, and their cost and CO2."""
    told = answer["energy"]
    per, rows = told["joules_per_token"], told["amortisation"]
    columns = {"input": per["input"], "output": per["output"], "alone": rows[0]["joules_per_token"]}
    total = {name: sum(parts.values()) for name, parts in columns.items()}
    out = table("Energy per token", "", "input", "output", "share", "output, alone", "share")

    def share(name: str, cause: str) -> float:
        return columns[name][cause] / total[name] if total[name] > 0.0 else 0.0

    for cause, said in _CAUSES.items():
        if max(share(name, cause) for name in columns) >= _SHOWN:
            values = [energy_per(columns[name][cause]) for name in columns]
            shares = [share_of(share(name, cause)) for name in ("output", "alone")]
            out.add_row(said, values[0], values[1], shares[0], values[2], shares[1])
    out.add_row("in all", *(energy_per(total[n]) for n in ("input", "output")), "", energy_per(total["alone"]))

    def money(said: str, values: dict[str, float], unit: Callable[[float], str]) -> None:
        out.add_row(said, unit(values["input"]), unit(values["output"]))

    money("electricity, per M tokens", told["usd_per_mtok"], price)
    if told["grams_co2_per_mtok"] is not None:
        money("CO2, per M tokens", told["grams_co2_per_mtok"], grams_of)
    return out


def energy_reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a lead and a sentence on power, and on what electricity counts."""
    told = answer["energy"]
    power = f"{told['watts_per_chip']:.0f} W per chip ({percent(told['board_power_fraction'])} of its board's limit), "
    power += f"{told['idle_watts_per_chip']:.0f} W idle with the model loaded; {told['basis']['joules']}."
    counts = f"boards, x {told['server_ratio']:g} for hosts and memory, x {told['pue']:g} (PUE) for the building, at "
    counts += f"{price(told['usd_per_kwh'])} per kWh; switches and storage are not counted."
    if told["price_fraction"] is not None:
        counts += f" It is {percent(told['price_fraction'])} of the price; an idle chip takes "
        counts += f"{price(told['idle_usd_per_chip_hour'])} an hour."
    request = f" A request takes {energy_per(told['joules_per_request'])} on the boards"
    grams = told["grams_co2_per_request"]
    if grams is not None:
        request += (
            f" and emits {grams_of(grams)} of CO2 at {told['co2_g_per_kwh']:g} g per kWh, the making of chips apart"
        )
    return [("Power:", power), ("Electricity counts", f"{counts}{request}.")]
