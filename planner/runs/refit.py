"""Engine profiles fitted to measured runs, with the errors they leave: as fitted, and on chips and models left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

import configs

from .compare import QUANTITIES, log_ratios
from .constants import is_timed
from .left_out import FEWEST_GROUPS, Jackknife, chip_of, model_of
from .predict import Kept, Predicted, conclude_with, kept_of
from .profile import CENTRE, FITTED, UNTIMED, UNTIMED_CENTRE, Profile, by_tpot, fit_profile, usable
from .quantiles import FEWEST, table
from .run import Run

FEWEST_RUNS = 5  # a profile has fifteen parameters, and its prior: fewer runs say too little
_FEWEST_SLOPE = 5  # runs of a configuration through which a drift is laid


@dataclass(frozen=True)
class Refit:
    """One engine's fit: its profile, what its runs cover, and its residual tables by kind.

    ``doubtful`` runs were predicted but not learned from; ``left_out`` holds residuals of throughput by kind, for
    engines that have too few of their own.
    """

    engine: configs.EngineFacts
    runs: list[Run]
    kept: Kept
    profile: Profile
    fitted: dict[str, float]
    chips: list[str]
    models: list[str]
    precisions: list[str]
    residuals: dict[str, dict[str, float]]
    doubtful: np.ndarray
    left_out: dict[str, np.ndarray]


def prior_of(engine: configs.EngineFacts, runs: Sequence[Run], fresh: bool) -> tuple[Mapping[str, float], ...]:
    """Return the standard deviations and the centre of the prior.

    A ``fresh`` fit starts from what kernels and overheads are anywhere, another from the profile given. Where no chip
    of the runs had its kernels timed, or the profile is of a version of its own, kernels may be several times slower.
    """
    timed = any(is_timed(run.chip, engine) for run in runs)
    trusted = timed and not engine.versions
    sd, centre = (FITTED, CENTRE) if trusted else (UNTIMED, UNTIMED_CENTRE)
    if fresh:
        return sd, centre
    own = {name: engine.profile[name] or centre[name] for name in centre}  # a logarithm needs a start above zero
    return (FITTED if engine.fitted else sd), own


def refit(engine: configs.EngineFacts, runs: Sequence[Run], fresh: bool) -> Refit:
    """Fit ``engine`` to ``runs``; see `prior_of` for ``fresh``.

    Raises:
        configs.ConfigError: too few of the runs can be fitted.
    """
    runs = [run for run in runs if usable(run)]
    learned = np.array([run.teaches for run in runs], dtype=bool)
    if learned.sum() < FEWEST_RUNS:
        raise configs.ConfigError(
            f"{engine.id}: {int(learned.sum())} runs that state throughput or TPOT are too few to fit: "
            f"{FEWEST_RUNS} or more"
        )
    kept = kept_of(runs)
    sd, centre = prior_of(engine, runs, fresh)
    profile = fit_profile(runs, np.flatnonzero(learned), kept, sd, centre)
    predicted = conclude_with(kept, {**profile.value, **_limits(engine)})
    ratios = log_ratios(runs, predicted)
    residuals, left_out = _tables(runs, kept, learned, ratios, sd, centre)
    doubtful = np.flatnonzero(~learned)
    teaching = [run for run in runs if run.teaches]
    return Refit(
        engine,
        runs,
        kept,
        profile,
        _ranges(teaching, predicted, learned, ratios, profile),
        sorted({run.chip.id for run in teaching}),
        sorted({run.model.id for run in teaching if run.model.id in configs.ids("models")}),
        sorted({run.precision for run in teaching}),
        residuals,
        np.array([_judged(runs[i], ratios, int(i)) for i in doubtful]),
        left_out,
    )


def _limits(engine: configs.EngineFacts) -> dict[str, float]:
    return {k: engine.limits[k] for k in ("kv_fraction", "reserve_bytes", "max_batch", "max_tokens")}


def _judged(run: Run, ratios: dict[str, np.ndarray], i: int) -> float:
    return float(ratios["tpot_s" if by_tpot(run) else "output_tokens_per_s"][i])


def _tables(
    runs: Sequence[Run], kept: Kept, learned: np.ndarray, ratios: dict[str, np.ndarray], sd: Mapping[str, float],
    centre: Mapping[str, float],
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:  # fmt: skip
    """Return residual tables of the runs learned from, and the residuals behind those of throughput."""
    tables: dict[str, dict[str, float]] = {}
    behind: dict[str, np.ndarray] = {}
    experts = np.array([run.experts for run in runs])
    closed = learned & np.array([not by_tpot(run) for run in runs])
    masks = {"dense": closed & ~experts, "experts": closed & experts}
    for kind, mask in masks.items():
        behind[kind] = ratios["output_tokens_per_s"][mask]
        if mask.sum() >= FEWEST:
            tables[kind] = table(behind[kind])
    for group, key in (("chip", chip_of), ("model", model_of)):
        names = [key(run) for run in runs]
        if len({name for name, teaches in zip(names, learned, strict=True) if teaches}) < 2:
            continue
        jackknife = Jackknife(runs, kept, learned, names, sd, centre)
        residuals = -jackknife.residuals()  # of seconds; throughput goes the other way
        for kind, mask in masks.items():
            if not mask.any():
                continue
            behind[f"{kind}_unseen_{group}"] = residuals[mask]
            if mask.sum() >= FEWEST and len({names[i] for i in np.flatnonzero(mask)}) >= FEWEST_GROUPS:
                covered = jackknife.coverage(mask)
                more = {} if covered is None else {"coverage": covered}
                tables[f"{kind}_unseen_{group}"] = {**table(residuals[mask]), **more}
    for name, quantity in (("tpot", QUANTITIES[1]), ("ttft", QUANTITIES[2])):
        told = ratios[quantity]
        mask = learned & np.isfinite(told)
        behind[name] = told[mask]
        if mask.sum() >= FEWEST:
            tables[name] = table(told[mask])
    return tables, behind


def _ranges(
    teaching: Sequence[Run], predicted: Predicted, learned: np.ndarray, ratios: dict[str, np.ndarray], profile: Profile
) -> dict[str, float]:
    batch = predicted.batch[learned]
    columns = {
        "input_tokens": np.array([run.input_tokens for run in teaching]),
        "output_tokens": np.array([run.output_tokens for run in teaching]),
        "batch": batch,
    }
    out = {
        "rows": float(len(teaching)),
        "configurations": float(len({run.configuration for run in teaching})),
        "parameters": profile.parameters,
        "drift": _drift(teaching, columns, ratios["output_tokens_per_s"][learned]),
    }
    for name, values in columns.items():
        out |= {f"min_{name}": float(values.min()), f"max_{name}": float(values.max())}
    return out


def _drift(runs: Sequence[Run], columns: Mapping[str, np.ndarray], residuals: np.ndarray) -> float:
    """Return how fast residuals drift per factor of e in lengths or batch: the root mean square of the slopes of
    straight lines through those of one configuration, of all that have enough rows; 0.1 where none has.
    """
    slopes = []
    configurations = np.array([run.configuration for run in runs])
    for name in np.unique(configurations):
        mine = (configurations == name) & np.isfinite(residuals)
        for values in columns.values():
            x, y = np.log(values[mine]), residuals[mine]
            if len(np.unique(x.round(6))) >= 3 and len(y) >= _FEWEST_SLOPE:
                slopes.append(np.polyfit(x, y, 1)[0])
    return float(np.sqrt(np.mean(np.square(slopes)))) if slopes else 0.1


def pooled(refits: Sequence[Refit]) -> dict[str, dict[str, float]]:
    """Return residual tables of all ``refits`` together, each engine with the same weight, by kind of residual.

    They are for engines whose own rows are too few, or all of one chip or one model.
    """
    out = {}
    for kind in configs.RESIDUALS:
        parts = [one.left_out[kind] for one in refits if len(one.left_out.get(kind, ()))]
        if kind.endswith("_unseen_chip"):
            swapped = [_swapped(one, other) for one in refits for other in refits]
            dense = kind.startswith("dense")
            parts += [part[0 if dense else 1] for part in swapped if part and len(part[0 if dense else 1])]
        if parts and sum(map(len, parts)) >= FEWEST:
            longest = max(map(len, parts))
            even = np.concatenate([np.quantile(part, (np.arange(longest) + 0.5) / longest) for part in parts])
            out[kind] = {**table(even), "rows": float(sum(map(len, parts))), "engines": float(len(parts))}
    return out


def _swapped(one: Refit, other: Refit) -> tuple[np.ndarray, np.ndarray] | None:
    """Return residuals, of dense models and of those with experts, of one engine's runs under the profile of the same
    software and version fitted to the same models on other chips; None where it is not that.
    """
    same = one.engine.engine == other.engine.engine and one.engine.versions == other.engine.versions
    if not same or set(one.chips) & set(other.chips) or not set(one.models) & set(other.models):
        return None
    predicted = conclude_with(one.kept, {**other.profile.value, **_limits(one.engine)})
    ratios = log_ratios(one.runs, predicted)["output_tokens_per_s"]
    told = np.isfinite(ratios) & np.array([run.teaches for run in one.runs])
    experts = np.array([run.experts for run in one.runs])
    return ratios[told & ~experts], ratios[told & experts]


def fit_together(runs_by_engine: Mapping[str, Sequence[Run]], fresh: bool) -> list[Refit]:
    """Return the refit of every engine named, each to its own runs."""
    with jax.enable_x64(True):
        return [refit(configs.load_engine(name), runs, fresh) for name, runs in runs_by_engine.items()]
