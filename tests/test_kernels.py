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
from configs.formats import FORMATS
from hw.kernels import (
    CollectiveShape,
    DecodeShape,
    GemmShape,
    MoeShape,
    PrefillShape,
    Rates,
    collective,
    decode,
    gemm,
    latent,
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


def test_a_textbook_roofline_has_no_tiles():
    ideal = gemm.Gemm(**configs.load_kernels("ideal").sets["gemm"]["any"].value)
    for m in (1.0, 20.0, 4096.0, 4097.0, 5000.0):
        shape = numbers(GemmShape(m, 8192.0, 8192.0))
        moved = shape.read_bytes() + shape.written_bytes()
        roof = max(shape.flops() / H100.flops_per_s, moved / H100.hbm_bytes_per_s)
        # Bound by traffic the soft minimum has up to 56 equals instead of the 7 that are divided out.
        assert float(ideal.seconds(numbers(H100), shape)) == pytest.approx(
            float(roof), rel=0.03 if m < 100 else 3e-3
        ), m


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


def test_latent_decode_is_its_formula_and_reaches_what_flash_mla_states():
    calls = (1.0, 128.0, 1000.0, 2.0), (128.0, 16.0, 8192.0, 2.0), (64.0, 128.0, 4096.0, 1.0)
    for batch, heads, tokens, bytes_ in calls:
        p, shape = latent.PUBLISHED, DecodeShape.latent(batch, heads, tokens, bytes_)
        compute = 2 * batch * tokens * heads * (576 + 512) / (p.matmul_fraction * 989.4e12)
        memory = batch * tokens * 576 * bytes_ / (p.hbm_fraction * 3.35e12)
        again = p.launch_s + math.hypot(compute, memory)
        assert float(p.seconds(H100, shape)) == pytest.approx(again, rel=1e-6)
    few, many = (DecodeShape.latent(128.0, heads, 65536.0, 2.0) for heads in (1.0, 4096.0))
    assert 128 * 65536 * 1152 / float(latent.PUBLISHED.seconds(H100, few)) == pytest.approx(3000e9, rel=0.01)
    flops = 2 * 128 * 65536 * 4096 * 1088
    assert flops / float(latent.PUBLISHED.seconds(H100, many)) == pytest.approx(660e12, rel=0.01)


def test_latent_decode_takes_a_window_and_grows_with_each_size():
    shape = DecodeShape.latent(8.0, 128.0, 4096.0, 2.0)
    base = float(latent.PUBLISHED.seconds(H100, shape))
    seen = dataclasses.replace(shape, window_tokens=2048.0)
    assert float(latent.PUBLISHED.seconds(H100, seen)) < base
    for name in ("batch", "heads", "kv_tokens"):
        larger = dataclasses.replace(shape, **{name: 2.0 * getattr(shape, name)})
        assert float(latent.PUBLISHED.seconds(H100, larger)) > base


DERIVED = [
    "gaudi2",
    "gaudi3",
    "inferentia2",
    "tpu-v4",
    "tpu-v5e",
    "tpu-v5p",
    "tpu-v6e",
    "tpu-v7",
    "trainium1",
    "trainium2",
]
# What a call takes over its roofline: shapes of one layer of a 70B model on 8 chips and of a mixture of experts.
PRODUCTS = [(1.0, 4096.0, 4096.0), (32.0, 3584.0, 8192.0), (256.0, 8192.0, 8192.0), (8192.0, 28672.0, 8192.0)]
DECODES = [(16.0, 8.0, 1.0, 2048.0), (64.0, 8.0, 1.0, 8192.0), (256.0, 32.0, 8.0, 4096.0)]
PREFILLS = [(1.0, 8.0, 1.0, 2048.0), (4.0, 32.0, 8.0, 8192.0)]
EXPERTS = [(64.0, 4096.0, 1536.0, 8.0, 128.0), (8192.0, 4096.0, 14336.0, 2.0, 8.0)]


def machine(name):
    chip = configs.load_chip(name)
    peak = chip.peak_flops_per_s["bf16"]
    return Rates(peak, chip.hbm_bytes_per_s, chip.cores, chip.cache_bytes, chip.link_bytes_per_s), chip


@pytest.mark.parametrize("name", DERIVED)
def test_derived_constants_stay_near_the_roofline(name):
    rates, chip = machine(name)
    sets = configs.kernels_of(chip).sets
    peak, hbm = rates.flops_per_s, rates.hbm_bytes_per_s
    for model, family in ((gemm.Gemm, "gemm"), (gemm.ClosedGemm, "gemm_closed")):
        for m, n, k in PRODUCTS:
            roof = max(2 * m * n * k / peak, 2 * (m * k + n * k + m * n) / hbm)
            taken = float(model(**sets[family]["bf16"].value).seconds(rates, GemmShape(m, n, k, 2.0, 1e9)))
            assert 1.0 < taken / roof < 1.8, (family, m, n, k)
    for batch, heads, kv_heads, tokens in DECODES:
        shape = DecodeShape.grouped(batch, heads, kv_heads, 128.0, tokens, 2.0)
        taken = float(decode.Decode(**sets["attention_decode"]["bf16"].value).seconds(rates, shape))
        assert 1.0 < taken / (batch * kv_heads * tokens * 512 / hbm) < 3.0, (batch, tokens)
    for batch, heads, kv_heads, tokens in PREFILLS:
        shape = PrefillShape.grouped(batch, heads, kv_heads, 128.0, tokens, 2.0)
        taken = float(prefill.Prefill(**sets["attention_prefill"]["bf16"].value).seconds(rates, shape))
        assert 1.0 < taken / (2 * batch * heads * 128 * tokens**2 / peak) < 4.0, (batch, tokens)
    for tokens, hidden, inter, topk, experts in EXPERTS:
        shape = MoeShape(tokens, hidden, inter, topk, experts, 1.0, 8.0, 0.0, 3.0, 2.0)
        touched = 1 - (1 - topk / experts) ** tokens
        one = 3 * hidden * inter / 8
        roof = max(2 * tokens * topk * one / peak, touched * experts * one * 2 / hbm)
        taken = float(moe.Moe(**sets["moe"]["bf16"].value).seconds(rates, shape))
        assert 1.0 < taken / roof < 2.5, (tokens, experts)


def test_collectives_over_a_torus_take_what_the_scaling_book_says():
    rates, chip = machine("tpu-v5e")
    sets = configs.kernels_of(chip).sets["allreduce"]

    def seconds(op, size, devices):
        passes = 2.0 if op == "all_reduce" else 1.0
        return float(collective.Collective(**sets[op].value).seconds(rates, CollectiveShape(size, devices, passes)))

    wide = 4 * 45e9  # both directions of two axes of 9e10 bytes/s
    for op, times in (("all_gather", 1.0), ("reduce_scatter", 1.0), ("all_reduce", 2.0)):
        # V / W, 2 V / W; the book's own measurements reach 0.82 to 0.97 of it.
        assert times * 1e9 / wide < seconds(op, 1e9, 256.0) < 1.25 * times * 1e9 / wide
        # whatever the number of chips
        assert seconds(op, 1e9, 64.0) == pytest.approx(seconds(op, 1e9, 256.0), rel=0.02)
    assert seconds("all_gather", 32e3 * 4, 4.0) == pytest.approx(8e-6, rel=0.2)  # "closer to 8 us"
    # A message of S bytes per chip crosses half of sqrt(N) links on average: S sqrt(N) / 2 over all links.
    assert seconds("alltoall", 1e9, 256.0) == pytest.approx(8 * 1e9 / (0.8 * 2e11), rel=0.02)


def test_ideal_constants_are_the_roofline():
    rates, chip = machine("h100-sxm")
    sets = configs.kernels_of(chip, "ideal").sets
    ideal = gemm.Gemm(**sets["gemm"]["fp8"].value)
    for m, n, k in ((16.0, 8192.0, 8192.0), (4096.0, 8192.0, 8192.0)):
        roof = max(2 * m * n * k / rates.flops_per_s, 2 * (m * k + n * k + m * n) / rates.hbm_bytes_per_s)
        assert float(ideal.seconds(rates, GemmShape(m, n, k, 2.0, 1e9))) == pytest.approx(roof, rel=0.01)
    at_once = CollectiveShape(1e9, 8.0, 2.0)
    ring = collective.Collective(**sets["allreduce"]["all_reduce"].value)
    assert float(ring.seconds(rates, at_once)) == pytest.approx(2 * 7 / 8 * 1e9 / rates.link_bytes_per_s, rel=1e-3)


@pytest.mark.parametrize("constants", ["tpu", "ideal"])
def test_derived_constants_have_finite_slopes(constants):
    """Zeros among them must not make a square root or a power infinitely steep."""
    rates, chip = machine("tpu-v5e")
    sets = configs.kernels_of(chip, constants).sets
    calls = {
        "gemm": (gemm.Gemm, GemmShape(200.0, 4096.0, 4096.0)),
        "gemm_closed": (gemm.ClosedGemm, GemmShape(200.0, 4096.0, 4096.0)),
        "attention_decode": (decode.Decode, DecodeShape.grouped(16.0, 32.0, 8.0, 128.0, 4000.0, 2.0)),
        "attention_prefill": (prefill.Prefill, PrefillShape.grouped(2.0, 32.0, 8.0, 128.0, 3000.0, 2.0)),
        "moe": (moe.Moe, MoeShape(100.0, 4096.0, 1536.0, 8.0, 128.0, 1.0, 4.0, 0.0, 3.0, 1.0)),
        "allreduce": (collective.Collective, CollectiveShape(1e7, 8.0, 2.0)),
    }
    for family, (model, shape) in calls.items():
        variant = "all_reduce" if family == "allreduce" else "bf16"
        kernel = model(**sets[family][variant].value)
        slopes = jax.grad(lambda x, k=kernel: k.seconds(x[0], x[1]))((numbers(rates), numbers(shape)))
        assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(slopes)), family
