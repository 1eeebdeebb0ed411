"""Fits an engine's profile to measured runs: few parameters, each physical, held by a prior where runs cannot tell."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hw.fit import fit_jit

from ..serving.engine import Engine
from ..serving.numbers import engine_numbers
from .predict import Kept, conclude, engines_of, kept_of
from .run import Run

# Standard deviations of the prior's logarithms: kernels of another engine are within some 20 % of the timed ones, its
# overheads within a factor of e.
_KERNELS_SD, _OVERHEAD_SD = 0.2, 1.0
FITTED = {
    "gemm_ratio": _KERNELS_SD, "decode_ratio": _KERNELS_SD, "prefill_ratio": _KERNELS_SD, "expert_ratio": _KERNELS_SD,
    "collective_ratio": _KERNELS_SD, "bus_fraction": 0.3, "stream_passes": 0.5, "layer_s": _OVERHEAD_SD,
    "context_layer_s": _OVERHEAD_SD, "expert_layer_s": _OVERHEAD_SD, "expert_pair_s": _OVERHEAD_SD, "hop_s": 0.7,
    "step_s": _OVERHEAD_SD, "sequence_s": _OVERHEAD_SD, "boundary_sequence_s": _OVERHEAD_SD,
}  # fmt: skip
CENTRE = {
    "gemm_ratio": 1.0, "decode_ratio": 1.0, "prefill_ratio": 1.0, "expert_ratio": 1.0, "collective_ratio": 1.0,
    "bus_fraction": 0.5, "stream_passes": 4.0, "layer_s": 1e-5, "context_layer_s": 2e-5, "expert_layer_s": 6e-5,
    "expert_pair_s": 1e-8, "hop_s": 5e-6, "step_s": 3e-4, "sequence_s": 2e-6,
    "boundary_sequence_s": 5e-6,
}  # fmt: skip


# Kernels nobody timed on the chip, or not in this software, may be several times slower than those of the timings.
UNTIMED = {**FITTED, **dict.fromkeys(("gemm_ratio", "decode_ratio", "prefill_ratio", "expert_ratio",
                                      "collective_ratio"), 1.0), "step_s": 1.5, "sequence_s": 2.0}  # fmt: skip
UNTIMED_CENTRE = {**CENTRE, "step_s": 1e-3, "sequence_s": 2e-5}


class Row(eqx.Module):
    """One run as the fit sees it."""

    kept: Kept
    limits: Any
    by_tpot: Array


class Profile(NamedTuple):
    """Fitted parameters, the standard errors of their logarithms, log(predicted / measured) of every run's throughput
    (of its TPOT, with the other sign, where that was fitted), and how many parameters the runs determine.
    """

    value: dict[str, float]
    log_standard_error: dict[str, float]
    residuals: np.ndarray
    parameters: float


def by_tpot(run: Run) -> bool:
    """Say whether a run is judged by its time per output token: at a request rate, or where no throughput is known."""
    return run.tpot_s is not None and (run.request_rate is not None or run.output_tokens_per_s is None)


def usable(run: Run) -> bool:
    """Say whether a run can enter a fit: a throughput at known batch, or a TPOT."""
    return by_tpot(run) or (run.request_rate is None and run.output_tokens_per_s is not None)


def observed(run: Run) -> float:
    """Return seconds per output token: of a sequence where the run is judged by TPOT, else of the replica."""
    if by_tpot(run):
        assert run.tpot_s is not None
        return run.tpot_s
    assert run.output_tokens_per_s is not None
    return 1.0 / run.output_tokens_per_s


def _seconds(parameters: Mapping[str, Array], row: Row) -> Array:
    _, throughput, tpot, _ = conclude(row.kept, Engine(**parameters, **row.limits))
    return jnp.where(row.by_tpot > 0, tpot, 1.0 / throughput)


_predict = jax.jit(jax.vmap(_seconds, (None, 0)))


def rows_of(runs: Sequence[Run], kept: Kept) -> Row:
    """Return ``runs`` with their kernels' times as the fit takes them."""
    engines = engines_of(runs)
    given = [engine_numbers(engines[run.engine]) for run in runs]
    names = [f.name for f in fields(Engine) if f.name not in FITTED]
    limits = {name: np.array([one[name] for one in given]) for name in names}
    return Row(kept, limits, jnp.asarray([float(by_tpot(run)) for run in runs]))


def fit_profile(
    runs: Sequence[Run], chosen: np.ndarray | None = None, kept: Kept | None = None, sd: Mapping[str, float] = FITTED,
    centre: Mapping[str, float] = CENTRE,
) -> Profile:  # fmt: skip
    """Fit a profile to ``runs`` (those ``chosen``; all must be `usable`) and predict every one of them.

    Clusters for the standard errors are runs of one configuration. Rows not chosen count for nothing but keep the
    program's shape, so that fits to many subsets share one. Parameters that the runs determine are counted as the sum
    of 1 - (standard error / prior's standard deviation)^2.
    """
    with jax.enable_x64(True):
        rows = rows_of(runs, kept_of(runs) if kept is None else kept)
        seconds = np.array([observed(run) for run in runs])
        weight = np.zeros(len(runs))
        weight[np.arange(len(runs)) if chosen is None else chosen] = 1.0
        _, cluster = np.unique([run.configuration for run in runs], return_inverse=True)
        names = sorted(FITTED)
        begin = {name: jnp.asarray(centre[name], float) for name in names}
        deviations = jnp.asarray([sd[name] for name in names])
        found = fit_jit(
            _seconds, begin, jax.tree.map(jnp.asarray, rows), jnp.asarray(seconds), jnp.asarray(cluster),
            jnp.asarray(weight), deviations,
        )  # fmt: skip
        predicted = np.asarray(_predict(found.model, rows))
    value = {k: float(v) for k, v in found.model.items()}
    errors = {k: float(v) for k, v in found.log_standard_errors.items()}
    determined = sum(max(1.0 - (errors[name] / sd[name]) ** 2, 0.0) for name in names)
    return Profile(value, errors, np.log(seconds / predicted), determined)
