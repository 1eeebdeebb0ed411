"""Engine profiles as TOML text that the loader reads back."""

from typing import Any

import configs

from ..calibration.toml_text import toml
from .quantiles import table
from .refit import Refit

_KEPT = ("kernels", "limits")  # a fit to runs leaves these as they are
_SPOKEN = {"dense": "throughput of dense models", "experts": "throughput of models with experts"}


def engine_file(refit: Refit, pooled: dict[str, dict[str, float]], date: str) -> str:
    """Return the file of a fitted profile; ``pooled`` residual tables stand in where its runs are too few for one."""
    engine = refit.engine
    values = {name: _short(refit.profile.value[name]) for name in engine.profile}
    errors = {name: _short(refit.profile.log_standard_error[name], 3) for name in engine.profile}
    profile = {**values, "source": source_of(refit), "date": date, "note": summary(refit)}
    head = {**_head(engine), "chips": refit.chips, "precisions": refit.precisions}
    models = {"models": refit.models} if refit.models else {}
    fitted = {name: _short(value, 6) for name, value in refit.fitted.items()}
    body = {"profile": profile, "log_standard_error": errors, "fitted": fitted}
    return toml(
        {
            **head,
            **models,
            **_tables(engine),
            **body,
            "residuals": _residuals(refit.residuals, _at_least(pooled, refit)),
        }
    )


def borrowed_file(
    engine: configs.EngineFacts,
    overheads: dict[str, float],
    pooled: dict[str, dict[str, float]],
    source: str,
    date: str,
) -> str:
    """Return the file of a profile without runs of its own: kernels as timed, ``overheads`` of a fitted profile."""
    values = {name: _short(overheads.get(name, 1.0 if name.endswith("_ratio") else engine.profile[name]))
              for name in engine.profile}  # fmt: skip
    note = "no run of this engine is among the data: no error of its own is known, and intervals are those of others"
    profile = {**values, "source": source, "date": date, "note": note}
    lists = {"chips": list(engine.chips), "precisions": list(engine.precisions)}
    body = {"profile": profile, "residuals": _residuals({}, pooled)}
    return toml({**_head(engine), **lists, **_tables(engine), **body})


def _head(engine: configs.EngineFacts) -> dict[str, Any]:
    versions = {"versions": list(engine.versions)} if engine.versions else {}
    like = {"host_like": engine.tables["host_like"]} if "host_like" in engine.tables else {}
    return {"name": engine.name, "engine": engine.engine, "frameworks": list(engine.frameworks), **versions, **like}


def _tables(engine: configs.EngineFacts) -> dict[str, Any]:
    return {name: engine.tables[name] for name in _KEPT if name in engine.tables}


def _residuals(own: dict[str, dict[str, float]], pooled: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    out = {name: own.get(name) or pooled.get(name) for name in configs.RESIDUALS}
    return {name: {k: _short(v, 3) for k, v in one.items()} for name, one in out.items() if one}


def _at_least(pooled: dict[str, dict[str, float]], refit: Refit) -> dict[str, dict[str, float]]:
    """Return other engines' tables, no narrower than the few residuals that this engine has of its own."""
    out = {}
    for name, one in pooled.items():
        own = refit.left_out.get(name, ())
        low, high = (min(own), max(own)) if len(own) else (0.0, 0.0)
        out[name] = {**one, "low": min(one["low"], low), "high": max(one["high"], high)}
    return out


def source_of(refit: Refit) -> str:
    """Return whose runs were fitted, and how."""
    names = sorted({run.source for run in refit.runs if run.source})
    return f"least Huber loss (delta 0.1, log ratio; `calibrate --from`) on {', '.join(names) or 'runs of no source'}"


def summary(refit: Refit) -> str:
    """Return rows and median errors in a sentence."""
    parts = []
    for kind in ("dense", "experts", "tpot", "ttft"):
        ratios = refit.left_out.get(kind)
        if ratios is not None and len(ratios):
            off = table(ratios)["mdape"]
            parts.append(f"{_SPOKEN.get(kind, kind)} {100 * off:.1f} % ({len(ratios)} rows)")
    said = f"median errors: {', '.join(parts)}"
    if len(refit.doubtful):
        off = table(refit.doubtful)["mdape"]
        said += f"; {len(refit.doubtful)} rows in doubt were not learned from and are off by {100 * off:.0f} %"
    return said


def _short(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")
