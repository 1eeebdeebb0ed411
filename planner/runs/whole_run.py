"""Whole training runs as published: what they trained on, and the chip-hours that it took."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import configs
from configs import shown

from .cells import number
from .names import chip_of, model_of
from .run import Left, Unusable
from .table import rows_of
from .trained import COLUMNS, is_whole, precision_for, trainer_for

_TAUGHT = re.compile(r"distil|pruning|pruned", re.IGNORECASE)
_BATCH = re.compile(r"global batch ([0-9.]+)M tokens", re.IGNORECASE)


@dataclass(frozen=True)
class WholeRun:
    """One run from start to end: the model, ``tokens`` trained on, and ``chip_hours`` as its makers count them.

    What the source does not say of ``chips``, ``sequence_tokens`` and ``batch_tokens`` is None. ``note`` is the
    source's remark on what the hours hold, ``guessed`` what it left out and a rule filled in.
    """

    where: str
    source: str
    model: configs.ModelFacts
    model_name: str
    chip: configs.ChipFacts
    trainer: str
    precision: str
    tokens: float
    chips: float | None
    sequence_tokens: float | None
    batch_tokens: float | None
    chip_hours: float
    note: str = ""
    guessed: tuple[str, ...] = ()


def read(path: str) -> tuple[list[WholeRun], list[Left]]:
    """Return the whole runs of a CSV file, and those left out.

    Raises:
        configs.ConfigError: no such file, not a table, no rows, or columns missing.
    """
    return parse(rows_of(path, COLUMNS), Path(path).name)


def parse(rows: Iterable[tuple[int, Mapping[str, str | None]]], name: str) -> tuple[list[WholeRun], list[Left]]:
    """Return the whole runs of numbered rows, and those left out; rows of measured steps are neither."""
    runs: list[WholeRun] = []
    left: list[Left] = []
    for line, raw in rows:
        row = {k: v.strip() for k, v in raw.items() if isinstance(k, str) and isinstance(v, str)}
        if is_whole(row):
            try:
                runs.append(_run(f"{name}:{line}", row))
            except Unusable as reason:
                left.append(Left(f"{name}:{line}", str(reason)))
    return runs, left


def _run(where: str, row: dict[str, str]) -> WholeRun:
    kind = row.get("kind", "") or "measured"
    if kind != "measured":
        raise Unusable(f"kind '{shown(kind)}': not a measurement")
    if _TAUGHT.search(row.get("notes", "")):
        raise Unusable("distilled or pruned: hours of teachers are not told apart")
    chip = chip_of(row.get("chip", ""))
    params = (number(row, "total_params_b"), number(row, "active_params_b"))
    model, guessed_model = model_of(row.get("model", ""), *(None if x is None else x * 1e9 for x in params))
    trainer, guessed_trainer = trainer_for(row.get("framework", ""), chip)
    tokens, hours = number(row, "tokens_t"), number(row, "chip_hours")
    if tokens is None or hours is None:
        raise Unusable("tokens_t: how many tokens the run took is not stated")
    batch = _BATCH.search(row.get("notes", ""))
    precision = precision_for(row.get("precision", ""), chip)
    return WholeRun(
        where=where,
        source=row.get("source", ""),
        model=model,
        model_name=row["model"],
        chip=chip,
        trainer=trainer,
        precision=precision,
        tokens=tokens * 1e12,
        chips=number(row, "n_chips"),
        sequence_tokens=number(row, "seq_len"),
        batch_tokens=float(batch.group(1)) * 1e6 if batch else None,
        chip_hours=hours,
        note=row.get("notes", ""),
        guessed=tuple(x for x in (guessed_model, guessed_trainer, "" if row.get("precision") else "bf16") if x),
    )
