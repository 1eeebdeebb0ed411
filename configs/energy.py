"""Energy constants of a silicon generation: joules per operation and per byte moved, and what a board draws besides."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .chips import PRECISIONS
from .errors import ConfigError
from .loader import Number, Table, Text, read_toml

_RANGE = {
    "low_ratio": Number("ratio of the least plausible value to the one given", 0.01, 1.0),
    "high_ratio": Number("ratio of the greatest plausible value to the one given", 1.0, 100.0),
}
_FLOP = {f"{p}_pj": Number("pJ per FLOP", 1e-3, 1e2) for p in PRECISIONS}
_BYTE = {"pj_per_byte": Number("pJ per byte", 0.01, 1e5), **_RANGE}
_SCHEMA = {
    "name": Text(),
    "flop": Table({**_FLOP, **_RANGE}),
    "overhead": Table(
        {
            **_FLOP,
            "busy_fraction": Number("fraction of board power", 0.0, 0.4),
            "reference": Text(),
            "reached_fraction": Number("fraction of the dense bf16 peak", 0.05, 1.0),
            **_RANGE,
        }
    ),
    "memory": Table(
        {
            "kind": Text(),
            "overhead_pj_per_byte": Number("pJ per byte", 0.0, 1e5),
            "overhead_basis": Text(("measured", "assumed", "none")),
            **_BYTE,
        }
    ),
    "sram": Table(_BYTE),
    "scale_up": Table({"kind": Text(), **_BYTE}),
    "scale_out": Table(_BYTE),
    "idle": Table({"fraction": Number("fraction of board power", 0.01, 0.6), **_RANGE}),
}


@dataclass(frozen=True)
class EnergyFacts:
    """Energy constants in joules, ready for `hw.energy.Energy`.

    The files speak picojoules. ``flop`` is the multiplication and addition alone, as circuit papers
    give it; ``overhead`` is derived, not measured: what else a FLOP must draw for a large bf16 matrix
    product on the chip ``reference`` to take the whole board power at ``reached_fraction`` of its peak.
    ``memory.overhead_pj_per_byte`` is derived too: what else a byte from HBM draws. ``basis`` says whether decoding was
    "measured" on the generation, "assumed" to be as on those where it was, or counted by circuits alone ("none").
    ``low_ratio`` and ``high_ratio`` of each table in ``tables`` span the plausible values of its numbers.
    """

    id: str
    name: str
    constants: dict[str, Any]
    basis: str
    tables: dict[str, Any]


def load_energy(name: str) -> EnergyFacts:
    """Load a set of energy constants by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("energy", name)
    raw = read_toml(path, _SCHEMA)
    idle, busy = raw["idle"]["fraction"], raw["overhead"]["busy_fraction"]
    if idle + busy > 0.9:
        raise ConfigError(
            f"{path}: idle.fraction = {idle:g} and overhead.busy_fraction = {busy:g} leave under a tenth of board power"
        )
    pico = 1e-12
    constants = {
        "joules_per_flop": {p: raw["flop"][f"{p}_pj"] * pico for p in PRECISIONS},
        "overhead_joules_per_flop": {p: raw["overhead"][f"{p}_pj"] * pico for p in PRECISIONS},
        "joules_per_hbm_byte": raw["memory"]["pj_per_byte"] * pico,
        "overhead_joules_per_hbm_byte": raw["memory"]["overhead_pj_per_byte"] * pico,
        "joules_per_sram_byte": raw["sram"]["pj_per_byte"] * pico,
        "joules_per_link_byte": raw["scale_up"]["pj_per_byte"] * pico,
        "joules_per_scale_out_byte": raw["scale_out"]["pj_per_byte"] * pico,
        "idle_fraction": idle,
        "busy_fraction": busy,
    }
    basis = raw["memory"]["overhead_basis"]
    return EnergyFacts(name if name.endswith(".toml") else path.stem, raw["name"], constants, basis, raw)
