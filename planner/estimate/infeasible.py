"""Says why a load cannot run, by how much, and what the nearest one is that can."""

from collections.abc import Mapping
from math import ceil, floor, log10
from typing import Any

from .layouts import layouts
from .point import Point, evaluate, rank, within
from .question import Question

_MOST_CHIPS = 1024
_HOLDERS = {"memory": "memory holds", "slots": "the engine's slots are", "tokens": "its tokens per pass allow"}


def refuse(question: Question, point: Point, batch: float, ranking: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the message, the binding limit and the nearest feasible value; None where the load can run."""
    if point.cap < 1.0:
        return too_large(question, point)
    if question.load == "batch" and batch > point.cap:
        limit = min(point.limits, key=lambda name: point.limits[name])
        why = _HOLDERS[limit]
        most = max(int(point.cap), 1)
        return {
            "message": f"a batch of {batch:,.0f} does not fit: {why} {point.cap:,.0f}; --batch {most} would.",
            "binding_limit": limit,
            "exceeds_by_ratio": batch / point.cap,
            "nearest_feasible": {"batch": float(most)},
        }
    if question.load == "rate":
        most = evaluate(question, point.split, point.cap).at("output_tokens_per_s") / question.lengths[2]
        if question.amount > most:
            return {
                "message": f"{question.amount:g} requests a second are too many: this replica ends {most:.4g}; "
                f"--request-rate {below(most):g} would do, or {_replicas(question.amount, most):,} replicas.",
                "binding_limit": "throughput",
                "exceeds_by_ratio": question.amount / most,
                "nearest_feasible": {"request_rate": below(most)},
            }
    found = within(question, point)
    if found is not None and found[0] < 1.0:
        name = f"{found[1]}_s"
        least = float(point.curve[name][0])
        return {
            "message": f"no batch keeps --{found[1]}-ms {1e3 * question.limits[name]:g}: one sequence alone takes "
            f"{1e3 * least:.4g} ms; --{found[1]}-ms {above(1e3 * least):g} would do, or more chips.",
            "binding_limit": found[1],
            "exceeds_by_ratio": least / question.limits[name],
            "nearest_feasible": {f"{found[1]}_ms": above(1e3 * least)},
        }
    return None


def too_large(question: Question, point: Point) -> dict[str, Any]:
    """Return why not even one sequence fits the point's replica, and which would hold one."""
    told: Mapping[str, Any] = point.told["memory"]
    weights, reserve = float(told["weights_bytes"]), float(told["reserve_bytes"])
    sequence, total = float(told["sequence_bytes"]), question.chip.visible_bytes
    needed = (weights + reserve + sequence / question.engine.limits["kv_fraction"]) / total
    nearest = _fitting(question, point.split.chips)
    advice = " ".join(f"--{name} {value}" for name, value in nearest.items())
    advice = f"{advice} would do." if nearest else "no number of chips up to 1,024 would: a narrower --precision?"
    return {
        "message": f"{question.model.name} in {question.precision} does not fit {point.split.chips} x "
        f"{question.chip.id}: weights take {weights / 1e9:.1f} GB, the engine {reserve / 1e9:.1f} GB and one sequence "
        f"{sequence / 1e9:.2g} GB of {total / 1e9:.1f} GB a chip; {advice}",
        "binding_limit": "memory",
        "exceeds_by_ratio": needed,
        "nearest_feasible": nearest,
    }


def _fitting(question: Question, chips: int) -> dict[str, int]:
    """Return the least power of two times ``chips`` on which some layout fits the load, and where one was given, it."""
    while chips <= _MOST_CHIPS:
        if layouts(question.model, question.chip, chips):
            ranked = rank(question.with_chips(chips))
            if ranked and ranked[0]["max_batch"] >= 1.0:
                split = {name: int(ranked[0][name]) for name in ("tp", "pp", "dp", "ep")}
                return {"chips": chips} | (split if question.split_given else {})
        chips *= 2
    return {}


def below(value: float) -> float:
    """Return the largest number of three digits that is not above ``value``."""
    unit = 10.0 ** (floor(log10(value)) - 2)
    return float(f"{floor(value / unit) * unit:.3g}")


def above(value: float) -> float:
    """Return the least number of three digits that is not below ``value``."""
    unit = 10.0 ** (floor(log10(value)) - 2)
    return float(f"{ceil(value / unit) * unit:.3g}")


def _replicas(asked: float, one: float) -> int:
    return int(-(-asked // one))
