"""A stopwatch for kernels: many steps in one compiled call, a warm-up, medians with their spread."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .works import Work

_MIN_COPIES, _MAX_COPIES = 2, 8
_MAX_REPEATS = 1 << 16
_SAMPLES = 5
_BLOCK = 1 << 16
_SHORT_SAMPLES = 3  # for kernels so slow that one run of them is longer than a sample needs to be


class OutOfMemoryError(Exception):
    """The kernel's buffers do not fit on the device; the message says what was asked for."""


class Measurement(NamedTuple):
    """Median ``seconds`` of one step over ``samples`` runs of ``repeats`` x ``copies`` steps each.

    ``spread`` is the distance between the quartiles over the median. ``copies`` operands took turns.
    """

    seconds: float
    spread: float
    samples: int
    repeats: int
    copies: int


def measure(work: Work, cache_bytes: float, memory_bytes: float, sample_s: float) -> Measurement:
    """Time one step of ``work``, each sample at least ``sample_s`` long where one step is shorter.

    Operands are copied until one round of them overflows ``cache_bytes`` twice (at least 2, at most 8 copies), unless
    half of ``memory_bytes`` is used up first. Steps run one after another inside one compiled loop: each
    writes its output, and the next one's input waits for a number of it, so that none is dropped,
    merged or overlapped; what an empty loop takes (dispatch, allocation) is subtracted.

    Raises:
        OutOfMemoryError: the buffers do not fit.
    """
    each, fixed = work.bytes_each(), work.fixed_bytes()
    copies = int(min(_MAX_COPIES, max(_MIN_COPIES, np.ceil(2.0 * cache_bytes / max(each, 1)))))
    while copies > _MIN_COPIES and copies * (each + fixed) > 0.5 * memory_bytes:
        copies -= 1
    asked = copies * (each + fixed)
    if asked > 0.8 * memory_bytes:
        raise OutOfMemoryError(f"{asked / 1e9:.3g} GB of buffers on a device of {memory_bytes / 1e9:.3g} GB")
    try:
        return _measure(work, copies, sample_s)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower():
            raise OutOfMemoryError(f"{asked / 1e9:.3g} GB of buffers were refused by the device") from None
        raise


def _measure(work: Work, copies: int, sample_s: float) -> Measurement:
    x, sets = _fill(work, copies)
    out = jax.eval_shape(work.step, work.x, work.operands)

    def steps(repeats: int, x: Array, sets: list[tuple[Array, ...]]) -> tuple[Array, list[Array]]:
        def once(_: int, carry: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
            x = carry[0]
            ys = []
            for operands in sets:
                y = work.step(x, operands)
                first = (0,) * x.ndim
                waits = x[first].astype(jnp.float32) + 0.0 * y[(0,) * y.ndim].astype(jnp.float32)
                x = x.at[first].set(waits.astype(x.dtype))
                ys.append(y)
            return x, ys

        return jax.lax.fori_loop(0, repeats, once, (x, [jnp.zeros(out.shape, out.dtype) for _ in sets]))

    run = jax.jit(steps)
    jax.block_until_ready(run(1, x, sets))  # compiles and warms up

    def sample(repeats: int) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(run(repeats, x, sets))
        return time.perf_counter() - begin

    empty_s = min(sample(0) for _ in range(_SAMPLES))  # dispatch and allocation, in every sample alike
    wanted_s = max(sample_s, 2.0 * empty_s)
    repeats, longest_s = 1, sample(1) - empty_s
    while longest_s < wanted_s and repeats < _MAX_REPEATS:
        repeats *= 2
        longest_s = sample(repeats) - empty_s
    count = _SAMPLES if longest_s < 5.0 * sample_s else _SHORT_SAMPLES
    times = [max(sample(repeats) - empty_s, 1e-9) for _ in range(count)]
    low, middle, high = np.quantile(times, (0.25, 0.5, 0.75))
    return Measurement(float(middle) / (repeats * copies), float((high - low) / middle), count, repeats, copies)


def _fill(work: Work, copies: int) -> tuple[Array, list[tuple[Array, ...]]]:
    """Return x and ``copies`` sets of operands, filled with small random numbers: zeros would flatter the clocks."""
    block = np.random.default_rng(0).uniform(-1.0, 1.0, _BLOCK)

    def random(like: jax.ShapeDtypeStruct) -> Array:
        values = block * 127.0 if like.dtype == jnp.int8 else block * 0.1
        return jnp.resize(jnp.asarray(values, jnp.float32).astype(like.dtype), like.shape)

    x = random(work.x)
    if work.sharding is not None:
        x = jax.device_put(x, work.sharding)
    return x, [tuple(random(o) for o in work.operands) for _ in range(copies)]
