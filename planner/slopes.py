"""What inputs do to the calibrated kernels at a plan: slopes of the residuals, by differences."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .choices import Choice
from .condensed import Condensed, in_chunks
from .serving.residuals import TIMES, log_residual
from .trees import gathered

_STEP = 0.05  # relative: wide enough that the edge of a tile within it does not pass for a slope
_TILED = ("input_tokens", "output_tokens")
_WIDE = [float(np.exp(log)) for log in np.linspace(-0.15, 0.15, 11)]
_RATES = ("hbm_bytes_per_s", "link_bytes_per_s", "scale_out_bytes_per_s")
_HOW = ("weight_bytes", "kv_bytes")


def beyond(
    condensed: Condensed, given: Mapping[str, Any], index: int, point: np.ndarray
) -> dict[str, dict[str, float]]:
    """Return d ln(residual) / d ln(input) by input and time, for the choice ``index`` at ``point`` (ln N, D, B)."""
    choice = condensed.choices[index]
    base = {"given": given, "choice": choice.numbers(), "machine": choice.machine()}
    names = [
        *_paths(given, ("input_tokens", "output_tokens", "cached_fraction", "shape")),
        *_paths(base["choice"], ("engine",)),
        *_hardware(choice),
    ]
    factors = [_factors(given, name) for name in names]
    rows = [_scaled(base, choice, name, factor) for name, some in zip(names, factors, strict=True) for factor in some]
    logs = _logs(rows, point, choice.experts)
    out, first = {}, 0
    for name, some in zip(names, factors, strict=True):
        here = slice(first, first + len(some))
        out[name] = {time: float(np.polyfit(np.log(some), logs[time][here], 1)[0]) for time in TIMES}
        first += len(some)
    return out


def _factors(given: Mapping[str, Any], name: str) -> list[float]:
    """Return what an input is multiplied by for its slope: of a line through many points where tiles count it."""
    if name in _TILED:
        return _WIDE
    step = _step(given, name)
    return [1.0 - step, 1.0 + step]


def _step(given: Mapping[str, Any], name: str) -> float:
    """Return the relative step of an input: some of the prompt must stay out of the cache."""
    cached = given["cached_fraction"]
    return min(_STEP, 0.5 * (1.0 - cached) / cached) if name == "cached_fraction" and cached > 0 else _STEP


def moved(
    condensed: Condensed, given: Mapping[str, Any], index: int, point: np.ndarray, name: str, factor: float
) -> dict[str, float]:
    """Return ln(residual seconds) of every time for the choice ``index`` at ``point``, the input ``name`` scaled."""
    choice = condensed.choices[index]
    base = {"given": given, "choice": choice.numbers(), "machine": choice.machine()}
    logs = _logs([_scaled(base, choice, name, factor)], point, choice.experts)
    return {time: float(values[0]) for time, values in logs.items()}


def _logs(rows: list[Any], point: np.ndarray, experts: float) -> dict[str, np.ndarray]:
    points = {"log_N": np.full(len(rows), point[0]), "log_B": np.full(len(rows), point[2])}
    given, choices, machines = (gathered([row[key] for row in rows]) for key in ("given", "choice", "machine"))
    told = in_chunks(given, choices, machines, points)["residuals"]
    return {name: log_residual(told[name], point[0], point[2], np.log(experts)) for name in TIMES}


def _paths(tree: Mapping[str, Any], heads: tuple[str, ...]) -> list[str]:
    out = []
    for head in heads:
        inner = tree[head]
        out += [f"{head}.{key}" for key in inner] if isinstance(inner, Mapping) else [head]
    return [name for name in out if name != "shape.kv_heads"]


def _hardware(choice: Choice) -> list[str]:
    peaks = [f"chip.peak_flops_per_s.{p}" for p in choice.chip.peak_flops_per_s]
    return [*peaks, *(f"chip.{name}" for name in _RATES), *(f"precision.{name}" for name in _HOW)]


def _scaled(base: Mapping[str, Any], choice: Choice, name: str, factor: float) -> dict[str, Any]:
    """Return ``base`` with one input multiplied, wherever it is met."""
    head, _, last = name.rpartition(".")
    if head == "engine":
        machine = {**base["machine"], "engine": _times(base["machine"]["engine"], last, factor)}
        return {**base, "choice": _at(base["choice"], name, factor), "machine": machine}
    if head.startswith("chip"):
        chip = choice.chip
        if head == "chip.peak_flops_per_s":
            chip = replace(chip, peak_flops_per_s=_times(chip.peak_flops_per_s, last, factor))
        else:
            chip = replace(chip, **{last: getattr(chip, last) * factor})
        machine = choice.machine(chip)
        known = last in base["choice"]["chip"] or head == "chip.peak_flops_per_s"
        return {**base, "choice": _at(base["choice"], name, factor) if known else base["choice"], "machine": machine}
    if head == "precision":
        return {**base, "choice": _at(base["choice"], name, factor), "machine": _weighed(base["machine"], last, factor)}
    return {**base, "given": _at(base["given"], name, factor)}


def _weighed(machine: Mapping[str, Any], name: str, factor: float) -> dict[str, Any]:
    device = dict(machine["device"])
    if name == "kv_bytes":
        device = _times(device, name, factor)
    else:
        formats = device["formats"]
        wider = {role: _times(formats[role], "element_bytes", factor) for role in ("attention", "dense")}
        device["formats"] = {**formats, **wider}
    return {**machine, "device": device}


def _times(tree: Mapping[str, Any], key: str, factor: float) -> dict[str, Any]:
    return {**tree, key: tree[key] * factor}


def _at(tree: Mapping[str, Any], path: str, factor: float) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {**tree, head: _at(tree[head], rest, factor)} if rest else _times(tree, head, factor)
