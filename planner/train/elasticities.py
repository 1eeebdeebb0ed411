"""What one per cent more of each input does to a run's chip-hours and bill, the layout held."""

from collections.abc import Iterator, Mapping
from typing import Any

from .question import Question
from .space import Way, differentiate

# What kernels were fitted to, flags, and lengths that change the batch as well while its sequences stay.
_SKIPPED = (
    "device", "model", "params", "narrow", "older", "recomputed", "reversible", "overlapped", "sequences",
    "sequence_tokens", "expert_load",
)  # fmt: skip


def elasticities(question: Question, way: Way) -> dict[str, float]:
    """Return d ln(cost) / d ln(input) by dotted path: dollars where the chip has a price, else chip-hours.

    Of the chip's rates and memory, the trainer's profile, tokens, failures and prices.
    """
    given, slopes = question.numbers(), differentiate(question, way)
    found = {
        name: value * slope
        for (name, value), (_, slope) in zip(_leaves(given), _leaves(slopes), strict=True)
        if name.split(".")[0] not in _SKIPPED
    }
    out = {_called(name, question): 0.0 for name in found}
    for name, value in found.items():
        out[_called(name, question)] += value
    if question.usd_per_hour is not None:
        out["chip.usd_per_hour"] = 1.0
    return dict(sorted(out.items(), key=lambda item: -abs(item[1])))


def _called(name: str, question: Question) -> str:
    """Return an input's name as chip files and flags have it."""
    known = {
        "chip.wide_flops_per_s": "chip.peak_flops_per_s.bf16",
        "chip.narrow_flops_per_s": f"chip.peak_flops_per_s.{question.precision}",
        "bill.usd_per_chip_s": "chip.usd_per_hour",
        "bill.power_w": "chip.power_w",
        "bill.pue": "pue",
    }
    return known.get(name, name.replace("bill.", "failures."))


def _leaves(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    for key in sorted(tree):  # programs return what they were given by sorted keys
        value = tree[key]
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        elif not isinstance(value, (list, tuple)):
            yield f"{path}{key}", float(value)
