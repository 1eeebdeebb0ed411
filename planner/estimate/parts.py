"""Where the time of a step goes: by operation, what binds each, and on what basis its time is known."""

from typing import Any

import numpy as np

from configs.formats import FORMATS

from ..serving.names import ATTENTION, LINKS, OVERHEADS, STREAMS
from .point import Point
from .question import Question

# An op that takes this many times its roofline is bound by neither side of it: launches, waves and latencies.
_LATENCY_BOUND = 3.0


def breakdown(question: Question, point: Point, which: str) -> list[dict[str, Any]]:
    """Return the ops of the mean step ("step") or of a pass with one prompt alone ("prompt"), longest first."""
    rows = []
    for name, (seconds, flops, moved) in _ops(point, which).items():
        if seconds > 0.0:
            rows.append({
                "op": name,
                "seconds": seconds,
                "share": 0.0,
                "bound": _bound(question, point, name, seconds, flops, moved),
                "basis": _basis(question, name),
                "flops": flops,
                "bytes": moved,
            })  # fmt: skip
    total = sum(row["seconds"] for row in rows)
    for row in rows:
        row["share"] = row["seconds"] / total
    return sorted(rows, key=lambda row: -row["seconds"])


def _ops(point: Point, which: str) -> dict[str, tuple[float, float, float]]:
    """Return seconds, FLOPs per chip and bytes per chip of every op, all pipeline stages together."""
    told, share = point.told, float(point.told["share"][0])
    kinds = {
        "prompt": ((1.0, "prompt"),),
        "step": ((1.0 - share, "plain"), (share, "mixed")),
        "plain": ((1.0, "plain"),),
        "added": ((1.0, "mixed"), (-1.0, "plain")),
    }[which]
    out = {}
    for name in told["plain"]["seconds"]:
        totals = [0.0, 0.0, 0.0]
        for weight, kind in kinds:
            for i, what in enumerate(("seconds", "flops", "bytes")):
                values = told[kind][what].get(name)
                totals[i] += weight * float(values[0]) if values is not None else 0.0
        out[name] = (totals[0], totals[1], totals[2])
    return out


def causes(question: Question, point: Point, which: str) -> dict[str, float]:
    """Return the seconds of a pass that decodes only ("plain"), or of what prompts add to one ("added"), by what binds
    its ops: memory, compute, network or overhead."""
    out: dict[str, float] = dict.fromkeys(("memory", "compute", "network", "overhead"), 0.0)
    for name, (seconds, flops, moved) in _ops(point, which).items():
        out[_bound(question, point, name, seconds, flops, moved)] += seconds
    return {name: max(value, 0.0) for name, value in out.items()}  # tiles may make an op quicker with prompts


def widest(parts: list[dict[str, Any]]) -> str:
    """Return which of memory, compute, network and overhead takes most of the step."""
    sums: dict[str, float] = {}
    for row in parts:
        sums[row["bound"]] = sums.get(row["bound"], 0.0) + row["seconds"]
    return max(sums, key=lambda name: sums[name])


def _bound(question: Question, point: Point, name: str, seconds: float, flops: float, moved: float) -> str:
    if name in LINKS:
        return "network"
    if name in OVERHEADS:
        return "overhead"
    compute = flops / peak_of(question, name)
    memory = moved / question.chip.hbm_bytes_per_s
    if seconds > _LATENCY_BOUND * max(compute, memory):
        return "overhead"
    return "compute" if compute > memory else "memory"


def peak_of(question: Question, name: str) -> float:
    """Return the peak FLOP/s that an op's format runs at."""
    how, peaks = question.recipe, question.chip.peak_flops_per_s
    if name == "experts":
        found = how.experts
    elif name in ("query, key, value", "attention out", "latents", "queries", "recurrent in", "recurrent out"):
        found = how.attention
    elif name.startswith(("feed-forward", "shared experts")):
        found = how.dense
    else:
        found = "bf16"
    return peaks.get(FORMATS[found].peak, peaks["bf16"])


