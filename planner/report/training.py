"""Training runs as a person reads them: predicted against measured, by trainer and chip."""

from typing import Any

import numpy as np
from rich.console import Console

from .tables import table
from .units import percent

_WORST = 8


def show_training(found: dict[str, Any], console: Console) -> None:
    """Print errors of training runs: all, per trainer and chip, the worst groups, and rows left out."""
    line = f"Training runs: {found['rows']:,} rows, tokens per second and chip, median error {percent(found['mdape'])}"
    console.print(
        f"{line}, p90 {percent(found['p90'])}, bias {100 * found['bias']:+.1f} %; 90 % intervals hold "
        f"{percent(found['interval_coverage'])} of them; {percent(found['covered'])} of what is measured is predicted.",
        highlight=False,
    )
    for title in ("trainer", "chip"):
        _show_groups(title, title, found[f"{title}s"], console)
    worst = [{**one, "by": {"worst": _name(one["by"])}} for one in found["groups"][:_WORST]]
    _show_groups("worst groups", "worst", worst, console)
    for title, key in (("filled in", "guessed"), ("left out", "left_out")):
        if found[key]:
            reasons = table(title, "why", "rows")
            for one in found[key]:
                reasons.add_row(one["why"], f"{one['rows']:,}")
            console.print()
            console.print(reasons, highlight=False)


def show_shipped_training(found: dict[str, Any], console: Console) -> None:
    """Print what the shipped trainer profiles err by on the rows behind them."""
    rows = table("training runs, as shipped", "trainer", "of", "rows", "median error", "p90", "90 % interval")
    for one in found["trainers"]:
        for kind, told in one["residuals"].items():
            if "trainers" in told:  # others' rows, for want of its own
                continue
            between = f"{100 * np.expm1(told['low']):+.0f} to {100 * np.expm1(told['high']):+.0f} %"
            name = kind.replace("_", " ").replace("unseen", "left out by")
            errors = percent(told["mdape"]), percent(told["p90"])
            rows.add_row(one["trainer"], name, f"{told['rows']:,.0f}", *errors, between)
    console.print()
    console.print(rows, highlight=False)


def _name(by: dict[str, str]) -> str:
    return f"{by['model']} {by['precision']} {by['chip']} {by['trainer']}"


def _show_groups(title: str, name: str, groups: list[dict[str, Any]], console: Console) -> None:
    rows = table(title, "" if name == "worst" else name, "rows", "median error", "p90", "bias", "inside 90 %")
    for one in groups:
        bias, inside = f"{100 * one['bias']:+.1f} %", percent(one["interval_coverage"])
        rows.add_row(one["by"][name], f"{one['rows']:,}", percent(one["mdape"]), percent(one["p90"]), bias, inside)
    console.print()
    console.print(rows, highlight=False)
