"""The one error this package raises, and the help it gives with names."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """Bad input, told in one sentence: where, which field, its value, what is allowed."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of ``names``, or an empty string."""
    lowered = {n.lower(): n for n in names}
    found = get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    return f"; did you mean '{lowered[found[0]]}'?" if found else ""
