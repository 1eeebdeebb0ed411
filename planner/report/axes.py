"""Logarithmic axes of charts and pages: where a value lies, and which values to name."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_EVERY = ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,))  # of a decade, finest first
_LEAST = 2  # fewer named values do not make a scale


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis from ``low`` to ``high``, both positive."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float], room: float = 0.0) -> "LogAxis":
        """Return the axis over ``values``, a share ``room`` of its length free at either end.

        Values that are all the same stand in the middle of a factor of four.
        """
        some = list(values)
        low, high = min(some), max(some)
        if high < 1.001 * low:
            return cls(0.5 * low, 2.0 * high)
        free = (high / low) ** room
        return cls(low / free, high * free)

    def share(self, value: float) -> float:
        """Return where ``value`` lies: 0 at the low end, 1 at the high one."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self, most: int) -> list[float]:
        """Return the values to name, at most ``most`` of them: as many round ones as that allows."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for mantissas in _EVERY:
            found = self._among(m * 10.0**k for k in range(first, last + 1) for m in mantissas)
            if _LEAST <= len(found) <= most:
                return found
        decades = self._among(10.0**k for k in range(first, last + 1))
        if len(decades) > most:
            return decades[:: -(-len(decades) // most)]
        return self._even(most)

    def _even(self, most: int) -> list[float]:
        """Return even steps, for an axis too short to hold two round values of a decade."""
        least = (self.high - self.low) / most
        steps = (m * 10.0 ** math.floor(math.log10(least)) for m in (1, 2, 5, 10))
        step = next(step for step in steps if step >= least)
        return self._among(i * step for i in range(round(self.low / step), round(self.high / step) + 1))

    def _among(self, values: Iterable[float]) -> list[float]:
        return [value for value in values if self.low <= value <= self.high]


def plain(value: float) -> str:
    """Return a round value as an axis names it, all digits shown: 0.002, 50, 1,000."""
    return f"{value:,.9f}".rstrip("0").rstrip(".")
