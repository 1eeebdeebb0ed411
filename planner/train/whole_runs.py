"""Predicted against published chip-hours of whole training runs, from start to end, failures included."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import configs

from ..runs.compare import counted, errors
from ..runs.run import Left, Unusable
from ..runs.whole_run import WholeRun
from . import space
from .chips import find
from .measured import BEST_LAYOUT, question_of
from .question import Question

DAYS = 60.0  # where the number of chips is not published: pre-training of Llama 3.1 405B took 54, of DeepSeek-V3 57


def document(runs: Sequence[WholeRun], left: Sequence[Left]) -> dict[str, Any]:
    """Return errors of chip-hours as the JSON object ``whole_runs`` of `validate`; None where there are no runs.

    ``ratio`` is predicted over measured; ``bias`` the median of it less one; ``cumulative`` marks hours that their
    source says hold more than the run.
    """
    left, told = list(left), []
    for run in runs:
        try:
            told.append(_row(run))
        except Unusable as reason:
            left.append(Left(run.where, str(reason)))
    ratios = -np.log([row["ratio"] for row in told])
    none = {"rows": 0, "mdape": None, "p90": None, "bias": None}
    return {
        **(errors(ratios) if told else none),
        "runs": told,
        "left_out": counted(one.why for one in left),
    }


def _row(run: WholeRun) -> dict[str, Any]:
    """Return a run's chip-hours as published and predicted.

    Raises:
        Unusable: no layout fits, or numbers that make no run.
    """
    try:
        question, guessed = _question(run)
    except configs.ConfigError as error:
        raise Unusable(str(error)) from None
    found = find(question).space if question.chips is None else space.search(question, [question.chips])
    if not found.ways:
        raise Unusable("no layout fits")
    way = found.ways[0]
    hours = 24.0 * float(found.days[0]) * way.chips
    return {
        "where": run.where,
        "model": configs.shown(run.model_name),
        "chip": run.chip.id,
        "chips": way.chips,
        "measured_chip_hours": run.chip_hours,
        "predicted_chip_hours": hours,
        "ratio": hours / run.chip_hours,
        "layout": {name: int(getattr(way, name)) for name in ("tp", "pp", "vp", "cp", "ep", "dp", "micro_batch")},
        "guessed": [*run.guessed, *guessed],
        "note": configs.shown(run.note),
        "cumulative": "cumulative" in run.note.lower(),
    }


def _question(run: WholeRun) -> tuple[Question, list[str]]:
    """Return the question of a run, what its source does not say as `train` takes it, and what that was."""
    asked: dict[str, Any] = {"trainer": run.trainer, "precision": run.precision, "tokens": run.tokens}
    asked |= {"chips": run.chips} if run.chips else {"days": DAYS}
    asked |= {"sequence_tokens": run.sequence_tokens, "batch_tokens": run.batch_tokens}
    question = question_of(run.model, run.chip, **asked)
    guessed = []
    if not run.chips:
        guessed.append(f"as many chips as are done in {DAYS:g} days")
    if run.sequence_tokens is None:
        guessed.append(f"sequences of {question.sequence_tokens:.0f} tokens")
    if run.batch_tokens is None:
        guessed.append(f"a global batch by {question.batch_law.id}")
    return question, [*guessed, BEST_LAYOUT]
