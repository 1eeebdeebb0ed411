"""The one error this package raises, and the help it gives with names."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """Bad input, told in one sentence: where, which field, its value, what is allowed."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of ``names``, or an empty string."""
    lowered = {n.lower().lstrip("-"): n for n in names}
    typed = name.lower().lstrip("-")
    begun = [n for n in lowered if typed and (n.startswith(typed) or typed.startswith(n))]
    found = begun[:1] or get_close_matches(typed, list(lowered), n=1, cutoff=0.6)
    return f"; did you mean '{lowered[found[0]]}'?" if found else ""


def shown(value: str) -> str:
    """Return ``value`` fit for one line of an error: control characters escaped, cut at 200."""
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return plain if len(plain) <= 200 else plain[:197] + "..."
