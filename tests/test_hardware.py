"""Rooflines, collectives, passes: closed forms, limits and the lecture's arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from hw import Chip, Operation, Slice, Sum, scaled, total
from planner.model.buildable import BuildableShape
from planner.model.transformer import ShapeLaw, Transformer
from planner.serving.engine import Engine
from planner.serving.numbers import engine_numbers
from planner.serving.replica import OVERLAP, ROOFLINE_SHARE, Precision, Replica, Requests, Residual, Residuals

seconds = st.floats(1e-9, 1e3)


NOTHING = Residuals(*(Residual(-200.0, 0.0, 0.0) for _ in range(3)))


def perfect():
    """An engine that adds nothing."""
    shipped = engine_numbers(configs.load_engine("tensorrt-llm"))
    return Engine(**(dict.fromkeys(shipped, 0.0) | {"kv_fraction": 1.0}))


def chip(name="h100-sxm"):
    c = configs.load_chip(name)
    return Chip(c.peak_flops_per_s, c.hbm_bytes, c.hbm_bytes_per_s, c.power_w)


@given(seconds, seconds, st.floats(1.0, 64.0))
def test_roofline_lies_between_maximum_and_sum(c, m, p):
    operation = Operation(c, m)
    time = float(operation.seconds(p))
    assert max(c, m) * (1 - 1e-12) <= time <= (c + m) * (1 + 1e-12)
    assert time == pytest.approx((c**p + m**p) ** (1 / p) if c + m < 1e3 ** (1 / p) * 1e3 else time, rel=1e-9)
    assert float(operation.hard_seconds()) == max(c, m)
    assert float(operation.seconds(1e4)) == pytest.approx(max(c, m), rel=1e-4)  # ln 2 / p


@given(st.lists(seconds, min_size=1, max_size=4), seconds)
def test_sums_scale_and_nest(values, factor):
    flat = float(total(values, 2.0))
    assert flat == pytest.approx(sum(values), rel=1e-12)
    parts = [*values, Operation(1.0, 2.0)]
    assert float(total(scaled([Sum(parts)], factor), 2.0)) == pytest.approx(
        float(total(parts, 2.0)) * factor, rel=1e-12
    )


def replica(
    n=1.0, precision=("fp8", 1.0, 1.0), requests=(1024.0, 256.0, 0.0), engine=None, model=None, on="h100-sxm",
    stages=1.0, residuals=NOTHING,
):  # fmt: skip
    c = chip(on)
    model = model or Transformer(70e9, 80.0, 8192.0, 1024.0, 8.0)
    form = Precision(precision[1], precision[2], c.peak_flops_per_s[precision[0]], c.peak_flops_per_s["bf16"])
    return Replica(model, Slice(c, n, stages), form, Requests(*requests), engine or perfect(), residuals)


def test_latency_floor_is_weights_over_bandwidth():
    """Lecture item 8: as the batch vanishes, a step takes weights / bandwidth."""
    point = replica(n=2.0).at(1e-6)
    assert float(point.seconds([point.step])) == pytest.approx(ROOFLINE_SHARE * 70e9 / (2 * 3.35e12), rel=1e-3)


def test_a_pipeline_reads_its_weights_stage_by_stage():
    """A pass through all stages reads them one after the other; their memory and KV spread over all chips."""
    deep, wide = replica(n=4.0, stages=4.0), replica(n=4.0)
    assert float(deep.decode_step(1.0).linear.memory_s) == pytest.approx(
        4 * float(wide.decode_step(1.0).linear.memory_s)
    )
    assert float(sum(deep.memory_fill(8.0))) == pytest.approx(float(sum(wide.memory_fill(8.0))))


def test_the_residual_completes_a_time():
    left = Residual(-4.0, 0.5, 0.25)
    with_it, without = (replica(residuals=Residuals(r, r, r)).at(32.0) for r in (left, Residual(-200.0, 0.0, 0.0)))
    for name in ("step", "prefill", "first"):
        added = getattr(with_it, name).seconds(OVERLAP) - getattr(without, name).seconds(OVERLAP)
        assert float(added) == pytest.approx(np.exp(-4.0) * 7.0**0.5 * 0.5**0.25, rel=1e-9)


def test_balanced_batch_comes_from_the_chip_alone():
    """Lecture item 11: weights and arithmetic take equal time at B* = (F / W) bytes / 2, about 295 on H100 FP8."""
    linear = replica().decode_step(1.0).linear
    balanced = float(linear.memory_s / linear.compute_s)
    assert balanced == pytest.approx(1978.9e12 / 3.35e12 / 2, rel=1e-12)
    other = replica(model=Transformer(7e9, 32.0, 4096.0, 1024.0, 8.0)).decode_step(1.0).linear
    assert float(other.memory_s / other.compute_s) == pytest.approx(balanced, rel=1e-12)


def test_cost_per_token_falls_with_batch_to_compute_plus_kv():
    """Lecture item 10: the weight part is a hyperbola, compute and KV are constant."""
    r = replica()
    batches = 2.0 ** np.arange(0, 22)
    per_token = np.array([float(r.at(b).seconds([r.at(b).step])) / b for b in batches])
    assert np.all(np.diff(per_token) <= 1e-15 * per_token[1:])
    step = r.decode_step(1.0)
    limit = ROOFLINE_SHARE * float(step.linear.compute_s + step.attention.seconds(OVERLAP))
    assert per_token[-1] == pytest.approx(limit, rel=1e-3)
    assert per_token[0] > 100 * per_token[-1]  # item 5: no batching is hundreds of times dearer


def test_kv_is_replicated_beyond_the_kv_heads():
    fill = {n: float(replica(n=float(n)).memory_fill(1.0)[3]) for n in (4, 8, 16, 32)}
    assert fill[8] == pytest.approx(fill[4] / 2)
    assert fill[16] == fill[8] == fill[32]


def test_drain_time():
    """Lecture item 15: reading all of HBM once takes 15-25 ms on these generations."""
    for name, expected in (("h100-sxm", 80e9 / 3.35e12), ("b200-sxm", 180e9 / 7.7e12)):
        c = configs.load_chip(name)
        assert c.hbm_bytes / c.hbm_bytes_per_s == pytest.approx(expected)
        assert 0.015 < expected < 0.030


@given(st.floats(np.log(1e9), np.log(1e13)), st.floats(0.0, np.log(4096.0)), st.sampled_from([1.0, 8.0, 32.0]))
def test_model_gradients_equal_differences(log_N, log_B, n):
    shape = ShapeLaw(**configs.load_shape("dense-gqa").fit)
    engine = Engine(**engine_numbers(configs.load_engine("tensorrt-llm")))
    some = Residuals(Residual(-5.5, 0.7, 0.4), Residual(-4.7, 0.9, -0.1), Residual(-4.2, 1.0, 0.3))

    def f(log_N, log_B):
        point = replica(n=n, engine=engine, model=shape.transformer(jnp.exp(log_N)), residuals=some).at(jnp.exp(log_B))
        return jnp.log(point.seconds(point.tpot_parts())) + jnp.log(point.seconds(point.ttft_parts()))

    h = 1e-5
    slopes = jax.grad(f, (0, 1))(log_N, log_B)
    numeric = (
        (f(log_N + h, log_B) - f(log_N - h, log_B)) / (2 * h),
        (f(log_N, log_B + h) - f(log_N, log_B - h)) / (2 * h),
    )
    # Central differences: h^2 curvature 1e-10, rounding 1e-15 / h = 1e-10.
    assert np.allclose(slopes, numeric, atol=1e-8)


SHAPE_LAW_MODELS = (
    "llama-3.1-405b", "llama-3.1-70b", "llama-3.1-8b", "mistral-7b", "mistral-large-123b", "mistral-nemo-12b",
    "mistral-small-24b", "phi-4", "qwen2.5-14b", "qwen2.5-32b", "qwen2.5-72b", "qwen2.5-7b", "qwen3-32b", "qwen3-8b",
    "yi-34b",
)  # fmt: skip


def test_shape_law_is_the_fit_it_says():
    facts = configs.load_shape("dense-gqa")
    models = [configs.load_model(name) for name in SHAPE_LAW_MODELS]
    assert len(models) == 15
    assert min(m.params for m in models) >= facts.valid["min_params"]
    attention = [m.layers[0].mixer for m in models]  # one kind of layer each
    x = np.log([m.params / 1e9 for m in models])
    columns = {
        "layers": [m.layers[0].count for m in models],
        "d_model": [m.d_model for m in models],
        "kv_width": [a.kv_heads * a.key_dim for a in attention],
    }
    for name, values in columns.items():
        slope, offset = np.polyfit(x, np.log(values), 1)
        assert facts.fit[f"{name}_exponent"] == pytest.approx(slope, abs=1e-4)
        assert facts.fit[f"{name}_at_1b"] == pytest.approx(np.exp(offset), rel=1e-3)


@given(st.floats(np.log(2e9), np.log(2e12)))
def test_buildable_shapes_are_whole_and_close(log_N):
    shape = ShapeLaw(**configs.load_shape("dense-gqa").fit)
    built = BuildableShape.nearest(shape, jnp.exp(log_N))
    for name in ("layers", "d_model", "heads", "kv_heads", "ffn"):
        assert float(getattr(built, name)) == round(float(getattr(built, name)))
    assert float(built.heads) % float(built.kv_heads) == 0
    assert float(built.ffn) % 256 == 0
    half_step = 1.5 * 256 * float(built.d_model) * float(built.layers)
    assert abs(float(built.params()) - np.exp(log_N)) <= half_step * (1 + 1e-9)
