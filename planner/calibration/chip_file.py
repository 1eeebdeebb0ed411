"""Kernel constants and chips as TOML text that the loader reads back."""

from typing import Any

import configs

from .fitting import Fitted


def kernels_file(name: str, sets: list[Fitted], source: str, date: str) -> str:
    """Return a file of kernel constants alone, as in `configs/kernels`."""
    return _toml({"name": name, "kernels": _kernels(sets, source, date)})


def chip_file(chip: configs.ChipFacts, sets: list[Fitted], source: str, date: str) -> str:
    """Return a chip file: the chip's tables as read or measured, with the fitted constants inside.

    What was not timed falls back on the shipped constants of the same chip, where there are any.
    """
    plain = {k: v for k, v in chip.tables.items() if k not in ("kernels", "aliases")}
    if chip.id in configs.ids("kernels"):
        plain["kernels_like"] = chip.id
    return _toml({**plain, "kernels": _kernels(sets, source, date)})


def _kernels(sets: list[Fitted], source: str, date: str) -> dict[str, Any]:
    out: dict[str, Any] = {"source": source, "date": date, "set": {}}
    for one in sets:
        out["set"].setdefault(one.family, {})[one.variant] = _set(one.facts)
    return out


def _set(facts: configs.KernelSet) -> dict[str, Any]:
    out: dict[str, Any] = {"rows": facts.rows, "mdape": _short(facts.mdape), "p90": _short(facts.p90)}
    if facts.unseen_mdape is not None:
        out["unseen_mdape"] = _short(facts.unseen_mdape)
    if facts.software:
        out["software"] = facts.software
    out["value"] = {k: float(f"{v:.6g}") for k, v in facts.value.items()}
    out["log_standard_error"] = {k: float(f"{v:.3g}") for k, v in facts.log_standard_error.items()}
    return {**out, "low": facts.low, "high": facts.high}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _toml(tables: dict[str, Any], path: tuple[str, ...] = ()) -> str:
    """Write nested tables: plain keys first, then each sub-table under its own header."""
    lines = [f"{_key(k)} = {_value(v)}" for k, v in tables.items() if not isinstance(v, dict)]
    head = [f"[{'.'.join(map(_key, path))}]"] if path and lines else []
    blocks = ["\n".join([*head, *lines])] if lines else []
    blocks += [_toml(v, (*path, k)) for k, v in tables.items() if isinstance(v, dict)]
    return "\n\n".join(b.rstrip("\n") for b in blocks) + "\n"


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(value)
