"""Answers an estimate's question as one document in SI units."""

from dataclasses import replace
from typing import Any

import configs

from ..serving.formats import KV_BYTES
from .cost import output_usd_per_mtok, prices
from .disaggregate import disaggregated
from .energy import doubts, energy, requests_per_s
from .infeasible import refuse
from .layouts import experts_of
from .parts import breakdown, floor_s, ideal_batch, roofline, widest
from .point import Point, batch_for, evaluate, rank, within
from .question import Question
from .trust import interval, warnings

_SHOWN_LAYOUTS = 12
_CURVE_STEP = 3  # every octave of the curve is shown


def estimate(question: Question) -> dict[str, Any]:
    """Return the document that `estimate --json` prints; ``status`` is "infeasible" where the load does not fit."""
    ranking = [] if len(question.splits) == 1 else rank(question)
    split = question.splits[0]
    if ranking:
        best = ranking[0]
        split = next(s for s in question.splits if s._asdict() == {k: best[k] for k in s._fields})
    first = evaluate(question, split, 1.0)
    head = _head(question, split, ranking)
    batch = batch_for(question, first)
    refused = refuse(question, first, batch, ranking)
    if refused:
        return head | {"status": "infeasible", **refused, "warnings": warnings(question, first)}
    point = evaluate(question, split, batch)
    return head | _body(question, point)


def described(question: Question, schema: str) -> dict[str, Any]:
    """Return what every answer on one model and one kind of chip begins with."""
    model, chip, recipe = question.model, question.chip, question.recipe
    input_tokens, cached, output_tokens = question.lengths
    kv = configs.kv_elements_per_token(model)
    sets = question.kernels.sets
    own = sets["gemm"].get(recipe.dense, sets["gemm"]["bf16"]).origin == chip.id
    return {
        "schema": schema,
        "status": "ok",
        "message": "",
        "model": {
            "id": model.id,
            "name": model.name,
            "params": model.params,
            "active_params": model.active_params,
            "kv_bytes_per_token": kv * KV_BYTES[recipe.kv],
            "generic": question.generic,
        },
        "chip": {"id": chip.id, "name": chip.name, "basis": "calibrated" if own else "datasheet"},
        "engine": {"id": question.engine.id, "name": question.engine.name},
        "precision": {"weights": question.precision, "kv_cache": recipe.kv, "recipe": recipe._asdict()},
        "requests": {"input_tokens": input_tokens, "cached_tokens": cached, "output_tokens": output_tokens},
    }


def _head(question: Question, split: Any, ranking: list[dict[str, Any]]) -> dict[str, Any]:
    out = described(question, "estimate/1")
    out["chip"]["chips"] = split.chips
    experts = experts_of(question.model)
    return (
        out
        | {
            "layout": {
                **split._asdict(),
                "chosen": not question.split_given and len(question.splits) > 1,
                "experts_per_chip": experts / (split.tp * split.dp)
                if experts
                else None,  # in weights: they may be split
            },
            "load": question.load,
            "layouts": [{k: v for k, v in row.items() if k != "kept"} for row in ranking[:_SHOWN_LAYOUTS]],
        }
    )


def _body(question: Question, point: Point) -> dict[str, Any]:
    chips, output_tokens = point.split.chips, question.lengths[2]
    requests = requests_per_s(question, point)
    throughput = requests * output_tokens
    parts = breakdown(question, point, "step")
    saturated = evaluate(question, point.split, point.cap)
    full = output_usd_per_mtok(question, saturated)
    bands = interval(question, point)
    cost = prices(question, point)
    joules = energy(question, point, saturated, cost["usd_per_request"])
    return {
        "batch": point.batch,
        "tpot_s": point.at("tpot_s"),
        "ttft_s": point.at("ttft_s"),
        "step_s": point.at("step_s"),
        "e2e_s": point.at("ttft_s") + (output_tokens - 1.0) * point.at("tpot_s"),
        "output_tokens_per_s": throughput,
        "output_tokens_per_s_per_chip": throughput / chips,
        "input_tokens_per_s": requests * question.lengths[0],
        "requests_per_s": requests,
        "tokens_per_s_per_user": 1.0 / point.at("tpot_s"),
        "latency_floor_s": floor_s(question, point),
        "ideal_batch": ideal_batch(question, point),
        "max_batch": point.cap,
        "max_batch_limit": min(point.limits, key=lambda name: point.limits[name]),
        "bound": widest(parts),
        "saturated": {
            "batch": point.cap,
            **{k: saturated.at(k) for k in ("output_tokens_per_s", "tpot_s", "ttft_s")},
            "usd_per_mtok_output": full[0] if full else None,
        },
        "goodput": _goodput(question, point),
        "memory_bytes": _memory(question, point),
        **cost,
        "joules_per_token": {kind: sum(parts.values()) for kind, parts in joules["joules_per_token"].items()},
        "energy": joules,
        "breakdown": parts,
        "prefill_breakdown": breakdown(question, point, "prompt"),
        "interval": bands,
        "curve": _curve(question, point),
        "roofline": roofline(question, point),
        "disaggregated": disaggregated(question, point) if question.disaggregated else None,
        "speculation": _speculation(question, point),
        "warnings": warnings(question, point) + doubts(question, point),
    }


def _goodput(question: Question, point: Point) -> dict[str, Any] | None:
    found = within(question, point)
    if found is None:
        return None
    batch, limit = found
    if batch < 1.0:
        return {"batch": 0.0, "requests_per_s": 0.0, "output_tokens_per_s": 0.0, "limit": limit}
    throughput = evaluate(question, point.split, batch).at("output_tokens_per_s")
    requests = throughput / question.lengths[2]
    return {"batch": batch, "requests_per_s": requests, "output_tokens_per_s": throughput, "limit": limit}


def _memory(question: Question, point: Point) -> dict[str, float]:
    """Return the budget of the busiest chip."""
    told = {k: float(v) for k, v in point.told["memory"].items()}
    total = question.chip.visible_bytes
    cache = point.batch / point.split.dp * told["sequence_bytes"]
    used = told["weights_bytes"] + told["reserve_bytes"] + cache
    return {
        "weights": told["weights_bytes"],
        "kv_cache": cache,
        "activations": told["reserve_bytes"],
        "free": max(total - used, 0.0),
        "total": total,
    }


def _curve(question: Question, point: Point) -> list[dict[str, Any]]:
    curve = point.curve
    usd = output_usd_per_mtok(question, point)
    rows = []
    for i in range(0, len(curve["batches"]), _CURVE_STEP):
        rows.append({
            "batch": float(curve["batches"][i]),
            "tpot_s": float(curve["tpot_s"][i]),
            "ttft_s": float(curve["ttft_s"][i]),
            "output_tokens_per_s": float(curve["output_tokens_per_s"][i]),
            "usd_per_mtok_output": None if usd is None else usd[1 + i],
            "feasible": bool(curve["batches"][i] <= point.cap),
        })  # fmt: skip
    return rows


def _speculation(question: Question, point: Point) -> dict[str, float] | None:
    if question.speculation is None:
        return None
    plain = replace(question, speculation=None)
    without = evaluate(plain, point.split, point.batch)
    return {
        "draft_tokens": question.speculation[0],
        "tokens_per_step": question.speculation[1],
        "tpot_without_s": without.at("tpot_s"),
        "speedup": without.at("tpot_s") / point.at("tpot_s"),
    }
