"""Reads recorded kernel timings from files and folders, whatever layout they are in, into `Timings`.

Files are parquet, CSV (also as .txt), JSON lines with a header ``{"schema": "timings/1", ...}`` and one row
an object, or one JSON object with the same header and its ``rows``. The columns tell the layout; see `layouts`.
"""

import csv
import importlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

import configs
from configs import ConfigError, shown

from .columns import Columns
from .files import files_below
from .layouts import OURS, Layout, layout_of
from .timings import FAMILIES, Timings

SCHEMA = "timings/1"
UNKNOWN = "unknown"  # the system of a table that names none
_ENDINGS = (".parquet", ".csv", ".jsonl", ".json", ".txt")
_SILENT = ("chips.csv", "readme", "license", "notice")  # not timings, and not meant to be
_ABSENT = {"window": 0, "source": "calibrate"}  # what a row of a log that does not say means
_LFS = b"version https://git-lfs.github.com/spec/"


_ACCEPTED = (
    "known are this planner's tables (dtype, m, n, k, seconds and the like), aiconfigurator's perf tables, "
    f"Vidur's mlp, attention and all-reduce CSV files and {SCHEMA} logs"
)


class _UnreadableError(Exception):
    """A file that should hold timings and cannot be read; the message is the reason."""


class _UnknownLayoutError(Exception):
    """A file of columns no layout has; the message names what was found."""


def read(path: Path, system: str | None = None) -> tuple[list[Timings], list[str]]:
    """Read a file, or every file below a folder, into one table per family, beside warnings in sentences.

    A row's system is the one it names; else the nearest folder below ``path`` that names a known chip; else
    ``system``; else such a folder above; else `UNKNOWN`. Rows of foreign layouts that are alike in all but
    time are repeats and merged by their median, visits in a log to the quickest; our tables are taken as they are.

    Raises:
        ConfigError: no such file, nothing in it that can be used, or pyarrow is needed and absent.
    """
    files = [file for file in files_below(path, _ENDINGS) if not file.name.lower().startswith(_SILENT)]
    alone = files == [path]
    tables: dict[str, list[Timings]] = defaultdict(list)
    warnings: list[str] = []
    failures: dict[str, list[Path]] = defaultdict(list)
    unknown: dict[Path, str] = {}
    for file in files:
        try:
            found, notes = _read_file(file, _system_of(file, path, system))
        except _UnreadableError as error:
            failures[str(error)].append(file)
        except _UnknownLayoutError as error:
            unknown[file] = str(error)
        else:
            warnings += notes
            for table in found:
                tables[table.family].append(table)
    if unknown and not alone:
        warnings.append(f"{_names(list(unknown))}: skipped, of unknown layout")
    warnings += [f"{_names(bad)}: skipped, {reason}" for reason, bad in failures.items()]
    joined = [Timings.concatenated(tables[family]) for family in FAMILIES if tables[family]]
    if not any(table.rows for table in joined):
        raise ConfigError(_nothing(path, files, failures, unknown, warnings))
    nameless = sum(int((table.columns["system"] == UNKNOWN).sum()) for table in joined)
    if nameless:
        warnings.append(
            f"{shown(str(path))}: {nameless} rows name no known system; give it to tell which chip they are of"
        )
    return [table for table in joined if table.rows], warnings


def _system_of(file: Path, root: Path, given: str | None) -> str:
    """Find the system of a table that does not name it, from the folders around it or from what was given."""
    below = [] if file == root else list(reversed(file.relative_to(root).parts[:-1]))
    above = list(reversed((root.parent if file == root else root).absolute().parts))
    inside, outside = ([part for part in parts if configs.chip_named(part)] for parts in (below, above))
    return next(iter([*inside, *([given] if given else []), *outside]), UNKNOWN)


def _read_file(file: Path, system: str) -> tuple[list[Timings], list[str]]:
    try:
        with file.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise _UnreadableError(f"cannot be read ({error.strerror})") from None
    if start.startswith(_LFS):
        raise _UnreadableError("a git-LFS pointer and not the data: run 'git lfs pull' where it came from")
    if not start.strip():
        raise _UnreadableError("an empty file")
    match file.suffix.lower():
        case ".parquet":
            return _converted(file, *_parquet(file), system)
        case ".jsonl" | ".json":
            return _log(file, system)
        case _:
            return _converted(file, *_csv(file), system)


def _recognised(names: list[str]) -> Layout:
    layout = layout_of(set(names))
    if layout is None:
        some = ", ".join(shown(name) for name in names[:12])
        raise _UnknownLayoutError(f"columns {some}{', ...' if len(names) > 12 else ''}")
    return layout


def _parquet(file: Path) -> tuple[Layout, Columns]:
    try:
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    except ImportError:
        raise ConfigError(
            f"{shown(str(file))}: reading parquet needs pyarrow: pip install 'llm-lifetime-planner[data]'"
        ) from None
    try:
        with parquet.ParquetFile(file) as source:
            layout = _recognised(source.schema_arrow.names)
            table = source.read()
            cells = [_arrow(column.combine_chunks(), arrow) for column in table.columns]
    except (arrow.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise _UnreadableError(f"not a readable parquet file ({shown(reason)})") from None
    return layout, Columns(dict(zip(table.column_names, cells, strict=True)))


def _arrow(column: Any, arrow: Any) -> Any:
    """Turn an arrow column into numbers, or into strings by way of the few that are distinct."""
    types = arrow.types
    if types.is_string(column.type) or types.is_large_string(column.type):
        column = column.dictionary_encode()
    if types.is_dictionary(column.type):
        distinct = np.array([*column.dictionary.to_pylist(), None], dtype=object)
        return distinct[column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)]
    return column.to_numpy(zero_copy_only=False)


