"""Full-model estimates per second in both forms, and a whole search over layouts, batches and precisions.

    python tests/benchmarks/serving.py

One estimate is a decode step of Llama 3.3 70B in FP8 on H100s at one batch and context: every kernel of every layer,
collectives and the engine's overheads. The alternative in the same run is the textbook roofline of the same step in
NumPy, which knows four numbers per chip. The search is every layout of DeepSeek-V3 on 32 H200s in three precisions at
33 batches, as `estimate` runs it.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import jax
import jax.numpy as jnp
import numpy as np

import configs
from planner.estimate.point import SCAN_BATCHES, rank
from planner.estimate.question import Question
from planner.model.numbers import decoder_numbers
from planner.serving.curve import instance_of
from planner.serving.numbers import device_numbers, engine_numbers, recipe_of
from planner.serving.ops import Load

ROWS = 200_000
REPEATS = 7


def instance(closed: bool):
    """Return Llama 3.3 70B on eight H100s, every number in float32."""
    model, chip = configs.load_model("llama-3.3-70b"), configs.load_chip("h100-sxm")
    engine = configs.load_engine("tensorrt-llm")
    numbers = {
        "model": decoder_numbers(model),
        "layout": {"tp": 8.0, "pp": 1.0, "dp": 1.0, "ep": 1.0},
        "device": device_numbers(chip, configs.kernels_of(chip), engine, recipe_of(model, "fp8"), closed),
        "engine": engine_numbers(engine),
        "hbm_bytes": chip.visible_bytes,
    }
    return instance_of(jax.tree.map(jnp.float32, numbers), convex=closed)


def median_s(run) -> float:
    """Return the median seconds of a call, after one that compiles."""
    run()
    out = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run()
        out.append(time.perf_counter() - begin)
    return statistics.median(out)


def main() -> None:
    """Print rates and ratios."""
    rng = np.random.default_rng(0)
    batch = np.exp(rng.uniform(0.0, 7.5, ROWS)).astype(np.float32)
    context = rng.uniform(500.0, 20000.0, ROWS).astype(np.float32)

    def textbook():
        compute = 2.0 * 70.6e9 * batch / (8 * 1.979e15)
        memory = (70.6e9 + batch * context * 163840.0) / (8 * 3.35e12)
        return np.maximum(compute, memory)

    rates = {"textbook roofline in NumPy": ROWS / median_s(textbook)}
    for name, closed in (("convex form", True), ("sharp form", False)):
        model = instance(closed)

        @jax.jit
        def step(model, batch, context):
            return model.engine.total(model.step(Load(batch, context, 0.0, 1.0, 0.0)).tally())

        given = jnp.asarray(batch), jnp.asarray(context)
        rates[name] = ROWS / median_s(lambda: step(model, *given).block_until_ready())  # noqa: B023
    for name, rate in rates.items():
        print(f"{name:<28}{rate:>14,.0f} estimates/s")
    base = rates["textbook roofline in NumPy"]
    print(f"sharp against convex {rates['sharp form'] / rates['convex form']:.2f}, convex against textbook "
          f"{rates['convex form'] / base:.3f}")  # fmt: skip

    def search():
        count = 0
        for precision in ("bf16", "fp8", "int4"):
            asked = {"model": "deepseek-v3", "chip": "h200-sxm", "chips": 32, "precision": precision}
            count += len(rank(Question.of(asked))) * len(SCAN_BATCHES)
        return count

    search()
    begin = time.perf_counter()
    count = search()
    print(f"search of DeepSeek-V3 on 32 x H200: {count:,} points in {time.perf_counter() - begin:.2f} s, compiled")


if __name__ == "__main__":
    main()
