"""The columns of a file of timings as they were read, before anyone knows what they mean."""

from collections.abc import Mapping
from typing import Any

import numpy as np


class Columns:
    """The columns of one file, as they were read; each is converted to numbers or to texts when asked for."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns
        self.rows = len(next(iter(columns.values()))) if columns else 0

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def number(self, name: str, default: float = np.nan) -> np.ndarray:
        """Return a column as float64, not a number where a cell is not one; ``default`` if there is no column."""
        if name not in self._columns:
            return np.full(self.rows, default)
        column = self._columns[name]
        try:
            values = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            values = None
        if values is None or values.shape != (self.rows,):
            values = np.fromiter((_float(cell) for cell in column), dtype=np.float64, count=self.rows)
        return values

    def text(self, name: str, default: str = "") -> np.ndarray:
        """Return a column as strings, "" where a cell is empty; ``default`` if there is no column."""
        if name not in self._columns:
            return np.full(self.rows, default, dtype=object)
        column = self._columns[name]
        cells = column.tolist() if isinstance(column, np.ndarray) else column
        if not all(type(cell) is str for cell in cells):
            cells = ["" if cell is None else str(cell) for cell in cells]
        out = np.empty(self.rows, dtype=object)
        out[:] = cells
        return out

    def flag(self, name: str) -> np.ndarray:
        """Return a column of truth values written as True, true or 1."""
        yes = {"true", "1", "1.0"}
        return np.array([text.strip().lower() in yes for text in self.text(name)], dtype=bool)


def _float(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return np.nan
