"""A strict TOML reader: every key known, every number in its unit's range, every table sourced.

A schema is a dict from key to `Number`, `Text`, `Names`, `Table`, `Tables`, `Rows` or `Each`. The reader
answers with plain nested dicts in the file's own units; each kind of fact converts once,
where it is loaded, to SI units.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from .errors import ConfigError, nearest, shown

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


@dataclass(frozen=True)
class Number:
    """A finite number in ``unit``, from ``low`` to ``high`` inclusive."""

    unit: str
    low: float
    high: float
    required: bool = True


@dataclass(frozen=True)
class Text:
    """A non-empty string; ``allowed`` lists its values where they are few, ``date`` asks for YYYY[-MM[-DD]]."""

    allowed: tuple[str, ...] = ()
    required: bool = True
    date: bool = False


@dataclass(frozen=True)
class Names:
    """A non-empty list of strings."""

    required: bool = True


@dataclass(frozen=True)
class Table:
    """A sub-table with its own schema; a ``sourced`` one must say where its facts come from."""

    keys: Mapping[str, "Field"]
    required: bool = True
    sourced: bool = True


@dataclass(frozen=True)
class Tables:
    """A table of like tables, such as one per precision."""

    names: tuple[str, ...]
    each: Table
    required: bool = False


@dataclass(frozen=True)
class Rows:
    """A non-empty list of like tables, in TOML an array of tables."""

    each: Table
    required: bool = True


@dataclass(frozen=True)
class Each:
    """A table of entries of one kind under names that the file chooses."""

    entry: "Field"
    required: bool = True


Field = Number | Text | Names | Table | Tables | Rows | Each

SOURCE: Mapping[str, Field] = {
    "source": Text(),
    "retrieved": Text(required=False, date=True),
    "date": Text(required=False, date=True),
    "note": Text(required=False),
}


@dataclass(frozen=True)
class Where:
    """The place a complaint points at: the file and the dotted key within it."""

    file: str
    path: tuple[str, ...] = field(default=())

    def __truediv__(self, key: str) -> "Where":
        return Where(self.file, (*self.path, key))

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join(self.path)}" if self.path else self.file


def read_toml(path: Path, keys: Mapping[str, Field]) -> dict[str, Any]:
    """Read ``path`` and check it against the schema ``keys``.

    Raises:
        ConfigError: the file is absent, is not TOML, or breaks the schema; one sentence.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a directory, not a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except (ValueError, RecursionError) as error:  # not TOML, an integer too long to read, or lists in lists
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
    return _table(raw, keys, Where(str(path)))


def _table(raw: Any, keys: Mapping[str, Field], where: Where) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must be a table, not {raw!r}")
    for key in raw:
        if key not in keys:
            hint = nearest(key, keys) or f" (allowed here: {', '.join(keys)})"
            raise ConfigError(f"{where / shown(key)} is not a known key{hint}")
    out: dict[str, Any] = {}
    for key, spec in keys.items():
        if key in raw:
            out[key] = _value(raw[key], spec, where / key)
        elif spec.required:
            why = " (every fact needs its source)" if key == "source" else ""
            raise ConfigError(f"{where / key} is missing{why}")
    return out


def _value(raw: Any, spec: Field, where: Where) -> Any:
    match spec:
        case Number():
            return _number(raw, spec, where)
        case Text():
            return _text(raw, spec, where)
        case Names():
            if not isinstance(raw, list) or not raw or not all(isinstance(v, str) and v for v in raw):
                raise ConfigError(f"{where} = {raw!r} must be a non-empty list of strings")
            return list(raw)
        case Table():
            table = _table(raw, {**spec.keys, **(SOURCE if spec.sourced else {})}, where)
            if spec.sourced and not ("retrieved" in table or "date" in table):
                raise ConfigError(f"{where} needs a 'retrieved' or 'date' beside its source")
            return table
        case Tables():
            schema = dict.fromkeys(spec.names, spec.each)
            optional = {k: Table(t.keys, required=False, sourced=t.sourced) for k, t in schema.items()}
            return _table(raw, optional, where)
        case Rows():
            if not isinstance(raw, list) or not raw:
                raise ConfigError(f"{where} must be a list of tables, [[{where.path[-1]}]], at least one")
            return [_value(row, spec.each, where / str(number)) for number, row in enumerate(raw, 1)]
        case Each():
            if not isinstance(raw, dict) or not raw:
                raise ConfigError(f"{where} must be a table with at least one entry, not {raw!r}")
            return {key: _value(entry, spec.entry, where / shown(key)) for key, entry in raw.items()}


def _number(raw: Any, spec: Number, where: Where) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ConfigError(f"{where} = {raw!r} must be a number in {spec.unit}")
    if not spec.low <= raw <= spec.high:  # nor is NaN; integers too large for a float compare exactly
        told = f"{where} = {shown(repr(raw))} is outside {spec.low:g} to {spec.high:g}"
        raise ConfigError(f"{told}: give it in {spec.unit}")
    return float(raw)


def _is_date(text: str) -> bool:
    """Say whether ``text`` is YYYY, YYYY-MM, YYYY-MM-DD, a range of years, or "DATE to DATE"."""
    if re.fullmatch(r"\d{4}-\d{4}", text):
        return True
    for part in text.split(" to "):
        match = _DATE.fullmatch(part)
        if not match:
            return False
        year, month, day = (int(g) if g else 1 for g in match.groups())
        try:
            date(year, month, day)
        except ValueError:
            return False
    return True


def _text(raw: Any, spec: Text, where: Where) -> str:
    if spec.date and isinstance(raw, date):
        raise ConfigError(f"{where} = {raw} must be quoted: a date is a string here")
    if not isinstance(raw, str) or not raw.strip():
        raise ConfigError(f"{where} = {raw!r} must be a non-empty string")
    if spec.allowed and raw not in spec.allowed:
        hint = nearest(raw, spec.allowed)
        raise ConfigError(f"{where} = {raw!r} must be one of {', '.join(spec.allowed)}{hint}")
    if spec.date and not _is_date(raw):
        raise ConfigError(f"{where} = {raw!r} must be a date (YYYY, YYYY-MM or YYYY-MM-DD) or DATE to DATE")
    return raw
