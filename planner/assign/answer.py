"""Answers an assignment's question as one document: the mix, the habit's waste, what promises cost, what fails."""

from typing import Any

import numpy as np
from jaxtyping import Bool

import configs

from .choice import LIMITS, REASONS, Chosen, best_model, choose, pairs
from .promises import promises
from .question import Question

_NEAR = 0.01  # a second offer this close in cost is a tie: prices and speeds are known no better
_LISTED = 10  # tasks that a list names
_LONG_PROMPT = 10_000  # tokens; published times to first token are those of shorter prompts


def assign(question: Question) -> tuple[dict[str, Any], Chosen]:
    """Return the document that `assign --json` prints, and the choice of every task.

    ``status`` is "infeasible" where some task has no offer; totals are then those of the others.
    """
    chosen, tasks = choose(question), question.tasks
    served = chosen.offer >= 0
    total = _sum(question, chosen.total_usd, served)
    paid = _sum(question, chosen.paid_usd, served)
    answer = {
        "schema": "assign/1",
        "status": "ok" if served.all() else "infeasible",
        "message": "",
        "per": question.per,
        "tasks": len(tasks),
        "requests": float(tasks.requests.sum()),
        "served": {"tasks": int(served.sum()), "requests": float(tasks.requests[served].sum())},
        "total_usd": total,
        "paid_usd": paid,
        "waiting_usd": total - paid,
        "offers": _catalogue(question),
        "mix": _mix(question, chosen, total),
        "habit": _habit(question, chosen, served),
        "premium": _premium(question, chosen, served, total),
        "promises": promises(question, chosen, served),
        "break_even": _break_even(question, chosen),
        "ties": _ties(question, chosen, served),
        "unserved": _unserved(question, chosen, ~served),
        "files": [],
        "warnings": _warnings(question, chosen, served),
    }
    return answer, chosen


def _sum(question: Question, usd: np.ndarray, some: Bool[np.ndarray, " n"]) -> float:
    """Return what some tasks take in all, of what one request takes."""
    return float((usd[some] * question.tasks.requests[some]).sum())


