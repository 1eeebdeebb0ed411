"""Served runs as a person reads them: predicted against measured, by engine and chip, in tables and a picture."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .parts import print_warnings, table
from .residuals import COLOURS
from .units import percent

_WORST = 8
_LABELS = {
    "output_tokens_per_s": "output tokens per second",
    "tpot_s": "time per output token",
    "ttft_s": "time to first token",
}


def show_serving(found: dict[str, Any], console: Console) -> None:
    """Print errors of served runs: all, per engine and chip, the worst groups, quantities, and rows left out."""
    line = f"Served runs: {_line(found)}; 90 % intervals hold {percent(found['interval_coverage'])} of them"
    console.print(f"{line}; {percent(found['covered'])} of what is measured is predicted.", highlight=False)
    clean = found["without_doubt"]
    if clean is not None and clean["rows"] < found["rows"]:
        doubtful = found["rows"] - clean["rows"]
        console.print(f"Without the {doubtful:,} rows in doubt: {_line(clean)}.", highlight=False)
    for title in ("engine", "chip"):
        _show_groups(title, [title], found[f"{title}s"], console)
    worst = [{**one, "by": {"model, chip, engine": _name(one["by"])}} for one in found["groups"][:_WORST]]
    _show_groups("worst groups", ["model, chip, engine"], worst, console)
    rows = table("by quantity", "quantity", "rows", "median error", "p90", "bias")
    for name, one in found["by_quantity"].items():
        if one is not None:
            rows.add_row(_LABELS[name], *_cells(one))
    console.print()
    console.print(rows, highlight=False)
    for title, key in (("rows in doubt, counted", "doubts"), ("filled in", "guessed"), ("left out", "left_out")):
        if found[key]:
            console.print()
            reasons = table(title, "why", "rows")
            for one in found[key]:
                reasons.add_row(one["why"], f"{one['rows']:,}")
            console.print(reasons, highlight=False)


def _name(by: dict[str, str]) -> str:
    return f"{by['model']} {by['precision']} {by['chip']} {by['engine']}"


def _line(one: dict[str, Any]) -> str:
    median, high = percent(one["mdape"]), percent(one["p90"])
    return f"{one['rows']:,} rows, median error {median}, p90 {high}, bias {100 * one['bias']:+.1f} %"


def _show_groups(title: str, names: list[str], groups: list[dict[str, Any]], console: Console) -> None:
    rows = table(title, *names, "rows", "in doubt", "median error", "p90", "bias", "inside 90 %")
    for one in groups:
        count, *rest = _cells(one)
        inside = percent(one["interval_coverage"])
        rows.add_row(*(one["by"][name] for name in names), count, f"{one['rows_in_doubt']:,}", *rest, inside)
    console.print()
    console.print(rows, highlight=False)


def _cells(one: dict[str, Any]) -> list[str]:
    return [f"{one['rows']:,}", percent(one["mdape"]), percent(one["p90"]), f"{100 * one['bias']:+.1f} %"]


def show_shipped(found: dict[str, Any], console: Console) -> None:
    """Print what the shipped profiles err by on the rows behind them."""
    rows = table("served runs, as shipped", "engine", "of", "rows", "median error", "p90", "90 % interval")
    for one in found["engines"]:
        if not one["residuals"]:
            told = "too few rows to tell" if one["rows"] else "no rows of its own"
            rows.add_row(one["engine"], told, f"{one['rows']}", "", "", "")
        for kind, told in one["residuals"].items():
            between = f"{100 * np.expm1(told['low']):+.0f} to {100 * np.expm1(told['high']):+.0f} %"
            name = kind.replace("_", " ").replace("unseen", "left out by")
            rows.add_row(
                one["engine"], name, f"{told['rows']:,.0f}", percent(told["mdape"]), percent(told["p90"]), between
            )
    console.print()
    console.print(rows, highlight=False)


def show_profiles(answer: dict[str, Any], what: str, console: Console) -> None:
    """Print fitted profiles, each of a ``what`` ("engine", "trainer"): what they err by, and their parameters."""
    for one in answer[f"{what}s"]:
        rows = table(one[what], "parameter", "value", "standard error")
        for name, value in one["profile"].items():
            rows.add_row(name, f"{value:.4g}", percent(one["log_standard_errors"][name]))
        console.print(rows, highlight=False)
        console.print(f"{one['fitted']['rows']:,.0f} rows; {one['summary']}.", highlight=False)
        console.print()
    for name in answer["files"]:
        console.print(f"Wrote {name}", highlight=False)
    print_warnings(console, answer["warnings"])


def draw(compared: Any, name: str) -> bytes:
    """Return a picture of predicted against measured, a panel per quantity, in the format that ``name`` ends in.

    ``compared`` is a `runs.validation.Compared`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs, predicted = compared.runs, compared.predicted
    engines = np.array([run.engine for run in runs])
    panels = {}
    for quantity in _LABELS:
        measured = np.array([getattr(run, quantity) or np.nan for run in runs], dtype=float)
        if quantity == "output_tokens_per_s":  # at a request rate the rate itself comes out
            measured[[run.request_rate is not None for run in runs]] = np.nan
        said = np.asarray(getattr(predicted, quantity), dtype=float)
        told = np.isfinite(measured) & np.isfinite(said)
        if told.any():
            panels[quantity] = (measured, said, told)
    figure = Figure(figsize=(4.7 * len(panels), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    colours = {engine: COLOURS[i % len(COLOURS)] for i, engine in enumerate(sorted(set(engines)))}
    for number, (quantity, (measured, said, told)) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number)
        scale = 1.0 if quantity == "output_tokens_per_s" else 1e3
        ends = np.array([measured[told].min(), measured[told].max()]) * scale * np.array([0.7, 1.4])
        axes.fill_between(ends, ends * 0.8, ends * 1.2, color="#e4e4e4", zorder=0, label="within 20 %")
        axes.plot(ends, ends, color="#888888", linewidth=0.8, zorder=1)
        for engine, colour in colours.items():
            mine = told & (engines == engine)
            if mine.any():
                off = np.median(np.abs(said[mine] / measured[mine] - 1.0))
                size = 9 if mine.sum() > 60 else 18
                label = f"{engine}: {mine.sum()} rows, {100 * off:.1f} %"
                axes.scatter(
                    measured[mine] * scale,
                    said[mine] * scale,
                    s=size,
                    color=colour,
                    alpha=0.65,
                    linewidths=0,
                    label=label,
                )
        unit = "" if scale == 1.0 else ", ms"
        axes.set(
            xscale="log", yscale="log", title=_LABELS[quantity], xlabel=f"measured{unit}", ylabel=f"predicted{unit}"
        )
        axes.set_xlim(*ends)
        axes.legend(fontsize=7, loc="upper left", framealpha=0.85, title="median error", title_fontsize=7)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=140, format=Path(name).suffix[1:])
    return picture.getvalue()
