"""The kernels that calibration times, each as one step on rotating operands.

A step takes the activations and one set of operands and returns the output. Its operands exist
several times over and take turns, so that none is still in the cache when its turn comes again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

PRECISIONS = {"bf16": jnp.bfloat16, "fp8": jnp.float8_e4m3fn, "int8": jnp.int8}
_LARGEST = {"fp8": 448.0, "int8": 127.0}  # of float8_e4m3fn and of int8
_SMALL_PROBE = 64


class Work(NamedTuple):
    """One kernel to time: ``step(x, operands) -> y``, and the shapes and types of x and of each operand.

    ``bytes_each`` counts one set of operands, ``fixed_bytes`` what there is once: x and y. ``sharding`` places
    x where a collective needs it.
    """

    step: Callable[[Array, tuple[Array, ...]], Array]
    x: jax.ShapeDtypeStruct
    operands: tuple[jax.ShapeDtypeStruct, ...]
    sharding: NamedSharding | None = None

    def bytes_each(self) -> int:
        """Return the bytes of one set of operands."""
        return sum(_bytes(o) for o in self.operands)

    def fixed_bytes(self) -> int:
        """Return the bytes of x and of one output."""
        y = jax.eval_shape(self.step, self.x, self.operands)
        return _bytes(self.x) + _bytes(y)


def work(family: str, dtype: str, shape: Mapping[str, Any]) -> Work:
    """Return the kernel of ``family`` for one shape of the grid: keys are the columns of a timing table."""
    makers = {
        "gemm": _gemm,
        "attention_prefill": _prefill,
        "attention_decode": _decode,
        "allreduce": _collective,
    }
    return makers[family](dtype, **shape)


def supports(precision: str) -> str | None:
    """Return None where the devices present multiply in ``precision``, else the reason why not."""
    probe = _gemm(precision, _SMALL_PROBE, _SMALL_PROBE, _SMALL_PROBE)
    try:
        jax.block_until_ready(jax.jit(probe.step)(jnp.zeros(probe.x.shape, probe.x.dtype), _zeros(probe.operands)))
    except Exception as error:  # every backend has its own way to refuse a type
        return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return None


def stream(elements: int) -> Work:
    """Return a kernel that reads ``elements`` float32 numbers and writes as many: the memory's own speed."""
    each = jax.ShapeDtypeStruct((elements,), jnp.float32)
    return Work(lambda x, operands: operands[0] + x[0], jax.ShapeDtypeStruct((1,), jnp.float32), (each,))


def _gemm(dtype: str, m: int, n: int, k: int) -> Work:
    """y[m, n] = x[m, k] W[n, k]^T with bf16 x and y; for a narrow W x is quantised first, row by row, as engines do."""
    wide = jnp.bfloat16
    weight = jax.ShapeDtypeStruct((n, k), PRECISIONS[dtype])
    contract = (((1,), (1,)), ((), ()))

    def plain(x: Array, operands: tuple[Array, ...]) -> Array:
        return jax.lax.dot_general(x, operands[0], contract, preferred_element_type=wide)

    def quantised(x: Array, operands: tuple[Array, ...]) -> Array:
        scale = jnp.max(jnp.abs(x), axis=1, keepdims=True).astype(jnp.float32) / _LARGEST[dtype] + 1e-12
        narrow = x / scale.astype(wide)
        narrow = jnp.round(narrow) if dtype == "int8" else narrow
        total = jnp.int32 if dtype == "int8" else jnp.float32
        y = jax.lax.dot_general(narrow.astype(PRECISIONS[dtype]), operands[0], contract, preferred_element_type=total)
        return (y * scale).astype(wide)

    step = plain if dtype == "bf16" else quantised
    return Work(step, jax.ShapeDtypeStruct((m, k), wide), (weight,))


def _prefill(dtype: str, batch: int, heads: int, kv_heads: int, head_dim: int, q_len: int, **_: Any) -> Work:
    """Causal attention of ``q_len`` new tokens over themselves, by the backend's fused kernel where it has one."""
    kind = PRECISIONS[dtype]
    keys = jax.ShapeDtypeStruct((batch, q_len, kv_heads, head_dim), kind)

    def step(x: Array, operands: tuple[Array, ...]) -> Array:
        return jax.nn.dot_product_attention(x, *operands, is_causal=True, implementation=_fused())

    return Work(step, jax.ShapeDtypeStruct((batch, q_len, heads, head_dim), kind), (keys, keys))


def _decode(dtype: str, batch: int, heads: int, kv_heads: int, head_dim: int, kv_len: int, **_: Any) -> Work:
    """Attention of one new token per sequence over ``kv_len`` cached ones, each head's cache in one piece."""
    kind = PRECISIONS[dtype]
    if _fused():
        cache = jax.ShapeDtypeStruct((batch, kv_len, kv_heads, head_dim), kind)
        query = jax.ShapeDtypeStruct((batch, 1, heads, head_dim), kind)
        return Work(lambda x, kv: jax.nn.dot_product_attention(x, *kv, implementation="cudnn"), query, (cache, cache))
    cache = jax.ShapeDtypeStruct((batch, kv_heads, kv_len, head_dim), kind)
    query = jax.ShapeDtypeStruct((batch, kv_heads, heads // kv_heads, head_dim), kind)

    def step(x: Array, operands: tuple[Array, ...]) -> Array:
        keys, values = operands
        scores = jnp.einsum("bkgd,bktd->bkgt", x, keys, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores * head_dim**-0.5).astype(kind)
        return jnp.einsum("bkgt,bktd->bkgd", weights, values)

    return Work(step, query, (cache, cache))


def _fused() -> Literal["cudnn"] | None:
    """Return the name of the backend's fused attention, None for the compiler's own."""
    return "cudnn" if jax.default_backend() == "gpu" else None


def _collective(dtype: str, op: str, devices: int, bytes: int) -> Work:
    """One collective over the first ``devices`` devices; ``bytes`` is the message as nccl-tests counts it.

    That is the input of an all-reduce, a reduce-scatter or an all-to-all, and the output of an all-gather.
    """
    mesh = Mesh(np.array(jax.devices()[:devices]), ("i",))
    spread, whole = PartitionSpec("i"), PartitionSpec()
    elements = max(1, bytes // jnp.dtype(PRECISIONS[dtype]).itemsize // devices**2) * devices**2
    each = elements // devices if op == "all_gather" else elements
    body: dict[str, Callable[[Array], Array]] = {
        "all_reduce": lambda x: jax.lax.psum(x, "i"),
        "all_gather": lambda x: jax.lax.all_gather(x, "i", tiled=True),
        "reduce_scatter": lambda x: jax.lax.psum_scatter(x, "i", tiled=True),
        "alltoall": lambda x: jax.lax.all_to_all(x, "i", 0, 0, tiled=True),
    }
    out = whole if op == "all_reduce" else spread
    run = jax.shard_map(body[op], mesh=mesh, in_specs=spread, out_specs=out, check_vma=False)
    x = jax.ShapeDtypeStruct((each * devices,), PRECISIONS[dtype])
    return Work(lambda x, operands: run(x), x, (), NamedSharding(mesh, spread))


def _bytes(like: jax.ShapeDtypeStruct) -> int:
    return int(np.prod(like.shape)) * jnp.dtype(like.dtype).itemsize


def _zeros(likes: tuple[jax.ShapeDtypeStruct, ...]) -> tuple[Array, ...]:
    return tuple(jnp.zeros(o.shape, o.dtype) for o in likes)
