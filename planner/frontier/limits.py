"""What no price buys, and what no patience saves: the ends of the latency-cost curve and the batches between them."""

from typing import Any

import numpy as np

from configs.formats import FORMATS

from ..estimate.cost import usd_per_mtok
from ..estimate.parts import crossing, floor_s, ideal_batch, multiplies, peak_of
from ..estimate.point import Point, evaluate
from ..estimate.question import Question
from .curve import Points

_DECODE = "decode attention"
_READING = (_DECODE, "indexer")
_CONTEXTS = (1.5, 1e8)  # tokens, as long as a request may be
_HALVINGS = 12  # to half a per cent; between, reading grows by a line


def limits(question: Question, best: Points, standard: Point) -> dict[str, Any]:
    """Return the floor of latency, the limit of cost, and the batches and contexts at which their causes balance.

    ``standard`` is the point whose replica ideal batch and balanced context are told for.
    """
    slow = _slow_s(question, best)
    return {
        "latency_floor_s": _floor(question, best),
        "fastest_tpot_s": float(best.tpot_s[0]),
        "cheapest_usd_per_mtok_output": usd_per_mtok(question, float(best.output_s[-1])),
        "slow_usd_per_mtok_output": usd_per_mtok(question, slow),
        "slow_chip_s_per_output_token": slow,
        "drain_s": question.chip.hbm_bytes / question.chip.hbm_bytes_per_s,
        "ideal_batch": ideal_batches(question, standard),
        "balanced_context_tokens": balanced_context(question, standard),
    }


def _floor(question: Question, best: Points) -> float:
    """Return the least `floor_s` of all replicas on the curve."""
    found = [evaluate(question, best.splits[i], 1.0) for i in np.unique(best.split)]
    return min(floor_s(question, point) for point in found)


def _slow_s(question: Question, best: Points) -> float:
    """Return what an output token costs when memory has no end: what another sequence adds to a full pass.

    Weights and launches are then shared by so many that they cost nothing; arithmetic, reading the cache and the
    host's work per sequence remain, in chip-seconds, on the replica where they are least.
    """
    out = []
    for i in np.unique(best.split):
        point = evaluate(question, best.splits[i], 1.0)
        slope = sum(_slope(point, name) for name in point.told["plain"]["seconds"])
        out.append(point.split.chips * slope / point.tokens_per_step)
    return min(out)


def _slope(point: Point, name: str) -> float:
    """Return the seconds that one more sequence adds to an op of a pass that only decodes, at the end of its curve."""
    seconds, batches = np.asarray(point.told["plain"]["seconds"][name])[1:], point.curve["batches"]
    return float((seconds[-1] - seconds[-2]) / (batches[-1] - batches[-2]))


def ideal_batches(question: Question, point: Point) -> dict[str, float | None]:
    """Return the batches at which arithmetic with the weights takes as long as reading them, four ways.

    ``blackboard``: parameters multiplied over parameters read per second at the datasheet's peaks, 300 or so, times
    total over active parameters, and pipeline stages. ``datasheet``: the same, op by op, of the weights touched
    (`ideal_batch`). ``calibrated``: in times of the kernels, reading as in a pass of one sequence, arithmetic as at the
    end of the curve. ``with_kv``: against reading weights and caches, None beyond the balanced context. None where
    arithmetic never takes as long.
    """
    chip, model = question.chip, question.model
    told, batches = point.told["plain"], point.curve["batches"]
    weights = [name for name in told["seconds"] if multiplies(name)]
    reading, slope = np.zeros(len(batches)), 0.0
    for name in weights:
        seconds, moved = (np.asarray(told[what][name])[1:] for what in ("seconds", "bytes"))
        reading += moved * (seconds[0] / moved[0] if moved[0] > 0.0 else 0.0)
        slope += _slope(point, name)
    most = "experts" if "experts" in told["seconds"] else "feed-forward up"
    element = FORMATS[getattr(question.recipe, "experts" if most == "experts" else "dense")].element_bytes
    ratio = peak_of(question, most) * element / (2.0 * chip.hbm_bytes_per_s)
    cache = np.asarray(told["seconds"][_DECODE])[1:] if _DECODE in told["seconds"] else 0.0
    return {
        "blackboard": ratio * model.params / model.active_params * point.split.pp,
        "datasheet": ideal_batch(question, point),
        "calibrated": crossing(batches, slope * batches, reading),
        "with_kv": crossing(batches, slope * batches, reading + cache),
    }


def balanced_context(question: Question, point: Point) -> float | None:
    """Return the context at which reading a sequence's cache takes as long as arithmetic with the weights for it.

    Both as one more sequence adds them to a full pass, reading being what attention takes beyond that to no context.
    The context is sought, for windows and sparse attention read less of longer ones. None without a cache, and where
    reading never takes as long, up to a hundred million tokens.
    """
    if _DECODE not in point.told["plain"]["seconds"]:
        return None
    weights = sum(_slope(point, name) for name in point.told["plain"]["seconds"] if multiplies(name))

    def attending(context: float) -> float:
        at = evaluate(question, point.split, point.batch, (context - 0.5, 0.0, 1.0))  # half of the answer is seen
        return sum(_slope(at, name) for name in _READING if name in at.told["plain"]["seconds"])

    low, high = _CONTEXTS
    none = attending(low)
    below, above = none, attending(high)
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        found = attending(middle)
        low, below, high, above = (
            (middle, found, high, above) if found < none + weights else (low, below, middle, found)
        )
    return low + (high - low) * (none + weights - below) / (above - below) if above >= none + weights else None
