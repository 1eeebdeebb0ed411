"""Validate and calibrate on tables of training runs."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import configs

from ..runs import training_validation, whole_run
from ..runs.trained import TrainedRun, read
from ..runs.trainer_refit import FEWEST_RUNS, TrainerRefit, pooled, refit, summary, trainer_file
from ..runs.whole_run import WholeRun
from ..train import whole_runs
from ..train.measured import lay
from .files import write
from .values import InputError


def validate(asked: dict[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
    """Return the errors on the runs of ``--training``, a message and warnings.

    Raises:
        configs.ConfigError: nothing there that can be predicted.
    """
    path = asked["training"]
    runs, left = read(path, lay)
    long, left_long = whole_run.read(path)
    whole = whole_runs.document(long, left_long)
    alone = whole["rows"] and not runs
    found = training_validation.nothing(left) if alone else training_validation.document(runs, left)
    measured = round(found["rows"] / found["covered"]) if found["covered"] else sum(x.kind == "measured" for x in left)
    message = f"{found['rows']:,} training runs predicted of {measured:,} measured"
    if whole["rows"]:
        message += f", chip-hours of {whole['rows']:,} whole runs"
    return {**found, "whole_runs": whole}, message, _notes([*runs, *long])


def calibrate(asked: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return the answer of `calibrate --from` a table of training runs, once the trainer profiles are written.

    Raises:
        InputError, configs.ConfigError: runs too few to fit, or several trainers' for one file.
    """
    runs, left = read(asked["from_"])
    refits = refit(runs)
    if not refits:
        raise InputError(f"--from: no trainer has {FEWEST_RUNS} runs that can be predicted")
    if len(refits) > 1 and not out.is_dir():
        names = ", ".join(one.trainer.id for one in refits)
        raise InputError(f"--out: these are runs of {names}: give a folder that exists")
    today = date.today().isoformat()
    texts = {one.trainer.id: trainer_file(one, pooled([x for x in refits if x is not one]), today) for one in refits}
    files = _written({name: out / f"{name}.toml" if out.is_dir() else out for name in texts}, texts)
    return {
        "schema": "calibrate/1",
        "status": "calibrated",
        "message": f"trainer profiles of {', '.join(texts)}",
        "device": None,
        "trainers": [_fitted(one) for one in refits],
        "left_out": [{"why": one.why, "where": one.where} for one in left],
        "files": files,
        "warnings": _notes(runs),
    }


def _notes(runs: Sequence[TrainedRun | WholeRun]) -> list[str]:
    generic = sorted({run.model_name for run in runs if "shape of the model" in run.guessed})
    names = ", ".join(f"'{configs.shown(name)}'" for name in generic[:5])
    more = f" and {len(generic) - 5} more" if len(generic) > 5 else ""
    return [f"{names}{more}: not known here, taken as a typical transformer of that size."] if generic else []


def _written(paths: dict[str, Path], texts: dict[str, str]) -> list[str]:
    """Write files once all of them are what the loader accepts."""
    with TemporaryDirectory() as folder:
        for name, text in texts.items():
            draft = Path(folder) / paths[name].name
            draft.write_text(text, encoding="utf-8")
            configs.load_trainer(str(draft))
    for name, text in texts.items():
        write("--out", str(paths[name]), text)
    return [str(path) for path in paths.values()]


def _fitted(one: TrainerRefit) -> dict[str, Any]:
    return {
        "trainer": one.trainer.id,
        "fitted": {"rows": float(len(one.runs)), "parameters": one.profile.parameters},
        "profile": one.profile.value,
        "log_standard_errors": one.profile.log_standard_error,
        "summary": summary(one),
    }
