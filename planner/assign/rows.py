"""The assignment task by task, as a CSV table."""

import csv
import io

import numpy as np

from .choice import LIMITS, Chosen
from .question import Question

COLUMNS = (
    "task", "place", "offer", "model", "tier", "limit", "requests", "usd_per_request", "latency_s",
    "waiting_usd_per_request", "total_usd", "habit_total_usd", "second_offer", "second_total_usd",
    "no_deadline_saves_usd", "lower_quality_saves_usd",
)  # fmt: skip


def table(question: Question, chosen: Chosen) -> str:
    """Return one line per task, in the order of the tasks; cells that have no number are blank.

    ``limit`` names what no offer can keep, where there is none. Totals are those of all requests of the task.
    """
    tasks, offers = question.tasks, question.catalogue.offers
    many = tasks.requests
    kept = np.where(chosen.habit_limit == 0, chosen.habit_usd * many, np.nan)
    numbers = (
        chosen.paid_usd,
        chosen.latency_s,
        np.maximum(chosen.total_usd - chosen.paid_usd, 0.0),
        chosen.total_usd * many,
        kept,
        np.where(chosen.rival >= 0, chosen.rival_usd, np.nan) * many,
        np.maximum(chosen.total_usd - chosen.no_deadline_usd, 0.0) * many,
        np.maximum(chosen.total_usd - chosen.lower_quality_usd, 0.0) * many,
    )
    cells = [["" if text == "nan" else text for text in map("{:.9g}".format, column.tolist())] for column in numbers]
    named = [(offer.id, offer.model, offer.tier) for offer in offers]
    nothing = ("", "", "")
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(COLUMNS)
    names = tasks.names or [""] * len(tasks)
    rows = zip(names, tasks.places.tolist(), chosen.offer.tolist(), chosen.limit.tolist(), chosen.rival.tolist(),
               map("{:.9g}".format, many.tolist()), *cells, strict=True)  # fmt: skip
    for name, place, offer, limit, rival, count, *figures in rows:
        who = named[offer] if offer >= 0 else nothing
        second = named[rival][0] if rival >= 0 else ""
        lines.writerow([name, place, *who, LIMITS[limit], count, *figures[:5], second, *figures[5:]])
    return out.getvalue()
