"""Training runs as a person reads them: predicted against measured, by trainer and chip."""

from collections import Counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from .parts import table
from .units import percent, say

_WORST = 8


def show_training(found: dict[str, Any], console: Console) -> None:
    """Print errors of training runs: all, per trainer and chip, the worst groups, and rows left out."""
    if found["rows"]:
        _show_steps(found, console)
    for title, key in (("filled in", "guessed"), ("left out", "left_out")):
        _show_reasons(title, found[key], console)
    _show_whole(found["whole_runs"], console)


def _show_steps(found: dict[str, Any], console: Console) -> None:
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


def _show_reasons(title: str, told: list[dict[str, Any]], console: Console) -> None:
    if told:
        reasons = table(title, "why", "rows")
        for one in told:
            reasons.add_row(one["why"], f"{one['rows']:,}")
        console.print()
        console.print(reasons, highlight=False)


def _show_whole(found: dict[str, Any], console: Console) -> None:
    """Print chip-hours of whole runs as published and predicted."""
    if found["rows"]:
        rows = table("whole runs, in chip-hours", "model", "chip", "chips", "published", "predicted", "ratio")
        for one in found["runs"]:
            hours = say(one["measured_chip_hours"]), say(one["predicted_chip_hours"])
            name = escape(one["model"]) + (" *" if one["cumulative"] else "")
            rows.add_row(name, one["chip"], f"{one['chips']:,}", *hours, f"{one['ratio']:.2f}")
        console.print()
        console.print(rows, highlight=False)
        line = f"Whole runs: {found['rows']:,}, median error {percent(found['mdape'])}, p90 {percent(found['p90'])}"
        starred = any(one["cumulative"] for one in found["runs"])
        mark = " * Cumulative, as published: the hours hold more than this run." if starred else ""
        console.print(f"{line}, bias {100 * found['bias']:+.1f} %.{mark}", highlight=False)
        guessed = Counter(why for one in found["runs"] for why in one["guessed"]).most_common()
        _show_reasons("filled in, of whole runs", [{"why": why, "rows": n} for why, n in guessed], console)
    _show_reasons("left out, of whole runs", found["left_out"], console)


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
