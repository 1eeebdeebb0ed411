"""Tasks assigned per second, against a plain loop over tasks and offers in the same run.

    python tests/benchmarks/assign.py

100,000 tasks of mixed lengths and needs on the shipped catalogue. The whole solve reads the CSV table, chooses, and
makes the document: mix, habit, promises, break-evens, ties, refusals. The loop is what one would write without arrays;
it finds the choice of each task, its rival, and its cost with each promise dropped, and must find the same.
"""

import csv
import statistics
import sys
import tempfile
import time
from math import inf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import numpy as np

from planner.assign.answer import assign
from planner.assign.choice import choose
from planner.assign.question import Question
from planner.assign.rows import table

TASKS = 100_000
REPEATS = 5
CATALOGUE = "artificial-analysis-2025-11"


def write(path: Path) -> None:
    """Write a table of tasks; one in five has no deadline, one in three no worth of time."""
    rng = np.random.default_rng(0)
    prompt = np.exp(rng.uniform(np.log(50.0), np.log(150e3), TASKS)).astype(int)
    cached = (prompt * rng.choice([0.0, 0.5, 0.9], TASKS)).astype(int)
    answer = np.exp(rng.uniform(np.log(5.0), np.log(4e3), TASKS)).astype(int)
    deadline = np.where(rng.random(TASKS) < 0.2, "", [f"{x:.3g}" for x in np.exp(rng.uniform(1.0, 12.0, TASKS))])
    worth = np.where(rng.random(TASKS) < 0.33, "", [f"{x:.3g}" for x in rng.uniform(0.0, 60.0, TASKS)])
    many, need = rng.integers(1, 10_000, TASKS), rng.choice([0, 29, 42, 43, 45, 47, 50], TASKS)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("input_tokens", "cached_tokens", "output_tokens", "requests", "quality", "deadline_s",
                      "value_usd_per_hour"))  # fmt: skip
        out.writerows(zip(prompt, cached, answer, many, need, deadline, worth, strict=True))


def plain(question: Question) -> list[tuple[float, ...]]:
    """Return of each task the least cost, the second, and those without deadline, need, or worth of time, one task and
    one offer after another; all infinite where there is none."""
    tasks, offers, out = question.tasks, question.catalogue.offers, []
    columns = (tasks.input_tokens, tasks.cached_tokens, tasks.output_tokens, tasks.quality, tasks.deadline_s,
               tasks.value_usd_per_hour)  # fmt: skip
    qualities = sorted({offer.quality for offer in offers})
    for prompt, cached, answer, need, deadline, worth in zip(*(c.tolist() for c in columns), strict=True):
        best = second = patient = timeless = lower = needless = inf
        enough = [q for q in qualities if q < need]
        less = enough[-1] if enough else need
        for offer in offers:
            if prompt > offer.prices[-1].max_context_tokens:
                continue
            latency = offer.turnaround_s or offer.ttft_s + answer / offer.output_tokens_per_s
            price = next(p for p in offer.prices if prompt <= p.max_context_tokens)
            old = price.input if price.cached_input is None else price.cached_input
            usd = ((prompt - cached) * price.input + cached * old + answer * price.output) / 1e6
            total = usd + worth * latency / 3600.0
            good, timely = offer.quality >= need, latency <= deadline
            if good:
                timeless = min(timeless, total)
            if timely:
                needless = min(needless, total)
                if offer.quality >= less:
                    lower = min(lower, total)
                if good:
                    patient = min(patient, usd)
                    if total < best:
                        best, second = total, best
                    else:
                        second = min(second, total)
        out.append((best, second, timeless, lower, needless, patient))
    return out


def median_s(run, repeats: int = REPEATS) -> tuple[float, float]:
    """Return the median seconds of a call, by the clock and of the processor."""
    out = []
    for _ in range(repeats):
        begin, spent = time.perf_counter(), time.process_time()
        run()
        out.append((time.perf_counter() - begin, time.process_time() - spent))
    clock, processor = zip(*out, strict=True)
    return statistics.median(clock), statistics.median(processor)


def main() -> None:
    """Print seconds, rates and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tasks.csv"
        write(path)
        asked = {"tasks": str(path), "offers": CATALOGUE}
        question = Question.of(asked)
        whole = median_s(lambda: assign(Question.of(asked)))
        solve, choice = median_s(lambda: assign(question)), median_s(lambda: choose(question))
        answer, chosen = assign(question)
        found = plain(question)
        loop = median_s(lambda: plain(question), 1)
        written = median_s(lambda: table(question, chosen), 1)
    print(f"{TASKS:,} tasks, {len(question.catalogue.offers)} offers, {answer['unserved']['tasks']:,} without one")
    for name, seconds in (("whole: read, choose, sum up", whole), ("choose and sum up", solve), ("choose", choice),
                          ("plain loop, no reading or sums", loop), ("table of --out", written)):  # fmt: skip
        print(
            f"{name:<32}{seconds[0]:>8.3f} s, {seconds[1]:.3f} of a core, {TASKS / seconds[1]:>9,.0f} tasks per core-s"
        )
    columns = (chosen.total_usd, chosen.rival_usd, chosen.no_deadline_usd, chosen.lower_quality_usd,
               chosen.any_quality_usd, chosen.patient_usd)  # fmt: skip
    ours = np.where(np.isnan(np.stack(columns, axis=1)), np.inf, np.stack(columns, axis=1))
    if not np.allclose(ours, np.array(found), rtol=2e-9, atol=0.0):
        sys.exit("the plain loop finds other costs")
    ratio = loop[1] / choice[1]
    print(f"the loop takes {ratio:.0f} times as long as choosing, and finds the same six costs of every task")


if __name__ == "__main__":
    main()
