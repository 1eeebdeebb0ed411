"""How sure a plan is, as the JSON object says it."""

from typing import Any

import numpy as np

from ..choices import Choice
from ..uncertain import COVERAGE, SAME, SURE, Size, Study

_LOW, _HIGH = (1.0 - COVERAGE) / 2.0, (1.0 + COVERAGE) / 2.0


def uncertainty(study: Study) -> dict[str, Any]:
    """Return intervals of the plan, the regret of the point plan, and which choices are ties.

    Intervals hold the middle 90 % of draws. Draws in which a plan cannot be had count as ``infeasible_fraction`` and
    are left out of means.
    """
    unit = study.outcome.scenario.settings["objective"]
    regret = study.regret(study.point)
    found = np.isfinite(study.best["cost"])
    names = {"active_params": "params", "train_tokens": "tokens", f"total_{unit}": "cost", "saving_fraction": "saving"}
    out: dict[str, Any] = {
        "draws": len(study.draws),
        "laws": [
            {"id": law.id, "draws": len(next(iter(draws.values()))), "basis": _basis(law)}
            for law, draws in study.draws.laws
        ],
        "coverage": COVERAGE,
        "interval": {name: _interval(study.best[key]) for name, key in names.items()},
        "median": {name: _quantile(study.best[key], 0.5) for name, key in names.items()},
        "without_plan_fraction": float(np.mean(~found)),
        "plan": {
            **_held(study, study.point),
            "regret_mean_fraction": _mean(regret),
            "regret_p90_fraction": _quantile(regret, 0.9),
        },
        "choices": [_choice(study, r, choice) for r, choice in enumerate(study.rivals)],
        "by_law": [_by_law(study, i) for i in range(len(study.by_law))],
    }
    return out


def notes(study: Study) -> list[str]:
    """Return sentences on what the draws leave out."""
    own, named = study.outcome.scenario.law.id, [law.id for law, _ in study.draws.laws]
    bare = [law.id for law, _ in study.draws.laws if law.draws is None]
    out = []
    if own not in named:
        out.append(f"draws are of {' and '.join(named)}, the plan is that of {own}.")
    if bare:
        out.append(f"no draws of {', '.join(bare)} are known: intervals leave its own errors out.")
    return out


def robust(study: Study) -> dict[str, Any] | None:
    """Return the choice and size of the least risk over the draws, beside the point plan's; None unless asked for."""
    if study.robust is None:
        return None
    ours, point = study.risk(study.robust), study.risk(study.point)
    held, plan = _held(study, study.robust), _held(study, study.point)
    # Costs of sizes that fail in different draws are of different draws: they do not compare.
    alike = held["infeasible_fraction"] == plan["infeasible_fraction"] and np.isfinite(ours)
    gain = 1.0 - ours / point if alike else None
    return {
        "criterion": "mean" if study.tail is None else "cvar",
        "worst_fraction": study.tail,
        **_choice_names(study.rivals[study.robust.rival]),
        **held,
        "risk": ours if np.isfinite(ours) else None,
        "risk_of_plan": point if gain is not None else None,
        "infeasible_fraction_of_plan": plan["infeasible_fraction"],
        "gain_fraction": gain,
        "tie": gain is not None and gain < SAME,
    }


def _basis(law: Any) -> str:
    if law.draws is None:
        return "the law's own coefficients: no draws of it are known"
    return "refits to resampled runs"


def _held(study: Study, size: Size) -> dict[str, Any]:
    """Return a size that is decided before anything is known, with what it then costs and takes; no mean cost where it
    cannot be had in some draw."""
    unit = study.outcome.scenario.settings["objective"]
    able = np.isfinite(size.cost)
    return {
        "active_params": size.params,
        "train_tokens": _interval(size.tokens[able]),
        "train_tokens_median": _quantile(size.tokens[able], 0.5),
        f"mean_{unit}": _mean(size.cost) if able.all() else None,
        f"total_{unit}": _interval(size.cost),
        "infeasible_fraction": float(np.mean(~able)),
    }


def _choice_names(choice: Choice) -> dict[str, Any]:
    return {
        "chip": choice.chip.id,
        "chips_per_replica": choice.n_chips,
        "tp": choice.n_chips // choice.stages,
        "pp": choice.stages,
        "precision": choice.precision,
    }


def _choice(study: Study, r: int, choice: Choice) -> dict[str, Any]:
    """Return how often a choice, at its own best size, is cheaper than the plan's at its own."""
    cheaper = float(np.mean(study.cheapest[r] < study.cheapest[0])) if r else None
    best = float(np.mean(study.best["rival"] == r))
    return {
        **_choice_names(choice),
        "best_fraction": best,
        "cheaper_fraction": cheaper,
        "tie": cheaper is not None and cheaper > 1.0 - SURE,
    }


def _by_law(study: Study, i: int) -> dict[str, Any]:
    one, unit = study.by_law[i], study.outcome.scenario.settings["objective"]
    first = sum(len(next(iter(draws.values()))) for _, draws in study.draws.laws[:i])
    rows = slice(first, first + len(next(iter(study.draws.laws[i][1].values()))))
    out = {
        "law": one.scenario.law.id,
        "active_params": one.value("params"),
        "train_tokens": one.value("tokens"),
        f"mean_best_{unit}": _mean(study.best["cost"][rows]),
        "regret_of_plan_fraction": _mean(study.regret(study.point)[rows]),
    }
    if study.robust is not None:
        out["regret_of_robust_fraction"] = _mean(study.regret(study.robust)[rows])
    return out


def _mean(values: np.ndarray) -> float | None:
    able = values[np.isfinite(values)]
    return float(able.mean()) if len(able) else None


def _quantile(values: np.ndarray, share: float) -> float | None:
    able = values[np.isfinite(values)]
    return float(np.quantile(able, share)) if len(able) else None


def _interval(values: np.ndarray) -> list[float | None]:
    return [_quantile(values, _LOW), _quantile(values, _HIGH)]
