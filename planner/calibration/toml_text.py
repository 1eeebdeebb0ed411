"""Nested tables as TOML text."""

from typing import Any


def toml(tables: dict[str, Any], path: tuple[str, ...] = ()) -> str:
    """Write nested tables: plain keys first, then each sub-table under its own header."""
    lines = [f"{_key(k)} = {_value(v)}" for k, v in tables.items() if not isinstance(v, dict)]
    head = [f"[{'.'.join(map(_key, path))}]"] if path and lines else []
    blocks = ["\n".join([*head, *lines])] if lines else []
    blocks += [toml(v, (*path, k)) for k, v in tables.items() if isinstance(v, dict)]
    return "\n\n".join(b.rstrip("\n") for b in blocks) + "\n"


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(value)
