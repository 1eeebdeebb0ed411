"""Trainer profiles fitted to measured runs, with the errors they leave, as TOML text that the loader reads back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import configs

from ..calibration.toml_text import toml
from ..training.step import StepTally
from .profile import Profile
from .quantiles import FEWEST, table
from .run import shape
from .trained import TrainedRun
from .training_fit import fit_trainer, tallies

FEWEST_RUNS = 5  # a profile has fourteen parameters, and its prior: fewer runs say too little
_GROUPS: dict[str, Callable[[TrainedRun], str]] = {
    "chip": lambda run: run.chip.id,
    "model": lambda run: shape(run.model),
}


@dataclass(frozen=True)
class TrainerRefit:
    """One trainer's fit: its profile, the runs behind it, and log(measured / predicted) of theirs by kind."""

    trainer: configs.TrainerFacts
    runs: list[TrainedRun]
    profile: Profile
    residuals: dict[str, np.ndarray]


def refit(runs: Sequence[TrainedRun]) -> list[TrainerRefit]:
    """Return the refit of every trainer that has runs enough among ``runs``, to its own."""
    out = []
    for name in sorted({run.trainer for run in runs}):
        mine = [run for run in runs if run.trainer == name]
        if len(mine) >= FEWEST_RUNS:
            out.append(_refit(configs.load_trainer(name), mine))
    return out


def _refit(trainer: configs.TrainerFacts, runs: list[TrainedRun]) -> TrainerRefit:
    told = tallies(runs)
    profile = fit_trainer(runs, told)
    experts = np.array([run.experts for run in runs])
    kinds = {"dense": ~experts, "experts": experts}
    residuals = {kind: -profile.residuals[mask] for kind, mask in kinds.items()}
    for group, key in _GROUPS.items():
        left_out = _left_out(runs, told, [key(run) for run in runs])
        residuals |= {f"{kind}_unseen_{group}": left_out[mask] for kind, mask in kinds.items()}
    return TrainerRefit(trainer, runs, profile, {kind: one[np.isfinite(one)] for kind, one in residuals.items()})


def _left_out(runs: Sequence[TrainedRun], told: StepTally, names: Sequence[str]) -> np.ndarray:
    """Return log(measured / predicted) of every run from the fit without its own group; NaN where there is one."""
    groups = np.array(names)
    out = np.full(len(runs), np.nan)
    if len(set(names)) > 1:
        for name in sorted(set(names)):
            mine = groups == name
            out[mine] = -fit_trainer(runs, told, np.flatnonzero(~mine)).residuals[mine]
    return out


def pooled(refits: Sequence[TrainerRefit]) -> dict[str, dict[str, float]]:
    """Return residual tables of all ``refits`` together, by kind: for trainers whose own rows are too few."""
    out = {}
    for kind in configs.TRAINING_RESIDUALS:
        parts = [one.residuals[kind] for one in refits if len(one.residuals[kind])]
        together = np.concatenate([np.zeros(0), *parts])
        if len(together) >= FEWEST:
            out[kind] = {**table(together), "trainers": float(len(parts))}
    return out


def trainer_file(one: TrainerRefit, others: dict[str, dict[str, float]], date: str) -> str:
    """Return the file of a fitted profile; tables of ``others`` stand in where its runs are too few for one."""
    facts = one.trainer
    own = {kind: table(told) for kind, told in one.residuals.items() if len(told) >= FEWEST}
    found = {**others, **own}
    tables = {kind: _short(found[kind]) for kind in configs.TRAINING_RESIDUALS if kind in found}
    sources = ", ".join(sorted({run.source for run in one.runs}))
    older = {"older_attention_on": list(facts.older_attention_on)} if facts.older_attention_on else {}
    return toml(
        {
            "name": facts.name,
            "frameworks": list(facts.frameworks),
            "vendors": list(facts.vendors),
            "kernels_like": facts.kernels_like,
            "sharded": "weights" if facts.sharded else "states",
            **older,
            "chips": sorted({run.chip.id for run in one.runs}),
            "models": sorted({run.model.id for run in one.runs if run.model.id in configs.ids("models")}),
            "profile": {
                **_short({name: one.profile.value[name] for name in facts.profile}),
                "source": f"least Huber loss (delta 0.1, log ratio; `calibrate --from`) on {sources}",
                "date": date,
                "note": summary(one),
            },
            "log_standard_error": _short({name: one.profile.log_standard_error[name] for name in facts.profile}),
            "residuals": tables,
        }
    )


def summary(one: TrainerRefit) -> str:
    """Return in a phrase what the fit leaves."""
    spoken = {"dense": "dense models", "experts": "models with experts"}
    parts = []
    for kind, words in spoken.items():
        off = np.abs(np.expm1(-one.residuals[kind]))
        if len(off):
            parts.append(f"{words} {100 * float(np.median(off)):.1f} % ({len(off)} rows)")
    told = f"the runs tell {one.profile.parameters:.1f} of {len(one.profile.value)} parameters, the prior the rest"
    return f"median errors: {', '.join(parts)}; {told}"


def _short(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
