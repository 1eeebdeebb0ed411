"""Why there is no curve, or none fast enough, and what would do."""

from dataclasses import replace
from typing import Any

from ..estimate.infeasible import above, too_large
from ..estimate.point import SCAN_BATCHES, Point, evaluate
from ..estimate.question import Question
from ..estimate.trust import warnings
from .curve import Points, holds, points


def refused(question: Question, found: Points) -> dict[str, Any]:
    """Return why there is no curve, or no standard tier on it, and what would do."""
    point = evaluate(question, question.splits[-1], 1.0)
    why = _too_slow(question, found.pareto()) if len(found.batch) else _nothing(question, point)
    return {"status": "infeasible", **why, "warnings": warnings(question, point)}


def _nothing(question: Question, point: Point) -> dict[str, Any]:
    free = points(replace(question, limits={}), question.splits, SCAN_BATCHES)
    if not holds(free):
        return too_large(question, point)
    limit, least = question.limits["ttft_s"], float(free.ttft_s.min())
    return {
        "message": f"no batch, layout or replica keeps --ttft-ms {1e3 * limit:g}: {_best('quickest', question)} "
        f"takes {1e3 * least:.4g} ms; --ttft-ms {above(1e3 * least):g} would do.",
        "binding_limit": "ttft",
        "exceeds_by_ratio": least / limit,
        "nearest_feasible": {"ttft_ms": above(1e3 * least)},
    }


def _best(which: str, question: Question) -> str:
    tried = len(question.splits)
    return f"the {which} of {tried} layouts" if tried > 1 else "the one layout asked for"


def _too_slow(question: Question, best: Points) -> dict[str, Any]:
    limit, least = question.limits["tpot_s"], float(best.tpot_s[0])
    return {
        "message": f"no batch, layout or replica keeps --tpot-ms {1e3 * limit:g}: {_best('fastest', question)} "
        f"takes {1e3 * least:.4g} ms; --tpot-ms {above(1e3 * least):g} would do.",
        "binding_limit": "tpot",
        "exceeds_by_ratio": least / limit,
        "nearest_feasible": {"tpot_ms": above(1e3 * least)},
    }
