"""Validate and calibrate on served runs: published tables, or the user's own benchmark results."""

from collections import defaultdict
from dataclasses import replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import configs

from ..report.residuals import check_plot
from ..report.serving import draw
from ..runs import validation
from ..runs.engine_file import borrowed_file, engine_file, source_of, summary
from ..runs.readers import parts_given, read
from ..runs.refit import FEWEST_RUNS, Refit, fit_together, pooled
from ..runs.run import Left, Run
from ..runs.vllm_result import Deployment
from .files import check_writable, write
from .values import InputError

_HOST = ("layer_s", "context_layer_s", "expert_layer_s", "expert_pair_s", "hop_s", "step_s", "sequence_s",
         "boundary_sequence_s")  # fmt: skip


def validate(asked: dict[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
    """Return the errors on the runs of ``--serving``, a message and warnings, once the picture is drawn.

    Raises:
        InputError, configs.ConfigError: a bad flag, or nothing there that can be predicted.
    """
    if "plot" in asked:
        check_writable("--plot", asked["plot"])
        check_plot(asked["plot"])
    runs, left, warnings = _read(asked, "serving")
    compared = validation.compare(runs, left)
    found = validation.document(compared)
    if "plot" in asked:
        write("--plot", asked["plot"], draw(compared, asked["plot"]))
    message = f"{found['rows']:,} served runs predicted of {found['rows'] / found['covered']:,.0f} measured"
    return found, message, warnings + _notes(compared.runs)


def _notes(runs: list[Run]) -> list[str]:
    generic = sorted({run.model_name for run in runs if "shape of the model" in run.guessed})
    names = ", ".join(f"'{configs.shown(name)}'" for name in generic[:5])
    more = f" and {len(generic) - 5} more" if len(generic) > 5 else ""
    return [f"{names}{more}: not known here, taken as a typical transformer of that size."] if generic else []


def calibrate(asked: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return the answer of `calibrate --from` runs, once the engine profiles are written.

    Into a folder go all profiles that the runs are of, fitted afresh; into a file the one that ``--engine`` names,
    fitted from where it stands.

    Raises:
        InputError, configs.ConfigError: a bad flag, or runs too few to fit.
    """
    if "plot" in asked:
        check_plot(asked["plot"])
    runs, left, warnings = _read(asked, "from_")
    by_engine: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_engine[run.engine].append(run)
    fresh = out.is_dir()
    if not runs:
        raise InputError(f"--from: no run can be predicted ({left[0].why})")
    if len(by_engine) > 1 and not fresh:
        names = ", ".join(sorted(by_engine))
        raise InputError(
            f"--engine is missing: these are runs of {names}; name one, or give a folder that exists as --out"
        )
    if fresh:
        warnings += [f"{name}: {len(few)} runs are too few to fit, left as it is." for name, few in by_engine.items()
                     if sum(run.teaches for run in few) < FEWEST_RUNS]  # fmt: skip
        by_engine = {k: v for k, v in by_engine.items() if sum(run.teaches for run in v) >= FEWEST_RUNS}
    refits = fit_together(by_engine, fresh)
    if not refits:
        raise InputError(f"--from: every engine has fewer than {FEWEST_RUNS} runs")
    written = _into_folder(out, refits) if fresh else _into_file(out, refits[0])
    files = list(written.values())
    if "plot" in asked:
        again = [replace(run, engine=written[run.engine]) for run in runs if run.engine in written]
        write("--plot", asked["plot"], draw(validation.compare(again, left), asked["plot"]))
        files.append(asked["plot"])
    return {
        "schema": "calibrate/1",
        "status": "calibrated",
        "message": f"engine profiles of {', '.join(one.engine.id for one in refits)}",
        "device": None,
        "engines": [_fitted(one) for one in refits],
        "left_out": [{"why": why, "rows": rows} for why, rows in _reasons(left).items()],
        "files": files,
        "warnings": warnings + _notes(runs),
    }


def _read(asked: dict[str, Any], flag: str) -> tuple[list[Run], list[Left], list[str]]:
    deployed = Deployment(
        chip=asked.get("chip"),
        tp=asked.get("tp", 1.0),
        pp=asked.get("pp", 1.0),
        dp=asked.get("dp", 1.0),
        ep=asked.get("ep"),
        precision=asked.get("precision"),
        model=asked.get("model"),
        engine=asked.get("engine"),
    )
    for name in ("tp", "pp", "dp", "ep"):
        if name in asked and asked[name] != round(asked[name]):
            raise InputError(f"--{name} = {asked[name]:g} must be a whole number of chips")
    if deployed.ep is not None and (deployed.tp * deployed.dp / deployed.ep) % 1.0:
        raise InputError(f"--ep = {deployed.ep:g} must divide tp x dp = {deployed.tp * deployed.dp:g}")
    return read(asked[flag], deployed, parts_given(asked))


def _reasons(left: list[Left]) -> dict[str, int]:
    out: dict[str, int] = {}
    for one in left:
        out[one.why] = out.get(one.why, 0) + 1
    return out


def _into_file(out: Path, refit: Refit) -> dict[str, str]:
    """Write the one profile; what the user's runs cannot tell of errors stays as the profile fitted from says."""
    others = {k: {**one, "engines": one.get("engines", 1.0)} for k, one in refit.engine.residuals.items()}
    return _written({refit.engine.id: (out, engine_file(refit, others, date.today().isoformat()))})


def _into_folder(out: Path, refits: list[Refit]) -> dict[str, str]:
    """Write every fitted profile, and those without runs that take their overheads from a fitted one."""
    today = date.today().isoformat()
    together = pooled(refits)
    by_id = {one.engine.id: one for one in refits}
    others = {name: pooled([x for x in refits if x is not one]) for name, one in by_id.items()}
    texts = {name: engine_file(one, others[name], today) for name, one in by_id.items()}
    for name in configs.ids("engines"):
        facts = configs.load_engine(name)
        like = facts.tables.get("host_like")
        if name not in by_id and like in by_id:
            overheads = {key: by_id[like].profile.value[key] for key in _HOST}
            kernels = "kernels as the chip's constants have them (every ratio 1)"
            whence = f"{kernels}; overheads of {like}: {source_of(by_id[like])}"
            texts[name] = borrowed_file(facts, overheads, together, whence, today)
    names = {name: Path(name).name.removesuffix(".toml") for name in texts}
    return _written({name: (out / f"{names[name]}.toml", text) for name, text in texts.items()})


def _written(texts: dict[str, tuple[Path, str]]) -> dict[str, str]:
    """Write files by engine, once all of them are what --engine accepts, and return their paths."""
    with TemporaryDirectory() as folder:
        for path, text in texts.values():
            draft = Path(folder) / path.name
            draft.write_text(text, encoding="utf-8")
            configs.load_engine(str(draft))
    for path, text in texts.values():
        write("--out", str(path), text)
    return {name: str(path) for name, (path, _) in texts.items()}


def _fitted(one: Refit) -> dict[str, Any]:
    return {
        "engine": one.engine.id,
        "fitted": one.fitted,
        "rows_in_doubt": len(one.doubtful),
        "residuals": one.residuals,
        "profile": one.profile.value,
        "log_standard_errors": one.profile.log_standard_error,
        "summary": summary(one),
    }
