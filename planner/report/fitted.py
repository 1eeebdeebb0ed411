"""A picture of a fitted law: loss against size at equal compute, residuals, profiles, and its resampled fits."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from scaling import FORMS, Conditions, law_of
from scaling.fit import FitError, profile

from ..laws import judged
from ..laws.fitted import Fitted, run
from .labels import label
from .residuals import COLOURS

_BINS = 6  # of compute
_POINTS = 21  # of a profile
_WIDEST = np.log(100.0)  # of a profile, where resampled coefficients lie further apart
_GUESS = 0.1  # of a coefficient: half of a profile's width without resampling
_NAMED = 6  # runs far off
_CURVE = 400
_DOT = 14.0  # area of a run, points squared
_SEEN = 1.5  # times the upper quartile of all profiles' heights: what is drawn of them
_GREY = "#888888"


def draw(fitted: Fitted, name: str) -> bytes:
    """Return the picture, in the format that ``name`` ends in."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 8.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    bins = _bins(fitted)
    _same_compute(axes[0, 0], fitted, bins)
    _residuals(axes[0, 1], fitted, bins)
    _profiles(axes[1, 0], fitted)
    if fitted.ensemble is not None and len(fitted.law.free) > 1:
        _cloud(axes[1, 1], fitted)
    else:
        _predicted(axes[1, 1], fitted, bins)
    _far_off(figure, axes[0, 1], fitted)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=130, format=Path(name).suffix[1:])
    return picture.getvalue()


def _flops(fitted: Fitted) -> Float[np.ndarray, " n"]:
    return 6.0 * fitted.runs.params * fitted.runs.tokens


