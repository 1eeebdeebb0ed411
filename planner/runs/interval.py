"""How sure a prediction is: a 90 % interval from what an engine's profile erred by on measured runs."""

from dataclasses import dataclass
from math import exp, hypot, log
from typing import NamedTuple

import configs

from .constants import MAIN_KERNELS, kernels, was_timed
from .run import has_experts, shape

_TO_90 = 1.6449 / 0.6745  # of a normal error: half-width of the 90 % interval over the median of its size
_OPPOSITE = {"output_tokens_per_s": False, "tpot_s": True, "ttft_s": True}  # tables are of throughput; times go inverse


@dataclass(frozen=True)
class Interval:
    """Bounds of a predicted quantity that hold in nine cases of ten, as factors of it, and what they rest on."""

    low: float
    high: float
    basis: str

    def of(self, value: float) -> tuple[float, float]:
        """Return the bounds around ``value``, in its unit."""
        return value * self.low, value * self.high


class _Width(NamedTuple):
    """Log of measured over predicted throughput that the interval reaches down and up to, both as sizes."""

    down: float
    up: float

    def beside(self, other: "_Width") -> "_Width":
        """Return both errors at once, taken to be independent."""
        return _Width(hypot(self.down, other.down), hypot(self.up, other.up))

    def times(self, factor: float) -> "_Width":
        return _Width(self.down * factor, self.up * factor)


def interval(
    engine: configs.EngineFacts, chip: configs.ChipFacts, model: configs.ModelFacts, quantity: str,
    input_tokens: float | None = None, output_tokens: float | None = None, batch: float | None = None,
    open_loop: bool = False,
) -> Interval:  # fmt: skip
    """Return the 90 % interval of ``quantity``: output_tokens_per_s, tpot_s or ttft_s.

    Where chip and model were among the fitted rows the bounds are the 5th and 95th percentile of their residuals,
    wider by sqrt((n + p) / (n - p)) for p parameters fitted to n configurations (the ratio of the error of a new row
    to that of a fitted one in least squares). A chip, or a model, that the fit did not see takes the percentiles of
    rows left out by chip, or by model; both unseen: what either adds to the fitted rows' is independent of the other.
    A chip whose kernels were not timed adds what generic constants err by on chips left out of them. Outside the
    ranges of lengths and batches the residuals' drift with their logarithms goes on. A median of kernels' errors
    becomes 90 % as in a normal distribution.

    ``open_loop`` says that a TPOT is at a given request rate, not at a given batch.
    """
    kind = "experts" if has_experts(model) else "dense"
    known_chip, known_model = _knows_chip(engine, chip), _knows_model(engine, model)
    seen, words = _seen(engine, kind)
    width = seen
    if not (known_chip and known_model):
        width, words = _unseen(engine, kind, known_chip, known_model, seen)
    if not known_chip:
        kernels = _untimed(chip, engine)
        if kernels:
            width = width.beside(_Width(kernels, kernels))
            words += f", kernels of {chip.id} not timed"
    outside = _outside(engine, input_tokens, output_tokens, batch)
    if outside:
        width = _Width(width.down + outside, width.up + outside)
        words += ", beyond the lengths or batches fitted"
    own = "ttft" if quantity == "ttft_s" else "tpot" if quantity == "tpot_s" and open_loop else None
    if own is not None and own in engine.residuals:
        table = engine.residuals[own]
        # Latencies at a load were measured on few chips: what the unseen adds to throughput's error it adds to theirs.
        added = _Width(*(max(wide**2 - base**2, 0.0) ** 0.5 for wide, base in zip(width, seen, strict=True)))
        own_width = _Width(max(-table["low"], 0.0), max(table["high"], 0.0)).beside(_Width(added.up, added.down))
        return Interval(exp(-own_width.down), exp(own_width.up), words)
    if _OPPOSITE[quantity]:
        return Interval(exp(-width.up), exp(width.down), words)
    return Interval(exp(-width.down), exp(width.up), words)


def _knows_chip(engine: configs.EngineFacts, chip: configs.ChipFacts) -> bool:
    return bool(engine.fitted) and chip.id in engine.chips


