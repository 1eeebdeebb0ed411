"""The one error this package raises, and the help it gives with names."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """Bad input, told in one sentence: where, which field, its value, what is allowed."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of ``names``, or an empty string."""
    found = closest(name, names)
    return f"; did you mean '{found}'?" if found else ""


def closest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of ``names`` that ``name`` is a slip, a beginning, or a variant of, if any."""
    lowered = {n.lower().lstrip("-"): n for n in names}
    typed = name.lower().lstrip("-")
    begun = [n for n in lowered if typed and n.startswith(typed)]
    inside = [n for n in lowered if n and typed.startswith(n)]
    close = get_close_matches(typed, list(lowered), n=1, cutoff=0.6)
    slips = get_close_matches(typed, close, n=1, cutoff=0.85)  # a letter or two
    found = begun or slips or inside or close
    return lowered[found[0]] if found else None


def shown(value: str) -> str:
    """Return ``value`` fit for one line of an error: control characters escaped, cut at 200."""
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return plain if len(plain) <= 200 else plain[:197] + "..."
