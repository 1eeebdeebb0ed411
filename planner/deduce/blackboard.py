"""What the same card says on a blackboard: one price, one equation, textbook rooflines."""

from collections.abc import Mapping
from math import exp
from typing import Any

import numpy as np

import configs
from configs.cards import CardFacts

from ..compiled import program
from ..estimate.question import Question
from ..serving.numbers import device_numbers, engine_numbers
from .infer import LINEARISED
from .names import DERIVED
from .seen import Seen


def blackboard(
    card: CardFacts, seen: Seen, question: Question, given: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the readings of single prices under textbook rooflines, for the parameters deduced otherwise.

    ``kv_bytes_per_token``: a provider puts a step of price where costs have their kink, at the balanced context; so
    the cache is as large as makes the active parameters balance there. ``decode_over_prefill_mfu``: output costs more
    than input as arithmetic waits for memory. The kink is that of `planner.deduce.forward` with no engine and ideal
    kernels: a model's arithmetic at the peak against its cache at the full rate. ``refined_agrees`` where the reading
    lies inside the interval of all prices together.
    """
    price = card.prices[0]
    n = parameters["active_params"]["value"]
    out: dict[str, Any] = {
        "chip": question.chip.id,
        "step_tokens": seen.step_tokens,
        "active_params": n,
        "kv_bytes_per_token": None,
        "decode_over_prefill_mfu": price.input / price.output,
        "refined_over_blackboard": None,
        "refined_agrees": None,
    }
    if seen.step_tokens is None:
        return out
    engine = configs.load_engine("ideal")
    ideal = {
        "device": device_numbers(question.chip, configs.kernels_of(question.chip), engine, question.recipe, True),
        "engine": engine_numbers(engine),
        "hbm_bytes": question.chip.hbm_bytes,
    }
    row = parameters["kv_bytes_per_token"]
    kv = row["value"]
    x = np.log([n, max(parameters["sparsity"]["value"], 1.05), kv, 8.0, 1.0, 100.0, 100.0, 100.0, 100.0])
    asked = {**given, "machine": ideal}
    balanced = exp(program(LINEARISED, asked, x)(asked, x)["derived"][DERIVED.index("balanced_context")])
    read = kv * balanced / seen.step_tokens
    return out | {
        "kv_bytes_per_token": read,
        "refined_over_blackboard": kv / read,
        "refined_agrees": row["low"] <= read <= row["high"],
    }
