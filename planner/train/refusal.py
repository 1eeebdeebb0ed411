"""Why no layout does: which limit binds, by how much, and the nearest numbers that would do."""

from dataclasses import replace
from typing import Any

import numpy as np

from ..training.states import RESERVED_FRACTION
from . import space
from .chips import Found, find
from .question import Question


def refuse(question: Question, found: Found) -> dict[str, Any]:
    """Return ``limit``, a sentence, and the ``nearest`` feasible values of what was asked."""
    if question.days is not None and np.isfinite(found.nearest_days):
        return _too_slow(question, found)
    if found.space.whole and question.chips is not None:
        return _too_full(question, found)
    if question.chips is None:
        found = Found(space.search(question, [2**k for k in range(15)]), [], np.inf)
        if found.space.whole:
            return _too_full(question, found)
    return _indivisible(question)


def _too_slow(question: Question, found: Found) -> dict[str, Any]:
    days, asked = found.nearest_days, question.days
    where = f"on {question.chips:,} chips" if question.chips is not None else "on any number of chips"
    nearest: dict[str, Any] = {"days": days}
    if question.chips is not None:
        more = find(replace(question, chips=None))
        if more.space.ways:
            nearest["chips"] = more.space.ways[0].chips
    said = f"the run takes {days:.3g} days {where}, longer than the {asked:g} asked for"
    chips = f"; {nearest['chips']:,} chips would do it" if "chips" in nearest else ""
    batch = question.sequences * question.sequence_tokens
    why = "" if "chips" in nearest else f": a batch of {batch / 1e6:.3g}M tokens feeds no more chips"
    return {"limit": "days", "message": said + chips + why, "nearest": nearest}


def _too_full(question: Question, found: Found) -> dict[str, Any]:
    room = question.chip.visible_bytes * (1.0 - RESERVED_FRACTION)
    least = found.space.least_bytes
    start = max(question.chips or 1, 1)
    counts = [start * 2**k for k in range(1, 15) if start * 2**k <= space.MOST_CHIPS]
    more = space.search(question, counts)
    able = [w.chips for w, days in zip(more.ways, more.days, strict=True) if days <= (question.days or np.inf)]
    nearest = {"chips": min(able)} if able else {}
    has = f"a chip has room for {room / 1e9:.3g} GB and the emptiest layout needs {least / 1e9:.3g} GB"
    then = f"; {nearest['chips']:,} chips would hold it" if nearest else ""
    return {"limit": "memory", "message": f"{question.model.name} does not fit: {has}{then}", "nearest": nearest,
            "needs_bytes": least, "has_bytes": room}  # fmt: skip


def _indivisible(question: Question) -> dict[str, Any]:
    """Refuse chips that no layout uses up: more than there are sequences to share out, or not dividing anything."""
    chips = question.chips or 1
    # Rounder numbers on both sides, ever coarser: those next to the one asked for come first.
    steps = [2**k for k in range(3, chips.bit_length() + 1)]
    near = sorted({n for step in steps for n in (chips // step * step, -(-chips // step) * step) if n and n != chips})
    able = sorted({way.chips for way in space.search(question, near).ways}, key=lambda n: abs(n - chips))
    batch = question.sequences * question.sequence_tokens
    given = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in question.ways.items())
    with_ways = f" with {given}" if given else ""
    then = f"; {able[0]:,} chips would do" if able else ""
    shared = f"a batch of {question.sequences:g} sequences ({batch / 1e6:.3g}M tokens)"
    said = f"no layout shares {shared} out over {chips:,} chips"
    return {"limit": "batch", "message": said + with_ways + then, "nearest": {"chips": able[0]} if able else {}}
