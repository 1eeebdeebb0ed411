"""Layouts of measured runs whose source states none: the best that fits, as the search finds it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import configs

from ..runs.run import Unusable
from ..runs.trained import TrainedRun
from . import space
from .question import Question

BEST_LAYOUT = "the best layout that fits"


def question_of(model: configs.ModelFacts, chip: configs.ChipFacts, **asked: Any) -> Question:
    """Return the question of a run of ``model``, shipped or typical, on ``chip``; ``asked`` as in `Question.of`.

    Raises:
        configs.ConfigError: as `Question.of` does.
    """
    known = model.id in configs.ids("models")
    named = {"model": model.id} if known else {"params": model.params, "active_params": model.active_params}
    return replace(Question.of({**named, "chip": chip.id, **asked}), model=model)


def lay(run: TrainedRun, stated: Mapping[str, float]) -> TrainedRun:
    """Return ``run`` in the layout that is fastest of those that fit and agree with ``stated``; it says so.

    Raises:
        Unusable: none fits.
    """
    batch = run.sequences * run.sequence_tokens
    ways = {name: value for name, value in stated.items() if name != "ep" or run.experts}
    odd = next((name for name, value in ways.items() if value != round(value)), None)
    if odd is not None:
        raise Unusable(f"the layout is not stated, and {odd} = {ways[odd]:g} is not whole")
    try:
        question = question_of(
            run.model, run.chip, trainer=run.trainer, precision=run.precision, tokens=batch, chips=run.chips,
            sequence_tokens=run.sequence_tokens, batch_tokens=batch, recompute=run.recomputed, **ways,
        )  # fmt: skip
    except configs.ConfigError as error:
        raise Unusable(f"the layout is not stated: {error}") from None
    found = space.search(question, [int(run.chips)])
    if not found.ways:
        raise Unusable("the layout is not stated, and none fits")
    way = found.ways[0]
    unit = way.dp * way.micro_batch
    return replace(
        run,
        **{name: float(getattr(way, name)) for name in ("tp", "pp", "vp", "cp", "ep", "micro_batch")},
        sharded=bool(way.sharded),
        sequences=max(round(run.sequences / unit), 1) * unit,
        guessed=(*run.guessed, BEST_LAYOUT),
    )
