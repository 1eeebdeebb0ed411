"""Training runs that laws are fitted to, what no fit can be made of, and resamplings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from .forms import Form


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


def check(runs: Runs, form: Form, fixed: Mapping[str, float]) -> None:
    """Raise what keeps ``form`` from being fitted to ``runs`` with coefficients ``fixed``.

    Raises:
        FitError: too few runs, columns that are missing or hold what no run has, or coefficients that cannot be fixed.
    """
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


def resampled(runs: Runs, draws: int, seed: int, at_a_time: int) -> Iterator[Float[np.ndarray, "m n"]]:
    """Yield weights of resampled runs, ``at_a_time`` draws each: how often each was drawn, times its own.

    Among the draws of one time each run, or group, comes equally often in all: a balanced bootstrap, whose errors are
    those of the plain one with less noise (Davison, Hinkley and Schechtman 1986, Biometrika 73, 555).
    """
    random = np.random.default_rng(seed)
    group = np.arange(len(runs)) if runs.group is None else np.unique(runs.group, return_inverse=True)[1]
    count = int(group.max()) + 1
    for first in range(0, draws, at_a_time):
        many = min(at_a_time, draws - first)
        picked = random.permutation(np.tile(np.arange(count), many)) + count * np.repeat(np.arange(many), count)
        drawn = np.bincount(picked, minlength=many * count).reshape(many, count)
        yield drawn[:, group] * runs.weighing()
