"""Calibrated constants of accelerator kernels, by family and variant, each with its standard error and error table."""

from dataclasses import dataclass, replace
from typing import Any

from .catalog import ids, path_of
from .chips import ChipFacts
from .errors import ConfigError
from .kernel_sets import KERNELS
from .loader import Text, read_toml

_SCHEMA = {"name": Text(), "like": Text(required=False), "kernels": replace(KERNELS, required=True)}
GENERIC = "generic"
ANY = "any"  # a derived set of this name stands for every variant of its family: no format was timed apart
_TIMED = ("rows", "mdape", "p90", "log_standard_error", "low", "high")  # what only timings can tell


@dataclass(frozen=True)
class KernelSet:
    """Fitted parameters of one kernel family in one variant, such as gemm in bf16.

    ``value`` and ``log_standard_error`` are keyed by parameter; ``low`` and ``high`` bound the shapes fitted, by
    column. ``mdape`` and ``p90`` are the errors on all rows, ``unseen_mdape`` on shapes (for a generic set: on
    systems) that a fit did not see. ``origin`` is the id of the chip that was timed, or generic. A set that is not
    ``timed`` was derived from datasheets and published rates: no rows, no errors, no range.
    """

    value: dict[str, float]
    log_standard_error: dict[str, float]
    rows: float
    mdape: float | None
    p90: float | None
    unseen_mdape: float | None
    software: str
    low: dict[str, float]
    high: dict[str, float]
    origin: str = ""
    timed: bool = True


_Sets = dict[str, dict[str, KernelSet]]


@dataclass(frozen=True)
class KernelFacts:
    """Kernel sets by family and variant, for one chip; each set says where it was timed."""

    id: str
    sets: dict[str, dict[str, KernelSet]]
    source: str

    def measured(self, family: str, variant: str) -> bool:
        """Say whether this very chip was timed, rather than a sibling or the generic mix, or nothing at all."""
        found = self.sets[family][variant]
        return found.origin == self.id and found.timed


def load_kernels(name: str) -> KernelFacts:
    """Load a file of kernel constants by id or by path.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("kernels", name)
    raw = read_toml(path, _SCHEMA)
    own = _facts(path.stem, raw["kernels"])
    if "like" not in raw:
        return own
    try:
        base = path_of("kernels", raw["like"])
    except ConfigError as error:
        raise ConfigError(f"{path}: like: {error}") from None
    below = read_toml(base, _SCHEMA)
    if "like" in below:
        raise ConfigError(
            f"{path}: like = '{raw['like']}' is itself like '{below['like']}': name a set that stands alone"
        )
    return KernelFacts(own.id, _over(_facts(base.stem, below["kernels"]).sets, own.sets), own.source)


def kernels_of(chip: ChipFacts, constants: str | None = None) -> KernelFacts:
    """Return the constants that ``chip`` runs on, set by set: its own, else its sibling's, else the generic ones.

    ``constants`` names a set to take instead, whatever the chip: those of an ideal engine.

    Raises:
        ConfigError: the chip file names a sibling without constants, or ``constants`` is not known.
    """
    layers = [load_kernels(GENERIC)]
    if constants is not None:
        layers.append(load_kernels(constants))
        return KernelFacts(constants, _over(layers[0].sets, layers[1].sets), layers[1].source)
    like = chip.tables.get("kernels_like")
    if like is not None:
        layers.append(load_kernels(like))
    if chip.id in ids("kernels"):
        layers.append(load_kernels(chip.id))
    if "kernels" in chip.tables:
        layers.append(_facts(chip.id, chip.tables["kernels"]))
    sets: _Sets = {}
    for layer in layers:
        sets = _over(sets, layer.sets)
    return KernelFacts(chip.id, sets, layers[-1].source)


def _over(below: _Sets, above: _Sets) -> _Sets:
    """Return the sets of ``below`` with those of ``above`` in their place."""
    out = dict(below)
    for family, variants in above.items():
        known = dict(out.get(family, {}))
        if ANY in variants:
            known |= dict.fromkeys(known, variants[ANY])
        out[family] = {**known, **variants}
    return out


def _facts(name: str, raw: dict[str, Any]) -> KernelFacts:
    families = {
        family: {
            variant: _set(f"{name}: kernels.set.{family}.{variant}", one, name) for variant, one in variants.items()
        }
        for family, variants in raw["set"].items()
    }
    return KernelFacts(name, families, raw["source"])


def _set(where: str, one: dict[str, Any], origin: str) -> KernelSet:
    timed = one.get("basis", "timed") == "timed"
    for key in _TIMED:
        if timed and key not in one:
            raise ConfigError(f"{where}.{key} is missing (a set that no timing is behind says basis = 'derived')")
        if not timed and key in one:
            raise ConfigError(f"{where}.{key} does not belong to a derived set: only timings can tell it")
    if not timed:
        return KernelSet(one["value"], {}, 0.0, None, None, None, "", {}, {}, origin, timed=False)
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
