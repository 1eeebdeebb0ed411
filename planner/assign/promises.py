"""What each promise costs: the cost now, less the cost with that promise dropped and all others kept."""

from math import inf
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from configs import DAY_S, HOUR_S

from .choice import Chosen, levels
from .question import Question

# Deadlines are told in classes: up to so many seconds.
_CLASSES = (1.0, 10.0, 60.0, 600.0, HOUR_S, DAY_S, inf)


def promises(question: Question, chosen: Chosen, served: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Return what promises cost, by level of quality and class of deadline, and what haste costs.

    Each is dropped alone, so they do not add up. ``saves_usd`` of a level of quality is what one level less would save,
    ``any_saves_usd`` what no need at all would; that of a deadline, what none would; that of waiting, the dearer tokens
    that are paid for because waiting costs something. ``would_serve_tasks`` counts tasks without an offer that had one.
    """
    tasks = question.tasks
    steps = levels(question.catalogue.offers)
    level = np.searchsorted(steps, tasks.quality)
    with np.errstate(invalid="ignore"):  # tasks without an offer cost NaN; they are never summed
        less, none, free, patient = (
            np.maximum(now - then, 0.0) * tasks.requests
            for now, then in (
                (chosen.total_usd, chosen.lower_quality_usd), (chosen.total_usd, chosen.any_quality_usd),
                (chosen.total_usd, chosen.no_deadline_usd), (chosen.paid_usd, chosen.patient_usd),
            )
        )  # fmt: skip
    cost = chosen.total_usd * tasks.requests

    def row(some: Bool[np.ndarray, " n"], saves: Float[np.ndarray, " n"]) -> dict[str, Any]:
        size = {"tasks": int(some.sum()), "requests": float(tasks.requests[some].sum())}
        return {**size, "total_usd": float(cost[some].sum()), "saves_usd": float(saves[some].sum())}

    quality, deadline = [], []
    for i, step in enumerate(steps):
        here = served & (level == i) & (tasks.quality > 0.0)
        if here.any():
            lower = float(steps[i - 1]) if i else None
            more = {"any_saves_usd": float(none[here].sum())}
            quality.append({"level": float(step), "lower_level": lower, **row(here, less), **more})
    for low, high in zip((0.0, *_CLASSES), _CLASSES, strict=False):
        here = served & (tasks.deadline_s > low) & (tasks.deadline_s <= high) & np.isfinite(tasks.deadline_s)
        if here.any():
            deadline.append({"over_s": low, "up_to_s": high if high < inf else None, **row(here, free)})
    wanting = ~served
    return {
        "quality": quality,
        "deadline": deadline,
        "waiting": row(served & (tasks.value_usd_per_hour > 0.0), patient),
        "quality_saves_usd": float(less[served].sum()),
        "any_quality_saves_usd": float(none[served].sum()),
        "deadline_saves_usd": float(free[served].sum()),
        "would_serve_tasks": {
            "no_deadline": int((wanting & (chosen.no_deadline_usd < inf)).sum()),
            "lower_quality": int((wanting & (chosen.lower_quality_usd < inf)).sum()),
            "any_quality": int((wanting & (chosen.any_quality_usd < inf)).sum()),
        },
    }
