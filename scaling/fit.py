"""A law fitted to runs: the exact optimum from many starts, its uncertainty by resampling, and its profiles."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from .asked import AT_A_TIME, CONVERGED, FEW_AT_A_TIME, Asked, Numbers, Run, best_of, ended, jitted
from .forms import FORMS
from .runs import FitError as FitError
from .runs import Runs as Runs
from .runs import check, resampled

DELTA = 1e-3  # of Huber's loss on logarithms (Hoffmann et al. 2022, section 3.3): most residuals count by their size
_WEIGHTS = 1 << 24  # of runs in all draws at a time: 128 MB
_FLAT = 1e-10  # of the largest curvature: along a flatter direction rounding alone moves coefficients by a millionth


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
    check(runs, known, fixed)
    asked = Asked(runs, known, form, fixed, delta, in_nats, run or jitted)
    every = {name: values[0] for name, values in asked.from_everywhere(np.atleast_2d(runs.weighing())).items()}
    best, low = best_of(every)
    if not np.isfinite(every["objective"][best]):
        raise FitError("no start leads anywhere: the losses of these runs have no optimum under this form")
    found = {name: float(every[name][best]) for name in known.names}
    norm = float(every["gradient_norm"][best])
    errors = residuals(runs, form, found)
    loose = _loose(form, every["hessian"][best], fixed)
    return Fit(
        form=form,
        coefficients=found,
        objective=float(every["objective"][best]),
        gradient_norm=norm,
        starts=len(low),
        agreeing=int(low.sum()),
        fixed=fixed,
        delta=delta,
        in_nats=in_nats,
        residuals=errors,
        loose=tuple(loose),
        trouble=_trouble(runs, form, found, norm, loose),
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
    asked = Asked(runs, known, fitted.form, fitted.fixed, fitted.delta, fitted.in_nats, run or jitted)
    out: list[dict[str, Any]] = []
    done = 0
    # Forms other than sums of powers take long: some at a time, by the program that the starts have gone through.
    at_a_time = min(AT_A_TIME if known.terms else FEW_AT_A_TIME, max(_WEIGHTS // len(runs), 1))
    for weights in resampled(runs, draws, seed, at_a_time):
        starts = {name: np.full(len(weights), value) for name, value in fitted.coefficients.items()}
        found = asked.refit(starts, weights)
        asked.mend(found, weights)
        out.append(found)
        done += len(weights)
        if tick is not None:
            tick(done)
    every = {name: np.concatenate([one[name] for one in out]) for name in (*known.names, "objective", "gradient_norm")}
    fine = ended(every)
    return Ensemble({n: every[n][fine] for n in known.names}, every["objective"][fine], int((~fine).sum()))


def profile(
    runs: Runs, fitted: Fit, name: str, values: Float[np.ndarray, " n"], run: Run | None = None
) -> Float[np.ndarray, " n"]:
    """Return the least objective with coefficient ``name`` held at each of ``values``: a flat one is not identified."""
    known = FORMS[fitted.form]
    fixed = {**fitted.fixed, name: values[0]}
    for value in values:
        check(runs, known, {**fixed, name: value})
    asked = Asked(runs, known, fitted.form, fixed, fitted.delta, fitted.in_nats, run or jitted)
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


def _loose(form: str, hessian: np.ndarray, fixed: Mapping[str, float]) -> list[str]:
    """Return the coefficients that move along directions in which the objective is flat."""
    names = FORMS[form].names
    free = [i for i, name in enumerate(names) if name not in fixed]
    if not np.isfinite(hessian).all():
        return [names[i] for i in free]
    curvature, directions = np.linalg.eigh(hessian[np.ix_(free, free)]) if free else (np.ones(1), np.ones((0, 1)))
    flat = curvature <= _FLAT * curvature[-1]
    share = (directions[:, flat] ** 2).sum(1)
    return [names[i] for i, much in zip(free, share, strict=True) if much > 0.01]


def _trouble(runs: Runs, form: str, found: Mapping[str, float], norm: float, loose: Sequence[str]) -> str | None:
    """Return what is wrong with a fit, if anything."""
    listed = " and ".join([", ".join(loose[:-1]), loose[-1]] if loose[1:] else loose)
    why = f"these runs do not tell {listed}: other values fit as well" if loose else ""
    rising = _rising(runs, form, found)
    if rising:
        why = f"{why}; {rising}" if why else rising
    if norm > CONVERGED:
        why = why or "fix a coefficient, or take a simpler form"
        return f"no start reached an optimum, the gradient's norm is {norm:.0e}: {why}"
    return why or None


def _rising(runs: Runs, form: str, found: Mapping[str, float]) -> str | None:
    """Return what loss rises with in every run, if anything."""
    errors = residuals(runs, form, found)
    for name in ("params", "tokens"):
        more = replace(runs, **{name: 1.001 * runs.columns()[name]})
        if (residuals(more, form, found) > errors).all():
            return f"the fitted loss rises with {name}: no plan can rest on such a law"
    return None