def _bins(fitted: Fitted) -> np.ndarray:
    """Return the bin of compute of every run, equally wide in logarithms."""
    log = np.log(_flops(fitted))
    width = np.ptp(log) / _BINS
    return np.zeros(len(log), int) if width < 1e-9 else np.minimum((log - log.min()) // width, _BINS - 1).astype(int)


def _same_compute(axes: Any, fitted: Fitted, bins: np.ndarray) -> None:
    import jax

    runs, flops = fitted.runs, _flops(fitted)
    conditions = fitted.budgets.conditions if fitted.budgets else {}
    low, high = runs.params.min() / 3.0, runs.params.max() * 3.0
    sizes = np.geomspace(low, high, _CURVE)
    span = np.ptp(runs.loss)
    bottom, top = runs.loss.min() - 0.06 * span, runs.loss.max() + 0.06 * span
    with jax.enable_x64(True):
        law = law_of(fitted.law.coefficients, Conditions(**conditions))
        for one in np.unique(bins):
            mine, colour = bins == one, COLOURS[one]
            compute = float(np.exp(np.log(flops[mine]).mean()))
            loss = np.asarray(law.loss(sizes, compute / (6.0 * sizes)))
            label = f"{compute:.1e} FLOPs".replace("e+", "e")
            axes.scatter(runs.params[mine], runs.loss[mine], s=_DOT, color=colour, alpha=0.6, linewidths=0, label=label)
            axes.plot(sizes, loss, color=colour, linewidth=1.2)
            best = int(np.argmin(loss))
            if 0 < best < _CURVE - 1:
                axes.plot(sizes[best], loss[best], "D", markersize=6, color=colour, markeredgecolor="black")
    axes.set(xscale="log", xlim=(low, high), ylim=(bottom, top), xlabel="parameters", ylabel="loss, nats per token")
    told = ", ".join(f"{value:g} {name.replace('_', ' ')}" for name, value in conditions.items())
    axes.set_title("equal compute: runs, the law, its best size" + (f" ({told})" if told else ""), fontsize=10)
    axes.legend(fontsize=7, loc="upper right", framealpha=0.8)


def _residuals(axes: Any, fitted: Fitted, bins: np.ndarray) -> None:
    off, ratio = 100.0 * np.expm1(fitted.law.residuals), fitted.runs.tokens / fitted.runs.params
    middle = float(np.median(np.abs(off)))
    axes.axhspan(-middle, middle, color="#eeeeee", zorder=0, label=f"half of the runs: within {middle:.2g} %")
    axes.axhline(0.0, color=_GREY, linewidth=0.8)
    for one in np.unique(bins):
        mine = bins == one
        axes.scatter(ratio[mine], off[mine], s=_DOT, color=COLOURS[one], alpha=0.6, linewidths=0)
    axes.set(xscale="log", xlabel="tokens per parameter", ylabel="predicted over measured loss, % off")
    axes.set_title("residuals, colours as on the left", fontsize=10)
    axes.margins(x=0.08)
    _plain_ticks(axes)
    axes.legend(fontsize=7, loc="best", framealpha=0.8)


def _far_off(figure: Any, axes: Any, fitted: Fitted) -> None:
    """Name the runs that are far off by their lines."""
    off, ratio = 100.0 * np.expm1(fitted.law.residuals), fitted.runs.tokens / fitted.runs.params
    figure.canvas.draw()
    figure.set_layout_engine("none")
    points = [
        {"x": float(ratio[i]), "y": float(off[i]), "area": _DOT, "name": f"line {fitted.table.lines[i]}"}
        for i in judged.far_off(fitted.law.residuals)[:_NAMED]
    ]
    label(figure, axes, points, 7.0)


def _plain_ticks(axes: Any) -> None:
    """Put 1, 2 and 5 on an axis of less than three decades, and plain numbers."""
    low, high = axes.get_xlim()
    if high < 1e3 * low:
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        ticks = [digit * 10.0**k for k in decades for digit in (1, 2, 5) if low <= digit * 10.0**k <= high]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()


def _profiles(axes: Any, fitted: Fitted) -> None:
    law, logs = fitted.law, FORMS[fitted.law.form].logs
    between = judged.intervals(fitted.ensemble, law.free) if fitted.ensemble else {}
    steps, heights = np.linspace(-1.5, 1.5, _POINTS), []
    least = max(law.objective, 1e-300)
    for colour, name in zip(COLOURS * 2, law.free, strict=False):
        value = law.coefficients[name]
        if name in logs:
            low, high = (
                np.log(np.maximum(between[name], 1e-300)) if between else np.log(value) + _GUESS * steps[[0, -1]]
            )
            half = min(0.5 * (high - low), _WIDEST)
            values = value * np.exp(half * steps)
            said = f"{name} (x {np.exp(half):.3g})"
        else:
            low, high = between.get(name, (value - _GUESS * abs(value), value + _GUESS * abs(value)))
            half = 0.5 * (high - low)
            values = value + half * steps
            said = f"{name} (+- {half:.2g})"
        if not half > 0.0:
            continue
        try:
            rise = profile(fitted.runs, law, name, values, run) / least - 1.0
        except FitError:  # a value that the form cannot hold
            continue
        heights.append(100.0 * np.where(np.isfinite(rise), rise, np.nan))
        axes.plot(steps, heights[-1], color=colour, label=said)
    axes.axhline(0.0, color=_GREY, linewidth=0.8)
    top = _SEEN * np.nanquantile(np.max(heights, axis=1), 0.75) if heights else 0.0
    if top > 0.0:
        axes.set_ylim(-0.04 * top, top)
    unit = "half widths of the 90 % interval" if between else f"tenths of it ({100 * _GUESS:g} %)"
    axes.set(xlabel=f"coefficient held away from its optimum, {unit}", ylabel="objective, % above its least")
    axes.set_title("profiles: flat ones are not identified", fontsize=10)
    axes.legend(fontsize=7, loc="upper center", framealpha=0.8, ncols=2)


def _cloud(axes: Any, fitted: Fitted) -> None:
    assert fitted.ensemble is not None
    law, logs = fitted.law, FORMS[fitted.law.form].logs
    pairs = judged.correlations(law, fitted.ensemble)
    if not pairs:
        axes.set_axis_off()
        return
    one, other, together = pairs[0]
    drawn = fitted.ensemble.coefficients
    axes.scatter(drawn[one], drawn[other], s=5, color=COLOURS[0], alpha=0.3, linewidths=0, label="resampled runs")
    axes.plot(law.coefficients[one], law.coefficients[other], "D", color=COLOURS[1], label="all runs")
    for which, name in (("x", one), ("y", other)):
        axes.set(**{f"{which}label": name})
        spread = np.quantile(drawn[name], (0.0, 1.0))
        if name in logs and spread[1] > 3.0 * spread[0]:
            axes.set(**{f"{which}scale": "log"})
    if axes.get_xscale() == "log":
        _plain_ticks(axes)
    axes.set_title(f"the two that go together most, correlation {together:+.3f}", fontsize=10)
    axes.legend(fontsize=7, loc="best", framealpha=0.8)


def _predicted(axes: Any, fitted: Fitted, bins: np.ndarray) -> None:
    loss = fitted.runs.loss
    predicted = loss * np.exp(fitted.law.residuals)
    ends = [min(loss.min(), predicted.min()), max(loss.max(), predicted.max())]
    axes.plot(ends, ends, color=_GREY, linewidth=0.8)
    for one in np.unique(bins):
        mine = bins == one
        axes.scatter(loss[mine], predicted[mine], s=_DOT, color=COLOURS[one], alpha=0.6, linewidths=0)
    axes.set(xlabel="measured loss, nats per token", ylabel="predicted")
    axes.set_title("predicted against measured", fontsize=10)
