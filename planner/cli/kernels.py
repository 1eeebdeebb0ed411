"""The commands on kernels: calibrate constants from timings, validate them against timings."""

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import jax

import configs
from hw import timing

from ..calibration import recorded, session
from ..calibration.chip_file import chip_file, kernels_file
from ..calibration.device import Device, chip_tables
from ..calibration.fitting import MIN_ROWS, Fitted
from ..calibration.readers import read
from ..calibration.timings import Timings
from ..compiled import cache_directory
from ..report.residuals import check_plot, draw
from .files import check_writable, write
from .progress import progress
from .values import InputError

_DEFAULT_OUT = "calibrated.toml"
_PREDICTED = ("kernels", "serving", "training")  # what `validate` takes, in the order of its answer
_RUN_FLAGS = ("engine", "model", "tp", "pp", "dp", "ep", "precision")  # what runs do not say of themselves


def calibrate(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `calibrate`, once its files are written.

    Raises:
        InputError: a bad flag. configs.ConfigError: a bad chip, log or table.
    """
    grid = asked.get("grid")
    if grid is not None and grid not in session.GRIDS:
        hint = configs.nearest(grid, session.GRIDS)
        raise InputError(f"--grid = '{configs.shown(grid)}' must be one of {', '.join(session.GRIDS)}{hint}")
    families = _names(asked, "families", timing.FAMILIES)
    precisions = _names(asked, "precisions", tuple(timing.PRECISIONS))
    chip = configs.load_chip(asked["chip"]) if "chip" in asked else None
    out = Path(asked.get("out", _DEFAULT_OUT))
    if not out.is_dir():
        check_writable("--out", str(out))
        if out.suffix != ".toml":
            raise InputError(f"--out = '{configs.shown(str(out))}' must end in .toml, or be a folder that exists")
    if "plot" in asked:
        check_writable("--plot", asked["plot"])
        check_plot(asked["plot"])
    _use_cache()
    if "from_" in asked:
        for flag in ("grid", "families", "precisions"):
            if flag in asked:
                raise InputError(f"--{flag} says what to time: it does not go with --from")
        kind = _runs_in(asked["from_"])
        if kind == "serving":
            from . import serving

            return serving.calibrate(asked, out)
        if kind == "training":
            from . import training

            for flag in ("plot", "chip", *_RUN_FLAGS):
                if flag in asked:
                    raise InputError(f"--{flag} does not go with --from a table of training runs: it says so itself")
            return training.calibrate(asked, out)
    for flag in _RUN_FLAGS:
        if flag in asked:
            raise InputError(f"--{flag} goes with --from served runs: it does not say how kernels are timed")
    if "from_" in asked:
        return _recorded(asked, out, chip)
    if out.is_dir():
        raise InputError(
            f"--out = '{configs.shown(str(out))}' is a directory: one device makes one file, give its name"
        )
    return _timed(asked, out, grid, families, precisions)


def validate(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of `validate`.

    Raises:
        configs.ConfigError: nothing there that can be predicted.
    """
    from ..calibration import validate as checks

    if not any(what in asked for what in _PREDICTED):
        if "chip" in asked:
            raise InputError("--chip says whose timings --kernels, or whose results --serving, are: give both")
        for flag in ("plot", *_RUN_FLAGS):
            if flag in asked:
                raise InputError(f"--{flag} says how served runs were taken or shown: give --serving too")
        from ..runs import training_validation, validation

        message = "errors of the shipped constants on the timings and runs they were fitted to"
        found = {**checks.shipped(), "serving": validation.shipped(), "training": training_validation.shipped()}
        return {"schema": "validate/1", "status": "shipped", "message": message, **found, "warnings": []}
    for flag in ("plot", *_RUN_FLAGS):
        if flag in asked and "serving" not in asked:
            raise InputError(f"--{flag} goes with --serving: it says how served runs were taken")
    if "chip" in asked and "kernels" not in asked and "serving" not in asked:
        raise InputError("--chip says whose timings --kernels, or whose results --serving, are: give one of them too")
    _use_cache()
    answer: dict[str, Any] = {"schema": "validate/1", "status": "predicted"}
    messages: list[str] = []
    warnings: list[str] = []
    for what in _PREDICTED:
        if what in asked:
            found, message, more = _predicted(what, asked)
            answer |= found
            messages.append(message)
            warnings += more
    return {**answer, "message": ", ".join(messages), "warnings": warnings}


def _predicted(what: str, asked: dict[str, Any]) -> tuple[dict[str, Any], str, list[str]]:
    """Return errors on what one flag of `validate` names, a message and warnings."""
    if what == "serving":
        from . import serving

        found, message, warnings = serving.validate(asked)
        return {"serving": found}, message, warnings
    if what == "training":
        from . import training

        found, message, warnings = training.validate(asked)
        return {"training": found}, message, warnings
    from ..calibration import validate as checks

    chip = configs.load_chip(asked["chip"]).id if "chip" in asked else None
    tables, warnings = read(Path(asked["kernels"]), chip)
    found, more = checks.validate(tables, chip)
    rows = sum(group["rows"] for groups in found.values() for group in groups)
    return found, f"{rows:,} timings predicted", warnings + more


def _runs_in(path: str) -> str | None:
    """Return whether ``path`` holds "serving" runs or "training" runs; None where it holds timings of kernels."""
    from ..runs.readers import holds_runs
    from ..runs.trained import is_table

    if is_table(Path(path)):
        return "training"
    return "serving" if holds_runs(path) else None


def _names(asked: dict[str, Any], flag: str, allowed: Sequence[str]) -> list[str]:
    if flag not in asked:
        return list(allowed)
    names = [name.strip() for name in asked[flag].split(",")]
    for name in names:
        if name not in allowed:
            hint = configs.nearest(name, allowed)
            raise InputError(f"--{flag}: '{configs.shown(name)}' must be one of {', '.join(allowed)}{hint}")
    return list(dict.fromkeys(names))


def _recorded(asked: dict[str, Any], out: Path, chip: configs.ChipFacts | None) -> dict[str, Any]:
    tables, warnings = read(Path(asked["from_"]), chip.id if chip else None)
    chips, tables, more = recorded.by_chip(tables, chip.id if chip else None)
    if len(chips) > 1 and not out.is_dir():
        names = ", ".join(chips)
        raise InputError(f"--out must be a folder that exists: these are timings of several chips, {names}")
    with progress("fitting", recorded.steps(tables)) as tick:
        sets = recorded.constants(tables, chips, tick)
    _enough(sets.values(), tables)
    source, files = _source(tables), []
    for name, fitted in sets.items():
        if out.is_dir():
            path = out / f"{Path(name).stem}.toml"
            text = kernels_file(f"kernel constants of {name}", fitted, source, date.today().isoformat())
        else:
            path, text = out, chip_file(chips[name], fitted, source, date.today().isoformat())
        write("--out", str(path), text)
        files.append(str(path))
    return _answer(asked, sets, files, None, warnings + more)


def _timed(
    asked: dict[str, Any], out: Path, grid: str | None, families: list[str], precisions: list[str]
) -> dict[str, Any]:
    device = Device.present(asked.get("chip"))
    grid = grid or ("small" if device.backend == "cpu" else "standard")
    if families == ["allreduce"] and device.count < 2:
        raise InputError(f"--families = 'allreduce': collectives need two devices or more, here is {device.count}")
    log = session.Log(out.with_suffix(".timings.jsonl"), {"device": device.header(), "grid": grid})
    resumed = len(log.done)
    print(f"{device.count} x {device.kind}; every timing is kept in {log.path}", file=sys.stderr)
    probes = session.probe(log, device, precisions, native_only="precisions" not in asked)
    todo = session.jobs(device, probes, grid, families, precisions)
    print(f"{len(todo)} kernels to time, of which the log has {resumed}", file=sys.stderr)
    with progress("timing", len(todo)) as tick:
        warnings = session.take(log, device, todo, tick)
    warnings += [f"{p} left out: {why}." for p, why in probes.refused.items()]
    tables_of_chip = chip_tables(device, probes.flops_per_s, probes.bytes_per_s, date.today().isoformat())
    name = device.chip or str(out)
    chip = configs.chip_of(name, tables_of_chip)
    tables, more = read(log.path, name)
    tables = [t.of_system(dict.fromkeys(t.systems, name)) for t in tables]
    with progress("fitting", recorded.steps(tables)) as tick:
        sets = recorded.constants(tables, {name: chip}, tick)
    _enough(sets.values(), tables)
    source = f"`calibrate` on {device.count} x {device.kind}, jax {jax.__version__}"
    write("--out", str(out), chip_file(chip, sets[name], source, date.today().isoformat()))
    configs.load_chip(str(out))  # what was written must be what --chips accepts
    if device.chip is None:
        warnings.append(f"links and power of {device.kind} are assumed, not measured: edit them in {out}.")
    return _answer(asked, sets, [str(out), str(log.path)], device.header(), warnings + more)


def _enough(sets: Any, tables: Sequence[Timings]) -> None:
    if not any(sets):
        rows = ", ".join(f"{t.rows} of {t.family}" for t in tables)
        raise InputError(f"too few timings to fit: {rows}; each kind and number format needs {MIN_ROWS} or more")


def _answer(
    asked: dict[str, Any], sets: dict[str, list[Fitted]], files: list[str], device: Any, warnings: list[str]
) -> dict[str, Any]:
    if "plot" in asked:
        write("--plot", asked["plot"], draw([one for fitted in sets.values() for one in fitted], asked["plot"]))
        files = [*files, asked["plot"]]
    return {
        "schema": "calibrate/1",
        "status": "calibrated",
        "message": f"constants of {', '.join(sets)}",
        "device": device,
        "chips": [{"chip": name, "sets": recorded.summary(fitted)} for name, fitted in sets.items()],
        "files": files,
        "warnings": warnings,
    }


def _source(tables: Sequence[Timings]) -> str:
    """Name who recorded the timings, as the tables say."""
    names = sorted({str(s) for t in tables for s in set(t.columns["source"]) if s})
    return f"timings recorded by {', '.join(names) or 'an unnamed source'}, fitted by `calibrate --from`"


def _use_cache() -> None:
    """Keep compiled programs between runs, in the private directory that plans are kept in."""
    directory = cache_directory()
    if directory is not None:
        jax.config.update("jax_compilation_cache_dir", str(directory / "kernels"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
