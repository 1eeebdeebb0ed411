"""Nested dicts of numbers, as compiled programs take them: made of many, picked from, repeated."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def gathered(rows: Sequence[Any]) -> Any:
    """Return like trees as one, an entry each in every leaf."""
    if isinstance(rows[0], Mapping):
        return {key: gathered([row[key] for row in rows]) for key in rows[0]}
    return np.array(rows, dtype=float)


def picked(tree: Any, index: int | Sequence[int] | np.ndarray) -> Any:
    """Return the entries ``index`` of every leaf, or the one entry."""
    if isinstance(tree, Mapping):
        return {key: picked(value, index) for key, value in tree.items()}
    return np.asarray(tree)[index]


def repeated(tree: Any, count: int) -> Any:
    """Return every leaf with ``count`` entries; one that has them already stays."""
    if isinstance(tree, Mapping):
        return {key: repeated(value, count) for key, value in tree.items()}
    leaf = np.asarray(tree, dtype=float)
    return leaf if leaf.ndim and len(leaf) == count else np.full(count, leaf)
