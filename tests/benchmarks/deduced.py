"""How often the 90 % intervals of deduce hold the truth, on cards that price makes of random models.

    python tests/benchmarks/deduced.py [--cases 40] [--seed 1] [--state margin,active_params,...]

Models (public ones and typical ones of any size), chips, requests, margins and steps of price are drawn anew for every
seed; `--cases 500` is the whole study. ``--state`` gives deduce some of the truth by flags: margin, active_params,
sparsity, chips, kv_bytes_per_token. Cards that nothing can serve do not count.
"""
# ruff: noqa: E402 (the tests that share the cards are no package)

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from made_cards import STATED, covered, made, models

from configs import ConfigError

BAR = 0.85


def main() -> int:
    """Print coverage and the width of the intervals by parameter; exit 1 below the bar."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--cases", type=int, default=40)
    flags.add_argument("--seed", type=int, default=1)
    flags.add_argument("--state", default="", help=f"comma-separated: {', '.join(STATED)}")
    asked = flags.parse_args()
    stated = [name for name in asked.state.split(",") if name]
    random, names = Random(asked.seed), models()
    hits: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        while len(seconds) < asked.cases:
            try:
                one = made(random, names)
            except ConfigError:  # a published format that the chip lacks
                continue
            if one is None:
                continue
            start = time.perf_counter()
            answer = one.deduced(Path(folder), **one.flags(*stated))
            seconds.append(time.perf_counter() - start)
            for name, inside in covered(answer, one.truth).items():
                row = answer["parameters"][name]
                hits.setdefault(name, []).append(inside)
                wide = row["high"] - row["low"] if "margin" in name else row["high"] / row["low"]
                widths.setdefault(name, []).append(wide)
    given = f", given {', '.join(stated)}" if stated else ""
    print(f"{asked.cases} cards, seed {asked.seed}{given}; {statistics.median(seconds):.2f} s per card (median)")
    for name, inside in hits.items():
        unit = "wide" if "margin" in name else "times from end to end"
        print(
            f"{name:20} {100 * sum(inside) / len(inside):5.1f} % inside, {statistics.median(widths[name]):.3g} {unit}"
        )
    return int(min(sum(inside) / len(inside) for inside in hits.values()) < BAR)


if __name__ == "__main__":
    sys.exit(main())
