"""Kernel constants and chips as TOML text that the loader reads back."""

from typing import Any

import configs

from .fitting import Fitted
from .toml_text import toml


def kernels_file(name: str, sets: list[Fitted], source: str, date: str) -> str:
    """Return a file of kernel constants alone, as in `configs/kernels`."""
    return toml({"name": name, "kernels": _kernels(sets, source, date)})


def chip_file(chip: configs.ChipFacts, sets: list[Fitted], source: str, date: str) -> str:
    """Return a chip file: the chip's tables as read or measured, with the fitted constants inside.

    What was not timed falls back on the shipped constants of the same chip, where there are any.
    """
    plain = {k: v for k, v in chip.tables.items() if k not in ("kernels", "aliases")}
    if chip.id in configs.ids("kernels"):
        plain["kernels_like"] = chip.id
    return toml({**plain, "kernels": _kernels(sets, source, date)})


def _kernels(sets: list[Fitted], source: str, date: str) -> dict[str, Any]:
    out: dict[str, Any] = {"source": source, "date": date, "set": {}}
    for one in sets:
        out["set"].setdefault(one.family, {})[one.variant] = _set(one.facts)
    return out


def _set(facts: configs.KernelSet) -> dict[str, Any]:
    errors = {name: getattr(facts, name) for name in ("mdape", "p90")}
    out: dict[str, Any] = {"rows": facts.rows, **{k: _short(v) for k, v in errors.items() if v is not None}}
    if facts.unseen_mdape is not None:
        out["unseen_mdape"] = _short(facts.unseen_mdape)
    if facts.software:
        out["software"] = facts.software
    out["value"] = {k: float(f"{v:.6g}") for k, v in facts.value.items()}
    out["log_standard_error"] = {k: float(f"{v:.3g}") for k, v in facts.log_standard_error.items()}
    return {**out, "low": facts.low, "high": facts.high}


def _short(value: float) -> float:
    return float(f"{value:.4g}")
