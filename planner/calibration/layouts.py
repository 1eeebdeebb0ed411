"""The layouts kernel timings are recorded in, told by their columns."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import aiconfigurator, vidur
from .columns import Columns
from .timings import COUNTS, DEFAULTS, FAMILIES, TEXTS, Timings, is_decode, phases


@dataclass(frozen=True)
class Layout:
    """A way to record timings: the columns it is told by, and how they become `Timings`.

    ``convert`` takes the columns, the file's name without its ending, and the system to note where the
    columns name none. Rows a layout sets aside itself are told in ``aside`` beside their number.
    """

    name: str
    needs: frozenset[str]
    convert: Callable[[Columns, str, str], list[Timings]]
    refuses: frozenset[str] = frozenset()  # columns of its relatives, which measure something else
    aside: Callable[[Columns], tuple[int, str]] = lambda columns: (0, "")
    repeats: bool = True  # rows of one shape are repeats, to be merged by their median


def layout_of(names: set[str]) -> Layout | None:
    """Return the layout that has these columns, or None."""
    return next((layout for layout in LAYOUTS if layout.needs <= names and not layout.refuses & names), None)


def _ours(family: str) -> Callable[[Columns, str, str], list[Timings]]:
    def convert(table: Columns, stem: str, system: str) -> list[Timings]:
        columns = {name: table.text(name) for name in ("source", "framework", "framework_version", "kernel", "split")}
        named = table.text("system")
        columns["system"] = np.where(named == "", system, named).astype(object)
        columns |= {name: table.text(name) for name in TEXTS[family]}
        columns |= {name: table.number(name) for name in (*COUNTS[family], "seconds")}
        columns |= {name: table.number(name, value) for name, value in DEFAULTS.get(family, {}).items()}
        if family != "attention_prefill":
            return [Timings(family, columns)]
        if "kv_dtype" not in table:
            columns["kv_dtype"] = columns["dtype"]
        columns["window"] = table.number("window", 0.0)
        if stem in FAMILIES:
            return [Timings("attention_decode" if stem == "attention_decode" else family, columns)]
        return phases(columns, is_decode(columns))

    return convert


def _needs(*names: str) -> frozenset[str]:
    return frozenset(names)


def _ours_needs(family: str) -> frozenset[str]:
    return frozenset({*TEXTS[family], *COUNTS[family], "seconds"} - {"kv_dtype", "window"})


OURS = {
    family: Layout(f"our {family.split('_')[0]} table", _ours_needs(family), _ours(family), repeats=False)
    for family in FAMILIES
    if family != "attention_decode"  # the same columns as prefill
}
_SIZES = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
_HEADS = ("batch_size", "isl", "num_heads", "num_key_value_heads")
_SHARDS = ("num_tensor_parallel_workers", "n_embd", "n_kv_head")
LAYOUTS = (
    *OURS.values(),
    Layout("aiconfigurator gemm", _needs("gemm_dtype", "m", "n", "k", "latency"), aiconfigurator.gemm),
    Layout("aiconfigurator attention", _needs("attn_dtype", *_HEADS, "latency"), aiconfigurator.attention),
    Layout(
        "aiconfigurator moe",
        _needs("moe_dtype", *_SIZES, "distribution", "latency"),
        aiconfigurator.moe,
        refuses=_needs("num_slots", "dp_num_tokens", "rank0_num_tokens", "provider"),  # wide-EP tables
        aside=aiconfigurator.other_moe,
    ),
    *(
        Layout(
            f"aiconfigurator {name}",
            _needs(dtype, "num_gpus", "message_size", "latency"),
            aiconfigurator.collective(dtype),
        )
        for name, dtype in (("nccl", "nccl_dtype"), ("custom all-reduce", "allreduce_dtype"))
    ),
    Layout(
        "Vidur mlp",
        _needs(*_SHARDS, "n_head", "n_expanded_embd", "use_gated_mlp", "num_tokens", vidur.median("mlp_up_proj")),
        vidur.mlp,
    ),
    Layout(
        "Vidur attention",
        _needs(*_SHARDS, "n_q_head", "batch_size", "prefill_chunk_size", "kv_cache_size", "is_prefill")
        | {vidur.median("attn_prefill"), vidur.median("attn_decode")},
        vidur.attention,
    ),
    Layout(
        "Vidur all-reduce",
        _needs("num_workers", "devices_per_node", "size", vidur.median("all_reduce")),
        vidur.all_reduce,
        aside=vidur.across_nodes,
    ),
)
