"""A law fitted to runs: the exact optimum from many starts, its uncertainty by resampling, and its profiles."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from .forms import FORMS, Form

DELTA = 1e-3  # of Huber's loss on logarithms (Hoffmann et al. 2022, section 3.3): most residuals count by their size
CONVERGED = 1e-8  # Euclidean norm of the gradient, in logarithms of coefficients and exponents about the mean run
_TOLERANCE = 1e-13  # relative to the sums behind the gradient: near rounding
_SAME = 1e-7  # relative difference of objectives below which two starts have ended in one optimum
_EASING = (1024.0, 256.0, 64.0, 16.0, 4.0)  # times delta: the smoother the loss, the straighter the way from afar
_FLAT = 1e-10  # of the largest curvature: along a flatter direction rounding alone moves coefficients by a millionth
_ROWS = (16, 64, 128, 256, 512)  # runs are padded to one of these, then to powers of two
_FITS = (1, 16, 64, 1024, 4096)  # likewise fits at a time

Numbers = dict[str, Float[np.ndarray, " n"]]
Run = Callable[[str, Mapping[str, Any]], Any]


class FitError(ValueError):
    """Runs that no fit can be made of; one sentence that says why."""


@dataclass(frozen=True)
class Runs:
    """Training runs: parameters, tokens, loss in nats per token, and further columns that a form asks for.

    ``weights`` count runs more or less; ``group`` numbers runs that are drawn together when resampling, such as
    checkpoints of one run.
    """

    params: Float[np.ndarray, " n"]
    tokens: Float[np.ndarray, " n"]
    loss: Float[np.ndarray, " n"]
    more: Mapping[str, Float[np.ndarray, " n"]] = field(default_factory=dict)
    weights: Float[np.ndarray, " n"] | None = None
    group: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.loss)

    def weighing(self) -> Float[np.ndarray, " n"]:
        """Return the weights, ones unless given."""
        return np.ones(len(self)) if self.weights is None else np.asarray(self.weights, float)

    def columns(self) -> dict[str, Float[np.ndarray, " n"]]:
        """Return every column by name."""
        return {"params": self.params, "tokens": self.tokens, "loss": self.loss, **self.more}

    def only(self, rows: np.ndarray) -> "Runs":
        """Return the runs that ``rows`` (a mask or indices) picks."""
        more = {name: column[rows] for name, column in self.more.items()}
        parts = (None if part is None else part[rows] for part in (self.weights, self.group))
        return Runs(self.params[rows], self.tokens[rows], self.loss[rows], more, *parts)


@dataclass(frozen=True)
class Fit:
    """A fitted law. ``agreeing`` of ``starts`` ended in the optimum, those that ended elsewhere above it.

    ``residuals`` are ln(predicted / measured loss) by run. ``converged`` says that ``gradient_norm`` is below
    `CONVERGED`; ``loose`` are coefficients of which other values fit as well; ``trouble`` says why a fit did not
    converge, or what is odd about an optimum that was found.
    """

    form: str
    coefficients: dict[str, float]
    objective: float
    gradient_norm: float
    starts: int
    agreeing: int
    fixed: dict[str, float]
    delta: float
    in_nats: bool
    residuals: Float[np.ndarray, " n"]
    loose: tuple[str, ...] = ()
    trouble: str | None = None

    @property
    def converged(self) -> bool:
        """Say whether the gradient vanishes to `CONVERGED`."""
        return self.gradient_norm <= CONVERGED

    @property
    def free(self) -> list[str]:
        """Return the coefficients that were fitted."""
        return [name for name in FORMS[self.form].names if name not in self.fixed]


@dataclass(frozen=True)
class Ensemble:
    """Fits to resampled runs, n of each coefficient; ``lost`` more did not converge and are left out."""

    coefficients: Numbers
    objective: Float[np.ndarray, " n"]
    lost: int

    def standard_errors(self) -> dict[str, float]:
        """Return the standard deviation of each coefficient: infinite where draws are too far apart for numbers."""
        with np.errstate(over="ignore"):
            return {name: float(np.std(values, ddof=1)) for name, values in self.coefficients.items()}


def fit(
    runs: Runs, form: str = "chinchilla", fixed: Mapping[str, float] | None = None, delta: float = DELTA,
    in_nats: bool = False, run: Run | None = None,
) -> Fit:  # fmt: skip
    """Return the law of ``form`` that minimises the weighted sum of Huber's losses of residuals.

    Residuals are ln(predicted / measured loss), or with ``in_nats`` their difference; within ``delta`` they count
    halved and squared, beyond it by their size (inf: least squares). Coefficients in ``fixed`` stay.

    Raises:
        FitError: too few runs, or numbers that no run has.
    """
    fixed = dict(fixed or {})
    known = FORMS[form]
    _check(runs, known, fixed)
    asked = _Asked(runs, known, form, fixed, delta, in_nats, run or _jitted)
    every = {name: values[0] for name, values in asked.from_everywhere(np.atleast_2d(runs.weighing())).items()}
    best, low = _best(every)
    if not np.isfinite(every["objective"][best]):
        raise FitError("no start leads anywhere: the losses of these runs have no optimum under this form")
    found = {name: float(every[name][best]) for name in known.names}
    norm = float(every["gradient_norm"][best])
    errors = residuals(runs, form, found)
    loose = _loose(known, every["hessian"][best], fixed)
    return Fit(
        form=form,
        coefficients=found,
        objective=float(every["objective"][best]),
        gradient_norm=norm,
        starts=len(low),
        agreeing=int((low & (every["gradient_norm"] <= CONVERGED)).sum()),
        fixed=fixed,
        delta=delta,
        in_nats=in_nats,
        residuals=errors,
        loose=tuple(loose),
        trouble=_trouble(runs, known, found, norm, loose),
    )


def bootstrap(
    runs: Runs,
    fitted: Fit,
    draws: int,
    seed: int = 0,
    run: Run | None = None,
    tick: Callable[[int], None] | None = None,
) -> Ensemble:
    """Return fits to ``draws`` resamplings of the runs with replacement, groups drawn whole; seeded, each from the
    optimum of all runs.

    ``tick`` is told how many are done. Fits that have not converged are tried from every start.
    """
    known = FORMS[fitted.form]
    asked = _Asked(runs, known, fitted.form, fitted.fixed, fitted.delta, fitted.in_nats, run or _jitted)
    out: list[dict[str, Any]] = []
    done = 0
    # Forms other than sums of powers take long: some at a time, by the program that the starts have gone through.
    for weights in _resampled(runs, draws, seed, _FITS[-1] if known.terms else _FITS[2]):
        starts = {name: np.full(len(weights), value) for name, value in fitted.coefficients.items()}
        found = asked.refit(starts, weights)
        asked.mend(found, weights)
        out.append(found)
        done += len(weights)
        if tick is not None:
            tick(done)
    every = {name: np.concatenate([one[name] for one in out]) for name in (*known.names, "objective", "gradient_norm")}
    fine = _ended(every)
    return Ensemble({n: every[n][fine] for n in known.names}, every["objective"][fine], int((~fine).sum()))


def profile(
    runs: Runs, fitted: Fit, name: str, values: Float[np.ndarray, " n"], run: Run | None = None
) -> Float[np.ndarray, " n"]:
    """Return the least objective with coefficient ``name`` held at each of ``values``: a flat one is not identified."""
    known = FORMS[fitted.form]
    fixed = {**fitted.fixed, name: values[0]}
    for value in values:
        _check(runs, known, {**fixed, name: value})
    asked = _Asked(runs, known, fitted.form, fixed, fitted.delta, fitted.in_nats, run or _jitted)
    starts = {n: np.full(len(values), v) for n, v in fitted.coefficients.items()} | {name: np.asarray(values, float)}
    weights = np.repeat(np.atleast_2d(runs.weighing()), len(values), axis=0)
    near = asked.refit(starts, weights)["objective"]
    every = asked.from_everywhere(weights, [{**fixed, name: value} for value in values])
    return np.minimum(near, every["objective"].min(axis=1))


def residuals(runs: Runs, form: str, coefficients: Mapping[str, float]) -> Float[np.ndarray, " n"]:
    """Return ln(predicted / measured loss) by run."""
    import jax

    with jax.enable_x64(True):
        predicted = np.asarray(FORMS[form].loss(coefficients, runs.columns()), float)
    return np.log(predicted) - np.log(runs.loss)


def _ended(found: Numbers) -> np.ndarray:
    """Say which fits are at an optimum."""
    return (found["gradient_norm"] <= CONVERGED) & np.isfinite(found["objective"])


def _best(every: Numbers) -> tuple[int, np.ndarray]:
    """Return the lowest of some fits, the nearest to its optimum where several end equally low, and those at it."""
    objective = every["objective"]
    low = objective <= objective.min() * (1.0 + _SAME) + 1e-30
    best = int(np.argmin(np.where(low, every["gradient_norm"], np.inf)))
    return best, low & _ended(every)


def _resampled(runs: Runs, draws: int, seed: int, at_once: int) -> Iterator[Float[np.ndarray, "m n"]]:
    """Yield weights of resampled runs, ``at_once`` draws at a time: how often each was drawn, times its own."""
    random = np.random.default_rng(seed)
    group = np.arange(len(runs)) if runs.group is None else np.unique(runs.group, return_inverse=True)[1]
    count = int(group.max()) + 1
    for first in range(0, draws, at_once):
        many = min(at_once, draws - first)
        drawn = random.multinomial(count, np.full(count, 1.0 / count), size=many)
        yield drawn[:, group] * runs.weighing()


class _Asked:
    """What all fits to one set of runs share, padded to shapes for which programs are kept."""

    def __init__(
        self, runs: Runs, known: Form, form: str, fixed: Mapping[str, float], delta: float, in_nats: bool, run: Run
    ):
        self.known, self.form, self.fixed, self.run, self.rows = known, form, fixed, run, len(runs)
        self.padded = _padded(self.rows, _ROWS)
        columns = {name: runs.columns()[name] for name in ("params", "tokens", "loss", *known.columns)}
        self.runs = {form: {n: np.pad(c, (0, self.padded - self.rows), mode="edge") for n, c in columns.items()}}
        self.weights = weights = runs.weighing()
        logs = {"log_params": np.log(runs.params), "log_tokens": np.log(runs.tokens)}
        means = {name: float(np.average(log, weights=weights)) for name, log in logs.items()}
        means |= {f"{name}_6": mean + 0.5 * np.log(6.0) for name, mean in means.items()}
        # A coefficient that is fixed in its own unit cannot take up another one.
        held = {column for name in fixed for _, _, column in known.shifts.get(name, ())}
        self.means = {name: 0.0 if name in held else mean for name, mean in means.items()}
        self.delta, self.options = delta, {"nats": float(in_nats), "tolerance": _TOLERANCE}

    def starts(self, fixed: Mapping[str, float]) -> Numbers:
        """Return whole starts by coefficient, those of ``fixed`` where they are held."""
        from .fitting import grid

        held = {n: {"is": float(n in fixed), "value": fixed.get(n, 0.0)} for n in self.known.linear}
        problem = {"runs": self.runs, "weights": self._weights(self.weights[None], 1), "fixed": held}
        return self.run("begin", {**problem, "starts": grid(self.known, fixed)})

    def from_everywhere(self, weights: Float[np.ndarray, "m n"], fixed: Sequence[Mapping[str, float]] = ()) -> Numbers:
        """Return fits from g starts to each row of ``weights``, m by g of everything `refit` returns, with each row's
        own values ``fixed`` if given.

        Half of the starts come straight from the form's list, half by way of smoother losses.
        """
        rows = len(weights)
        listed = [self.starts(values) for values in fixed] or [self.starts(self.fixed)] * rows
        plain = eased = {name: np.concatenate([one[name] for one in listed]) for name in self.known.names}
        count = len(plain[self.known.names[0]]) // rows
        every = np.repeat(weights, count, axis=0) if rows > 1 else weights
        for times in _EASING:
            found = self.refit(eased, every, times)
            eased = {name: np.where(np.isfinite(found["objective"]), found[name], plain[name]) for name in plain}
        both = [self.refit(starts, every) for starts in (plain, eased)]
        tall = {name: [one[name].reshape(rows, count, *one[name].shape[1:]) for one in both] for name in both[0]}
        return {name: np.concatenate(pair, axis=1) for name, pair in tall.items()}

    def mend(self, found: Numbers, weights: Float[np.ndarray, "m n"]) -> None:
        """Replace fits that have not ended at an optimum by the best ones from every start."""
        lost = np.flatnonzero(~_ended(found))
        for some in (lost[i : i + _FITS[2]] for i in range(0, len(lost), _FITS[2])):
            again = self.from_everywhere(weights[some])
            for k, i in enumerate(some):
                every = {name: values[k] for name, values in again.items()}
                ended = {**every, "objective": np.where(_ended(every), every["objective"], np.inf)}
                best, _ = _best(ended)
                if _ended(every)[best]:
                    for name in found:
                        found[name][i] = every[name][best]

    def refit(self, starts: Numbers, weights: Float[np.ndarray, "m n"], times: float = 1.0) -> Numbers:
        """Return fits from ``starts``, each with its row of ``weights``, or all with the one there is: coefficients
        by name, ``objective``, ``gradient_norm`` and ``hessian``.

        ``times`` widens delta. A fit with a coefficient beyond what numbers hold has an infinite objective.
        """
        many = len(next(iter(starts.values())))
        fits = _padded(many, _FITS)
        # Fits that fill up start where the first ends and have its weights: they cost next to nothing.
        begin = {
            name: np.pad(np.asarray(values, float), (0, fits - many), mode="edge") for name, values in starts.items()
        }
        problem = {
            "runs": self.runs,
            "weights": self._weights(weights, fits),
            "starts": {name: begin[name] for name in self.known.names},
            "free": {name: np.full(fits, float(name not in self.fixed)) for name in self.known.names},
            "means": self.means,
            # No residual is as far out as 1e6: beyond any, Huber's loss is half a square.
            "options": {**self.options, "delta": min(times * self.delta, 1e6)},
        }
        found = self.run("refit", problem)
        cut = {name: np.array(found[name][:many]) for name in ("objective", "gradient_norm", "hessian")}
        cut |= {name: np.array(values[:many]) for name, values in found["coefficients"].items()}
        bounded = np.all([np.isfinite(cut[name]) for name in self.known.names], axis=0)
        bounded &= np.all([cut[name] > 0.0 for name in self.known.logs], axis=0)
        bounded &= np.isfinite(cut["objective"]) & np.isfinite(cut["gradient_norm"])
        cut["objective"] = np.where(bounded, cut["objective"], np.inf)
        return cut

    def _weights(self, weights: Float[np.ndarray, "m n"], fits: int) -> Float[np.ndarray, "f r"]:
        out = np.zeros((fits, self.padded))
        out[:, : self.rows] = weights[0]
        if len(weights) > 1:
            out[: len(weights), : self.rows] = weights
        return out


def _padded(count: int, sizes: Sequence[int]) -> int:
    found = next((size for size in sizes if size >= count), None)
    return found or 1 << (count - 1).bit_length()


@cache
def _program(name: str) -> Callable[[Any], Any]:
    import jax

    from . import fitting

    return jax.jit(getattr(fitting, name))


def _jitted(name: str, problem: Mapping[str, Any]) -> Any:
    import jax

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, _program(name)(problem))


def _check(runs: Runs, form: Form, fixed: Mapping[str, float]) -> None:
    unknown = [name for name in fixed if name not in form.names]
    if unknown:
        raise FitError(f"'{unknown[0]}' is no coefficient of the form, which has {', '.join(form.names)}")
    for name in fixed:
        if name in form.logs and not fixed[name] > 0:
            raise FitError(f"{name} = {fixed[name]:g} must be positive")
    missing = [name for name in form.columns if name not in runs.more]
    if missing:
        raise FitError(f"the form needs {missing[0]} of every run")
    for name, column in runs.columns().items():
        if not (np.isfinite(column).all() and (column > 0).all()):
            raise FitError(f"{name} must be positive in every run")
    weights = runs.weighing()
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise FitError("weights must not be negative, nor all zero")
    free = len(form.names) - len(fixed)
    counted = int((weights > 0).sum())
    if counted < free:
        raise FitError(f"{counted} runs are too few for {free} coefficients: give more, or fix some")


def _loose(form: Form, hessian: np.ndarray, fixed: Mapping[str, float]) -> list[str]:
    """Return the coefficients that move along directions in which the objective is flat."""
    free = [i for i, name in enumerate(form.names) if name not in fixed]
    curvature, directions = np.linalg.eigh(hessian[np.ix_(free, free)]) if free else (np.ones(1), np.ones((0, 1)))
    flat = curvature <= _FLAT * curvature[-1]
    share = (directions[:, flat] ** 2).sum(1)
    return [form.names[i] for i, much in zip(free, share, strict=True) if much > 0.01]


def _trouble(runs: Runs, form: Form, found: Mapping[str, float], norm: float, loose: Sequence[str]) -> str | None:
    """Return what is wrong with a fit, if anything."""
    names = " and ".join([", ".join(loose[:-1]), loose[-1]] if loose[1:] else loose)
    why = f"these runs do not tell {names}: other values fit as well" if loose else ""
    if norm > CONVERGED:
        why = why or "fix a coefficient, or take a simpler form"
        return f"no start reached an optimum, the gradient's norm is {norm:.0e}: {why}"
    if loose:
        return why
    columns = runs.columns()
    for name in ("params", "tokens"):
        more = form.loss(found, {**columns, name: 1.001 * columns[name]})
        if np.all(np.asarray(more) > np.asarray(form.loss(found, columns))):
            return f"the fitted loss rises with {name}: no plan can rest on such a law"
    return None
