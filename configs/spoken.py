"""Numbers as people write them: 70B, 1.5T, 10k, $3."""

import math
import re

_SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_NUMBER = re.compile(r"\$?([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([kKmMbBtT]?)")


def number(text: str) -> float | None:
    """Return the number in ``text``, with an optional spoken suffix (70B, 1.5T, 10k), or None."""
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        return None
    value = float(match.group(1).replace("_", "")) * _SUFFIXES[match.group(2).lower()]
    return value if math.isfinite(value) else None
