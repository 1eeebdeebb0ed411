"""The answer of `fit`: coefficients and how sure they are, what runs leave open, what the law implies."""

from math import isfinite
from typing import Any

import numpy as np

from . import judged
from .fitted import Budgets, Fitted
from .law_file import valid

_FEW_LOST = 0.01  # share of resamplings without an optimum that goes without saying
_WORST = 8  # residuals listed
_EDGE = 1.001  # a best size this near one, or the whole budget, is no optimum
_FEW_GROUPS = 10  # of which resampling tells errors roughly
_CLOSE = 0.99  # correlation of two coefficients that is worth a sentence of its own


def document(fitted: Fitted) -> dict[str, Any]:
    """Return the object of a fit, in SI units and nats, its files and message left to be told."""
    law, asked, table = fitted.law, fitted.asked, fitted.table
    told = [name for name in law.free if name not in law.loose]  # of the others a draw says where it started
    between = judged.intervals(fitted.ensemble, told) if fitted.ensemble else {}
    open_ = judged.not_identified(law, between)
    errors = {} if fitted.ensemble is None else fitted.ensemble.standard_errors()
    pairs = judged.correlations(law, fitted.ensemble) if fitted.ensemble else []
    return {
        "schema": "fit/1",
        "status": "fitted" if law.converged else "not-converged",
        "message": "",
        "form": law.form,
        **{name: _finite(value) for name, value in law.coefficients.items()},
        "objective": law.objective,
        "gradient_norm": law.gradient_norm,
        "starts": law.starts,
        "agreeing_starts": law.agreeing,
        "fixed": law.fixed,
        "huber_delta": law.delta if isfinite(law.delta) else "inf",
        "residual": "nats" if law.in_nats else "log",
        "standard_errors": {name: _finite(value) for name, value in errors.items() if name in told},
        "intervals": {name: [_finite(x) for x in pair] for name, pair in between.items()},
        "not_identified": open_,
        "undetermined": list(law.loose),
        "correlations": [{"of": [a, b], "correlation": value} for a, b, value in pairs],
        "bootstrap": {"draws": asked.draws, "lost": fitted.lost, "seed": asked.seed, "groups": _groups(fitted)},
        "rows": len(table),
        "rows_left_out": {
            "where": table.others,
            "weightless": table.weightless,
            "highest": [{"line": line, "loss_nats": loss} for line, loss in table.dropped],
        },
        "residuals": _residuals(fitted),
        "compute_optimal": _optimal(fitted, fitted.budgets),
        "conditions": fitted.budgets.conditions if fitted.budgets else {},
        "valid": valid(fitted),
        "downstream": _downstream(fitted),
        "law_file": None,
        "draws_file": None,
        "files": [],
        "warnings": _warnings(fitted, open_, pairs),
    }


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def _groups(fitted: Fitted) -> int:
    return len(fitted.table if fitted.table.group is None else np.unique(fitted.table.group))


def _residuals(fitted: Fitted) -> dict[str, Any]:
    """Return how far runs are from the law, in logarithms: about the share of the loss."""
    off, loss, lines = fitted.law.residuals, fitted.runs.loss, fitted.table.lines
    if not np.isfinite(off).all():
        return {}

    def row(i: int) -> dict[str, Any]:
        return {"line": int(lines[i]), "loss_nats": float(loss[i]), "predicted_nats": float(loss[i] * np.exp(off[i])),
                "log_residual": float(off[i])}  # fmt: skip

    return {
        "log_rms": float(np.sqrt(np.mean(off**2))),
        "log_median_absolute": float(np.median(np.abs(off))),
        "log_mean": float(np.mean(off)),
        "largest": [row(i) for i in np.argsort(-np.abs(off), kind="stable")[:_WORST]],
        "far_off": [row(i) for i in judged.far_off(off)],
    }


