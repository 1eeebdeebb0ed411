"""How fast the latency-cost curve is timed: all points of `frontier` against the same ones told one by one.

    python tests/benchmarks/frontier.py

One by one, a point is asked of `estimate`'s compiled program at its layout and batch, and, as a person with a loop
would, of `estimate` itself, whose document says much more.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from planner.estimate.answer import estimate
from planner.estimate.point import SCAN_BATCHES, evaluate
from planner.estimate.question import Question
from planner.frontier.curve import curve, points, replicas

ONE_BY_ONE, ASKED = 200, 20  # points told one by one, and asked of estimate
QUESTIONS = {
    "Llama 3.3 70B on H100": {"model": "llama-3.3-70b", "chip": "h100-sxm"},
    "DeepSeek-V3 on H200": {"model": "deepseek-v3", "chip": "h200-sxm"},
}


def shortest(run, repeats: int = 3) -> float:
    """Return the least wall time of some runs, after one that compiles."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def compare(name: str, asked: dict) -> None:
    """Print the rates of one question, their ratios, and how far the two ways are apart."""
    question = Question.of(asked)
    question = replace(question, splits=replicas(question))
    found, first = curve(question), points(question, question.splits, SCAN_BATCHES)
    timed = len(found.batch) + len(first.batch)
    each = shortest(lambda: curve(question)) / timed
    spots = [found.at(i) for i in np.linspace(0, len(found.batch) - 1, ONE_BY_ONE).astype(int)]
    told = [evaluate(question, spot.split, spot.batch) for spot in spots]
    off = max(abs(point.at("tpot_s") / spot.tpot_s - 1.0) for point, spot in zip(told, spots, strict=True))
    one = shortest(lambda: [evaluate(question, spot.split, spot.batch) for spot in spots], 2) / ONE_BY_ONE
    wholes = [
        Question.of({**asked, **spot.split._asdict(), "batch": spot.batch}) for spot in spots[:: ONE_BY_ONE // ASKED]
    ]
    whole = shortest(lambda: [estimate(one) for one in wholes], 1) / len(wholes)
    print(f"{name}: {len(question.splits)} layouts, {timed:,} points that run, {1e3 * each * timed:.0f} ms")
    print(f"  the curve: {1 / each:,.0f} points/s")
    print(f"  one by one: {1 / one:,.0f} points/s; the curve is {one / each:,.0f} times as fast")
    print(f"  by estimate: {1 / whole:,.0f} points/s; the curve is {whole / each:,.0f} times as fast")
    print(f"  times per token are at most {off:.1e} apart")


if __name__ == "__main__":
    for question in QUESTIONS.items():
        compare(*question)
