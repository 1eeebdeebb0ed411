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
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

# Compiling costs a hundred times more than running once: on jaxlib 0.10.2 these options take it
# from 8 s to 2.5 s on two cores and add about 20 ms to a run.
_QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
_TRACING = threading.Lock()  # traces take turns, so that the first can compile while the next is traced
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
    """Plan on the CPU, whatever the shell says of accelerators: the solves are small and need float64."""
    os.environ["JAX_PLATFORMS"] = "cpu"


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
    versions = [version(package) for package in ("jax", "jaxlib")]
    digest = hashlib.sha256(f"{versions} {sys.version} {_processor()}".encode())
    here = Path(__file__).parent.parent
    for package in _PACKAGES:
        for path in sorted((here / package).rglob("*.py")):
            digest.update(str(path.relative_to(here)).encode() + path.read_bytes())
    return digest.hexdigest()


class Program:
    """One function, compiled or loaded for one structure of arguments; see `program`."""

    def __init__(self, function: str, tree: Any, shapes: tuple[tuple[int, ...], ...], quick: bool):
        self.function, self.tree, self.shapes, self.quick = function, tree, shapes, quick
        self._lock = threading.Lock()
        self._proven = False  # by a run, or by having been compiled here
        self._ready: tuple[Callable[..., Any], Any, list[tuple[int, ...]]] | None = None

    def prepare(self) -> None:
        """Load the executable from disk, or trace and compile it. Safe to call from several threads."""
        with self._lock:
            if self._ready is None:
                self._ready = self._load()
                self._proven = self._ready is None
                self._ready = self._ready or self._compile()

    def __call__(self, *arguments: Any) -> Any:
        """Run on nested dicts of numbers; return the function's output with NumPy arrays for leaves."""
        import jax

        self.prepare()
        assert self._ready is not None
        run, tree, shapes = self._ready
        leaves = [np.asarray(leaf, dtype=np.float64) for leaf in jax.tree.leaves(arguments)]
        with jax.enable_x64(True):
            try:
                packed = np.asarray(run(*leaves))
            except Exception:
                if self._proven:
                    raise
                # What was loaded lacks a function: an executable that jax's own cache had kept was kept here again.
                self._ready = run, tree, shapes = self._compile()
                packed = np.asarray(run(*leaves))
        self._proven = True
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        parts = [part.reshape(shape) for part, shape in zip(np.split(packed, ends[:-1]), shapes, strict=True)]
        return jax.tree.unflatten(tree, parts)

    def _path(self) -> Path | None:
        directory = cache_directory()
        told = f"{_digest()} {self.function} {self.tree} {self.shapes}" + ("" if self.quick else " optimised")
        key = hashlib.sha256(told.encode()).hexdigest()[:32]
        return directory / f"{key}.executable" if directory else None

    def _load(self) -> tuple[Callable[..., Any], Any, list[tuple[int, ...]]] | None:
        from jax.experimental import serialize_executable

        path = self._path()
        if path is None or not path.is_file():
            return None
        try:
            serialised, tree, shapes = pickle.loads(path.read_bytes())
            return serialize_executable.deserialize_and_load(*serialised), tree, shapes
        except Exception:  # a damaged or foreign file: compile anew and replace it
            return None

    def _compile(self) -> tuple[Callable[..., Any], Any, list[tuple[int, ...]]]:
        import jax
        import jax.numpy as jnp
        from jax.experimental import serialize_executable

        with _TRACING, jax.enable_x64(True):
            module, name = self.function.split(":")
            target = getattr(import_module(module), name)
            told: list[Any] = []

            def packed(*leaves):
                out, tree = jax.tree.flatten(target(*jax.tree.unflatten(self.tree, leaves)))
                told[:] = [tree, [jnp.shape(leaf) for leaf in out]]
                return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in out])

            arguments = [jax.ShapeDtypeStruct(shape, np.float64) for shape in self.shapes]
            lowered = jax.jit(packed).lower(*arguments)
        try:
            compiled = lowered.compile(compiler_options=_QUICK if self.quick else None)
        except Exception:  # another backend, or a jaxlib that has dropped one of the options
            compiled = lowered.compile()
        tree, shapes = told
        path = self._path()
        if path is not None:
            _write_atomically(path, pickle.dumps((serialize_executable.serialize(compiled), tree, shapes)))
        return compiled, tree, shapes


@cache
def _known(function: str, tree: Any, shapes: tuple[tuple[int, ...], ...], quick: bool) -> Program:
    return Program(function, tree, shapes, quick)


def program(function: str, *arguments: Any, quick: bool = True) -> Program:
    """Return ``function`` ("module:name", of nested dicts of numbers) for arguments like these, in float64.

    ``quick`` programs compile fast; the others run fast, for work that takes longer than compiling.
    """
    configure()
    import jax

    leaves, tree = jax.tree.flatten(arguments)
    return _known(function, tree, tuple(np.shape(leaf) for leaf in leaves), quick)


def prepare(programs: Sequence[Program]) -> None:
    """Load or compile several programs side by side: one is traced while another compiles."""
    with ThreadPoolExecutor(len(programs)) as pool:
        for future in [pool.submit(p.prepare) for p in programs]:
            future.result()


def _write_atomically(path: Path, data: bytes | bytearray) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    os.replace(file.name, path)
