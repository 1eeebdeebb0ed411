"""Tables of runs as CSV files: their numbered rows, and their headers."""

import csv
from collections.abc import Sequence
from pathlib import Path

from configs import ConfigError, nearest, shown

Rows = list[tuple[int, dict[str, str | None]]]


def read_csv(path: str) -> tuple[list[str], Rows]:
    """Return the header of a table and its rows, each with its line.

    Raises:
        configs.ConfigError: no such file, not a table, or no rows.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            rows = [(reader.line_num, dict(row)) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{shown(path)}: cannot be read as CSV ({why})") from None
    if names and not rows:
        raise ConfigError(f"{shown(path)}: a header without rows")
    return names, rows


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
