"""Converts the tables of NVIDIA's aiconfigurator (github.com/ai-dynamo/aiconfigurator) to `Timings`.

Columns and units were checked in its loaders, aic-core/src/aiconfigurator_core/sdk/operations/
{gemm,attention,moe,communication}.py (earlier sdk/perf_database.py), and in its collectors,
collector/network/{collect_nccl,collect_all_reduce}.py and the attention collectors of each framework:

- ``latency`` is milliseconds;
- ``message_size`` counts elements (collect_nccl divides the bytes it gives to nccl-tests by the width of the
  dtype, collect_all_reduce steps in elements), so bytes = elements x width;
- a generation row has isl = 1 and step = the cached tokens, so kv_len = isl + step; a context row has step = 0;
- ``inter_size`` and ``num_experts`` are the model's totals, before division by moe_tp_size and moe_ep_size;
- older tables have no head_dim (128) and no window_size (none), and name their 16-bit dtype float16.

Names of dtypes are kept: bfloat16, fp8, fp8_block, nvfp4, int8_wo, int4_wo, ...
"""

from collections.abc import Callable

import numpy as np

from .columns import Columns
from .timings import COUNTS, Timings, is_decode, phases

_MS = 1e-3
_WIDTH_BYTES = {
    **dict.fromkeys(("half", "float16", "bfloat16", "fp16", "bf16"), 2.0),
    **dict.fromkeys(("int8", "uint8", "fp8", "float8_e4m3", "float8_e5m2"), 1.0),
    **dict.fromkeys(("float", "float32", "int32"), 4.0),
}


def _labels(table: Columns, system: str) -> dict[str, np.ndarray]:
    framework = [text.lower() for text in table.text("framework").tolist()]
    return {
        "system": np.full(table.rows, system, dtype=object),
        "source": np.full(table.rows, "aiconfigurator", dtype=object),
        "framework": np.array(framework, dtype=object),
        "framework_version": table.text("version"),
        "kernel": table.text("kernel_source"),
        "seconds": table.number("latency") * _MS,
    }


def gemm(table: Columns, stem: str, system: str) -> list[Timings]:
    """Read gemm_perf."""
    shape = {name: table.number(name) for name in COUNTS["gemm"]}
    return [Timings("gemm", {**_labels(table, system), "dtype": table.text("gemm_dtype"), **shape})]


def attention(table: Columns, stem: str, system: str) -> list[Timings]:
    """Read context_attention_perf and generation_attention_perf, told apart by op_name or else the file's name."""
    q_len, step = table.number("isl"), table.number("step", 0.0)
    columns = {
        **_labels(table, system),
        "dtype": table.text("attn_dtype"),
        "kv_dtype": table.text("kv_cache_dtype") if "kv_cache_dtype" in table else table.text("attn_dtype"),
        "batch": table.number("batch_size"),
        "heads": table.number("num_heads"),
        "kv_heads": table.number("num_key_value_heads"),
        "head_dim": table.number("head_dim", 128.0),
        "window": table.number("window_size", 0.0),
        "q_len": q_len,
        "kv_len": q_len + step,
    }
    ops = table.text("op_name")
    named = np.where(ops == "", stem, ops).astype(str)
    generation, context = np.char.find(named, "generation") >= 0, np.char.find(named, "context") >= 0
    decode = np.where(generation | context, generation, is_decode(columns))
    return phases(columns, decode)


def other_moe(table: Columns) -> tuple[int, str]:
    """Count the rows of a wide-EP benchmark, moe_context and moe_generation, whose tokens count otherwise."""
    return int((~_plain_moe(table)).sum()), "of an operation other than moe"


def _plain_moe(table: Columns) -> np.ndarray:
    return np.isin(table.text("op_name").astype(str), ("", "moe"))


def moe(table: Columns, stem: str, system: str) -> list[Timings]:
    """Read moe_perf."""
    theirs = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
    shape = {ours: table.number(name) for ours, name in zip(COUNTS["moe"], theirs, strict=True)}
    texts = {"dtype": table.text("moe_dtype"), "distribution": table.text("distribution")}
    plain = _plain_moe(table)
    columns = {**_labels(table, system), **texts, **shape}
    return [Timings("moe", {name: values[plain] for name, values in columns.items()})]


def collective(dtype: str) -> Callable[[Columns, str, str], list[Timings]]:
    """Return the reader of nccl_perf and oneccl_perf, or of custom_allreduce_perf, by the name of its dtype column."""

    def convert(table: Columns, stem: str, system: str) -> list[Timings]:
        columns = {**_labels(table, system), "op": table.text("op_name", "all_reduce"), "dtype": table.text(dtype)}
        width_bytes = np.array([_WIDTH_BYTES.get(text, np.nan) for text in columns["dtype"]])
        columns |= {"devices": table.number("num_gpus"), "bytes": table.number("message_size") * width_bytes}
        if dtype == "nccl_dtype":  # the collector notes the framework that asked, not the library
            library = "oneccl" if "oneccl" in stem.lower() else "nccl"
            columns |= dict.fromkeys(("framework", "kernel"), np.full(table.rows, library, dtype=object))
        return [Timings("allreduce", columns)]

    return convert
