"""Whole-process times of the command line beside a bare ``import jax``, in one run.

    python tests/benchmarks/startup.py [runs]

Prints medians in seconds and what each command adds to the bare import. Times on a shared machine are
noise; the differences and ratios within one run are what to read.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASK = ["-m", "planner", "optimize", "--lifetime-tokens", "1e15", "--json"]


def seconds(arguments: list[str], cache: str) -> float:
    """Return the wall time of one Python process."""
    environment = {**os.environ, "LLM_PLANNER_CACHE": cache, "JAX_PLATFORMS": "cpu"}
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Time each command ``runs`` times, in turn."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    times: dict[str, list[float]] = {name: [] for name in ("import jax", "--help", "first optimize", "warm optimize")}
    with tempfile.TemporaryDirectory() as folder:
        warm = str(Path(folder) / "warm")
        seconds(ASK, warm)
        for i in range(runs):
            fresh = str(Path(folder) / f"cold{i}")
            times["import jax"].append(seconds(["-c", "import jax"], warm))
            times["--help"].append(seconds(["-m", "planner", "--help"], warm))
            times["first optimize"].append(seconds(ASK, fresh))
            times["warm optimize"].append(seconds(ASK, warm))
            shutil.rmtree(fresh, ignore_errors=True)
    bare = statistics.median(times["import jax"])
    bars = {
        "--help": ("at most 0.3 s", 0.0),
        "first optimize": ("import + 3 s", bare),
        "warm optimize": ("import + 0.7 s", bare),
    }
    print(f"{'':16}{'median s':>10}{'min':>8}{'max':>8}{'beyond import':>16}   aim")
    for name, values in times.items():
        middle = statistics.median(values)
        aim, base = bars.get(name, ("", 0.0))
        beyond = f"{middle - base:.2f}" if aim else ""
        print(f"{name:16}{middle:10.2f}{min(values):8.2f}{max(values):8.2f}{beyond:>16}   {aim}")


if __name__ == "__main__":
    main()
