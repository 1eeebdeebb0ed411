"""Converts the profiles of Vidur (github.com/microsoft/vidur), its CSV files of data/profiling, to `Timings`.

Columns and units were checked in vidur/profiling/{mlp/mlp_wrapper,mlp/mlp_impl,attention/attention_wrapper,
collectives/collectives_wrapper}.py: ``time_stats.*`` are milliseconds, weights and messages float16, ``size`` is
in bytes already, heads and widths are the whole model's, before division by the tensor-parallel size.
"""

import numpy as np

from .columns import Columns
from .timings import Timings, groups, medians, phases

_MS = 1e-3


def _labels(rows: int, system: str, framework: str, kernel: str) -> dict[str, np.ndarray]:
    texts = {"system": system, "source": "vidur", "framework": framework, "framework_version": "unversioned"}
    texts |= {"kernel": kernel, "dtype": "float16"}
    return {name: np.full(rows, text, dtype=object) for name, text in texts.items()}


def median(op: str) -> str:
    """Name the column of an operation's median time."""
    return f"time_stats.{op}.median"


def mlp(table: Columns, stem: str, system: str) -> list[Timings]:
    """Read the four linear layers of a block, divided by tp.

    qkv n = (heads + 2 kv_heads) head_dim / tp; o_proj k = hidden / tp; up n = (2 if gated) ffn / tp;
    down k = ffn / tp; all from or to the hidden width.
    """
    heads, kv_heads = table.number("n_head"), table.number("n_kv_head")
    hidden, tp = table.number("n_embd"), table.number("num_tensor_parallel_workers")
    ffn = table.number("n_expanded_embd") / tp
    gate = np.where(table.flag("use_gated_mlp"), 2.0, 1.0)
    linears = {
        "attn_pre_proj": ((heads + 2.0 * kv_heads) * (hidden / heads) / tp, hidden),
        "attn_post_proj": (hidden, hidden / tp),
        "mlp_up_proj": (gate * ffn, hidden),
        "mlp_down_proj": (hidden, ffn),
    }
    labels = _labels(table.rows, system, "sarathi", "torch_linear")
    tokens = table.number("num_tokens")
    return [
        Timings("gemm", {**labels, "m": tokens, "n": n, "k": k, "seconds": table.number(median(op)) * _MS})
        for op, (n, k) in linears.items()
        if median(op) in table
    ]


def attention(table: Columns, stem: str, system: str) -> list[Timings]:
    """Read one device's attention: prefill of a chunk of new tokens after those cached, or decode of one token.

    Heads are divided by tp. The write of K and V to the cache is timed apart there and is not in these seconds.
    """
    prefill, tp = table.flag("is_prefill"), table.number("num_tensor_parallel_workers")
    q_len = np.where(prefill, table.number("prefill_chunk_size"), 1.0)
    columns = {
        **_labels(table.rows, system, "sarathi", ""),
        "kernel": table.text("attention_backend"),
        "kv_dtype": np.full(table.rows, "float16", dtype=object),
        "batch": table.number("batch_size"),
        "heads": table.number("n_q_head") / tp,
        "kv_heads": table.number("n_kv_head") / tp,
        "head_dim": table.number("n_embd") / table.number("n_q_head"),
        "window": np.zeros(table.rows),
        "q_len": q_len,
        "kv_len": q_len + table.number("kv_cache_size"),
        "seconds": np.where(prefill, table.number(median("attn_prefill")), table.number(median("attn_decode"))) * _MS,
    }
    return phases(columns, ~prefill)


def _one_node(table: Columns) -> np.ndarray:
    return ~(table.number("num_workers") > table.number("devices_per_node"))


def across_nodes(table: Columns) -> tuple[int, str]:
    """Count the all-reduces that leave a node."""
    return int((~_one_node(table)).sum()), "an all-reduce across nodes"


def all_reduce(table: Columns, stem: str, system: str) -> list[Timings]:
    """Read the all-reduces within a node; one takes as long as its slowest rank: the largest of the ranks' medians."""
    node = _one_node(table)
    devices, size = table.number("num_workers")[node], table.number("size")[node]
    first, ms = medians((devices, size, table.number("rank", 0.0)[node]), table.number(median("all_reduce"))[node])
    devices, size = devices[first], size[first]
    order, starts = groups((devices, size), ms)
    ends = np.append(starts, len(ms))[1:] - 1  # within a group the times ascend
    last = order[ends] if len(ms) else order
    columns = _labels(len(last), system, "torch.distributed", "nccl")
    columns |= {"op": np.full(len(last), "all_reduce", dtype=object), "devices": devices[last], "bytes": size[last]}
    return [Timings("allreduce", {**columns, "seconds": ms[last] * _MS})]
