"""Settings of training software that realise a layout, and what of it they cannot."""

from collections.abc import Mapping
from typing import Any

import configs

from .exports import maxtext, megatron, torchtitan
from .exports.run import Run
from .question import Question
from .space import Way

_WRITERS = {"megatron": megatron, "maxtext": maxtext, "torchtitan": torchtitan}
FRAMEWORKS = tuple(_WRITERS)


def block(framework: str, question: Question, way: Way, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``framework``, ``text`` to paste beside the settings of model and data, and ``notes``, a sentence each.

    ``answer`` is of `planner.train.answer.train`: ``batch_sequences`` and ``recomputed_fraction`` are read.

    Raises:
        configs.ConfigError: the framework is none of `FRAMEWORKS`.
    """
    if framework not in _WRITERS:
        hint = configs.nearest(framework, FRAMEWORKS)
        raise configs.ConfigError(
            f"--export = '{configs.shown(framework)}' must be one of {', '.join(FRAMEWORKS)}{hint}"
        )
    writer, run = _WRITERS[framework], Run.of(question, way, answer)
    text, notes = writer.settings(run)
    vendor = run.chip.vendor
    if vendor not in writer.VENDORS:
        able = " and ".join(writer.VENDORS)
        notes.insert(0, f"{writer.NAME} is made for chips of {able}, not for {run.chip.id}.")
    if way.vp > 1 and way.pp == 1:
        notes.append(f"Without a pipeline there are no chunks to take turns: vp {way.vp} is left out.")
    if question.sequence_tokens != run.sequence_tokens:
        notes.append(f"Sequences are whole tokens: {run.sequence_tokens}, not {question.sequence_tokens:g}.")
    return {"framework": framework, "text": text, "notes": notes}
