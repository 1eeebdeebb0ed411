"""Kernel models: against their formulas in plain Python, their limits, their gradients, their convexity."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from hw.kernels import (
    FORMATS,
    CollectiveShape,
    DecodeShape,
    GemmShape,
    MoeShape,
    PrefillShape,
    Rates,
    collective,
    decode,
    gemm,
    moe,
    prefill,
)

H100 = Rates(989.4e12, 3.35e12, 132.0, 5e7, 4.5e11)
SIZES = st.sampled_from([1, 2, 7, 16, 33, 100, 128, 257, 1024, 4096, 16000])
CALLS = {
    "gemm": (gemm.START, GemmShape(200.0, 4096.0, 4096.0)),
    "gemm quantised": (gemm.START, GemmShape(200.0, 4096.0, 4096.0, 1.0, quantised=True)),
    "gemm closed": (gemm.CLOSED_START, GemmShape(200.0, 4096.0, 4096.0)),
    "decode": (decode.START, DecodeShape.grouped(16.0, 32.0, 8.0, 128.0, 4000.0, 2.0)),
    "decode windowed": (decode.START, DecodeShape.grouped(16.0, 32.0, 8.0, 64.0, 4000.0, 2.0, 1024.0)),
    "decode latent": (decode.START, DecodeShape.latent(64.0, 128.0, 4000.0, 2.0)),
    "prefill": (prefill.START, PrefillShape.grouped(2.0, 32.0, 8.0, 128.0, 3000.0, 2.0)),
    "prefill prefix": (prefill.START, PrefillShape.grouped(2.0, 32.0, 8.0, 128.0, 300.0, 1.0, prefix_tokens=5000.0)),
    "moe": (moe.START, MoeShape(100.0, 4096.0, 1536.0, 8.0, 128.0, 1.0, 4.0, 1.2, 3.0, 1.0)),
    "collective": (collective.START, CollectiveShape(1e7, 8.0, 2.0)),
}


def numbers(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, float), tree)


def softmin_gemm(p, rates, m, n, k, s, copies, quantised):
    """The sharp GEMM once more, one tile and one split at a time, straight from the formulas."""

    def held(x):
        return 1 / (1 + (p.cache_fraction * rates.cache_bytes / x) ** -p.cache_sharpness)

    per_byte = 1 / (p.hbm_fraction * rates.hbm_bytes_per_s)
    reads = per_byte * s * (m * k + n * k) / (1 + p.cached_read_gain * held(copies * s * n * k + s * m * k + 2 * m * n))
    writes = per_byte * p.write_ratio * 2 * m * n / (1 + p.cached_write_gain * held(2 * m * n))
    beside = p.overlap_odds / (1 + p.overlap_odds)
    total = 0.0
    for tm, tn in zip(gemm.TILE_M, gemm.TILE_N, strict=True):
        for split in (1,) if quantised else gemm.SPLITS:
            multiply = 2 * (min(tm, m) + p.extra_rows * (1 - m**-2)) * min(tn, 32 * math.ceil(n / 32))
            multiply /= p.compute_fraction * rates.flops_per_s / rates.cores
            feed = (min(tm, m) + min(tn, n)) * s / (p.feed_ratio * rates.hbm_bytes_per_s / rates.cores)
            waves = math.ceil(m / tm) * math.ceil(n / tn) * split / rates.cores
            waves = max(1, waves + p.wave_rounding * (math.ceil(waves) - waves))
            run = waves * (multiply**4 + feed**4 + p.step_s**4) ** 0.25 * 32 * math.ceil(k / (32 * split))
            time = ((reads + beside * writes) ** 4 + run**4) ** 0.25 + (1 - beside) * writes
            if split > 1:
                time += p.split_s + 8 * split * m * n * per_byte / (1 + p.cached_read_gain)
            total += (time * 1e6) ** -64
    convert = 0.0
    if quantised:
        moved = (2 + s) * m * k
        convert = per_byte * p.quantise_ratio * moved / (1 + p.cached_quantise_gain * held(moved))
    device = p.launch_s + 1e-6 * total ** (-1 / 64) + convert
    return (device**6 + p.floor_s**6) ** (1 / 6)


@pytest.mark.parametrize("quantised", [False, True])
@given(m=SIZES, n=SIZES, k=SIZES)
def test_sharp_gemm_is_its_formula(m, n, k, quantised):
    shape = GemmShape(float(m), float(n), float(k), 1.0 if quantised else 2.0, 6.0, quantised)
    model = numbers(gemm.START)
    again = softmin_gemm(gemm.START, H100, m, n, k, shape.element_bytes, 6.0, quantised)
    assert float(model.seconds(numbers(H100), shape)) == pytest.approx(again, rel=1e-9)  # float64 rounding


@given(m=SIZES, n=SIZES, k=SIZES)
def test_closed_gemm_is_its_formula(m, n, k):
    p, cold = gemm.CLOSED_START, math.inf
    shape = GemmShape(float(m), float(n), float(k), 2.0, cold)
    held = 1 / (1 + (p.cache_fraction * H100.cache_bytes / (2 * m * n)) ** -p.cache_sharpness)
    per_byte = 1 / (p.hbm_fraction * H100.hbm_bytes_per_s)
    writes = per_byte * p.write_ratio * 2 * m * n / (1 + p.cached_write_gain * held)
    beside = p.overlap_odds / (1 + p.overlap_odds)
    arithmetic = 2 * m * n * k * (1 + p.half_m / m) * (1 + p.half_n / n) / (p.compute_fraction * H100.flops_per_s)
    memory = per_byte * 2 * (m * k + n * k) + beside * writes
    device = p.launch_s + math.hypot(memory, arithmetic, p.step_s * k) + (1 - beside) * writes
    again = (device**6 + p.floor_s**6) ** (1 / 6)
    assert float(numbers(p).seconds(numbers(H100), shape)) == pytest.approx(again, rel=1e-9)


@given(st.lists(st.floats(-1.0, 1.0), min_size=12, max_size=12), st.floats(0.0, 1.0))
def test_closed_gemm_is_log_convex_when_cold(moves, at):
    """Along any line in the logarithms of m, n, k and the chip's rates; outputs larger than any cache here."""
    centre = np.log([1000.0, 8000.0, 8000.0, 1e15, 3e12, 6e11])
    ends = [centre + 2.0 * np.array(moves[:6]), centre + 2.0 * np.array(moves[6:])]

    def log_seconds(z):
        m, n, k, flops, hbm, link = np.exp(z)
        shape = GemmShape(m, n, k, 2.0, math.inf)
        return math.log(float(numbers(gemm.CLOSED_START).seconds(Rates(flops, hbm, 132.0, 1e-3, link), shape)))

    middle = log_seconds((1 - at) * ends[0] + at * ends[1])
    assert middle <= (1 - at) * log_seconds(ends[0]) + at * log_seconds(ends[1]) + 1e-9


