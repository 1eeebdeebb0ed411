"""Draws of everything that a plan's cost hangs on and nobody knows: coefficients of laws, errors of times."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

import configs

from ..choices import Choice
from ..model.generic import generic_model
from ..plan import Outcome
from ..runs.interval import interval
from ..runs.training_interval import bounds
from .law_draws import draws_of

_NORMAL_90 = 1.6449  # half-width of the 90 % interval of a standard normal


@dataclass(frozen=True)
class Draws:
    """Draws of ``laws`` (n of each coefficient in all, law by law), and of errors of times in the same order.

    ``training`` is ln of chip-seconds over the predicted ones, ``serving`` the standard errors by which times of
    serving are off, by chip: one error for everything on a chip, independent between chips.
    """

    laws: Sequence[tuple[configs.LawFacts, Mapping[str, Float[np.ndarray, " m"]]]]
    training: Float[np.ndarray, " n"]
    serving: Mapping[str, Float[np.ndarray, " n"]]

    def __len__(self) -> int:
        return len(self.training)

    def rows(self) -> list[slice]:
        """Return where each law's draws lie."""
        ends = np.cumsum([0, *(len(next(iter(draws.values()))) for _, draws in self.laws)])
        return [slice(int(a), int(b)) for a, b in pairwise(ends)]


def draw(outcome: Outcome, laws: Sequence[configs.LawFacts], chips: Sequence[str], count: int, seed: int) -> Draws:
    """Return ``count`` draws, in equal parts of ``laws``, with errors of training and of serving on ``chips``.

    Errors are normal on either side of the prediction, such that nine in ten lie within the interval that measured
    runs give (`planner.runs.interval`). Where FLOPs are asked for, times do not matter and are not drawn.
    """
    random = np.random.default_rng(seed)
    parts = np.diff(np.linspace(0, count, len(laws) + 1).round().astype(int))
    drawn = [(law, draws_of(law, int(many), random)) for law, many in zip(laws, parts, strict=True)]
    serving = {chip: random.standard_normal(count) for chip in dict.fromkeys(chips)}
    school = outcome.solved["school"]
    low, high = 0.0, 0.0
    if school.layout is not None:
        question = school.question
        low, high = bounds(question.trainer, question.chip, question.model, experts=False)
    # Bounds are of throughput: what is slower takes longer.
    normal = random.standard_normal(count)
    return Draws(drawn, normal * np.where(normal > 0, -low, high) / _NORMAL_90, serving)


def spread(outcome: Outcome, choice: Choice) -> tuple[float, float]:
    """Return the standard errors of ln(time) of serving on ``choice``, towards shorter and towards longer times."""
    params, lengths = outcome.value("params"), outcome.scenario.requests()
    model = generic_model("plan", max(params, 1e6), max(params, 1e6))
    found = interval(
        choice.engine, choice.chip, model, "output_tokens_per_s",
        lengths["input_tokens"], lengths["output_tokens"], outcome.value("batch"),
    )  # fmt: skip
    return math.log(found.high) / _NORMAL_90, -math.log(found.low) / _NORMAL_90