def _csv(file: Path) -> tuple[Layout, Columns]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.reader(stream, skipinitialspace=True)
            names = [name.strip() for name in next(rows, [])]
            layout = _recognised(names)
            cells = [row for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _UnreadableError(f"not readable as CSV ({shown(str(error))})") from None
    width = len(names)
    even = [row if len(row) == width else (row + [""] * width)[:width] for row in cells]
    return layout, Columns(dict(zip(names, zip(*even, strict=True) if even else [()] * width, strict=True)))


def _converted(file: Path, layout: Layout, table: Columns, system: str) -> tuple[list[Timings], list[str]]:
    """Convert one file's columns, with a sentence on what was left out."""
    found = layout.convert(table, file.stem, system)
    notes, name = [], shown(str(file))
    aside, why = layout.aside(table)
    if aside:
        notes.append(f"{name}: {aside} of {table.rows} rows skipped: {why}")
    dropped = sum(part.dropped for part in found)
    if dropped:
        rows = dropped + sum(part.rows for part in found)
        notes.append(
            f"{name}: {dropped} of {rows} timings skipped: the time or a size is not a positive finite number, "
            "or the dtype is missing"
        )
    if not table.rows:
        notes.append(f"{name}: no rows")
    return [part.merged() if layout.repeats else part for part in found], notes


def _log(file: Path, system: str) -> tuple[list[Timings], list[str]]:
    """Read a calibration log: of several visits to a kernel the quickest, and not a last line cut short by a kill."""
    lines = file.suffix.lower() == ".jsonl"
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace" if lines else "strict")
    except (OSError, UnicodeDecodeError) as error:
        raise _UnreadableError(f"not readable as JSON ({shown(str(error))})") from None
    header, rows, broken = _json_lines(text) if lines else _json_object(text)
    if header.get("schema") != SCHEMA:
        if str(header.get("schema", "")).startswith("timings/"):
            raise _UnreadableError(f"of schema '{shown(str(header['schema']))}' where '{SCHEMA}' can be read")
        raise _UnknownLayoutError(f'JSON without "schema": "{SCHEMA}"')
    objects = [row for row in rows if isinstance(row, dict)]
    timed = [row for row in objects if "seconds" in row or not {"skipped", "probe"} & row.keys()]
    device = header.get("device")
    named = [part.get(key) for part in (header, device) if isinstance(part, dict) for key in ("system", "chip", "kind")]
    system = next((name for name in named if isinstance(name, str) and name), system)
    found: list[Timings] = []
    for family in FAMILIES:
        own = [row for row in timed if row.get("family") == family]
        if own:
            names = {name for row in own for name in row}
            needed = OURS["attention_prefill" if family == "attention_decode" else family]
            columns = {
                name: [row.get(name, _ABSENT.get(name)) for row in own] for name in {*names, *needed.needs, *_ABSENT}
            }
            columns["kv_dtype"] = [row.get("kv_dtype", row.get("dtype")) for row in own]
            found += [part.quickest() for part in needed.convert(Columns(columns), family, system)]
    broken += len(rows) - len(objects)
    strangers = sum(row.get("family") not in FAMILIES for row in timed)
    dropped = sum(part.dropped for part in found)
    reasons = {
        "no JSON object": broken,
        f"family is none of {', '.join(FAMILIES)}": strangers,
        "the time, a size or the dtype is missing or out of range": dropped,
    }
    name = shown(str(file))
    notes = [f"{name}: {count} of its rows skipped: {why}" for why, count in reasons.items() if count]
    return found, notes if timed or broken else [f"{name}: no timings, only {len(objects)} that were skipped"]


def _json_lines(text: str) -> tuple[dict[str, Any], list[Any], int]:
    """Return the header, the other rows, and how many lines but the last are not JSON."""
    parsed: list[Any] = []
    broken = 0
    lines = [line for line in text.split("\n") if line.strip()]
    for number, line in enumerate(lines):
        try:
            parsed.append(json.loads(line))
        except (json.JSONDecodeError, RecursionError):
            broken += 0 < number < len(lines) - 1
            parsed += [{}] if number == 0 else []  # no header: of no known layout
    return (parsed[0] if parsed and isinstance(parsed[0], dict) else {}), parsed[1:], broken


def _json_object(text: str) -> tuple[dict[str, Any], list[Any], int]:
    try:
        whole = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise _UnreadableError(f"not valid JSON ({shown(str(error))})") from None
    header = whole if isinstance(whole, dict) else {}
    rows = header.get("rows", [])
    return header, (rows if isinstance(rows, list) else []), 0


def _names(files: list[Path]) -> str:
    listed = ", ".join(shown(str(file)) for file in files[:3])
    return listed if len(files) <= 3 else f"{listed} and {len(files) - 3} more"


def _nothing(
    path: Path, files: list[Path], failures: dict[str, list[Path]], unknown: dict[Path, str], warnings: list[str]
) -> str:
    """Say in one sentence why there is nothing to use."""
    where = shown(str(path))
    if not files:
        return f"{where}: no files of kernel timings in it ({', '.join(_ENDINGS)} are read)"
    if files == [path] and failures:
        return f"{where}: {next(iter(failures))}"
    if unknown and len(unknown) == len(files):
        file, found = next(iter(unknown.items()))
        what = found if file == path else f"{file.name} has {found}"
        return f"{where}: no known layout of kernel timings ({what}); {_ACCEPTED}"
    more = [f"and {len(warnings) - 3} more"] if len(warnings) > 3 else []
    return f"{where}: no usable timings ({'; '.join([*warnings[:3], *more])})"
