"""What published training runs and clusters say of interruptions: how often, what a restart takes, what was lost."""

from dataclasses import dataclass
from typing import Any

from .catalog import ids, path_of
from .errors import ConfigError, nearest
from .loader import Names, Number, Table, Text, read_toml
from .units import DAY_S

_COUNTED = ("count", "chips", "days")
_RATED = ("per_1000_server_days", "chips_per_server")
_SCHEMA = {
    "name": Text(),
    "chips": Names(),
    "interruptions": Table(
        {
            "of": Text(),
            "count": Number("interruptions", 0.1, 1e7, required=False),
            "chips": Number("chips", 1.0, 1e7, required=False),
            "days": Number("days", 0.1, 1e5, required=False),
            "per_1000_server_days": Number("interruptions per 1,000 days of a server", 1e-4, 1e4, required=False),
            "chips_per_server": Number("chips", 1.0, 1e3, required=False),
        }
    ),
    "planned": Table(
        {"count": Number("planned stops of the job", 0.1, 1e6), "days": Number("days", 0.1, 1e5)}, required=False
    ),
    "restart": Table({"low_s": Number("seconds", 0.1, 1e6), "high_s": Number("seconds", 0.1, 1e6)}, required=False),
    "storage": Table({"gb_per_s": Number("GB/s of 1e9 bytes, of the whole store", 1e-3, 1e6)}, required=False),
    "reported": Table(
        {"goodput": Number("useful time over wall-clock time", 0.01, 1.0), "bound": Text(("at-least", "about"))},
        required=False,
    ),
    "caveat": Text(required=False),
}


@dataclass(frozen=True)
class FailureFacts:
    """One report in SI units; what it does not say is None.

    ``chip_mtbf_s`` is the mean time between interruptions of a job on one chip; n chips are interrupted n times as
    often. ``planned_s`` is the mean time between planned stops of the job, ``restart_s`` the shortest and longest
    restart, ``storage_bytes_per_s`` what checkpoints are written at, ``goodput`` the reported useful fraction.
    """

    id: str
    name: str
    chips: tuple[str, ...]
    chip_mtbf_s: float
    planned_s: float | None
    restart_s: tuple[float, float] | None
    storage_bytes_per_s: float | None
    goodput: float | None
    caveat: str
    tables: dict[str, Any]


def load_failures(name: str) -> FailureFacts:
    """Load a report by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, a file that breaks the layout, names an unknown chip, or gives no one rate.
    """
    path = path_of("failures", name)
    raw = read_toml(path, _SCHEMA)
    for chip in raw["chips"]:
        if chip not in ids("chips"):
            raise ConfigError(f"{path}: chips names '{chip}', which is no chip{nearest(chip, ids('chips'))}")
    restart, planned = raw.get("restart"), raw.get("planned")
    if restart and restart["low_s"] > restart["high_s"]:
        raise ConfigError(
            f"{path}: restart.low_s = {restart['low_s']:g} must not exceed restart.high_s = {restart['high_s']:g}"
        )
    return FailureFacts(
        id=path.stem,
        name=raw["name"],
        chips=tuple(raw["chips"]),
        chip_mtbf_s=_chip_mtbf_s(str(path), raw["interruptions"]),
        planned_s=planned["days"] * DAY_S / planned["count"] if planned else None,
        restart_s=(restart["low_s"], restart["high_s"]) if restart else None,
        storage_bytes_per_s=raw["storage"]["gb_per_s"] * 1e9 if "storage" in raw else None,
        goodput=raw["reported"]["goodput"] if "reported" in raw else None,
        caveat=raw.get("caveat", ""),
        tables=raw,
    )


def failures_of(chip: str) -> tuple[str, ...]:
    """Return the ids of the shipped reports about the chip of this id, in order of id; none where none was found."""
    return tuple(one for one in ids("failures") if chip in load_failures(one).chips)


def _chip_mtbf_s(file: str, found: dict[str, Any]) -> float:
    given = {key for key in (*_COUNTED, *_RATED) if key in found}
    if given == set(_COUNTED):
        return found["chips"] * found["days"] * DAY_S / found["count"]
    if given == set(_RATED):
        return found["chips_per_server"] * 1000.0 * DAY_S / found["per_1000_server_days"]
    said = ", ".join(key for key in (*_COUNTED, *_RATED) if key in given) or "none"
    raise ConfigError(
        f"{file}: interruptions must hold all of {', '.join(_COUNTED)} or all of {', '.join(_RATED)} and no others: "
        f"it has {said}"
    )
