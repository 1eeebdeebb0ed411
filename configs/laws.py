"""Scaling laws, published or fitted: the loss in nats per token of N parameters trained on D tokens."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalog import path_of
from .errors import ConfigError
from .loader import Field, Number, Table, Text, read_toml

_NATS = Number("nats per token", 0.0, 20.0)
_SCALE = Number("nats times a power of parameters or tokens", 1e-12, 1e15)
_EXPONENT = Number("dimensionless exponent", 0.01, 2.0)
_SIGNED = Number("dimensionless exponent", -2.0, 2.0)
_COUNT = Number("number of experts", 1.0, 1e6)
_BITS = Number("bits", 0.01, 100.0)
_REPEATS = Number("repetitions", 0.01, 1e4)
# What each form's coefficients may be; `scaling.forms` says what they mean.
FORMS: Mapping[str, Mapping[str, Number]] = {
    "chinchilla": {"E": _NATS, "A": _SCALE, "B": _SCALE, "alpha": _EXPONENT, "beta": _EXPONENT},
    "tied": {"E": _NATS, "A": _SCALE, "B": _SCALE, "alpha": _EXPONENT},
    "gadre": {"E": _NATS, "a": _SCALE, "b": _SCALE, "eta": _EXPONENT},
    "kaplan": {
        "N_c": Number("parameters", 1.0, 1e30), "D_c": Number("tokens", 1.0, 1e30),
        "alpha_N": _EXPONENT, "alpha_D": _EXPONENT,
    },
    "repeated": {
        "E": _NATS, "A": _SCALE, "B": _SCALE, "alpha": _EXPONENT, "beta": _EXPONENT, "R_D": _REPEATS, "R_N": _REPEATS,
    },
    "moe": {
        "a": _SCALE, "b": _SCALE, "c": _NATS, "alpha": _SIGNED, "beta": _SIGNED, "gamma": _SIGNED, "delta": _SIGNED,
        "omega": _SIGNED, "zeta": _SIGNED, "E_start": _COUNT, "E_max": _COUNT,
    },
    "sparsity": {
        "a": _SCALE, "b": _SCALE, "c": _NATS, "d": _SCALE, "e": _NATS, "alpha": _EXPONENT, "beta": _EXPONENT,
        "gamma": _EXPONENT, "delta": _SIGNED, "lambda_": _SIGNED,
    },
    "precision": {
        "E": _NATS, "A": _SCALE, "B": _SCALE, "alpha": _EXPONENT, "beta": _EXPONENT, "gamma_w": _BITS, "n_w": _SIGNED,
        "C_T": _SCALE, "gamma_D": _EXPONENT, "gamma_N": _EXPONENT, "gamma_post": _BITS,
    },
}  # fmt: skip
_LOWEST = {"moe": "c", "sparsity": "e", "kaplan": None}  # the irreducible loss by form, E unless told
_RANGES: Mapping[str, Field] = {
    "min_params": Number("parameters", 1.0, 1e15),
    "max_params": Number("parameters", 1.0, 1e15),
    "min_tokens": Number("tokens", 1.0, 1e18),
    "max_tokens": Number("tokens", 1.0, 1e18),
    "min_tokens_per_param": Number("tokens per parameter", 1e-6, 1e9),
    "max_tokens_per_param": Number("tokens per parameter", 1e-6, 1e9),
    "max_experts": Number("number of experts", 1.0, 1e6, required=False),
    "max_sparsity": Number("total over active parameters", 1.0, 1e6, required=False),
    "max_epochs": Number("passes over the unique tokens", 1.0, 1e6, required=False),
    "min_bits": Number("bits", 0.5, 64.0, required=False),
}
_ERRORS = Table(
    {
        "eps": Number("error of a model that knows nothing", 0.0, 10.0),
        "k": Number("error", 1e-6, 1e6),
        "gamma": Number("1 / nats", 1e-3, 100.0),
        "measure": Text(required=False),
    },
    required=False,
)
_EVERY = {name: Number("any unit", -1e30, 1e30, required=False) for form in FORMS.values() for name in form}
_SCHEMA: Mapping[str, Field] = {
    "name": Text(),
    "form": Text(tuple(FORMS)),
    "coefficients": Table(_EVERY),
    "valid": Table(_RANGES),
    "conventions": Text(),
    "caveat": Text(required=False),
    "draws": Text(required=False),
    "downstream": _ERRORS,
}


@dataclass(frozen=True)
class LawFacts:
    """A law's form and coefficients, the range of the runs it was fitted to (``valid``), and its source.

    ``draws`` is the file of its refits to resampled runs, where there is one; ``downstream`` holds the coefficients
    of an error that follows the loss, Err = eps - k exp(-gamma L).
    """

    id: str
    name: str
    form: str
    coefficients: dict[str, float]
    valid: dict[str, float]
    conventions: str
    caveat: str
    draws: Path | None
    downstream: dict[str, float]
    tables: dict[str, Any]

    @property
    def lowest_loss(self) -> float:
        """Return the loss that endless parameters and new tokens approach, in nats per token."""
        name = _LOWEST.get(self.form, "E")
        return self.coefficients[name] if name else 0.0


def load_law(name: str) -> LawFacts:
    """Load a law by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("laws", name)
    known = FORMS[read_toml(path, _SCHEMA)["form"]]
    raw = read_toml(path, {**_SCHEMA, "coefficients": Table(known)})
    if raw["form"] == "moe":
        _check_experts(path, raw["coefficients"], raw["valid"].get("max_experts", 1.0))
    return LawFacts(
        id=path.stem,
        name=raw["name"],
        form=raw["form"],
        coefficients={key: raw["coefficients"][key] for key in known},
        valid={key: raw["valid"][key] for key in _RANGES if key in raw["valid"]},
        conventions=raw["conventions"],
        caveat=raw.get("caveat", ""),
        draws=_beside(path, raw["draws"]) if "draws" in raw else None,
        downstream={key: raw["downstream"][key] for key in ("eps", "k", "gamma")} if "downstream" in raw else {},
        tables=raw,
    )


def _check_experts(path: Path, c: Mapping[str, float], most: float) -> None:
    """Raise unless loss falls with size and tokens at every number of experts up to ``most``."""
    if not c["E_start"] < c["E_max"]:
        raise ConfigError(f"{path}: coefficients.E_start = {c['E_start']:g} must be below E_max = {c['E_max']:g}")
    start = 1.0 / (1.0 / c["E_start"] - 1.0 / c["E_max"])
    for experts in (1.0, most):
        log = math.log(1.0 / (1.0 / (experts - 1.0 + start) + 1.0 / c["E_max"]))
        for exponent, slope in (("alpha", "gamma"), ("beta", "zeta")):
            if c[exponent] + c[slope] * log >= 0.0:
                raise ConfigError(
                    f"{path}: coefficients.{exponent} + {slope} ln F must be negative at {experts:g} experts: loss "
                    "falls with size and tokens"
                )


def _beside(path: Path, name: str) -> Path:
    """Return the file ``name`` beside ``path``.

    Raises:
        ConfigError: it is not a plain name of an .npz file, or not there.
    """
    if Path(name).name != name or not name.endswith(".npz"):
        raise ConfigError(f"{path}: draws = {name!r} must be the name of an .npz file in the same folder")
    found = path.parent / name
    if not found.is_file():
        raise ConfigError(f"{path}: draws = {name!r}: no such file beside it")
    return found
