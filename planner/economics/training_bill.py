"""A training run's days, dollars and joules on a number of chips, and the chips that a deadline takes."""

import equinox as eqx

import configs
from hw import Scalar

from ..training.goodput import Goodput, chips_for


def usd_per_chip_s(chip: configs.ChipFacts, mode: str | None = None) -> float:
    """Return the rental price in a mode of `configs.PRICE_MODES`, or in the one that the chip's file puts first.

    Raises:
        ConfigError: no such mode, or the chip has no price in it.
    """
    return configs.price_of(chip, mode) / configs.HOUR_S


class RunBill(eqx.Module):
    """A run of ``useful_chip_seconds``, as if nothing failed, on chips that fail as ``goodput`` says.

    ``power_w`` is what a chip draws with its share of the server, and ``pue`` (power usage effectiveness, 1 or more)
    what the building draws over that. Chips are rented for as long as the run lasts, restarts and lost work included.
    """

    useful_chip_seconds: Scalar
    goodput: Goodput
    usd_per_chip_s: Scalar
    power_w: Scalar
    pue: Scalar

    def wall_s(self, chips: Scalar) -> Scalar:
        """Return seconds from start to end on ``chips``."""
        return self.chip_seconds(chips) / chips

    def days(self, chips: Scalar) -> Scalar:
        """Return days from start to end on ``chips``."""
        return self.wall_s(chips) / configs.DAY_S

    def chips(self, days: Scalar) -> Scalar:
        """Return the fewest chips, a fraction, that are done in ``days``; infinity where failures let no number be."""
        return chips_for(self.goodput, self.useful_chip_seconds / (days * configs.DAY_S))

    def chip_seconds(self, chips: Scalar) -> Scalar:
        """Return chips times seconds from start to end: what is paid for."""
        return self.useful_chip_seconds / self.goodput.fraction(chips)

    def usd(self, chips: Scalar) -> Scalar:
        """Return US dollars of the run on ``chips``."""
        return self.chip_seconds(chips) * self.usd_per_chip_s

    def joules(self, chips: Scalar) -> Scalar:
        """Return joules of the run on ``chips``, at the meter of the building."""
        return self.chip_seconds(chips) * self.power_w * self.pue
