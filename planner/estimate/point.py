"""Runs the compiled curve of an instance and reads operating points off it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np

from ..compiled import program
from .layouts import Split
from .question import Question

_CURVE = "planner.serving.curve:curve"
_SCAN = "planner.serving.curve:scan"
_HALVINGS = 12  # to a thousandth of a batch of 64
_FINE = 512  # points that a search along the curve interpolates
SCAN_BATCHES = np.geomspace(1.0, 65536.0, 33)  # half octaves
_WIDTHS = (16, 64, 256)  # layouts of a scan are padded to one of these, so that one program serves most questions


@dataclass(frozen=True)
class Point:
    """One layout evaluated: ``told`` is what `planner.serving.curve.curve` returns, its first entry at ``batch``."""

    split: Split
    batch: float
    told: Mapping[str, Any]
    lengths: tuple[float, ...]
    tokens_per_step: float = 1.0

    def at(self, name: str) -> float:
        """Return one of step_s, tpot_s, ttft_s and output_tokens_per_s at the batch."""
        return float(self.told[name][0])

    @property
    def limits(self) -> dict[str, float]:
        """How many sequences can run at once by memory (whole ones, per copy), slots and tokens per pass."""
        return limits_of(self.split, self.told["limits"])

    @property
    def cap(self) -> float:
        """The largest batch that can run."""
        return min(self.limits.values())

    @property
    def curve(self) -> dict[str, np.ndarray]:
        """Batches of the fixed curve and what they give: tpot_s, ttft_s, step_s, output_tokens_per_s."""
        names = ("batches", "tpot_s", "ttft_s", "step_s", "output_tokens_per_s")
        return {name: np.asarray(self.told[name])[1:] for name in names}

    def along(self, batches: np.ndarray) -> dict[str, np.ndarray]:
        """Return the curve at ``batches``, interpolated in logarithms."""
        curve = self.curve
        x = np.log(curve["batches"])
        return {name: np.exp(np.interp(np.log(batches), x, np.log(values))) for name, values in curve.items()}


def limits_of(split: Split, told: Mapping[str, Any]) -> dict[str, float]:
    """Return the limits on the batch that a layout's memory, slots and tokens per pass come to in whole sequences."""
    copies = split.dp
    # A prompt longer than a pass comes in chunks: one sequence per copy and stage always runs.
    return {
        "memory": copies * floor(float(told["memory"]) / copies * (1.0 + 1e-12)),
        "slots": float(told["slots"]),
        "tokens": max(float(told["tokens"]), float(copies * split.pp)),
    }


def evaluate(question: Question, split: Split, batch: float, lengths: tuple[float, ...] | None = None) -> Point:
    """Return the point of ``split`` at ``batch``, with other request ``lengths`` where given."""
    given = question.numbers() | {"layout": {k: float(v) for k, v in split._asdict().items()}, "batches": batch}
    if lengths is not None:
        given["lengths"] = list(lengths)
    per_step = question.speculation[1] if question.speculation else 1.0
    return Point(split, batch, program(_CURVE, given)(given), tuple(lengths or question.lengths), per_step)


def batch_for(question: Question, point: Point) -> float:
    """Return the sequences in flight that the question's load amounts to; beyond what fits for a load that does not."""
    if question.load == "batch":
        return question.amount
    if question.load == "concurrency":
        return min(question.amount, max(point.cap, 1.0))
    if question.load == "rate":
        return batch_at_rate(point, question.amount * question.lengths[2])
    best = within(question, point)
    return point.cap if best is None else best[0]


def batch_at_rate(point: Point, output_tokens_per_s: float) -> float:
    """Return the batch at which tokens leave as fast as they are asked for; infinite if they never do."""
    curve = point.curve
    rising = np.maximum.accumulate(curve["output_tokens_per_s"])
    if output_tokens_per_s > rising[-1]:
        return float("inf")
    if output_tokens_per_s < rising[0]:
        # Fewer than one sequence on average: passes are those of one, and prompts enter as often as they are asked for.
        plain, mixed = (sum(float(v[1]) for v in point.told[kind]["seconds"].values()) for kind in ("plain", "mixed"))
        requests_per_s = output_tokens_per_s / float(point.lengths[2])
        steps_per_s = output_tokens_per_s / point.tokens_per_step
        return steps_per_s * plain / (1.0 - requests_per_s * (mixed - plain))
    return float(np.exp(np.interp(np.log(output_tokens_per_s), np.log(rising), np.log(curve["batches"]))))


