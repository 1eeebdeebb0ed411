"""What a profile says of runs it was not fitted to: whole chips, whole models, left out in turn."""

from collections.abc import Mapping, Sequence

import numpy as np

from .predict import Kept
from .profile import fit_profile
from .quantiles import FEWEST, conformal
from .run import Run, shape

FEWEST_GROUPS = 3  # chips or models: with two, either is predicted from the other alone


def chip_of(run: Run) -> str:
    """Return the chip's id."""
    return run.chip.id


def model_of(run: Run) -> str:
    """Return the model's architecture."""
    return shape(run.model)


class Jackknife:
    """Residuals of ``runs``, log(measured / predicted) in seconds, each from a fit without its own group.

    ``chosen`` marks the runs that fits learn from; ``sd`` and ``centre`` are the prior. Fits are made once and kept.
    """

    def __init__(
        self, runs: Sequence[Run], kept: Kept, chosen: np.ndarray, groups: Sequence[str], sd: Mapping[str, float],
        centre: Mapping[str, float],
    ) -> None:  # fmt: skip
        self._given = (runs, kept, sd, centre)
        self._chosen, self._groups = chosen, np.array(groups)
        self._fits: dict[frozenset[str], np.ndarray] = {}
        self.names = sorted(set(groups))

    def without(self, *names: str) -> np.ndarray:
        """Return the residuals of all runs under a fit to those of no group in ``names``."""
        key = frozenset(names)
        if key not in self._fits:
            runs, kept, sd, centre = self._given
            learned = np.flatnonzero(self._chosen & ~np.isin(self._groups, list(key)))
            self._fits[key] = fit_profile(runs, learned, kept, sd, centre).residuals
        return self._fits[key]

    def residuals(self, besides: str | None = None) -> np.ndarray:
        """Return every run's residual from the fit without its group, and without the group ``besides``."""
        out = np.full(len(self._groups), np.nan)
        for name in self.names:
            if name != besides:
                mine = self._groups == name
                out[mine] = self.without(*{name, besides or name})[mine]
        return out

    def coverage(self, counted: np.ndarray) -> float | None:
        """Return the share of ``counted`` runs inside the 90 % interval that the other groups give.

        For each group, the bounds are those of residuals of the others, each predicted without its own group and
        without this one: nothing of the group tested enters its interval. None where others are too few.
        """
        inside = total = 0
        for name in self.names:
            mine = counted & (self._groups == name)
            others = self.residuals(besides=name)[counted & (self._groups != name)]
            if not mine.any() or len(others) < FEWEST:
                continue
            low, high = conformal(others)
            tested = self.without(name)[mine]
            inside += int(((tested >= low) & (tested <= high)).sum())
            total += int(mine.sum())
        return inside / total if total else None
