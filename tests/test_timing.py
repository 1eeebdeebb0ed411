"""Kernels timed here: they compute what they claim, the clock counts steps, the grid keeps its limits."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hw import timing
from planner.calibration.device import Device

ROOT = Path(__file__).parents[1]
LIMITS = timing.Limits(1e9, 1e7, 4)


def random(likes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.uniform(-1, 1, like.shape) * (100 if like.dtype == jnp.int8 else 1)).astype(like.dtype)
            for like in likes]  # fmt: skip


@pytest.mark.parametrize(("precision", "error"), [("bf16", 0.02), ("fp8", 0.1), ("int8", 0.03)])
def test_a_gemm_multiplies(precision, error):
    """Within the rounding of the format: 8, 4 and 8 bits of significand for x, more for the sum."""
    work = timing.work("gemm", precision, {"m": 24, "n": 48, "k": 64})
    x, w = random([work.x, *work.operands])
    y = np.asarray(work.step(x, (w,)), float)
    exact = np.asarray(x, float) @ np.asarray(w, float).T
    assert y.shape == (24, 48)
    assert np.abs(y - exact).max() <= error * np.abs(exact).max()


@pytest.mark.parametrize(("heads", "kv_heads"), [(8, 8), (8, 2), (4, 1)])
def test_attention_attends(heads, kv_heads):
    shape = {"batch": 2, "heads": heads, "kv_heads": kv_heads, "head_dim": 64, "window": 0}
    work = timing.work("attention_decode", "bf16", {**shape, "q_len": 1, "kv_len": 50})
    q, k, v = random([work.x, *work.operands])
    y = np.asarray(work.step(q, (k, v)), float)
    q, k, v = (np.asarray(a, float) for a in (q, k, v))
    scores = np.einsum("bkgd,bktd->bkgt", q, k) / 8.0
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    assert y == pytest.approx(np.einsum("bkgt,bktd->bkgd", weights, v), abs=0.02)  # bf16
    work = timing.work("attention_prefill", "bf16", {**shape, "q_len": 30, "kv_len": 30})
    q, k, v = random([work.x, *work.operands])
    y = np.asarray(work.step(q, (k, v)), float)
    first = np.repeat(np.asarray(v, float)[:, :1], heads // kv_heads, axis=2)
    assert y[:, :1] == pytest.approx(first, abs=0.02)  # the first token sees itself alone


def test_the_clock_scales_with_the_work():
    """Eight times the arithmetic takes about eight times as long: 3 to 20 on a busy machine, not 1."""
    times = [
        min(
            timing.measure(timing.work("gemm", "bf16", {"m": n, "n": n, "k": n}), 1e5, 1e9, 0.01).seconds for _ in "abc"
        )
        for n in (192, 384)
    ]
    assert 3 < times[1] / times[0] < 20


def test_the_clock_counts_what_it_did():
    took = timing.measure(timing.work("gemm", "bf16", {"m": 8, "n": 64, "k": 64}), 1e6, 1e9, 0.005)
    assert took.copies == 8  # as many as it may take to overflow the cache
    assert took.seconds * took.repeats * took.copies >= 0.002
    assert took.spread >= 0
    few = timing.measure(timing.work("gemm", "bf16", {"m": 8, "n": 64, "k": 64}), 1.0, 1e9, 0.005)
    assert few.copies == 2


def test_what_does_not_fit_is_said():
    with pytest.raises(timing.OutOfMemoryError, match="GB of buffers on a device of"):
        timing.measure(timing.work("gemm", "bf16", {"m": 512, "n": 512, "k": 512}), 1e6, 1e6, 0.01)


@pytest.mark.parametrize("family", timing.FAMILIES)
def test_a_grid_keeps_its_limits_and_its_beginning(family):
    many, few = list(timing.shapes(family, 40, LIMITS)), list(timing.shapes(family, 10, LIMITS))
    assert many[:10] == few
    assert len({tuple(s.values()) for s in many}) == len(many) >= 20
    for shape in many:
        if family == "gemm":
            assert 2 * shape["m"] * shape["n"] * shape["k"] <= LIMITS.flops
            assert 2 * shape["n"] * shape["k"] <= LIMITS.bytes
        if family == "attention_decode":
            assert 4 * shape["batch"] * shape["kv_heads"] * shape["head_dim"] * shape["kv_len"] <= LIMITS.bytes
        if family == "allreduce":
            assert shape["devices"] in (2, 4)
    assert list(timing.shapes("allreduce", 5, LIMITS._replace(devices=1))) == []


def test_every_fifth_shape_is_held_out():
    assert [n for n in range(12) if timing.held_out(n)] == [4, 9]


def test_an_unknown_format_is_refused_with_its_reason(monkeypatch):
    assert timing.supports("bf16") is None
    monkeypatch.setattr(jax, "jit", lambda step: (_ for _ in ()).throw(ValueError("no such unit")))
    assert timing.supports("fp8") == "no such unit"


def test_the_device_here_is_described():
    device = Device.present()
    assert device.backend == "cpu"
    assert device.cores == len(os.sched_getaffinity(0))
    assert 1e8 < device.memory_bytes < 1e14
    assert device.cache_bytes >= 1e5
    assert Device.present("h100-sxm").chip == "h100-sxm"


def test_collectives_run_on_several_devices():
    """Two host devices: each operation gives what adding, gathering, scattering and exchanging should."""
    code = """
import jax, numpy as np, jax.numpy as jnp
from hw import timing
for op in ("all_reduce", "all_gather", "reduce_scatter", "alltoall"):
    work = timing.work("allreduce", "bf16", {"op": op, "devices": 2, "bytes": 64})
    x = jax.device_put(jnp.arange(work.x.shape[0], dtype=work.x.dtype), work.sharding)
    y, x = np.asarray(work.step(x, ()), float), np.asarray(x, float)
    half = x.reshape(2, -1)
    want = {"all_reduce": half.sum(0), "reduce_scatter": half.sum(0), "all_gather": np.tile(x, 2),
            "alltoall": half.reshape(2, 2, -1).swapaxes(0, 1).reshape(-1)}[op]
    assert np.allclose(y, want, rtol=0.02), (op, y, want)
    assert timing.measure(work, 1e6, 1e9, 0.002).seconds > 0
print("done")
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **flags}, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "done", done.stderr
