"""What is known before a card is read: how sizes, replicas and margins are spread among public models."""

from collections.abc import Mapping
from math import log
from typing import Any

import numpy as np

import configs

from ..estimate.question import Question
from .names import SLOTS, UNKNOWNS
from .seen import Seen

_SHAPE = "dense-gqa"
_SURE = 0.02  # width of what was given
# Medians and standard deviations in logarithms. Sparsity and KV bytes: the 83 shipped models of 1B active parameters
# and more, 31 of them with experts (total over active 11, 0.65; KV bytes 0.99 of a typical dense model's, 1.14, here
# wider, for closed ones may share or thin their caches more). The rest are assumptions that cover what is known: 3.6B
# to 700B active parameters, 1 to 36 chips, margins up to 0.81 of the price, nine times in ten.
BEFORE = {
    "active_params": (50e9, 1.6),
    "sparsity": (11.0, 0.65),
    "kv_bytes_per_token": (1.0, 1.6),
    "chips": (5.0, 1.2),
    "markup": (2.0, 0.6),
}
# Spread of the batch about the expected one, in logarithms, on the cards of `planner.deduce.seen`.
_BATCH = {
    "dense": {"standard": 0.32, "long": 0.5, "fast": 1.63, "batch": 0.47},
    "experts": {"standard": 0.98, "long": 0.8, "fast": 2.67, "batch": 1.21},
}


def given(question: Question, seen: Seen, known: Mapping[str, float], spare: float, noise: float) -> dict[str, Any]:
    """Return what `planner.deduce.forward` takes: the machine of ``question``, what was seen, and what is known before.

    ``known`` holds unknowns that the asker states. The question's own model says whether it has experts.
    """
    numbers = question.numbers(closed=True)
    input_tokens, _, output_tokens = question.lengths
    long = max((seen.long_tokens or input_tokens + output_tokens) - output_tokens, 1.0)
    kind = kind_of(question)
    centre, width = (np.array([BEFORE[name][i] for name in UNKNOWNS]) for i in (0, 1))
    centre = np.log(centre)
    if kind == "dense":
        centre[1], width[1] = 0.0, _SURE
    for name, value in known.items():
        i = UNKNOWNS.index(name)
        centre[i], width[i] = log(value), _SURE
    fit = configs.load_shape(_SHAPE).fit
    out: dict[str, Any] = {
        "machine": {name: numbers[name] for name in ("device", "engine", "hbm_bytes")},
        "shape": {name: float(value) for name, value in fit.items() if name != "kv_heads"},
        "rent": (question.usd_per_hour or 0.0) / configs.HOUR_S,
        "spare": np.array([spare, spare, spare, 1.0]),
        "lengths": {
            "input": np.array([input_tokens, long, input_tokens, input_tokens]),
            "output": np.full(len(SLOTS), output_tokens),
        },
        "seen": np.nan_to_num(seen.lines),
        "weight": seen.weight(kind, noise),
        "centre": centre,
        "width": width,
        "typical": float("kv_bytes_per_token" not in known),
        "batch_width": np.array([_BATCH[kind][slot] for slot in SLOTS]),
    }
    return out | ({"experts": 1.0} if kind == "experts" else {})


def kind_of(question: Question) -> str:
    """Return "experts" for a question about a model with some, else "dense"."""
    return "experts" if question.model.params > question.model.active_params else "dense"
