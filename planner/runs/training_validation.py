"""Predicted against measured training runs: overall, by group, and what was left out and why."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import configs

from .compare import counted, errors
from .run import Left
from .trained import TrainedRun
from .training_fit import predict
from .training_interval import bounds

_BY: dict[str, Callable[[TrainedRun], str]] = {
    "chip": lambda run: run.chip.id,
    "model": lambda run: run.model.id,
    "trainer": lambda run: run.trainer,
    "precision": lambda run: run.precision,
}


def document(runs: Sequence[TrainedRun], left: Sequence[Left]) -> dict[str, Any]:
    """Return errors of tokens per second and chip as the JSON object of `validate`.

    ``covered`` is rows predicted over rows that measure something; ``interval_coverage`` the share of them inside the
    90 % interval; ``bias`` the median of predicted / measured - 1.

    Raises:
        configs.ConfigError: nothing to predict.
    """
    left = [one for one in left if one.kind != "whole"]  # those are told apart, by `planner.train.whole_runs`
    if not runs:
        reasons = Counter(one.why for one in left).most_common(3)
        why = "; ".join(f"{count} rows: {reason}" for reason, count in reasons)
        raise configs.ConfigError(f"no row can be predicted ({why})")
    measured_rows = len(runs) + sum(one.kind == "measured" for one in left)
    ratios = np.log([run.tokens_per_s_per_chip for run in runs]) - np.log(predict(runs))
    inside = np.array([_inside(run, ratio) for run, ratio in zip(runs, ratios, strict=True)])
    return {
        **errors(ratios),
        "covered": len(runs) / measured_rows,
        "interval_coverage": float(np.mean(inside)),
        "groups": _groups(runs, ratios, inside, tuple(_BY)),
        "trainers": _groups(runs, ratios, inside, ("trainer",)),
        "chips": _groups(runs, ratios, inside, ("chip",)),
        "guessed": counted(guess for run in runs for guess in run.guessed),
        "left_out": counted(one.why for one in left),
    }


def nothing(left: Sequence[Left]) -> dict[str, Any]:
    """Return the object of `document` where no row measures a step that can be predicted."""
    none = dict.fromkeys(("mdape", "p90", "bias", "covered", "interval_coverage"))
    empty: dict[str, Any] = {name: [] for name in ("groups", "trainers", "chips", "guessed")}
    return {"rows": 0, **none, **empty, "left_out": counted(one.why for one in left if one.kind != "whole")}


def shipped() -> dict[str, Any]:
    """Return the errors that the shipped profiles state of the rows behind them, by trainer."""
    facts = [configs.load_trainer(name) for name in configs.ids("trainers")]
    return {"trainers": [{"trainer": one.id, "residuals": one.residuals} for one in facts]}


def _inside(run: TrainedRun, ratio: float) -> bool:
    low, high = bounds(configs.load_trainer(run.trainer), run.chip, run.model, run.experts)
    return low <= ratio <= high


def _groups(
    runs: Sequence[TrainedRun], ratios: np.ndarray, inside: np.ndarray, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return errors by the columns ``names``, worst first."""
    keys = [tuple(_BY[name](run) for name in names) for run in runs]
    out = []
    for key in sorted(set(keys)):
        mine = np.array([one == key for one in keys])
        by = dict(zip(names, key, strict=True))
        out.append({"by": by, **errors(ratios[mine]), "interval_coverage": float(np.mean(inside[mine]))})
    return sorted(out, key=lambda one: -one["mdape"])