@pytest.mark.parametrize("name", ["decode", "prefill"])
@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4), st.floats(0.0, 1.0))
def test_convex_attention_is_log_convex(name, moves, at):
    model = numbers(CALLS[name][0])

    def log_seconds(z):
        batch, tokens = np.exp(z)
        if name == "decode":
            shape = DecodeShape.grouped(batch, 32.0, 8.0, 128.0, tokens, 2.0)
        else:
            shape = PrefillShape.grouped(batch, 32.0, 8.0, 128.0, tokens, 2.0)
        return math.log(float(model.convex_seconds(numbers(H100), numbers(shape))))

    centre = np.log([16.0, 2000.0])
    ends = [centre + 2.5 * np.array(moves[:2]), centre + 2.5 * np.array(moves[2:])]
    middle = log_seconds((1 - at) * ends[0] + at * ends[1])
    assert middle <= (1 - at) * log_seconds(ends[0]) + at * log_seconds(ends[1]) + 1e-9


@pytest.mark.parametrize("name", CALLS)
def test_gradients_equal_finite_differences(name):
    """In the logarithm of every parameter and every rate of the chip."""
    model, shape = numbers(CALLS[name][0]), CALLS[name][1]
    leaves, build = jax.tree.flatten((model, numbers(H100)))

    def log_seconds(z):
        kernel, rates = jax.tree.unflatten(build, list(jnp.exp(z)))
        return jnp.log(kernel.seconds(rates, shape))

    z = jnp.log(jnp.array(leaves))
    slope = jax.grad(log_seconds)(z)
    assert bool(jnp.isfinite(slope).all())
    step = 1e-6
    for i in range(z.size):
        difference = (log_seconds(z.at[i].add(step)) - log_seconds(z.at[i].add(-step))) / (2 * step)
        assert float(slope[i]) == pytest.approx(float(difference), abs=2e-6), i  # differences of float64 logs