def _size(question: Question, some: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    return {"tasks": int(some.sum()), "requests": float(question.tasks.requests[some].sum())}


def _catalogue(question: Question) -> dict[str, Any]:
    catalogue = question.catalogue
    scale = catalogue.tables["quality"]
    return {
        "id": catalogue.id,
        "name": catalogue.name,
        "offers": len(catalogue.offers),
        "quality_scale": catalogue.scale,
        "source": scale["source"],
        "date": scale.get("date", scale.get("retrieved")),
        "note": catalogue.note,
    }


def _mix(question: Question, chosen: Chosen, total: float) -> list[dict[str, Any]]:
    """Return what goes to each offer that serves any task, the dearest in all first."""
    out = []
    for i, offer in enumerate(question.catalogue.offers):
        here = chosen.offer == i
        if not here.any():
            continue
        size, cost = _size(question, here), _sum(question, chosen.total_usd, here)
        paid = _sum(question, chosen.paid_usd, here)
        named = {"offer": offer.id, "model": offer.model, "tier": offer.tier, "quality": offer.quality}
        usd = {"paid_usd": paid, "waiting_usd": cost - paid, "total_usd": cost, "cost_share": _share(cost, total)}
        out.append({**named, **size, **usd, "paid_usd_per_request": paid / size["requests"]})
    return sorted(out, key=lambda row: -row["total_usd"])


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0


def _habit(question: Question, chosen: Chosen, served: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Compare with all tasks on one offer: costs on the tasks whose promises it keeps, and how many it breaks."""
    kept = served & (chosen.habit_limit == 0)
    usd, plan = _sum(question, chosen.habit_usd, kept), _sum(question, chosen.total_usd, kept)
    moved = kept & (chosen.offer != question.habit)
    saved = np.where(moved, np.maximum(chosen.habit_usd - chosen.total_usd, 0.0) * question.tasks.requests, 0.0)
    order = np.argsort(-saved, kind="stable")[:_LISTED]
    largest = [
        {
            "task": question.tasks.label(int(i)),
            "offer": question.catalogue.offers[chosen.offer[i]].id,
            "habit_usd": float(chosen.habit_usd[i] * question.tasks.requests[i]),
            "total_usd": float(chosen.total_usd[i] * question.tasks.requests[i]),
            "saving_usd": float(saved[i]),
        }
        for i in order
        if saved[i] > 0.0
    ]
    return {
        "offer": question.catalogue.offers[question.habit].id,
        "given": question.habit_given,
        **_size(question, kept),
        "broken_tasks": {name: int((chosen.habit_limit == i).sum()) for i, name in enumerate(LIMITS) if name},
        "total_usd": usd,
        "assigned_usd": plan,
        "saving_usd": float(saved.sum()),
        "saving_fraction": _share(float(saved.sum()), usd),
        "moved_tasks": int((saved > 0.0).sum()),
        "largest": largest,
    }


def _premium(question: Question, chosen: Chosen, served: Bool[np.ndarray, " n"], total: float) -> dict[str, Any]:
    """Return which tasks deserve the model of the highest quality, and why no other takes them."""
    offers = question.catalogue.offers
    model = best_model(offers)
    here = served & np.isin(chosen.offer, [i for i, offer in enumerate(offers) if offer.model == model])
    usd = _sum(question, chosen.total_usd, here)
    because = {name: int((here & (chosen.reason == i)).sum()) for i, name in enumerate(REASONS)}
    quality = max(offer.quality for offer in offers)
    return {
        "model": model, "quality": quality, **_size(question, here), "total_usd": usd,
        "cost_share": _share(usd, total), "because_tasks": because,
    }  # fmt: skip


def _break_even(question: Question, chosen: Chosen) -> list[dict[str, Any]]:
    """Return, for each two neighbouring tiers of one model, from which worth of an hour the faster one pays."""
    offers, out = question.catalogue.offers, []
    for p, (slow, fast) in enumerate(pairs(question)):
        values = chosen.break_even_usd_per_hour[:, p]
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        low, middle, high = (float(v) for v in np.quantile(values, (0.1, 0.5, 0.9)))
        usd = {"p10": low, "p50": middle, "p90": high}
        used = {"slower_tasks": int((chosen.offer == slow).sum()), "faster_tasks": int((chosen.offer == fast).sum())}
        named = {"model": offers[slow].model, "slower": offers[slow].id, "faster": offers[fast].id}
        out.append({**named, "usd_per_hour": usd, **used})
    return out


def _ties(question: Question, chosen: Chosen, served: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Return how many tasks have a second offer at nearly the same cost: theirs is no choice that matters."""
    near = served & (chosen.rival_usd <= chosen.total_usd * (1.0 + _NEAR))
    return {"within_fraction": _NEAR, **_size(question, near), "total_usd": _sum(question, chosen.total_usd, near)}


def _unserved(question: Question, chosen: Chosen, here: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Return the tasks that no offer serves: what binds, by how much, and what would be near enough."""
    tasks, rows = question.tasks, []
    for i in np.flatnonzero(here)[:_LISTED]:
        nearest = {
            "deadline_s": _known(chosen.nearest_deadline_s[i]),
            "quality": _known(chosen.nearest_quality[i]),
        }
        asked = {"quality": float(tasks.quality[i]), "deadline_s": _known(tasks.deadline_s[i])}
        sizes = {"input_tokens": float(tasks.input_tokens[i]), "output_tokens": float(tasks.output_tokens[i])}
        limit = LIMITS[chosen.limit[i]]
        rows.append({"task": tasks.label(int(i)), "limit": limit, **sizes, "asked": asked, "nearest": nearest})
    by_limit = {name: int((here & (chosen.limit == i)).sum()) for i, name in enumerate(LIMITS) if name}
    return {**_size(question, here), "by_limit": by_limit, "first": rows}


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _warnings(question: Question, chosen: Chosen, served: Bool[np.ndarray, " n"]) -> list[str]:
    tasks, offers, out = question.tasks, question.catalogue.offers, []
    if tasks.unused:
        names = ", ".join(map(configs.shown, tasks.unused[:_LISTED])) + (", ..." if len(tasks.unused) > _LISTED else "")
        out.append(f"columns that say nothing known are not used: {names}.")
    untimed = [i for i, o in enumerate(offers) if o.turnaround_s is None and o.input_tokens_per_s is None]
    long = tasks.input_tokens - tasks.cached_tokens > _LONG_PROMPT
    matters = np.isfinite(tasks.deadline_s) | (tasks.value_usd_per_hour > 0.0)
    count = int((served & long & matters & np.isin(chosen.offer, untimed)).sum())
    if count:
        some = "1 task has" if count == 1 else f"{count:,} tasks have"
        out.append(
            f"{some} more than {_LONG_PROMPT:,} new prompt tokens and a first token timed as after any prompt: "
            "input_tokens_per_s of an offer says how fast it reads."
        )
    return out