def _optimal(fitted: Fitted, budgets: Budgets | None) -> list[dict[str, Any]]:
    """Return the best size at each budget; none of a law with coefficients that could as well be others."""
    if budgets is None or fitted.law.loose:
        return []
    most = float((6.0 * fitted.table.columns["params"] * fitted.table.columns["tokens"]).max())
    out = []
    for k, flops in enumerate(budgets.flops):
        params = budgets.params[k]
        if not _EDGE < params < flops / _EDGE:
            continue
        drawn = budgets.drawn[:, k]
        # Where more draws have no best size than the interval leaves out, it has no end.
        fine = (drawn > _EDGE) & (drawn < flops / _EDGE)
        sizes = np.quantile(drawn, judged.LEVELS).tolist() if len(drawn) and fine.mean() > judged.LEVELS[1] else None
        between = [flops / (6.0 * size**2) for size in reversed(sizes)] if sizes else None
        tokens = budgets.tokens[k]
        out.append(
            {"flops": float(flops), "params": float(params), "params_interval": sizes, "tokens": float(tokens),
             "tokens_per_param": float(tokens / params), "tokens_per_param_interval": between,
             "loss_nats": float(budgets.loss[k]), "extrapolated": bool(flops > most)}
        )  # fmt: skip
    return out


def _downstream(fitted: Fitted) -> dict[str, Any] | None:
    curve = fitted.errors
    if curve is None:
        return None
    return {
        "measure": fitted.asked.columns["error"],
        "rows": len(curve.residuals),
        "identified": curve.trouble is None,
        "eps": _finite(curve.eps),
        "k": _finite(curve.k),
        "gamma": _finite(curve.gamma),
        "standard_errors": curve.standard_errors,
        "objective": curve.objective,
        "gradient_norm": curve.gradient_norm,
        "minima": curve.minima,
        "rms": float(np.sqrt(np.mean(curve.residuals**2))),
    }


def _warnings(fitted: Fitted, open_: dict[str, str], pairs: list[tuple[str, str, float]]) -> list[str]:
    law, table = fitted.law, fitted.table
    out = judged.sameness(table.columns, law.form)
    if law.converged and law.trouble:
        out.append(f"{law.trouble}{': hold one with --fix' if law.loose else ''}.")
    wide = [name for name in open_ if name not in law.loose]
    if wide:
        out.append(
            f"these runs do not identify {_listed(wide)}: 90 % intervals span more than a factor of "
            f"{judged.WIDEST:g}, or for exponents more than their own size."
        )
    close = [(a, b, r) for a, b, r in pairs if abs(r) > _CLOSE]
    if close:
        said = ", ".join(f"{a} and {b} ({r:+.3f})" for a, b, r in close[:3])
        out.append(f"coefficients that trade off against each other: {said}; take them from one law together.")
    if fitted.ensemble is not None and _groups(fitted) < _FEW_GROUPS:
        out.append(f"errors from resampling {_groups(fitted)} runs or groups are rough: ten or more tell them.")
    far = judged.far_off(law.residuals) if np.isfinite(law.residuals).all() else []
    if len(far):
        lines = ", ".join(str(table.lines[i]) for i in far[:_WORST]) + (", ..." if len(far) > _WORST else "")
        out.append(
            f"more than {judged.FAR:g} robust standard deviations off the law: {len(far)} of {len(table)} runs (line "
            f"{lines}); none was left out (--drop-highest and --where do)."
        )
    if law.converged and fitted.asked.draws:
        if fitted.ensemble is None and law.free:
            out.append(f"{fitted.lost} of {fitted.asked.draws} resamplings have no optimum: no errors can be stated.")
        elif fitted.lost > _FEW_LOST * fitted.asked.draws:
            out.append(f"{fitted.lost} of {fitted.asked.draws} resamplings have no optimum and are left out.")
    if fitted.budgets and not law.loose and len(_optimal(fitted, fitted.budgets)) < len(fitted.budgets.flops):
        out.append("at some budgets this law has no best size: its loss only falls, or only rises, with size.")
    if fitted.errors is not None and fitted.errors.trouble:
        out.append(f"errors downstream: {fitted.errors.trouble}.")
    return out


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
