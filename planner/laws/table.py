"""The runs that a law is fitted to, read from columns of a CSV table: strictly, every complaint with its line."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float, Int

import configs
from configs.loader import Number

from ..runs.table import Rows, read_csv
from .asked import Asked

# What a run can plausibly say.
_LIMITS = {
    "params": Number("parameters", 1.0, 1e15),
    "tokens": Number("tokens", 1.0, 1e18),
    "flops": Number("FLOPs", 1.0, 1e30),
    "loss": Number("nats per token", 1e-3, 20.0),
    "unique_tokens": Number("tokens", 1.0, 1e18),
    "experts": Number("total over active experts", 1.0, 1e6),
    "sparsity": Number("total over active parameters", 1.0, 1e6),
    "train_bits": Number("bits of a weight", 0.5, 64.0),
    "serve_bits": Number("bits of a weight", 0.5, 64.0),
    "error": Number("share of wrong answers", 0.0, 10.0),
    "weights": Number("weight", 0.0, 1e12),
}
_SOME = 12  # columns, or values, that a complaint names


@dataclass(frozen=True)
class Table:
    """Runs by column, n of each: their ``lines`` in the file, ``columns`` by what they hold (params, tokens, loss and
    those of the form), ``weights`` and ``group`` where asked for.

    ``errors`` are losses and errors of runs that state one, of no weight as well. ``dropped`` are the runs of highest
    loss that were asked to be left out, as (line, loss); ``others`` counts rows that ``where`` left out, ``weightless``
    those of no weight.
    """

    lines: Int[np.ndarray, " n"]
    columns: dict[str, Float[np.ndarray, " n"]]
    weights: Float[np.ndarray, " n"] | None
    group: np.ndarray | None
    errors: tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]] | None
    dropped: list[tuple[int, float]]
    others: int
    weightless: int

    def __len__(self) -> int:
        return len(self.lines)


def read(asked: Asked) -> Table:
    """Return the runs that a question names.

    Raises:
        configs.ConfigError: no such table or column, or a cell that no run can have.
    """
    names, every = read_csv(asked.runs)
    _check_columns(asked, names)
    rows = _picked(every, asked.where, asked.runs)
    file = configs.shown(asked.runs)

    def column(role: str) -> Float[np.ndarray, " n"]:
        name, blank = asked.columns[role], role == "error"
        return np.array([_number(row, name, role, f"{file} line {line}", blank) for line, row in rows], float)

    out = {role: column(role) for role in asked.needed}
    if "flops" in out:
        out["tokens"] = out.pop("flops") / (6.0 * out["params"])
    if asked.form == "repeated" and (out["unique_tokens"] > out["tokens"] * (1.0 + 1e-6)).any():
        worst = rows[int(np.argmax(out["unique_tokens"] / out["tokens"]))][0]
        raise configs.ConfigError(f"{file} line {worst}: more unique tokens than tokens")
    error, weights = (column(role) if role in asked.columns else None for role in ("error", "weights"))
    lines = np.array([line for line, _ in rows])
    kept, dropped = _without_highest(out["loss"], lines, asked.drop_highest, file)
    errors = None
    if error is not None:
        told = kept[np.isfinite(error[kept])]
        errors = out["loss"][told], error[told]
    weightless = 0
    if weights is not None:
        heavy = kept[weights[kept] > 0]
        weightless, kept, weights = len(kept) - len(heavy), heavy, weights[heavy]
        if not len(kept):
            raise configs.ConfigError(f"{file}: no run has a weight above zero")
    group = None
    if "group" in asked.columns:
        names = [rows[i][1][asked.columns["group"]] or "" for i in kept]
        group = np.unique(names, return_inverse=True)[1]
    columns = {name: values[kept] for name, values in out.items()}
    return Table(lines[kept], columns, weights, group, errors, dropped, len(every) - len(rows), weightless)


def _check_columns(asked: Asked, names: list[str]) -> None:
    file = configs.shown(asked.runs)
    have = ", ".join(map(configs.shown, names[:_SOME])) + (", ..." if len(names) > _SOME else "")
    if not names:
        raise configs.ConfigError(f"{file}: empty, where a CSV table with a header was expected")
    for role in asked.needed:
        if role not in asked.columns:
            also = " (or --flops)" if role == "tokens" else ""
            what = "the column that holds it" if role == "loss" else "the column that holds them"
            raise configs.ConfigError(f"--{role.replace('_', '-')}{also} is missing: name {what} ({file} has {have})")
    told = [(f"--{role.replace('_', '-')} = '{name}'", name) for role, name in asked.columns.items()]
    for flag, name in told + [(f"--where: '{configs.shown(name)}'", name) for name in asked.where]:
        if name not in names:
            hint = configs.nearest(name, names) or f" (it has {have})"
            raise configs.ConfigError(f"{configs.shown(flag)}: {file} has no such column{hint}")
        if names.count(name) > 1:
            raise configs.ConfigError(f"{configs.shown(flag)}: {file} has {names.count(name)} columns of that name")


def _picked(rows: Rows, where: Mapping[str, str], path: str) -> Rows:
    for name, value in where.items():
        found = [(line, row) for line, row in rows if _same(row[name] or "", value)]
        if not found:
            have = list(dict.fromkeys((row[name] or "").strip() for _, row in rows))
            some = ", ".join(map(configs.shown, have[:_SOME])) + (", ..." if len(have) > _SOME else "")
            hint = configs.nearest(value, have) or f" ({name} is {some})"
            raise configs.ConfigError(
                f"--where: no row of {configs.shown(path)} has {configs.shown(name)} = '{configs.shown(value)}'{hint}"
            )
        rows = found
    return rows


def _same(cell: str, value: str) -> bool:
    """Say whether a cell holds ``value``: as text, or as the same number."""
    if cell.strip() == value:
        return True
    try:
        return float(cell) == float(value)
    except ValueError:
        return False


def _number(row: Mapping[str, Any], name: str, role: str, where: str, blank: bool) -> float:
    text, spec = (row[name] or "").strip(), _LIMITS[role]
    if not text:
        if blank:
            return np.nan
        raise configs.ConfigError(f"{where}: no {name}: every run needs it (--where picks runs that have it)")
    try:
        value = float(text)
    except ValueError:
        raise configs.ConfigError(f"{where}: {name} = '{configs.shown(text)}' is not a number") from None
    if not isfinite(value) or not spec.low <= value <= spec.high:
        raise configs.ConfigError(
            f"{where}: {name} = {configs.shown(text)} is outside {spec.low:g} to {spec.high:g} ({spec.unit})"
        )
    return value


def _without_highest(
    loss: Float[np.ndarray, " n"], lines: Int[np.ndarray, " n"], count: int, file: str
) -> tuple[np.ndarray, list[tuple[int, float]]]:
    """Return which runs are kept, in order, once ``count`` of the highest losses are left out, and those."""
    if count >= len(loss):
        raise configs.ConfigError(f"--drop-highest = {count} leaves none of the {len(loss)} runs of {file}")
    order = np.argsort(-loss, kind="stable")
    kept = np.sort(order[count:])
    return kept, [(int(lines[i]), float(loss[i])) for i in order[:count]]
