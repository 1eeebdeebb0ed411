"""A picture of an estimate: every operation of a step and of a prompt under the chip's roof."""

import io
from pathlib import Path
from typing import Any

import numpy as np

import configs

from .labels import label
from .units import seconds
from .verdict import slice_of

# Okabe and Ito 2008: told apart by every kind of colour vision; the shape says the same as the colour.
_BOUNDS = {
    "memory": ("#0072B2", "o", "bound by memory"),
    "compute": ("#D55E00", "s", "bound by arithmetic"),
    "overhead": ("#777777", "^", "bound by neither: too small"),
}
_INCHES, _DPI = (9.6, 9.6), 125  # 1200 pixels wide
_LEAST, _MOST = 22.0, 800.0  # points squared, of the smallest and the largest marker
_SHOWN_SHARE = 0.01  # an op that takes less of its pass is left out: it would only hide others
_FONT = 9.0
_GREY = "#666666"


def draw(answer: dict[str, Any], name: str) -> bytes:
    """Return the roofline of an `estimate` document in the format that ``name`` ends in: .png or .svg."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, sharey=True)
    panels = [(upper, "Mean step", answer["breakdown"]), (lower, "One prompt alone", answer["prefill_breakdown"])]
    shown = [_points(rows) for _, _, rows in panels]
    peaks = _peaks(answer)
    limits = _limits([*shown[0], *shown[1]], answer["roofline"]["hbm_bytes_per_s"], peaks)
    for (axes, title, rows), points in zip(panels, shown, strict=True):
        axes.set(xscale="log", yscale="log", xlim=limits[0], ylim=limits[1], ylabel="FLOP/s reached, per chip")
        axes.set_title(
            f"{title}: {seconds(sum(row['seconds'] for row in rows))}{_absent(rows)}", loc="left", fontsize=10
        )
        axes.grid(True, which="major", color="#e4e4e4", linewidth=0.6, zorder=0)
        for p in points:
            colour, mark, _ = _BOUNDS[p["bound"]]
            axes.scatter(
                p["x"], p["y"], s=p["area"], marker=mark, color=colour, alpha=0.7, edgecolors="#ffffff",
                linewidths=0.8, zorder=3,
            )  # fmt: skip
    lower.set_xlabel("FLOPs per byte of memory")
    figure.suptitle(f"{slice_of(answer)}, {answer['batch']:,.0f} at once", x=0.01, ha="left", fontsize=12)
    _legend(lower, [*shown[0], *shown[1]])
    figure.draw_without_rendering()  # names are placed between what is drawn by now
    for (axes, _, _), points in zip(panels, shown, strict=True):
        _roof(axes, answer["roofline"]["hbm_bytes_per_s"], answer["roofline"]["peak_flops_per_s"], peaks)
        label(figure, axes, points, _FONT)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=_DPI, format=Path(name).suffix[1:])
    return picture.getvalue()


def _points(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    whole = sum(row["seconds"] for row in rows)
    some = [
        {"name": f"{row['op']}  {seconds(row['seconds'])}", "bound": row["bound"], "seconds": row["seconds"],
         "x": row["flops"] / row["bytes"], "y": row["flops"] / row["seconds"]}
        for row in rows
        if row["bound"] in _BOUNDS and row["flops"] > 0 and row["bytes"] > 0 and row["seconds"] > _SHOWN_SHARE * whole
    ]  # fmt: skip
    most = max((p["seconds"] for p in some), default=1.0)
    return [p | {"area": _LEAST + (_MOST - _LEAST) * p["seconds"] / most} for p in some]


def _peaks(answer: dict[str, Any]) -> dict[float, str]:
    """Return the chip's precisions by peak FLOP/s; those of one peak share a roof."""
    found: dict[float, list[str]] = {answer["roofline"]["peak_flops_per_s"]: []}
    for precision, peak in configs.load_chip(answer["chip"]["id"]).peak_flops_per_s.items():
        found.setdefault(peak, []).append(precision)
    return {peak: ", ".join(names) for peak, names in found.items()}


def _limits(points: list[dict[str, Any]], rate: float, peaks: dict[float, str]) -> tuple[tuple[float, float], ...]:
    x = [p["x"] for p in points] + [min(peaks) / rate, max(peaks) / rate]
    y = [p["y"] for p in points] + list(peaks)
    return (min(x) / 4.0, max(x) * 4.0), (min(y) / 3.0, max(y) * 2.5)


def _roof(axes: Any, rate: float, used: float, peaks: dict[float, str]) -> None:
    """Draw the memory's slope and a ceiling for each peak, the one in use in bold."""
    (low, high), (floor, _) = axes.get_xlim(), axes.get_ylim()
    top = max(peaks)
    axes.plot([used / rate, top / rate], [used, top], color="#aaaaaa", linewidth=1.0, zorder=2)
    axes.plot([low, used / rate], [low * rate, used], color="#000000", linewidth=1.6, zorder=2)
    for peak, names in peaks.items():
        bold = peak == used
        style = {"color": "#000000", "linewidth": 1.6} if bold else {"color": "#aaaaaa", "linewidth": 1.0}
        axes.plot([peak / rate, high], [peak, peak], zorder=2, **style)
        axes.annotate(
            f"{names}  {peak / 1e12:,.4g} TFLOP/s", (high, peak), (-4, 3), textcoords="offset points", ha="right",
            fontsize=_FONT, color="#000000" if bold else _GREY,
        )  # fmt: skip
    start = max(low, floor / rate)
    ends = axes.transData.transform([(start, start * rate), (used / rate, used)])
    angle = np.degrees(np.arctan2(*(ends[1] - ends[0])[::-1]))
    at = start * (used / rate / start) ** 0.12
    axes.annotate(
        f"memory  {rate / 1e9:,.0f} GB/s", (at, at * rate), (-4, 4), textcoords="offset points", rotation=angle,
        rotation_mode="anchor", fontsize=_FONT, va="bottom",
    )  # fmt: skip


def _absent(rows: list[dict[str, Any]]) -> str:
    """Say what no point shows, for it has no arithmetic: messages, launches, the host."""
    some = [row for row in rows if row["bound"] == "network" or row["op"] in ("launches", "host")]
    said = ", ".join(f"{row['op']} {seconds(row['seconds'])}" for row in some[:3])
    return f"; without arithmetic, so not below: {said}" if said else ""


def _legend(axes: Any, points: list[dict[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], linestyle="", marker=mark, color=colour, alpha=0.7, markersize=8, markeredgewidth=0, label=name)
        for bound, (colour, mark, name) in _BOUNDS.items()
        if any(p["bound"] == bound for p in points)
    ]
    axes.legend(handles=marks, fontsize=_FONT, loc="lower right", title="area: share of the pass", title_fontsize=_FONT)
