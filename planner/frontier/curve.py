"""The latency-cost curve: every layout of every replica size at every batch, and the points that no other beats."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..estimate.layouts import Split, layouts
from ..estimate.point import SCAN_BATCHES, limits_of, scanned
from ..estimate.question import Question

MOST_CHIPS = 64  # of a replica, unless only more hold the model
_LARGEST = 1024
_MOST_STAGES = 8  # longer pipelines were never measured and never pay: they add no speed
_NEAR = 1.05  # layouts within so much of the first curve, in time and in cost, are looked at closely
_SHORTLIST = 64
_AT_ONCE = len(SCAN_BATCHES)
_FINE = 4 * _AT_ONCE


@dataclass(frozen=True)
class Spot:
    """One operating point; see `Points`."""

    split: Split
    batch: float
    tpot_s: float
    pass_s: float
    ttft_s: float
    output_s: float
    input_s: float
    output_tokens_per_s: float


@dataclass(frozen=True)
class Points:
    """Operating points, one per entry of arrays of one length.

    ``pass_s`` is the time per token where no prompts share the passes. ``output_s`` and ``input_s`` are costs in
    chip-seconds, of an output token in passes that only decode and of a new input token (see `planner.estimate.cost`).
    Points are compared by the first: a replica that decodes cheaply may be a dear one for prompts, whose cost is told
    beside. ``split`` counts in ``splits``, of which each runs ``most`` sequences at once.
    """

    splits: tuple[Split, ...]
    most: np.ndarray
    split: np.ndarray
    batch: np.ndarray
    tpot_s: np.ndarray
    pass_s: np.ndarray
    ttft_s: np.ndarray
    output_s: np.ndarray
    input_s: np.ndarray
    output_tokens_per_s: np.ndarray

    def pick(self, which: np.ndarray) -> "Points":
        """Return the points that an index or a mask selects."""
        arrays = {k: getattr(self, k)[which] for k in _ARRAYS}
        return replace(self, **arrays)

    def at(self, i: int) -> Spot:
        """Return one point."""
        rest = {k: float(getattr(self, k)[i]) for k in _ARRAYS[1:]}
        return Spot(self.splits[self.split[i]], **rest)

    def pareto(self) -> "Points":
        """Return the points that none beats in both time per token and cost, fastest first."""
        order = np.lexsort((self.output_s, self.tpot_s))
        cost = self.output_s[order]
        before = np.concatenate([[np.inf], np.minimum.accumulate(cost)[:-1]])
        return self.pick(order[cost < before])

    def least_cost(self, tpot_s: np.ndarray) -> np.ndarray:
        """Return the least cost among points that are at least as fast; infinite where none is."""
        best = self.pareto()
        at = np.searchsorted(best.tpot_s, tpot_s, side="right") - 1
        return np.where(at >= 0, best.output_s[np.maximum(at, 0)], np.inf)


_SCANNED = ("tpot_s", "ttft_s", "plain_s", "prompt_s", "output_tokens_per_s")
_ARRAYS = ("split", "batch", "tpot_s", "pass_s", "ttft_s", "output_s", "input_s", "output_tokens_per_s")


def replicas(question: Question) -> tuple[Split, ...]:
    """Return the layouts considered: those asked for, or of all powers of two of chips up to `MOST_CHIPS`."""
    sizes = 2 ** np.arange(int(np.log2(MOST_CHIPS)) + 1)
    found = [split for n in sizes for split in layouts(question.model, question.chip, int(n))]
    return tuple(split for split in found if split.pp <= _MOST_STAGES)


def larger(question: Question) -> tuple[Split, ...]:
    """Return the layouts of the next power of two of chips beyond what ``question`` considers; none at the end."""
    chips = 2 * max(split.chips for split in question.splits)
    return layouts(question.model, question.chip, chips) if chips <= _LARGEST else ()


def curve(question: Question) -> Points:
    """Return every operating point looked at that runs and keeps the question's time to first token.

    All layouts are timed at half octaves of the batch; those near the best then at up to 132 whole batches, up to 9 %
    apart, and at the most that fit.
    """
    coarse = points(question, question.splits, SCAN_BATCHES)
    if not len(coarse.batch):
        return coarse
    close = coarse.output_s <= _NEAR * coarse.least_cost(coarse.tpot_s / _NEAR)
    over = coarse.output_s / coarse.least_cost(coarse.tpot_s)
    near = sorted(set(coarse.split[close].tolist()), key=lambda i: float(over[coarse.split == i].min()))
    near = near[:_SHORTLIST]
    most = coarse.most[near]
    batches = np.concatenate([_round(np.geomspace(1.0, most.max(), _FINE)), most])
    return points(question, [question.splits[i] for i in near], np.unique(np.floor(batches)))


def considered(question: Question, sized: bool) -> tuple[Question, Points]:
    """Return ``question`` over every layout and its curve: as it is where chips or a layout were asked for (``sized``),
    else over all replica sizes, larger ones too where none of them holds the model."""
    if not sized:
        question = replace(question, splits=replicas(question), split_given=False)
    found = curve(question)
    while not sized and not holds(found) and (more := larger(question)):
        question = replace(question, splits=more)
        found = curve(question)
    return question, found


def holds(found: Points) -> bool:
    """Say whether any replica holds the model and one sequence, however long that takes."""
    return bool((found.most >= 1.0).any())


def _round(batches: np.ndarray) -> np.ndarray:
    """Return for each of rising ``batches`` the whole one, beyond the last, that most powers of two divide: tiles of
    kernels are full there, so that one more costs most."""
    edges = np.unique(np.floor(batches))
    powers = 2.0 ** np.arange(np.log2(edges[-1]) + 1.0)[::-1]
    whole = edges[1:, None] // powers * powers
    first = np.argmax(whole > edges[:-1, None], axis=1)
    return np.concatenate([edges[:1], np.take_along_axis(whole, first[:, None], 1)[:, 0]])


def points(question: Question, splits: Sequence[Split], batches: np.ndarray) -> Points:
    """Return the points of ``splits`` at ``batches`` that run."""
    count = -(-len(batches) // _AT_ONCE)
    batches = np.concatenate([batches, np.full(count * _AT_ONCE - len(batches), batches[-1])])
    parts = [scanned(question, splits, some) for some in np.split(batches, count)]
    told = {k: np.concatenate([part[k] for part in parts], axis=1) for k in _SCANNED}
    limits = [
        limits_of(split, {k: parts[0][k][i] for k in ("memory", "slots", "tokens")}) for i, split in enumerate(splits)
    ]
    most = np.array([min(one.values()) for one in limits])
    chips, stages = (np.array([getattr(s, k) for s in splits], float)[:, None] for k in ("chips", "pp"))
    input_tokens, cached, _ = question.lengths
    new = max(input_tokens - cached, 1.0)
    per_step = question.speculation[1] if question.speculation else 1.0
    runs = batches <= most[:, None]
    runs[:, 1:] &= batches[1:] > batches[:-1]  # what filled the last part up
    if "ttft_s" in question.limits:
        runs &= told["ttft_s"] <= question.limits["ttft_s"]
    output_s = chips * told["plain_s"] / (batches * per_step)
    input_s = chips / stages * told["prompt_s"] / new
    return Points(
        splits=tuple(splits),
        most=most,
        split=np.nonzero(runs)[0],
        batch=np.broadcast_to(batches, runs.shape)[runs],
        tpot_s=(told["plain_s"] / per_step if question.disaggregated else told["tpot_s"])[runs],
        pass_s=(told["plain_s"] / per_step)[runs],
        ttft_s=told["ttft_s"][runs],
        output_s=output_s[runs],
        input_s=input_s[runs],
        output_tokens_per_s=told["output_tokens_per_s"][runs],
    )
