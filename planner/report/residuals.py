"""A picture of a calibration: predicted over measured time against measured time, one panel per kernel family."""

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np

import configs

_ENDINGS = (".png", ".svg")
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
    "#000000",
)  # Okabe and Ito 2008


def check_plot(name: str) -> None:
    """Refuse a picture that could not be drawn, before the work rather than after it.

    Raises:
        configs.ConfigError: another ending, or matplotlib is not installed.
    """
    if Path(name).suffix not in _ENDINGS:
        raise configs.ConfigError(f"--plot = '{configs.shown(name)}' must end in {' or '.join(_ENDINGS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise configs.ConfigError("--plot needs matplotlib: pip install 'llm-lifetime-planner[plot]'")


def draw(sets: list[Any], name: str) -> bytes:
    """Return a picture of the residuals of `calibration.fitting.Fitted` sets, in the format that ``name`` ends in."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    families = list(dict.fromkeys(one.family for one in sets))
    columns = min(3, len(families))
    lines = -(-len(families) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.4 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, family in enumerate(families, 1):
        axes = figure.add_subplot(lines, columns, number)
        axes.axhspan(0.8, 1.25, color="#eeeeee", zorder=0)
        axes.axhline(1.0, color="#888888", linewidth=0.8)
        for colour, one in zip(COLOURS * 9, [s for s in sets if s.family == family], strict=False):
            ratio = np.exp(one.residuals)
            label = f"{one.variant}: {100 * one.facts.mdape:.1f} % median, {100 * one.facts.p90:.0f} % p90"
            size = 14 if len(ratio) < 200 else 2
            axes.scatter(one.columns["seconds"], ratio, s=size, color=colour, label=label, alpha=0.6, linewidths=0)
        axes.set(
            xscale="log", yscale="log", ylim=(0.33, 3.0), xlabel="measured seconds", title=family.replace("_", " ")
        )
        axes.set_yticks([0.5, 0.8, 1.0, 1.25, 2.0], ["0.5", "0.8", "1", "1.25", "2"])
        axes.minorticks_off()
        axes.set_ylabel("predicted / measured")
        axes.legend(fontsize=6.5, loc="upper right", framealpha=0.8)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=130, format=Path(name).suffix[1:])
    return picture.getvalue()
