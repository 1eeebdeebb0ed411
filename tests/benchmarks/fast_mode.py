"""What 2.5 times the speed costs, over context lengths, beside the known example: 6 times the price.

Anthropic sells Opus 4.6 in a fast mode at 6 times the price for "up to 2.5x higher output tokens per second" (2026),
Opus 5 at 2 times. Run: python tests/benchmarks/fast_mode.py
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from planner.cli.frontier import tiers_asked
from planner.estimate.question import Question
from planner.frontier.curve import Points, considered
from planner.frontier.tiers import tiers

SPEEDUP, EXAMPLE = 2.5, 6.0
CONTEXTS = (1024, 4096, 16384, 65536, 131072)
OUTPUT = 512.0
SERVED = (
    ({"model": "deepseek-v3", "chip": "h200-sxm"}, "DeepSeek-V3 on H200"),
    ({"model": "deepseek-v3", "chip": "b200-sxm"}, "DeepSeek-V3 on B200"),
    ({"params": 100e9, "chip": "h100-sxm"}, "dense 100B on H100"),
    ({"params": 100e9, "chip": "b200-sxm"}, "dense 100B on B200"),
)
STANDARDS = (None, 10.0, 20.0, 50.0)  # tokens per second and user; None: where the command puts it
PROMPTS = {False: "prompts share the passes", True: "prompts run on chips of their own"}
ASKED = tiers_asked({"fast_speedup": SPEEDUP})


def multiple(question: Question, found: Points, standard: float | None) -> str:
    """Return the price multiple of output, and the speed-up where it is less than asked for."""
    limits = {} if standard is None else {"tpot_s": 1.0 / standard}
    chosen = tiers(replace(question, limits=limits), found, ASKED)
    if chosen is None:
        return "not reached"
    fast, plain = (tier.spot for tier in chosen[:2])
    reached = plain.tpot_s / fast.tpot_s
    at = "" if standard else f" at {1.0 / plain.tpot_s:.3g}/s"
    note = "" if reached > 0.99 * SPEEDUP else f" for {reached:.2f}"
    return f"x {fast.output_s / plain.output_s:.3g}{note}{at}"


def exact(found: Points) -> str:
    """Return the least speed of standard at which ``SPEEDUP`` times as much costs ``EXAMPLE`` times as much."""
    best = found.pareto()
    over = np.flatnonzero(found.least_cost(best.tpot_s / SPEEDUP) >= EXAMPLE * best.output_s)
    if not len(over) or not np.isfinite(found.least_cost(best.tpot_s[over[-1:]] / SPEEDUP)).all():
        return "nowhere"
    return f"{1.0 / best.tpot_s[over[-1]]:.3g}/s"


def main() -> None:
    """Print a table for either way of serving prompts."""
    titles = ("by default", *(f"{x:g}/s" for x in STANDARDS if x), f"x {EXAMPLE:g} from")
    for apart, words in PROMPTS.items():
        print(f"\n{SPEEDUP} times the speed of standard, {OUTPUT:g} tokens of output, {words}")
        print(f"{'':<22}{'context':>8}" + "".join(f"{title:>24}" for title in titles))
        for asked, name in SERVED:
            for context in CONTEXTS:
                lengths = {"input_tokens": float(context), "output_tokens": OUTPUT}
                question, found = considered(Question.of({**asked, **lengths, "disaggregated": apart}), False)
                cells = [*(multiple(question, found, x) for x in STANDARDS), exact(found)]
                print(f"{name:<22}{context // 1024:>7}k" + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
