"""Trainer profiles: what training software adds to the kernels, as measured, and by how much that errs."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .loader import Names, Number, Table, Tables, Text, read_toml

# What residuals are kept of: tokens per second and chip, of dense models and of models with experts, as fitted, with
# the row's chip left out of the fit, and with its model left out.
TRAINING_RESIDUALS = (
    "dense", "dense_unseen_chip", "dense_unseen_model", "experts", "experts_unseen_chip", "experts_unseen_model",
)  # fmt: skip
_RATIO = Number("time over that of the timed kernels", 0.0, 100.0)
_SECONDS = Number("seconds", 0.0, 10.0)
_PASSES = Number("times that the operand is read or written", 0.0, 1000.0)
_SHARE = Number("fraction", 0.0, 1.0)
_PROFILE = {
    "gemm_ratio": _RATIO,
    "narrow_ratio": _RATIO,
    "attention_ratio": _RATIO,
    "older_attention_ratio": _RATIO,
    "backward_ratio": _RATIO,
    "expert_ratio": _RATIO,
    "link_ratio": _RATIO,
    "stream_passes": _PASSES,
    "conversion_passes": _PASSES,
    "layer_s": _SECONDS,
    "expert_layer_s": _SECONDS,
    "expert_row_s": _SECONDS,
    "overlap_fraction": _SHARE,
    "step_s": _SECONDS,
}
_ERRORS = Table(
    {
        "rows": Number("measured rows", 0, 1e6),
        "mdape": Number("fraction", 0.0, 10.0),
        "p90": Number("fraction", 0.0, 100.0),
        "low": Number("log of measured over predicted, 5th percentile", -10.0, 10.0),
        "high": Number("log of measured over predicted, 95th percentile", -10.0, 10.0),
        "trainers": Number("other trainers, whose rows these are for want of this one's", 1, 1e3, False),
    },
    sourced=False,
)
_SCHEMA = {
    "name": Text(),
    "frameworks": Names(),
    "vendors": Names(),
    "kernels_like": Text(),
    "sharded": Text(("weights", "states")),
    "older_attention_on": Names(required=False),
    "chips": Names(required=False),
    "models": Names(required=False),
    "profile": Table(_PROFILE),
    "log_standard_error": Table(
        dict.fromkeys(_PROFILE, Number("of the logarithm", 0.0, 100.0, False)), required=False, sourced=False
    ),
    "residuals": Tables(TRAINING_RESIDUALS, _ERRORS),
}


@dataclass(frozen=True)
class TrainerFacts:
    """A trainer's profile, with the error it leaves on the runs that it was fitted to.

    ``frameworks`` are the names that sources call it by, ``vendors`` whose chips it is meant for. ``kernels_like`` is
    the engine whose choice of kernels it shares. ``sharded`` says what is cut over data-parallel copies: the weights
    and all else (ZeRO stage 3, FSDP) or optimiser states alone (stage 1). ``older_attention_on`` are chips whose
    matrix units its attention kernels were not written for. ``profile`` is of `planner.training.step.Trainer`.
    """

    id: str
    name: str
    frameworks: tuple[str, ...]
    vendors: tuple[str, ...]
    kernels_like: str
    sharded: bool
    older_attention_on: tuple[str, ...]
    chips: tuple[str, ...]
    models: tuple[str, ...]
    profile: dict[str, float]
    residuals: dict[str, dict[str, float]]
    tables: dict[str, Any]


def load_trainer(name: str) -> TrainerFacts:
    """Load a trainer profile by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("trainers", name)
    raw = read_toml(path, _SCHEMA)
    return TrainerFacts(
        id=name if name.endswith(".toml") else path.stem,
        name=raw["name"],
        frameworks=tuple(raw["frameworks"]),
        vendors=tuple(raw["vendors"]),
        kernels_like=raw["kernels_like"],
        sharded=raw["sharded"] == "weights",
        older_attention_on=tuple(raw.get("older_attention_on", ())),
        chips=tuple(raw.get("chips", ())),
        models=tuple(raw.get("models", ())),
        profile={k: raw["profile"][k] for k in _PROFILE},
        residuals=raw.get("residuals", {}),
        tables=raw,
    )
