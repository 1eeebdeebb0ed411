"""Answers the question of a training run as one document in SI units."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import configs

from ..runs.trained import token_flops
from ..training.states import RESERVED_FRACTION
from . import rollouts, space
from .chips import Found, find
from .elasticities import elasticities
from .export import block
from .generation import MOST_CHIPS, Generation, fastest
from .question import Question
from .refusal import refuse
from .trust import interval, warnings

_SHOWN = 8  # layouts, best first


def train(question: Question, export: str | None = None) -> dict[str, Any]:
    """Return the document that `train --json` prints; ``status`` is "infeasible" where no layout does, or where
    rollouts were asked for and no replica holds the model.

    ``export`` names the trainer, one of `planner.train.export.FRAMEWORKS`, whose settings realise the layout.
    """
    found = find(question)
    if not found.space.ways:
        return _head(question) | {"status": "infeasible", **refuse(question, found), "warnings": warnings(question)}
    generation = fastest(question.served) if question.served else None
    if question.rollouts and question.served and generation is None:
        refused = rollouts.refuse(question.rollouts, question.served, MOST_CHIPS)
        return _head(question) | {"status": "infeasible", **refused, "warnings": warnings(question)}
    ways = _distinct(found)[:_SHOWN]
    told = space.tell(question, [way for way, _ in ways])
    best = ways[0][0]
    answer = _head(question) | _body(question, best, _row(told, 0))
    rows = [_layout_row(question, way, _row(told, i)) for i, (way, _) in enumerate(ways)]
    given = [*question.ways, *(["sharding"] if question.sharding else [])]
    return answer | {
        "layout": {**_layout(best), "chosen": found.space.whole > 1, "given": sorted(given)},
        "layouts": rows,
        "layouts_tried": found.space.tried,
        "chips_considered": found.curve,
        "elasticities": elasticities(question, best),
        "export": block(export, question, best, answer) if export else None,
        **_rollouts(question, generation, answer),
        "warnings": [*warnings(question, best, answer), *_rollout_warnings(question, generation)],
    }


def _rollouts(question: Question, generation: Generation | None, answer: dict[str, Any]) -> dict[str, Any]:
    """Return what reinforcement learning costs and which tokens cost alike, None where neither was asked."""
    if question.rollouts is None or generation is None:
        return {"reinforcement": None, "equal_cost": None}
    return rollouts.documents(question.rollouts, question.model, generation, answer)


def _rollout_warnings(question: Question, generation: Generation | None) -> list[str]:
    return rollouts.warnings(question.rollouts, generation) if question.rollouts and generation else []


def _distinct(found: Found) -> list[tuple[space.Way, float]]:
    """Return layouts and rates, fastest first, of two that take the same time to a millionth only the plainer."""
    out: list[tuple[space.Way, float]] = []
    for way, rate in zip(found.space.ways, found.space.rates, strict=True):
        if not out or rate < out[-1][1] * (1.0 - 1e-6):
            out.append((way, float(rate)))
        if len(out) >= _SHOWN:
            break
    return out


def _row(told: Any, index: int) -> Any:
    if isinstance(told, Mapping):
        return {name: _row(values, index) for name, values in told.items()}
    return float(np.asarray(told)[index])


def _head(question: Question) -> dict[str, Any]:
    model, chip = question.model, question.chip
    critical, law = question.critical_batch_tokens()
    return {
        "schema": "train/1",
        "status": "ok",
        "message": "",
        "model": {
            "id": model.id,
            "name": model.name,
            "params": model.params,
            "active_params": model.active_params,
            "generic": question.generic,
        },
        "chip": {"id": chip.id, "name": chip.name, "basis": "calibrated" if _own_kernels(question) else "datasheet"},
        "trainer": {"id": question.trainer.id, "name": question.trainer.name},
        "precision": question.precision,
        "tokens": question.tokens,
        "sequence_tokens": question.sequence_tokens,
        "batch": {
            "asked_tokens": question.sequences * question.sequence_tokens,
            "basis": "given" if question.batch_given else f"batch law {question.batch_law.id}, to a power of two",
            "critical_tokens": critical,
            "critical_law": law.id,
        },
    }


def _own_kernels(question: Question) -> bool:
    return question.kernels.sets["gemm"]["bf16"].origin == question.chip.id


def _body(question: Question, way: space.Way, told: Mapping[str, Any]) -> dict[str, Any]:
    rate, chips = told["tokens_per_s_per_chip"], way.chips
    flops = token_flops(question.model, question.sequence_tokens)
    peak = question.chip.peak_flops_per_s[question.precision]
    usd = None if question.usd_per_hour is None else told["usd"]
    batch = told["sequences"] * question.sequence_tokens
    seconds = {"pipeline bubble": "bubble", "waiting for weights and gradients": "exposed", "update": "update"}
    rest = {name: told["parts"][key] for name, key in seconds.items()} | {"host per step": told["parts"]["host"]}
    parts = {name: s for name, s in {**told["kernels"], **rest}.items() if s > 0}
    total = question.chip.visible_bytes
    return {
        "chips": chips,
        "step_s": told["step_s"],
        "steps": question.tokens / batch,
        "batch_tokens": batch,
        "batch_sequences": told["sequences"],
        "micro_batches": told["micro_batches"],
        "recomputed_fraction": told["recomputed"],
        "tokens_per_s": rate * chips,
        "tokens_per_s_per_chip": rate,
        "model_flops_per_s_per_chip": flops * rate,
        "mfu": flops * rate / peak,
        "mfu_peak": question.precision,
        "days": told["wall_s"] / configs.DAY_S,
        "chip_hours": told["chip_s"] / configs.HOUR_S,
        "training_flops": flops * question.tokens,
        "usd": usd,
        "usd_per_hour": question.usd_per_hour,
        "price_basis": question.price_basis,
        "usd_by_price": _by_mode(question, told["chip_s"] / configs.HOUR_S),
        "joules": told["joules"],
        "pue": question.pue,
        "goodput": {
            "fraction": told["goodput"],
            "hours_between_failures": told["mtbf_s"] / configs.HOUR_S,
            "checkpoint_interval_s": told["checkpoint_interval_s"],
            "checkpoint_s": told["checkpoint_s"],
            "basis": question.failures.name,
        },
        "memory_bytes": {
            **told["bytes"],
            "reserved": total * RESERVED_FRACTION,
            "free": max(total * (1.0 - RESERVED_FRACTION) - told["used_bytes"], 0.0),
            "total": total,
        },
        "breakdown": sorted(({"op": op, "seconds": s} for op, s in parts.items()), key=lambda row: -row["seconds"]),
        "passes_s": told["parts"],
        "interval": interval(question, rate, told["wall_s"] / configs.DAY_S, usd),
    }


def _by_mode(question: Question, chip_hours: float) -> dict[str, float]:
    """Return the bill under each price that is known of the chip."""
    price = question.chip.tables.get("price")
    if price is None:
        return {}
    modes = [price["mode"], *(mode for mode in price.get("others", {}) if mode != price["mode"])]
    return {mode: chip_hours * configs.price_of(question.chip, mode) for mode in modes}


def _layout(way: space.Way) -> dict[str, Any]:
    return {
        **{name: getattr(way, name) for name in ("tp", "pp", "vp", "cp", "ep", "dp", "micro_batch")},
        "sharding": "weights" if way.sharded else "states",
        "schedule": "zero-bubble" if way.zero_bubble else "interleaved" if way.vp > 1 else "1f1b",
    }


def _layout_row(question: Question, way: space.Way, told: Mapping[str, Any]) -> dict[str, Any]:
    usd = None if question.usd_per_hour is None else told["usd"]
    return {
        **_layout(way),
        "chips": way.chips,
        "tokens_per_s_per_chip": told["tokens_per_s_per_chip"],
        "step_s": told["step_s"],
        "days": told["wall_s"] / configs.DAY_S,
        "usd": usd,
        "used_bytes": told["used_bytes"],
        "recomputed_fraction": told["recomputed"],
        "bubble_fraction": told["parts"]["bubble"] / told["step_s"],
    }
