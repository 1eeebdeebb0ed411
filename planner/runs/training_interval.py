"""What measured over predicted throughput of training lies between, by what measured runs left."""

from collections.abc import Sequence
from math import hypot

import configs

from .run import shape


def bounds(trainer: configs.TrainerFacts, chip: configs.ChipFacts, model: configs.ModelFacts, experts: bool) -> tuple[
    float, float
]:  # fmt: skip
    """Return what measured over predicted throughput lies between in nine cases of ten, as logarithms.

    Where chip and model were among the fitted rows these are the percentiles of their residuals; a chip, or a model,
    that the fit did not see takes those of rows left out by chip, or by model; both, what either adds to the fitted
    rows' is independent of the other.
    """
    kind = "experts" if experts else "dense"
    seen = _table(trainer, kind)
    tables = [seen]
    if chip.id not in trainer.chips:
        tables.append(_table(trainer, f"{kind}_unseen_chip"))
    if not _knows(trainer, model):
        tables.append(_table(trainer, f"{kind}_unseen_model"))
    low, high = (_joined([max(sign * one[end], 0.0) for one in tables]) for sign, end in ((-1.0, "low"), (1.0, "high")))
    return -low, high


def _joined(sizes: Sequence[float]) -> float:
    """Return errors together: what each adds to the first is independent of the others."""
    first = sizes[0]
    added = [max(size**2 - first**2, 0.0) ** 0.5 for size in sizes[1:]]
    return hypot(first, *added)


def _table(trainer: configs.TrainerFacts, name: str) -> dict[str, float]:
    """Return a residual table: the trainer's, or that of the other kind of model."""
    other = name.replace("experts", "dense") if "experts" in name else name.replace("dense", "experts")
    found = trainer.residuals.get(name) or trainer.residuals.get(other)
    if found is None:
        raise configs.ConfigError(f"{trainer.id}: residuals.{name} is missing, without which no interval can be told")
    return found


def _knows(trainer: configs.TrainerFacts, model: configs.ModelFacts) -> bool:
    known = (configs.load_model(name) for name in trainer.models if name in configs.ids("models"))
    return model.id in trainer.models or any(shape(one) == shape(model) for one in known)
