"""How fast layouts of a training run are costed: all at once against one by one, in the same run.

    python tests/benchmarks/layouts.py

The question is Llama 3.1 405B on 16,384 H100. One by one is the same compiled model asked for a layout at a time, as a
search without vectorisation would. Calculon's authors report no rate; 340 evaluations a second on one CPU core is what
its single-threaded search was measured at elsewhere: the last line divides by that.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from planner.train import space
from planner.train.question import Question

CALCULON_PER_S = 340.0
ONE_BY_ONE = 200  # layouts asked for separately
QUESTION = {
    "model": "llama-3.1-405b", "chip": "h100-sxm", "chips": 16384, "tokens": 15.6e12, "batch_tokens": 2048 * 8192,
}  # fmt: skip


def shortest(run, repeats: int = 5) -> float:
    """Return the least wall time of some runs, after one that compiles."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the rates and their ratios."""
    question = Question.of(QUESTION)
    many = [question.chips * n // 16 for n in range(1, 65)]  # a wider grid: what a layout costs without the set-up
    wide = space.search(question, many)
    each = shortest(lambda: space.search(question, many), 3) / wide.tried
    found = space.search(question, [question.chips])
    together = shortest(lambda: space.search(question, [question.chips])) / found.tried
    ways = (found.ways * ONE_BY_ONE)[:ONE_BY_ONE]
    alone = shortest(lambda: [space.tell(question, [way]) for way in ways], 2) / len(ways)
    best, told = found.rates[0], space.tell(question, found.ways)
    print(f"layouts of the grid: {found.tried:,}, whole {found.whole:,}, that fit {len(found.ways):,}")
    print(f"whole search: {1e3 * together * found.tried:.1f} ms, {1 / together:,.0f} layouts/s")
    print(f"one by one: {1 / alone:,.0f} layouts/s; the search is {alone / together:,.0f} times as fast")
    print(f"over 64 numbers of chips: {wide.tried:,} layouts, {1 / each:,.0f} a second")
    ratios = [1 / seconds / CALCULON_PER_S for seconds in (each, together)]
    print(f"against 340 evaluations/s: {ratios[0]:,.0f} times, the small search {ratios[1]:,.0f}")
    off = abs(best / max(told["tokens_per_s_per_chip"]) - 1.0)
    print(f"best layout against the best of all told one by one: {off:.1e} apart")


if __name__ == "__main__":
    main()
