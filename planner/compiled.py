"""Compiled functions kept on disk, so that a later process neither traces nor compiles them again.

An executable is stored by `jax.experimental.serialize_executable` in one private per-user
directory. The key covers the source of every package, the versions of jax and Python, the
processor, and the shapes of the arguments. Loading one needs neither equinox nor optax.
"""

import hashlib
import os
import pickle
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

_PACKAGES = ("planner", "hw", "scaling")


def cache_directory() -> Path | None:
    """Return the private cache directory, or None where it cannot be made or others could write to it.

    ``LLM_PLANNER_CACHE`` overrides the place; files in it are executed, hence the mode 0700.
    """
    root = os.environ.get("LLM_PLANNER_CACHE")
    base = Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-planner"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = base.stat()
    except OSError:
        return None
    private = os.name != "posix" or (state.st_uid == os.getuid() and not state.st_mode & 0o022)
    return base.resolve() if private and os.access(base, os.W_OK) else None


@cache
def configure() -> None:
    """Plan on the CPU unless the user says otherwise: the solves are small and need float64."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _processor() -> str:
    """Return what the machine code depends on: a home directory may be shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.platform()} {flags}"


@cache
def _digest() -> str:
    import jax
    import jaxlib

    digest = hashlib.sha256(f"{jax.__version__} {jaxlib.__version__} {sys.version} {_processor()}".encode())
    here = Path(__file__).parent.parent
    for package in _PACKAGES:
        for path in sorted((here / package).rglob("*.py")):
            digest.update(str(path.relative_to(here)).encode() + path.read_bytes())
    return digest.hexdigest()


def call(function: str, *arguments: Mapping[str, Any]) -> Any:
    """Call ``function`` ("module:name", of nested dicts of float arrays) compiled, in float64.

    Returns its output with NumPy arrays for leaves.
    """
    configure()
    import jax

    leaves, tree = jax.tree.flatten(arguments)
    leaves = [np.asarray(leaf, dtype=np.float64) for leaf in leaves]
    shapes = tuple(leaf.shape for leaf in leaves)
    with jax.enable_x64(True):
        out = _program(function, tree, shapes)(*leaves)
    return jax.tree.map(np.asarray, out)


@cache
def _program(function: str, tree: Any, shapes: tuple[tuple[int, ...], ...]) -> Callable[..., Any]:
    import jax
    from jax.experimental import serialize_executable

    directory = cache_directory()
    key = hashlib.sha256(f"{_digest()} {function} {tree} {shapes}".encode()).hexdigest()[:32]
    stored = directory / f"{key}.executable" if directory else None
    if stored is not None and stored.is_file():
        try:
            return serialize_executable.deserialize_and_load(*pickle.loads(stored.read_bytes()))
        except Exception:  # a damaged or foreign file: compile anew and replace it
            stored.unlink(missing_ok=True)
    module, name = function.split(":")
    target = getattr(import_module(module), name)

    def flat(*leaves):
        return target(*jax.tree.unflatten(tree, leaves))

    arguments = [jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes]
    compiled = jax.jit(flat).lower(*arguments).compile()
    if stored is not None:
        _write_atomically(stored, pickle.dumps(serialize_executable.serialize(compiled)))
    return compiled


def _write_atomically(path: Path, data: bytes | bytearray) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)
