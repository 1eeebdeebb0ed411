"""Which shapes to time: a low-discrepancy sequence over what models ask for, within what the device can hold.

Points follow the Kronecker sequence of the generalised golden ratio (Roberts 2018, "The unreasonable effectiveness of
quasirandom sequences"), so any first part of it covers the space: a run cut short still fits.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

FAMILIES = ("gemm", "attention_prefill", "attention_decode", "allreduce")
_OPS = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
_HEADS = ((8, 8), (8, 1), (16, 4), (32, 8), (32, 32), (64, 8))
_TRIES_PER_SHAPE = 50


class Limits(NamedTuple):
    """What one kernel may take: arithmetic, bytes of operands, and how many devices there are."""

    flops: float
    bytes: float
    devices: int


def shapes(family: str, count: int, limits: Limits) -> Iterator[dict[str, Any]]:
    """Yield up to ``count`` different shapes of ``family`` within ``limits``, as columns of a timing table.

    Fewer come where the limits leave fewer. Every fifth one of the sequence is meant for checking, not for
    fitting: `held_out`.
    """
    maker = {"gemm": _gemm, "attention_prefill": _prefill, "attention_decode": _decode, "allreduce": _collective}[
        family
    ]
    seen: set[tuple[Any, ...]] = set()
    for u in itertools.islice(_sequence(5), count * _TRIES_PER_SHAPE):
        shape = maker(u, limits)
        if shape is None or tuple(shape.values()) in seen:
            continue
        seen.add(tuple(shape.values()))
        yield shape
        if len(seen) == count:
            return


def held_out(number: int) -> bool:
    """Say whether the ``number``-th shape of a grid, counted from 0, is kept from the fit to check it."""
    return number % 5 == 4


def _sequence(dimensions: int) -> Iterator[np.ndarray]:
    """Yield points of the unit cube: fractional parts of multiples of powers of 1/phi, phi^(d+1) = phi + 1."""
    phi = 2.0
    for _ in range(30):
        phi = (1.0 + phi) ** (1.0 / (dimensions + 1))
    steps = phi ** -np.arange(1.0, dimensions + 1)
    for number in itertools.count(1):
        yield (0.5 + number * steps) % 1.0


def _between(u: float, low: float, high: float, multiple: int = 1) -> int:
    """Return the point ``u`` of the way from ``low`` to ``high`` in logarithms, rounded to a multiple."""
    value = low * (high / low) ** u
    return max(multiple, round(value / multiple) * multiple)


def _gemm(u: np.ndarray, limits: Limits) -> dict[str, Any] | None:
    m, n, k = _between(u[0], 1, 8192), _between(u[1], 256, 16384, 64), _between(u[2], 256, 16384, 64)
    if m > 16:
        m = round(m / 16) * 16 + (1 if u[3] < 0.2 else 0)  # one in five just past a tile's edge
    fits = 2.0 * m * n * k <= limits.flops and 2.0 * (n * k + m * k + m * n) <= limits.bytes
    return {"m": m, "n": n, "k": k} if fits else None


def _heads(u: float) -> tuple[int, int]:
    return _HEADS[int(u * len(_HEADS))]


def _prefill(u: np.ndarray, limits: Limits) -> dict[str, Any] | None:
    heads, kv_heads = _heads(u[0])
    batch, q_len, head_dim = _between(u[1], 1, 8), _between(u[2], 32, 16384, 16), 64 if u[3] < 0.3 else 128
    flops = 4.0 * batch * heads * head_dim * q_len**2
    scores = 4.0 * batch * heads * q_len**2  # a backend without a fused kernel writes them out
    if flops > limits.flops or scores > limits.bytes:
        return None
    return {"batch": batch, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "window": 0, "q_len": q_len,
            "kv_len": q_len}  # fmt: skip


def _decode(u: np.ndarray, limits: Limits) -> dict[str, Any] | None:
    heads, kv_heads = _heads(u[0])
    batch, kv_len, head_dim = _between(u[1], 1, 256), _between(u[2], 64, 65536, 16), 64 if u[3] < 0.3 else 128
    if 4.0 * batch * kv_heads * head_dim * kv_len > limits.bytes:
        return None
    return {"batch": batch, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "window": 0, "q_len": 1,
            "kv_len": kv_len}  # fmt: skip


def _collective(u: np.ndarray, limits: Limits) -> dict[str, Any] | None:
    counts = [2**i for i in range(1, 20) if 2**i <= limits.devices]
    if not counts:
        return None
    devices, op = counts[int(u[0] * len(counts))], _OPS[int(u[1] * len(_OPS))]
    size = _between(u[2], 1024, 2**30, 1024)
    return {"op": op, "devices": devices, "bytes": size} if size * 3.0 <= limits.bytes else None