def _basis(question: Question, name: str) -> str:
    """Return "calibrated" where the chip's own timings or served runs stand behind the time, else "datasheet"."""
    if name in OVERHEADS:
        return "calibrated" if question.chip.id in question.engine.chips else "datasheet"
    if name in STREAMS or question.chip.id != question.kernels.id:
        return "datasheet"
    how, sets = question.recipe, question.kernels.sets
    latent = any("latent_dim" in vars(x.mixer) for x in question.model.layers if x.mixer is not None)
    if name in ATTENTION:
        family = name.replace("decode attention", "attention_decode").replace("prefill attention", "attention_prefill")
        if latent and family == "attention_decode":
            return "datasheet"
        found = sets[family].get(how.kv) or sets[family]["bf16"]
    elif name == "experts":
        found = sets["moe"].get(how.experts) or sets["moe"]["bf16"]
    elif name in LINKS:
        found = sets["allreduce"]["all_reduce"]
    else:
        found = sets["gemm"].get(how.dense) or sets["gemm"]["bf16"]
    return "calibrated" if found.origin == question.chip.id else "datasheet"


def floor_s(question: Question, point: Point) -> float:
    """Return the least time of a token at any price on these chips: what one sequence reads, at the HBM's full rate."""
    told = point.told["plain"]["bytes"]
    moved = sum(float(values[1]) for name, values in told.items() if name not in LINKS)
    accepted = question.speculation[1] if question.speculation else 1.0
    return moved / question.chip.hbm_bytes_per_s / accepted


def ideal_batch(question: Question, point: Point) -> float | None:
    """Return the batch at which multiplying by the weights takes as long as reading them; None if none does.

    Peaks and bandwidth are the datasheet's, weights those touched: for a dense model in bf16 the chip's FLOPs per
    byte, times total over active parameters for one with experts.
    """
    told, batches = point.told["plain"], point.curve["batches"]
    compute, memory = np.zeros(len(batches)), np.zeros(len(batches))
    for name in told["flops"]:
        if not multiplies(name):
            continue
        compute += np.asarray(told["flops"][name])[1:] / peak_of(question, name)
        memory += np.asarray(told["bytes"][name])[1:] / question.chip.hbm_bytes_per_s
    return crossing(batches, compute, memory)


def crossing(batches: np.ndarray, rising: np.ndarray, other: np.ndarray) -> float | None:
    """Return the batch at which ``rising`` overtakes ``other``, interpolated in logarithms; None where none does."""
    over = np.log(rising) - np.log(other)
    beyond = np.flatnonzero(over >= 0.0)
    if not len(beyond):
        return None
    i = max(int(beyond[0]), 1)
    return float(np.exp(np.interp(0.0, over[i - 1 : i + 1], np.log(batches[i - 1 : i + 1]))))


def multiplies(name: str) -> bool:
    """Say whether an op multiplies by weights."""
    return name not in (*LINKS, *STREAMS, *ATTENTION, *OVERHEADS)


def roofline(question: Question, point: Point) -> dict[str, Any]:
    """Return the roof and where each op of the mean step stands under it, per chip."""
    peak = max(question.chip.peak_flops_per_s.get(FORMATS[f].peak, 0.0) for f in question.recipe[:3])
    ops = []
    for row in breakdown(question, point, "step"):
        if row["flops"] > 0.0 and row["bytes"] > 0.0 and row["op"] not in LINKS:
            ops.append({
                "op": row["op"],
                "flops_per_byte": row["flops"] / row["bytes"],
                "flops_per_s": row["flops"] / row["seconds"],
                "bound": row["bound"],
                "seconds": row["seconds"],
            })  # fmt: skip
    bandwidth = question.chip.hbm_bytes_per_s
    peak = peak or question.chip.peak_flops_per_s["bf16"]
    return {
        "peak_flops_per_s": peak,
        "hbm_bytes_per_s": bandwidth,
        "ridge_flops_per_byte": peak / bandwidth,
        "ops": ops,
    }
