"""Calibrated constants of accelerator kernels, by family and variant, each with its standard error and error table."""

from dataclasses import dataclass, replace
from typing import Any

from .catalog import ids, path_of
from .chips import ChipFacts
from .errors import ConfigError
from .kernel_sets import KERNELS
from .loader import Text, read_toml

_SCHEMA = {"name": Text(), "kernels": replace(KERNELS, required=True)}
GENERIC = "generic"


@dataclass(frozen=True)
class KernelSet:
    """Fitted parameters of one kernel family in one variant, such as gemm in bf16.

    ``value`` and ``log_standard_error`` are keyed by parameter; ``low`` and ``high`` bound the shapes fitted, by
    column. ``mdape`` and ``p90`` are the errors on all rows, ``unseen_mdape`` on shapes (for a generic set: on
    systems) that a fit did not see. ``origin`` is the id of the chip that was timed, or generic.
    """

    value: dict[str, float]
    log_standard_error: dict[str, float]
    rows: float
    mdape: float
    p90: float
    unseen_mdape: float | None
    software: str
    low: dict[str, float]
    high: dict[str, float]
    origin: str = ""


@dataclass(frozen=True)
class KernelFacts:
    """Kernel sets by family and variant, for one chip; each set says where it was timed."""

    id: str
    sets: dict[str, dict[str, KernelSet]]
    source: str

    def measured(self, family: str, variant: str) -> bool:
        """Say whether this very chip was timed, rather than a sibling or the generic mix."""
        return self.sets[family][variant].origin == self.id


def load_kernels(name: str) -> KernelFacts:
    """Load a file of kernel constants by id or by path.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("kernels", name)
    return _facts(path.stem, read_toml(path, _SCHEMA)["kernels"])


def kernels_of(chip: ChipFacts) -> KernelFacts:
    """Return the constants that ``chip`` runs on, set by set: its own, else its sibling's, else the generic ones.

    Raises:
        ConfigError: the chip file names a sibling without constants.
    """
    layers = [load_kernels(GENERIC)]
    like = chip.tables.get("kernels_like")
    if like is not None:
        layers.append(load_kernels(like))
    if chip.id in ids("kernels"):
        layers.append(load_kernels(chip.id))
    if "kernels" in chip.tables:
        layers.append(_facts(chip.id, chip.tables["kernels"]))
    sets: dict[str, dict[str, KernelSet]] = {}
    for layer in layers:
        for family, variants in layer.sets.items():
            sets[family] = {**sets.get(family, {}), **variants}
    return KernelFacts(chip.id, sets, layers[-1].source)


def _facts(name: str, raw: dict[str, Any]) -> KernelFacts:
    families = {
        family: {
            variant: _set(f"{name}: kernels.set.{family}.{variant}", one, name) for variant, one in variants.items()
        }
        for family, variants in raw["set"].items()
    }
    return KernelFacts(name, families, raw["source"])


def _set(where: str, one: dict[str, Any], origin: str) -> KernelSet:
    if one["value"].keys() != one["log_standard_error"].keys():
        raise ConfigError(f"{where}: value and log_standard_error must name the same parameters")
    if one["low"].keys() != one["high"].keys():
        raise ConfigError(f"{where}: low and high must name the same columns")
    return KernelSet(
        one["value"],
        one["log_standard_error"],
        one["rows"],
        one["mdape"],
        one["p90"],
        one.get("unseen_mdape"),
        one.get("software", ""),
        one["low"],
        one["high"],
        origin,
    )
