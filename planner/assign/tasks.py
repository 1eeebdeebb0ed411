"""The tasks to be served, read from a table: strictly, every complaint with its line and column."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from configs import ConfigError, shown
from configs.errors import closest
from configs.loader import Number, Rows, Table, Text, read_toml
from configs.spoken import number

from ..runs.table import read_cells

# What a task can say, and what it means where it says nothing; columns without a default are needed.
_COLUMNS = {
    "input_tokens": Number("tokens of one prompt, cached ones too", 0.0, 1e9),
    "output_tokens": Number("tokens of one answer", 0.0, 1e9),
    "quality": Number("points on the scale of the offers, 0 for any", 0.0, 1e4),
    "cached_tokens": Number("tokens of one prompt found in the cache", 0.0, 1e9, required=False),
    "requests": Number("requests", 1e-9, 1e15, required=False),
    "deadline_s": Number("seconds from asking to having the whole answer", 1e-6, 1e9, required=False),
    "value_usd_per_hour": Number("US dollars that an hour of waiting costs", 0.0, 1e9, required=False),
}
_DEFAULTS = {"cached_tokens": 0.0, "requests": 1.0, "deadline_s": inf, "value_usd_per_hour": 0.0}
_NAME = "name"
_KNOWN = (_NAME, *_COLUMNS)
_SOME = 12  # columns that a complaint names


@dataclass(frozen=True)
class Tasks:
    """Tasks by column, n of each: what one request is, how many there are, and what they need.

    ``quality`` is the least that does, 0 for any; ``deadline_s`` is infinite where there is none, and
    ``value_usd_per_hour`` is what an hour of waiting for one answer costs. ``places`` says where a task stands (a line,
    or a row), ``place`` which of both that is; ``unused`` names columns that say nothing known.
    """

    places: Int[np.ndarray, " n"]
    place: str
    names: list[str] | None
    input_tokens: Float[np.ndarray, " n"]
    cached_tokens: Float[np.ndarray, " n"]
    output_tokens: Float[np.ndarray, " n"]
    requests: Float[np.ndarray, " n"]
    quality: Float[np.ndarray, " n"]
    deadline_s: Float[np.ndarray, " n"]
    value_usd_per_hour: Float[np.ndarray, " n"]
    unused: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.places)

    def label(self, task: int) -> str:
        """Return what to call a task: its name, else where it stands."""
        name = self.names[task] if self.names is not None else ""
        return shown(name) if name else f"{self.place} {self.places[task]}"


def read(path: str, value_usd_per_hour: float = 0.0) -> Tasks:
    """Return the tasks of a CSV table, or of the [[tasks]] of a TOML file.

    ``value_usd_per_hour`` is what an hour of waiting costs where a task does not say.

    Raises:
        configs.ConfigError: no such table, a column that is missing or mistyped, or a cell that no task can have.
    """
    names, places, cells, unused = _toml(path) if path.endswith(".toml") else _csv(path)
    place = "task" if path.endswith(".toml") else "line"
    defaults = {**_DEFAULTS, "value_usd_per_hour": value_usd_per_hour}
    columns = {}
    for name, spec in _COLUMNS.items():
        if name in cells:
            columns[name] = _numbers(cells[name], spec, defaults.get(name), name, path, place, places)
        else:
            columns[name] = np.full(len(places), defaults[name])
    more: Bool[np.ndarray, " n"] = columns["cached_tokens"] > columns["input_tokens"]
    if more.any():
        first = int(np.argmax(more))
        cached, whole = columns["cached_tokens"][first], columns["input_tokens"][first]
        raise ConfigError(
            f"{shown(path)} {place} {places[first]}: cached_tokens = {cached:.12g} is more than input_tokens = "
            f"{whole:.12g}, of which it is a part"
        )
    return Tasks(np.array(places), place, names, **columns, unused=unused)


def _csv(path: str) -> tuple[list[str] | None, list[int], dict[str, list[str]], tuple[str, ...]]:
    """Return names, lines, cells by column and columns that are not known."""
    header, lines, rows = read_cells(path)
    header, file = [name.strip() for name in header], shown(path)
    if not header:
        raise ConfigError(f"{file}: empty, where a CSV table with a header was expected (columns: {', '.join(_KNOWN)})")
    _check_header(header, file)
    width = len(header)
    if set(map(len, rows)) != {width}:
        line, row = next((line, row) for line, row in zip(lines, rows, strict=True) if len(row) != width)
        raise ConfigError(f"{file} line {line}: {len(row)} cells, where the header has {width} columns")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    unused = tuple(name for name in header if name and name not in _KNOWN)
    return columns.pop(_NAME, None), lines, columns, unused


def _check_header(header: Sequence[str], file: str) -> None:
    """Refuse a column that is missing, there twice, or all but one of those known."""
    for name in header:
        if header.count(name) > 1:
            raise ConfigError(f"{file}: {header.count(name)} columns are called '{shown(name)}': one is enough")
    for name in header:
        meant = closest(name, _KNOWN) if name and name not in _KNOWN else None
        if meant and meant not in header:
            raise ConfigError(f"{file}: column '{shown(name)}' is not known; did you mean '{meant}'?")
    for name, spec in _COLUMNS.items():
        if spec.required and name not in header:
            have = ", ".join(map(shown, header[:_SOME])) + (", ..." if len(header) > _SOME else "")
            raise ConfigError(f"{file}: no column '{name}' ({spec.unit}); it has {have}")


def _toml(path: str) -> tuple[list[str] | None, list[int], dict[str, list[str]], tuple[str, ...]]:
    """Return what `_csv` does, of a TOML file."""
    task = Table({_NAME: Text(required=False), **_COLUMNS}, sourced=False)
    rows = read_toml(Path(path), {"tasks": Rows(task)})["tasks"]
    cells = {name: [repr(row[name]) if name in row else "" for row in rows] for name in _COLUMNS}
    return [row.get(_NAME, "") for row in rows], list(range(1, len(rows) + 1)), cells, ()


def _numbers(
    cells: Sequence[str], spec: Number, default: float | None, name: str, path: str, place: str, places: Sequence[int]
) -> Float[np.ndarray, " n"]:
    """Return a column as numbers; plain ones all at once, others (10k, blanks) cell by cell."""
    blank = np.zeros(len(cells), bool)
    try:
        values = np.fromiter(map(float, cells), float, len(cells))
    except ValueError:
        values = np.array([_number(text, default) for text in cells])
        if default is not None:
            blank = np.array([not text.strip() for text in cells])
    wrong = ~((values >= spec.low) & (values <= spec.high) | blank)
    if wrong.any():
        first = int(np.argmax(wrong))
        text, where = cells[first].strip(), f"{shown(path)} {place} {places[first]}"
        if not text:
            raise ConfigError(f"{where}: no {name}: give {spec.unit}")
        if number(text) is None:
            raise ConfigError(
                f"{where}: {name} = '{shown(text)}' is not a number: give {spec.unit}, such as 200 or 10k"
            )
        raise ConfigError(f"{where}: {name} = {shown(text)} is outside {spec.low:g} to {spec.high:g} ({spec.unit})")
    return values


def _number(text: str, default: float | None) -> float:
    """Return the number in a cell, the default where it is blank, NaN where it is none."""
    try:
        return float(text)
    except ValueError:  # blank, or as people write numbers
        found = number(text) if text.strip() else default
        return np.nan if found is None else found
