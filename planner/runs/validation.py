"""Predicted against measured runs: overall, by group, by quantity, and what was left out and why."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import configs

from .compare import QUANTITIES, counted, errors, headline, judged_by, log_ratios
from .interval import interval
from .predict import Predicted, engines_of, predict
from .run import Left, Run

_BY: dict[str, Callable[[Run], str]] = {
    "chip": lambda run: run.chip.id,
    "model": lambda run: run.model.id,
    "engine": lambda run: run.engine,
    "precision": lambda run: run.precision,
}


class Compared(NamedTuple):
    """Runs that were predicted, with log(measured / predicted) of what each is judged by, and the rows left out."""

    runs: list[Run]
    predicted: Predicted
    ratios: np.ndarray
    left: list[Left]


def compare(runs: Sequence[Run], left: Sequence[Left]) -> Compared:
    """Predict ``runs``; those without a finite prediction join the rows left out.

    Raises:
        configs.ConfigError: nothing to predict.
    """
    if not runs:
        reasons = Counter(one.why for one in left).most_common(3)
        why = "; ".join(f"{count} rows: {reason}" for reason, count in reasons)
        raise configs.ConfigError(f"no row can be predicted ({why})")
    predicted = predict(runs)
    told = headline(runs, log_ratios(runs, predicted))
    kept = np.flatnonzero(np.isfinite(told)).tolist()
    out = [Left(runs[i].where, _silent(runs[i])) for i in np.flatnonzero(~np.isfinite(told)).tolist()]
    if not kept:
        raise configs.ConfigError(f"no row can be predicted ({out[0].why})")
    starved = "memory as modelled does not hold one sequence"
    found = [replace(runs[i], doubts=(*runs[i].doubts, starved)) if predicted.fits[i] < 1.0 else runs[i] for i in kept]
    return Compared(found, Predicted(*(np.asarray(x)[kept] for x in predicted)), told[kept], [*left, *out])


def _silent(run: Run) -> str:
    if judged_by(run) == "ttft_s":
        return "only a time to first token was measured, of requests without a number or an end"
    return "the prediction is not a finite number"


def document(compared: Compared) -> dict[str, Any]:
    """Return the errors as the JSON object of `validate`: all, by group, by quantity, and what was left out.

    ``covered`` is rows predicted over rows that measure something; ``interval_coverage`` the share of them inside the
    90 % interval; ``bias`` the median of predicted / measured - 1.
    """
    runs, ratios = compared.runs, compared.ratios
    measured = len(runs) + sum(one.kind == "measured" for one in compared.left)
    inside = _inside(runs, compared.predicted, ratios)
    by_quantity = log_ratios(runs, compared.predicted)
    clean = np.array([not run.doubts for run in runs])
    out = {
        **errors(ratios),
        "covered": len(runs) / measured,
        "interval_coverage": float(np.mean(inside)),
        "groups": _groups(runs, ratios, inside, tuple(_BY)),
        "engines": _groups(runs, ratios, inside, ("engine",)),
        "chips": _groups(runs, ratios, inside, ("chip",)),
        "by_quantity": {
            name: errors(told[np.isfinite(told)]) if np.isfinite(told).any() else None
            for name, told in by_quantity.items()
        },
        "without_doubt": errors(ratios[clean]) if clean.any() else None,
        "doubts": counted(doubt for run in runs for doubt in run.doubts),
        "guessed": counted(guess for run in runs for guess in run.guessed),
        "left_out": counted(one.why for one in compared.left),
    }
    assert set(out["by_quantity"]) == set(QUANTITIES)
    return out


def _inside(runs: Sequence[Run], predicted: Predicted, ratios: np.ndarray) -> np.ndarray:
    """Return which runs lie inside the 90 % interval of their prediction."""
    engines = engines_of(runs)
    known: dict[Any, Any] = {}
    out = []
    for i, run in enumerate(runs):
        batch = float(predicted.batch[i])
        key = (run.engine, run.chip.id, run.model.id, judged_by(run), run.input_tokens, run.output_tokens, batch)
        if key not in known:
            known[key] = interval(
                engines[run.engine], run.chip, run.model, judged_by(run), run.input_tokens, run.output_tokens, batch,
                run.request_rate is not None,
            )  # fmt: skip
        factor = float(np.exp(np.clip(ratios[i], -700.0, 700.0)))
        out.append(known[key].low <= factor <= known[key].high)
    return np.array(out)


def _groups(
    runs: Sequence[Run], ratios: np.ndarray, inside: np.ndarray, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return errors by the columns ``names``, worst first."""
    keys = [tuple(_BY[name](run) for name in names) for run in runs]
    out = []
    for key in sorted(set(keys)):
        mine = np.array([one == key for one in keys])
        doubtful = sum(bool(run.doubts) for run, one in zip(runs, mine, strict=True) if one)
        by = dict(zip(names, key, strict=True))
        more = {"interval_coverage": float(np.mean(inside[mine])), "rows_in_doubt": doubtful}
        out.append({"by": by, **errors(ratios[mine]), **more})
    return sorted(out, key=lambda one: -one["mdape"])


def shipped() -> dict[str, Any]:
    """Return the errors that the shipped profiles state of the rows behind them, by engine."""
    out = []
    for name in configs.ids("engines"):
        facts = configs.load_engine(name)
        if facts.fitted:
            own = {kind: one for kind, one in facts.residuals.items() if "engines" not in one}
            out.append(
                {
                    "engine": name,
                    "rows": int(facts.fitted["rows"]),
                    "residuals": own,
                    "note": facts.tables["profile"].get("note", ""),
                }
            )
        else:
            out.append({"engine": name, "rows": 0, "residuals": {}, "note": facts.tables["profile"].get("note", "")})
    return {"engines": out}
