"""Fits to one set of runs from many starts, padded to a few shapes so that compiled programs are shared."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float

from .forms import Form
from .runs import Runs

CONVERGED = 1e-8  # Euclidean norm of the gradient, in logarithms of coefficients and exponents about the mean run
AT_A_TIME = 4096  # fits in one call at most
_TOLERANCE = 1e-13  # relative to the sums behind the gradient: near rounding
_SAME = 1e-7  # relative difference of objectives below which two starts have ended in one optimum
_EASING = (1024.0, 256.0, 64.0, 16.0, 4.0)  # times delta: the smoother the loss, the straighter the way from afar
_LARGEST = 1e300  # of a coefficient, and the inverse of the least: its products with powers of sizes stay numbers
_ROWS = (16, 64, 128, 256, 512)  # runs are padded to one of these, then to powers of two
FEW_AT_A_TIME = 64  # of forms that take long
_FITS = (1, 16, FEW_AT_A_TIME, 1024, AT_A_TIME)  # likewise fits at a time

Numbers = dict[str, Float[np.ndarray, " n"]]
Run = Callable[[str, Mapping[str, Any]], Any]


def ended(found: Numbers) -> np.ndarray:
    """Say which fits are at an optimum."""
    return (found["gradient_norm"] <= CONVERGED) & np.isfinite(found["objective"])


def best_of(every: Numbers) -> tuple[int, np.ndarray]:
    """Return the lowest of some fits, the nearest to its optimum where several end equally low, and those at it."""
    objective = every["objective"]
    low = objective <= objective.min() * (1.0 + _SAME) + 1e-30
    best = int(np.argmin(np.where(low, every["gradient_norm"], np.inf)))
    return best, low & ended(every)


class Asked:
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
        lost = np.flatnonzero(~ended(found))
        for some in (lost[i : i + FEW_AT_A_TIME] for i in range(0, len(lost), FEW_AT_A_TIME)):
            again = self.from_everywhere(weights[some])
            for k, i in enumerate(some):
                every = {name: values[k] for name, values in again.items()}
                there = {**every, "objective": np.where(ended(every), every["objective"], np.inf)}
                best, _ = best_of(there)
                if ended(every)[best]:
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
        bounded = np.all([np.abs(cut[name]) < _LARGEST for name in self.known.names], axis=0)
        bounded &= np.all([cut[name] > 1.0 / _LARGEST for name in self.known.logs], axis=0)
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


def jitted(name: str, problem: Mapping[str, Any]) -> Any:
    """Return what a program of `scaling.fitting` answers, compiled when first asked."""
    import jax

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, _program(name)(problem))