def _knows_model(engine: configs.EngineFacts, model: configs.ModelFacts) -> bool:
    if not engine.fitted:
        return False
    if model.id in engine.models:
        return True
    known = (configs.load_model(name) for name in engine.models if name in configs.ids("models"))
    return any(shape(one) == shape(model) for one in known)


def _width(table: dict[str, float]) -> _Width:
    return _Width(max(-table["low"], 0.0), max(table["high"], 0.0))


def _table(engine: configs.EngineFacts, name: str) -> dict[str, float]:
    """Return a residual table: the engine's, that of the other kind of model, or those of the engine fitted best."""
    other = name.replace("experts", "dense") if "experts" in name else name.replace("dense", "experts")
    own = engine.residuals.get(name) or engine.residuals.get(other)
    if own is not None:
        return own
    best = configs.load_engine(configs.PLANNING_ENGINE).residuals
    if name not in best:
        raise configs.ConfigError(
            f"{engine.id}: residuals.{name} is missing, without which no interval can be told: `calibrate --from` "
            "writes it"
        )
    return {**best[name], "engines": 1.0}


def _seen(engine: configs.EngineFacts, kind: str) -> tuple[_Width, str]:
    table = _table(engine, kind)
    if "engines" in table or not engine.fitted:
        return _width(table), _whose(table, "fitted rows")
    parameters = engine.fitted["parameters"]
    units = engine.fitted["configurations"]
    if units <= 2.0 * parameters:
        units = max(engine.fitted["rows"], 2.0 * parameters, 1.0)  # one configuration, told by its rows
    wider = ((units + parameters) / max(units - parameters, 1e-9)) ** 0.5
    return _width(table).times(wider), _whose(table, "fitted rows")


def _unseen(
    engine: configs.EngineFacts, kind: str, known_chip: bool, known_model: bool, seen: _Width
) -> tuple[_Width, str]:
    chip, model = _table(engine, f"{kind}_unseen_chip"), _table(engine, f"{kind}_unseen_model")
    if known_model:
        return _widest(_width(chip), seen), _whose(chip, "rows whose chip was left out")
    if known_chip:
        return _widest(_width(model), seen), _whose(model, "rows whose model was left out")
    one, two = _widest(_width(chip), seen), _widest(_width(model), seen)
    both = _Width(_joined(one.down, two.down, seen.down), _joined(one.up, two.up, seen.up))
    return both, f"{_whose(chip, 'rows whose chip was left out')}, and those whose model was"


def _joined(one: float, two: float, base: float) -> float:
    """Return both errors together, the part that they share counted once."""
    return max(one**2 + two**2 - base**2, one**2, two**2) ** 0.5


def _widest(one: _Width, two: _Width) -> _Width:
    return _Width(max(one.down, two.down), max(one.up, two.up))


def _whose(table: dict[str, float], what: str) -> str:
    rows = f"{table['rows']:,.0f} {what}"
    if "engines" not in table:
        return rows
    return f"{rows} of {table['engines']:.0f} other engine{'s' if table['engines'] > 1 else ''}"


def _untimed(chip: configs.ChipFacts, engine: configs.EngineFacts) -> float:
    """Return the half-width that kernels never timed on this chip or a sibling add, in logarithms."""
    sets = kernels(chip, engine).sets
    generic = configs.load_kernels(configs.GENERIC).sets
    blind = [(family, name) for family, name in MAIN_KERNELS if not was_timed(sets[family].get(name))]
    return _TO_90 * max((generic[family][name].unseen_mdape or 0.0 for family, name in blind), default=0.0)


def _outside(
    engine: configs.EngineFacts, input_tokens: float | None, output_tokens: float | None, batch: float | None
) -> float:
    """Return the drift over the distance to the fitted ranges, in logarithms."""
    if not engine.fitted:
        return 0.0
    far = 0.0
    for name, value in (("input_tokens", input_tokens), ("output_tokens", output_tokens), ("batch", batch)):
        if value is not None and value > 0:
            low, high = engine.fitted[f"min_{name}"], engine.fitted[f"max_{name}"]
            far = hypot(far, max(log(low / value), log(value / high), 0.0))
    return engine.fitted["drift"] * far
