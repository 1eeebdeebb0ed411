"""What 2.5 times the speed costs, over context lengths, beside the known example: 6 times the price.

Anthropic sells Opus 4.6 in a fast mode at 6 times the price for "up to 2.5x higher output tokens per second" (2026),
Opus 5 at 2 times. Run: python tests/benchmarks/fast_mode.py
"""

from planner.estimate.question import Question
from planner.frontier.answer import considered
from planner.frontier.tiers import Asked, tiers

SPEEDUP = 2.5
CONTEXTS = (1024, 4096, 16384, 65536, 131072)
OUTPUT = 512.0
SERVED = (
    ({"model": "deepseek-v3", "chip": "h200-sxm"}, "DeepSeek-V3 on H200"),
    ({"model": "deepseek-v3", "chip": "b200-sxm"}, "DeepSeek-V3 on B200"),
    ({"params": 100e9, "chip": "h100-sxm"}, "dense 100B on H100"),
    ({"params": 100e9, "chip": "b200-sxm"}, "dense 100B on B200"),
)
STANDARDS = (None, 10.0, 20.0, 50.0)  # tokens per second and user; None: where the command puts it
ASKED = Asked(fast_speedup=SPEEDUP, peak_to_mean=1.226, fast_share=0.1, batch_share=None)


def multiple(asked: dict, context: float, standard: float | None) -> str:
    """Return the price multiple of output at the speed-up reached, and standard's speed."""
    limits = {} if standard is None else {"tpot_ms": 1e3 / standard}
    question, found = considered(
        Question.of({**asked, "input_tokens": context, "output_tokens": OUTPUT, **limits}), False
    )
    chosen = tiers(question, found, ASKED) if len(found.batch) else None
    if chosen is None:
        return "too slow"
    fast, plain = (tier.spot for tier in chosen[:2])
    reached = plain.tpot_s / fast.tpot_s
    note = "" if reached > 0.99 * SPEEDUP else f" for x {reached:.2f}"
    return f"x {fast.output_s / plain.output_s:.1f}{note} at {1.0 / plain.tpot_s:.0f}/s"


def main() -> None:
    """Print a table per standard speed."""
    for standard in STANDARDS:
        words = "where shared and own time balance" if standard is None else f"{standard:g} tokens/s each"
        print(f"\n{SPEEDUP} times the speed of a standard tier of {words}")
        print(f"{'context':<22}" + "".join(f"{context // 1024:>24}k" for context in CONTEXTS))
        for asked, name in SERVED:
            cells = (f"{multiple(asked, float(context), standard):>25}" for context in CONTEXTS)
            print(f"{name:<22}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
