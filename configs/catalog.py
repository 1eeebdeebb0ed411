"""Finds the shipped fact files by kind and id; a path to a user's own TOML file works wherever an id does."""

from functools import cache
from pathlib import Path

from .errors import ConfigError, nearest, shown

ROOT = Path(__file__).parent
KINDS = (
    "chips", "laws", "batch_laws", "failures", "models", "workloads", "scenarios", "engines", "trainers", "shapes",
    "energy", "kernels", "anchors", "cards", "storage", "offers",
)  # fmt: skip


@cache
def ids(kind: str) -> tuple[str, ...]:
    """Return the sorted ids of a kind, one of `KINDS`."""
    return tuple(sorted(p.stem for p in (ROOT / kind).glob("*.toml")))


def path_of(kind: str, name: str) -> Path:
    """Return the file of ``name``: a shipped id, or a path that ends in ``.toml``.

    Raises:
        ConfigError: no such id or file; names the nearest id.
    """
    if name.endswith(".toml"):
        path = Path(name)
        try:
            is_file, is_directory = path.is_file(), path.is_dir()
        except (OSError, ValueError):  # a name no file can have
            is_file = is_directory = False
        if is_directory:
            raise ConfigError(f"{name} is a directory, not a TOML file")
        if is_file:
            return path
        raise ConfigError(f"{shown(name)}: no such file")
    known = ids(kind)
    if name not in known:
        hint = nearest(name, known) or f"; the ids are {', '.join(known)}"
        named = {"failures": "failure report", "cards": "price card", "offers": "catalogue of offers"}
        one = named.get(kind, kind.removesuffix("s").replace("_", " "))
        raise ConfigError(f"unknown {one} '{shown(name)}'{hint}")
    return ROOT / kind / f"{name}.toml"
