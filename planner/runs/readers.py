"""Reads served runs from files and folders: tables of runs, and result files of vLLM's benchmark."""

from pathlib import Path

import configs
from configs import ConfigError, shown

from ..calibration.files import files_below
from . import serving_table, vllm_result
from .run import Left, Run
from .table import has_columns
from .vllm_result import Deployment

_ENDINGS = (".csv", ".json")
_PARTS = ("chip", "tp", "pp", "dp", "ep", "precision", "model")


def read(path: str, deployed: Deployment, stated: tuple[str, ...] = ()) -> tuple[list[Run], list[Left], list[str]]:
    """Return the runs of a file, or of every file below a folder that holds runs, what is left out, and warnings.

    ``stated`` names the flags of the deployment that were given: tables name chips and layouts themselves.

    Raises:
        configs.ConfigError: nothing there that can be read, or a flag that tables do not take.
    """
    root = Path(path)
    files = files_below(root, _ENDINGS)
    runs: list[Run] = []
    left: list[Left] = []
    warnings: list[str] = []
    engine = None if deployed.engine is None else configs.load_engine(deployed.engine)
    for file in files:
        if is_table(file) or (file == root and file.suffix.lower() != ".json"):
            if stated:
                raise ConfigError(
                    f"--{stated[0]} goes with result files of vLLM: {shown(file.name)} is a table of runs"
                )
            found, out = serving_table.read(str(file), engine)
        elif vllm_result.holds_results(file) or file == root:
            found, out = vllm_result.read(file, deployed)
        else:
            warnings.append(f"{shown(file.name)}: skipped, it holds no served runs.")
            continue
        runs += found
        left += out
    if not runs and not left:
        raise ConfigError(f"{shown(path)}: no file in it holds served runs ({_known()})")
    return runs, left, warnings


def _known() -> str:
    return (
        f"known are CSV tables with the columns {', '.join(serving_table.COLUMNS)} and JSON files of "
        "`vllm bench serve --save-result`"
    )


def holds_runs(path: str) -> bool:
    """Say whether a file, or any file below a folder, holds served runs rather than timings of kernels."""
    try:
        return any(is_table(file) or _is_result(file) for file in files_below(Path(path), _ENDINGS))
    except ConfigError:
        return False


def is_table(file: Path) -> bool:
    """Say whether ``file`` is a table of runs, by its header."""
    return has_columns(file, ("framework", "isl", "osl"))


def _is_result(file: Path) -> bool:
    if file.suffix.lower() != ".json":
        return False
    try:
        with file.open(encoding="utf-8-sig") as text:
            start = text.read(4096)
    except (OSError, ValueError):
        return False
    # A log of kernel timings says so at once; a whole file is read only where its beginning allows it.
    return '"timings/' not in start and vllm_result.holds_results(file)


def parts_given(asked: dict[str, object]) -> tuple[str, ...]:
    """Return which flags of a deployment were given."""
    return tuple(name for name in _PARTS if name in asked)