def within(question: Question, point: Point) -> tuple[float, str] | None:
    """Return the largest batch that keeps the question's latency limits, and what limits it; None without limits.

    A batch below 1 says that no batch keeps them.
    """
    if not question.limits:
        return None
    batches = np.geomspace(1.0, max(point.cap, 1.0), _FINE)
    along = point.along(batches)
    kept = np.ones(len(batches), dtype=bool)
    for name, limit in question.limits.items():
        kept &= along[name] <= limit
    if kept.all():
        return float(batches[-1]), min(point.limits, key=lambda name: point.limits[name])
    if not kept.any():
        return 0.0, _worst(question, {k: v[0] for k, v in along.items()})
    last = int(np.flatnonzero(kept)[-1])
    worst = _worst(question, {k: v[min(last + 1, _FINE - 1)] for k, v in along.items()})
    return _exactly(question, point, float(batches[last])), worst


def _exactly(question: Question, point: Point, batch: float) -> float:
    """Return ``batch``, or less where tiles make it slower than its neighbours on the curve say: by bisection."""

    def kept(at: float) -> bool:
        here = evaluate(question, point.split, at)
        return all(here.at(name) <= limit for name, limit in question.limits.items())

    if kept(batch):
        return batch
    low, high = 1.0, batch
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if kept(middle) else (low, middle)
    return low


def _worst(question: Question, at: Mapping[str, float]) -> str:
    return max(question.limits, key=lambda name: at[name] / question.limits[name]).removesuffix("_s")


def rank(question: Question) -> list[dict[str, Any]]:
    """Return every layout considered, best first: at the question's load, within its latency limits where it can.

    Best is most output tokens per second; at a given batch or rate, the least time per token.
    """
    splits, told = question.splits, scanned(question, question.splits)
    rows = [_row(question, split, {k: v[i] for k, v in told.items()}) for i, split in enumerate(splits)]
    by_latency = question.load in ("batch", "rate")

    def order(row: Mapping[str, Any]) -> tuple[bool, bool, float]:
        value = row["tpot_s"] if by_latency else -row["output_tokens_per_s"]
        return not row["fits"], not row["kept"], value

    return sorted(rows, key=order)


def scanned(question: Question, splits: Sequence[Split], batches: np.ndarray = SCAN_BATCHES) -> dict[str, np.ndarray]:
    """Return what `planner.serving.curve.scan` tells of every split, along ``batches``; 33 of them share a program."""
    width = next((w for w in _WIDTHS if w >= len(splits)), len(splits))
    padded = [*splits, *[splits[-1]] * (width - len(splits))]
    arrays = {k: np.array([float(getattr(s, k)) for s in padded]) for k in Split._fields}
    given = {**question.numbers(), "batches": batches}
    del given["energy"]
    told = program(_SCAN, given, arrays)(given, arrays)
    return {name: np.asarray(values)[: len(splits)] for name, values in told.items()}


def _row(question: Question, split: Split, told: Mapping[str, np.ndarray]) -> dict[str, Any]:
    cap = min(limits_of(split, told).values())
    x = np.log(SCAN_BATCHES)

    def at(batch: float) -> dict[str, float]:
        where = np.log(min(max(batch, 1.0), SCAN_BATCHES[-1]))
        names = ("tpot_s", "ttft_s", "output_tokens_per_s")
        return {k: float(np.exp(np.interp(where, x, np.log(told[k])))) for k in names}

    fine = np.geomspace(1.0, max(min(cap, SCAN_BATCHES[-1]), 1.0), 128)
    limited = (
        np.array([all(at(b)[k] <= v for k, v in question.limits.items()) for b in fine]) if question.limits else None
    )
    if question.load == "batch":
        batch, fits = question.amount, question.amount <= cap
    elif question.load == "rate":
        asked = question.amount * question.lengths[2]
        rates = np.maximum.accumulate([at(b)["output_tokens_per_s"] for b in fine])
        fits = bool(asked <= rates[-1]) and cap >= 1.0
        batch = float(np.interp(asked, rates, fine))
    elif question.load == "concurrency":
        batch, fits = min(question.amount, cap), cap >= 1.0
    else:
        fits = cap >= 1.0
        batch = cap if limited is None or not limited.any() else float(fine[np.flatnonzero(limited)[-1]])
    values = at(batch)
    kept = all(values[k] <= v * (1.0 + 1e-6) for k, v in question.limits.items())
    per_chip = values["output_tokens_per_s"] / split.chips
    return {
        **split._asdict(), "batch": batch, **values, "output_tokens_per_s_per_chip": per_chip, "max_batch": cap,
        "fits": fits, "kept": kept,
    }  # fmt: skip
