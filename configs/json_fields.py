"""A strict JSON reader for files that others define: what is read is checked, what is not read is let be."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .errors import ConfigError, shown

_LARGEST_FILE = 10_000_000  # bytes; published files are a few kB
_LARGEST = 10**9


@dataclass(frozen=True)
class Fields:
    """The fields of one JSON file, or of a table within it, and where to point a complaint."""

    file: str
    table: str
    fields: dict[str, Any]

    def refuse(self, key: str, why: str) -> NoReturn:
        """Raise the complaint that field ``key`` ``why``."""
        raise ConfigError(f"{shown(self.file)}: {self.table}{key} {why}")

    def has(self, *keys: str) -> str | None:
        """Return the first of ``keys`` that is there and not null."""
        return next((key for key in keys if self.fields.get(key) is not None), None)

    def whole(self, *keys: str, default: float | None = None, low: int = 1, high: int = _LARGEST) -> float:
        """Return a whole number under the first of ``keys`` that is there, else ``default``.

        Raises:
            ConfigError: not a whole number from ``low`` to ``high``, or absent without a default.
        """
        key = self.has(*keys)
        if key is None:
            if default is None:
                self.refuse(keys[0], f"is missing: {_wanted(low, high)} is needed")
            return default
        raw = self.fields[key]
        if isinstance(raw, bool) or not isinstance(raw, int | float) or raw != raw // 1 or not low <= raw <= high:
            self.refuse(key, f"= {brief(raw)} must be {_wanted(low, high)}")
        return float(raw)

    def number(self, key: str, low: float, high: float) -> float | None:
        """Return a number from ``low`` to ``high``, or None where the field is absent or null."""
        raw = self.fields.get(key)
        if raw is None:
            return None
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not low <= raw <= high:
            self.refuse(key, f"= {brief(raw)} must be a number from {low:g} to {high:g}")
        return float(raw)

    def flag(self, key: str, default: bool) -> bool:
        """Return a true or false field."""
        raw = self.fields.get(key)
        if raw is None:
            return default
        if not isinstance(raw, bool):
            self.refuse(key, f"= {brief(raw)} must be true or false")
        return raw

    def inner(self, key: str) -> "Fields":
        """Return the table under ``key``, empty where there is none."""
        raw = self.fields.get(key)
        if raw is None:
            raw = {}
        if not isinstance(raw, dict):
            self.refuse(key, f"= {brief(raw)} must be a table of fields")
        return Fields(self.file, f"{self.table}{key}.", raw)

    def rows(self, key: str) -> list["Fields"]:
        """Return the tables of the list under ``key``, empty where there is none."""
        raw = self.fields.get(key) or []
        if not isinstance(raw, list) or not all(isinstance(row, dict) for row in raw):
            self.refuse(key, f"= {brief(raw)} must be a list of tables")
        return [Fields(self.file, f"{self.table}{key}.{number}.", row) for number, row in enumerate(raw, 1)]

    def per_layer(self, layers: int, *keys: str, allowed: tuple[str | int, ...]) -> list[Any] | None:
        """Return the list with one of ``allowed`` for each layer under the first of ``keys`` there is, or None."""
        key = self.has(*keys)
        if key is None:
            return None
        raw = self.fields[key]
        if not isinstance(raw, list | str) or len(raw) != layers:
            size = f"has {len(raw)} entries" if isinstance(raw, list | str) else f"= {brief(raw)} is not a list"
            self.refuse(key, f"{size}: it must have one for each of the {layers} layers")
        for one in raw:
            if isinstance(one, bool) or not isinstance(one, str | int) or one not in allowed:
                self.refuse(key, f"has an entry {brief(one)}; allowed are {', '.join(map(str, allowed))}")
        return list(raw)

    def chosen(self, layers: int, key: str) -> set[int]:
        """Return the layers that the list under ``key`` names, counted from zero."""
        raw = self.fields.get(key) or []
        if not isinstance(raw, list) or not all(type(one) is int and 0 <= one < layers for one in raw):
            self.refuse(key, f"= {brief(raw)} must be a list of layers from 0 to {layers - 1}")
        return set(raw)


def read_json(path: Path, kind: str = "config.json") -> Fields:
    """Return the fields of the object that a file holds, in complaints a ``kind``.

    Raises:
        ConfigError: the file is absent, too large or not such JSON; one sentence.
    """

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number")

    where = shown(str(path))
    try:
        if path.is_dir():
            raise ConfigError(f"{where} is a folder, not a {kind}")
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{where}: larger than {_LARGEST_FILE / 1e6:g} MB, which no {kind} is")
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{where}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read ({shown(str(error))})") from None
    except ConfigError:
        raise
    except ValueError:  # a name no file can have
        raise ConfigError(f"{where}: no such file") from None
    try:
        raw = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply for a {kind}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: not valid JSON ({shown(str(error))})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: must hold one JSON object, not {brief(raw)}")
    return Fields(str(path), "", raw)


def brief(raw: Any) -> str:
    """Return a value fit for an error, cut short."""
    try:
        return shown(json.dumps(raw)[:60])
    except (ValueError, RecursionError):  # an integer too long to print, or lists in lists
        return "what it says"


def _wanted(low: int, high: int) -> str:
    return f"a whole number from {low} to {high:g}"