@pytest.mark.parametrize("name", CALLS)
def test_a_chip_twice_as_fast_takes_half_the_time(name):
    """Every rate doubled and every latency halved: nothing else in a kernel knows a second."""
    model, shape = CALLS[name]
    quick = Rates(
        2 * H100.flops_per_s, 2 * H100.hbm_bytes_per_s, H100.cores, H100.cache_bytes, 2 * H100.link_bytes_per_s
    )
    halves = {
        f.name: getattr(model, f.name) * (0.5 if f.name.endswith("_s") else 1.0) for f in dataclasses.fields(model)
    }
    before = numbers(model).seconds(numbers(H100), shape)
    after = numbers(type(model)(**halves)).seconds(numbers(quick), shape)
    assert float(after) == pytest.approx(float(before) / 2, rel=1e-9)


@pytest.mark.parametrize("name", CALLS)
def test_arrays_give_what_numbers_give(name):
    model, shape = numbers(CALLS[name][0]), numbers(CALLS[name][1])
    alone = model.seconds(numbers(H100), shape)
    many = jax.tree.map(lambda x: jnp.full((3,), x), (numbers(H100), shape))
    together = eqx.filter_jit(lambda m, r, s: m.seconds(r, s))(model, *many)
    assert np.asarray(together) == pytest.approx(np.full(3, float(alone)), rel=1e-12)


def test_large_calls_reach_their_rooflines():
    model = numbers(gemm.START)
    big = GemmShape(16384.0, 16384.0, 16384.0, 2.0, math.inf)
    arithmetic = big.flops() / (gemm.START.compute_fraction * H100.flops_per_s)
    assert float(model.seconds(numbers(H100), big)) == pytest.approx(arithmetic, rel=0.15)  # writes, soft minimum
    thin = GemmShape(1.0, 65536.0, 16384.0, 2.0, math.inf)
    memory = thin.read_bytes() / (gemm.START.hbm_fraction * H100.hbm_bytes_per_s)
    assert float(model.seconds(numbers(H100), thin)) == pytest.approx(memory, rel=0.1)
    cache = DecodeShape.grouped(256.0, 64.0, 8.0, 128.0, 32768.0, 2.0)
    stored = 256 * 8 * 32768 * 2 * 128 * 2.0
    assert float(numbers(decode.START).seconds(numbers(H100), cache)) > stored / H100.hbm_bytes_per_s


def test_latent_attention_reads_one_latent_for_all_heads():
    shape = DecodeShape.latent(1.0, 128.0, 1000.0, 2.0)
    assert shape.kv_bytes_per_token == (512 + 64) * 2
    assert (shape.key_dim, shape.value_dim, shape.kv_heads) == (576, 512, 1)


def test_ring_all_reduce_moves_what_patarasuk_and_yuan_say():
    bare = dataclasses.replace(collective.START, copy_ratio=1e-12, crowding_exponent=1e-12, link_fraction=1.0)
    for devices in (2.0, 4.0, 8.0):
        wire = bare.wire_s(H100, CollectiveShape(1e9, devices, 2.0))
        assert float(wire) == pytest.approx(2 * (devices - 1) / devices * 1e9 / 4.5e11, rel=1e-9)


def test_even_experts_share_the_tokens():
    shape = numbers(MoeShape(4096.0, 4096.0, 1536.0, 8.0, 128.0, 1.0, 1.0, 0.0, 3.0, 1.0))
    received = moe.load(shape)
    assert float(received.pairs) == pytest.approx(4096 * 8, rel=1e-6)
    assert np.asarray(received.expert_pairs) == pytest.approx(np.full(8, 256.0), rel=0.01)  # 4096 x 8 / 128
    assert float(received.touched_fraction()) == pytest.approx(1.0, abs=1e-3)


def test_every_format_has_a_peak_that_chips_know():
    assert {f.peak for f in FORMATS.values()} <= set(configs.PRECISIONS)
    assert all(0 < f.element_bytes <= 2 for f in FORMATS.values())
