"""Predicts measured training runs, and fits a trainer's profile to them: few parameters, each physical."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import configs
from hw.fit import fit_jit

from ..model.decoder import Decoder
from ..model.numbers import decoder_numbers
from ..serving.formats import training_recipe
from ..serving.numbers import device_numbers
from ..training.layout import TrainingLayout
from ..training.step import StepTally, Trainer, tally
from .constants import kernels
from .profile import Profile
from .together import together
from .trained import TrainedRun

# Standard deviations of the prior's logarithms and its centre. Overheads are known within a factor of e; a gradient of
# attention takes 2.5 to 3.5 times as long as attention. Matrix products of three stacks (llm-foundry, Pax, MaxText on
# GPUs: 155 runs) each fit 1.25 to 1.3 times the timed ones in bf16, as if chips under load for hours ran at lower
# clocks, and the one with FP8 0.7 times that.
FITTED = {
    "gemm_ratio": 0.1, "narrow_ratio": 0.2, "attention_ratio": 0.3, "older_attention_ratio": 0.2,
    "backward_ratio": 0.15, "expert_ratio": 0.3, "link_ratio": 0.4, "stream_passes": 0.5, "conversion_passes": 0.5,
    "layer_s": 1.0, "expert_layer_s": 1.0, "expert_row_s": 1.0, "overlap_fraction": 0.3, "step_s": 1.0,
}  # fmt: skip
CENTRE = {
    "gemm_ratio": 1.25, "narrow_ratio": 0.8, "attention_ratio": 1.1, "older_attention_ratio": 1.8,
    "backward_ratio": 3.0, "expert_ratio": 1.25, "link_ratio": 1.0, "stream_passes": 4.0, "conversion_passes": 2.0,
    "layer_s": 3e-5, "expert_layer_s": 6e-5, "expert_row_s": 2e-9, "overlap_fraction": 0.8, "step_s": 2e-2,
}  # fmt: skip
_SHARES = ("overlap_fraction",)  # at most one


def numbers(run: TrainedRun, trainer: configs.TrainerFacts) -> dict[str, Any]:
    """Return a run as the nested dict that compiled programs take."""
    engine = configs.load_engine(trainer.kernels_like)
    how = training_recipe(run.precision)
    return {
        "model": decoder_numbers(run.model),
        "params": run.model.params,
        "layout": {
            **{name: getattr(run, name) for name in ("tp", "pp", "vp", "cp", "ep", "dp", "micro_batch")},
            "sharded": float(run.sharded),
            "sharded_gradients": float(run.sharded_gradients),
        },
        "device": device_numbers(run.chip, kernels(run.chip, engine), engine, how, closed=False),
        "sequence_tokens": run.sequence_tokens,
        "sequences": run.sequences,
        "narrow": float(run.precision != "bf16"),
        "older": float(run.chip.id in trainer.older_attention_on),
        "recomputed": -1.0 if run.recomputed is None else run.recomputed,
        "hbm_bytes": run.chip.visible_bytes,
        "expert_load": 1.0,  # published runs force their experts to balance
        "reversible": 0.0,
        "overlapped": 0.0,  # what each trainer hides is in its profile
    }


def tally_of(given: Mapping[str, Any]) -> StepTally:
    """Return the step of one run; ``given`` as `numbers` makes it."""
    given = {**given, "decoder": Decoder.of(given["model"])}
    return tally(given, TrainingLayout(**given["layout"]), given["sequences"])[0]


@jax.jit
def _tally_all(given: Any) -> Any:
    return jax.vmap(tally_of)(given)


def tallies(runs: Sequence[TrainedRun]) -> StepTally:
    """Return the steps of ``runs``, one run per entry of the first axis; runs of one structure are told together."""
    trainers = {name: configs.load_trainer(name) for name in {run.trainer for run in runs}}
    return together(_tally_all, [numbers(run, trainers[run.trainer]) for run in runs])


def trainer_of(value: Mapping[str, Any]) -> Trainer:
    """Return the profile of parameters that a fit may have moved beyond what a share can be."""
    return Trainer(**{k: jnp.minimum(v, 1.0) if k in _SHARES else v for k, v in value.items()})


def _seconds(parameters: Mapping[str, Array], row: StepTally) -> Array:
    return 1.0 / trainer_of(parameters).tokens_per_s_per_chip(row)


_predict = jax.jit(jax.vmap(_seconds, (None, 0)))
_predict_each = jax.jit(jax.vmap(_seconds))


def predict(runs: Sequence[TrainedRun], told: StepTally | None = None) -> np.ndarray:
    """Return tokens per second and chip of ``runs``, each under its trainer's profile."""
    facts = {name: configs.load_trainer(name) for name in {run.trainer for run in runs}}
    values = {name: np.array([facts[run.trainer].profile[name] for run in runs]) for name in FITTED}
    with jax.enable_x64(True):
        return 1.0 / np.asarray(_predict_each(values, tallies(runs) if told is None else told))


def fit_trainer(runs: Sequence[TrainedRun], told: StepTally, chosen: np.ndarray | None = None) -> Profile:
    """Fit a profile to ``runs`` (those ``chosen``) and predict every one of them; residuals are of throughput.

    Clusters for the standard errors are runs of one configuration. Parameters that the runs determine are counted as
    the sum of 1 - (standard error / prior's standard deviation)^2.
    """
    with jax.enable_x64(True):
        seconds = 1.0 / np.array([run.tokens_per_s_per_chip for run in runs])
        weight = np.zeros(len(runs))
        weight[np.arange(len(runs)) if chosen is None else chosen] = 1.0
        _, cluster = np.unique([run.configuration for run in runs], return_inverse=True)
        names = sorted(FITTED)
        found = fit_jit(
            _seconds, {name: jnp.asarray(CENTRE[name], float) for name in names}, jax.tree.map(jnp.asarray, told),
            jnp.asarray(seconds), jnp.asarray(cluster), jnp.asarray(weight),
            jnp.asarray([FITTED[name] for name in names]),
        )  # fmt: skip
        predicted = np.asarray(_predict(found.model, told))
    value = {k: min(float(v), 1.0) if k in _SHARES else float(v) for k, v in found.model.items()}
    errors = {k: float(v) for k, v in found.log_standard_errors.items()}
    determined = sum(max(1.0 - (errors[name] / FITTED[name]) ** 2, 0.0) for name in names)
    return Profile(value, errors, np.log(predicted / seconds), determined)


assert set(FITTED) == {field.name for field in fields(Trainer)}
