"""Tables of runs as CSV files: their numbered rows, and their headers."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from configs import ConfigError, nearest, shown

Rows = list[tuple[int, dict[str, str | None]]]


def read_csv(path: str) -> tuple[list[str], Rows]:
    """Return the header of a table and its rows, each with its line.

    Raises:
        configs.ConfigError: no such file, not a table, or no rows.
    """
    with _opened(path) as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or ())
        rows = [(reader.line_num, dict(row)) for row in reader]
    _check_rows(path, names, rows)
    return names, rows


def read_cells(path: str) -> tuple[list[str], list[int], list[list[str]]]:
    """Return the header of a table, the line of each row and its cells as they are; blank lines are none.

    Raises:
        configs.ConfigError: no such file, not a table, or no rows.
    """
    with _opened(path) as file:
        reader = csv.reader(file)
        names = next(reader, [])
        lines, rows = [], []
        for row in reader:
            if row:
                lines.append(reader.line_num)
                rows.append(row)
    _check_rows(path, names, rows)
    return names, lines, rows


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    """Open a table; what cannot be read as one is told as an error for people."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            yield file
    except (OSError, ValueError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{shown(path)}: cannot be read as CSV ({why})") from None


def _check_rows(path: str, names: Sequence[str], rows: Sequence[object]) -> None:
    if names and not rows:
        raise ConfigError(f"{shown(path)}: a header without rows")


def rows_of(path: str, columns: Sequence[str]) -> Rows:
    """Return the rows of a table that has ``columns``, each with its line.

    Raises:
        configs.ConfigError: no such file, not a table, no rows, or columns missing.
    """
    names, rows = read_csv(path)
    missing = [name for name in columns if name not in names]
    if missing:
        hint = nearest(missing[0], names)
        raise ConfigError(f"{shown(path)}: no column '{missing[0]}'{hint} (needed: {', '.join(columns)})")
    return rows


def has_columns(file: Path, columns: Sequence[str]) -> bool:
    """Say whether ``file`` is a table with ``columns``, by its header."""
    if file.suffix.lower() not in (".csv", ".txt"):
        return False
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            header = next(csv.reader(lines), [])
    except (OSError, ValueError, csv.Error):
        return False
    return set(columns) <= set(header)
