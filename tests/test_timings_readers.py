"""Every layout of recorded kernel timings is read in the right units; bad files are told in a sentence."""

import csv
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import configs
from planner.calibration.readers import UNKNOWN, read
from planner.calibration.timings import COUNTS, FAMILIES, LABELS, TEXTS, Timings

ROWS = {
    "gemm": {"dtype": "bf16", "m": 16, "n": 4096, "k": 8192, "seconds": 2e-5},
    "attention_prefill": {
        "dtype": "bf16",
        "kv_dtype": "fp8",
        "batch": 2,
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "window": 0,
        "q_len": 512,
        "kv_len": 512,
        "seconds": 1e-3,
    },
    "attention_decode": {
        "dtype": "bf16",
        "kv_dtype": "fp8",
        "batch": 64,
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "window": 128,
        "q_len": 1,
        "kv_len": 1025,
        "seconds": 3e-5,
    },
    "moe": {
        "dtype": "fp8",
        "tokens": 128,
        "hidden": 4096,
        "inter": 14336,
        "topk": 2,
        "experts": 8,
        "tp": 2,
        "ep": 1,
        "distribution": "balanced",
        "seconds": 4e-4,
    },
    "allreduce": {"op": "all_reduce", "dtype": "bf16", "devices": 8, "bytes": 1048576, "seconds": 5e-5},
}
AIC = "framework,version,device,op_name,kernel_source,"
HEADER = {"schema": "timings/1", "device": {"name": "a card", "chip": "h100-sxm"}}


def table(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def text(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def log(path: Path, *lines, end: str = "\n") -> Path:
    return text(path, "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)


def only(path: Path, system: str | None = None) -> Timings:
    """Read a file that has one table and nothing to warn of."""
    tables, warnings = read(path, system)
    assert not warnings
    assert len(tables) == 1
    return tables[0]


def shape(timings: Timings, row: int = 0) -> tuple[float, ...]:
    return tuple(timings.columns[name][row] for name in COUNTS[timings.family])


def refused(path: Path, *words: str) -> str:
    with pytest.raises(configs.ConfigError) as error:
        read(path)
    sentence = str(error.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence
    return sentence


# --- the table type


def columns(**changed):
    given = {name: np.array([value, value]) for name, value in ROWS["gemm"].items()}
    return {**given, **{name: np.array(value) for name, value in changed.items()}}


def test_a_table_has_the_family_s_columns_and_types():
    timings = Timings("gemm", columns())
    assert set(timings.columns) == {*LABELS, *TEXTS["gemm"], *COUNTS["gemm"], "seconds", "copies"}
    assert timings.columns["copies"].tolist() == [6.0, 6.0]  # where a table does not say
    assert timings.columns["m"].dtype == timings.columns["seconds"].dtype == np.float64
    assert timings.columns["dtype"].tolist() == ["bf16", "bf16"]
    assert timings.columns["kernel"].tolist() == ["", ""]
    assert (timings.rows, timings.dropped, timings.systems) == (2, 0, ("",))


@pytest.mark.parametrize(
    "changed",
    [{"seconds": [bad, 1.0]} for bad in (np.nan, np.inf, -np.inf, 0.0, -1.0)]
    + [{"m": [0, 1]}, {"n": [-4, 1]}, {"k": [np.nan, 1]}, {"dtype": ["", "fp8"]}],
    ids=str,
)
def test_rows_that_cannot_be_are_dropped_and_counted(changed):
    timings = Timings("gemm", columns(**changed))
    assert (timings.rows, timings.dropped) == (1, 1)


def test_a_window_may_be_zero():
    row = ROWS["attention_prefill"]
    assert Timings("attention_prefill", {name: np.array([value]) for name, value in row.items()}).rows == 1


@pytest.mark.parametrize(
    ("family", "given"),
    [
        ("conv", columns()),
        ("moe", columns()),
        ("gemm", {name: value for name, value in columns().items() if name != "k"}),
        ("gemm", columns(k=[1.0])),
        ("gemm", columns(colour=["red", "blue"])),
        ("gemm", columns(k=[[1.0], [2.0]])),
    ],
)
def test_a_table_of_the_wrong_shape_is_refused(family, given):
    with pytest.raises(ValueError, match=r"famil|columns|column"):
        Timings(family, given)


def test_select_merge_and_concatenate():
    many = columns(m=[1, 2, 1, 1, 1], n=[8] * 5, k=[8] * 5, dtype=["a"] * 4 + ["b"], seconds=[3.0, 9.0, 1.0, 2.0, 7.0])
    timings = Timings("gemm", many)
    merged = timings.merged()
    assert merged.columns["m"].tolist() == [1, 2, 1]
    assert merged.columns["seconds"].tolist() == [2.0, 9.0, 7.0]
    assert timings.select(np.array([0, 2])).merged().columns["seconds"].tolist() == [2.0]  # an even number: the mean
    few = timings.select(timings.columns["dtype"] == "b")
    assert few.rows == 1
    both = Timings.concatenated([timings, Timings("gemm", columns(seconds=[1.0, np.nan]))])
    assert (both.rows, both.dropped) == (6, 1)
    assert Timings("gemm", {name: value[:0] for name, value in many.items()}).merged().rows == 0
    for wrong in ([], [timings, Timings("allreduce", {n: np.array([v]) for n, v in ROWS["allreduce"].items()})]):
        with pytest.raises(ValueError, match="one family"):
            Timings.concatenated(wrong)


# --- names of systems


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("h100_sxm", "h100-sxm"),
        ("H200-SXM", "h200-sxm"),
        ("gb200", "gb200"),
        ("gb200_sxm", "gb200"),
        ("a100_pairwise_nvlink", "a100-pcie"),
        ("h100_pairwise_nvlink", "h100-nvl"),
        ("rtx_pro_6000_server", "rtx-pro-6000"),
        ("a100_dgx", "a100-sxm"),
        ("h100_dgx", "h100-sxm"),
        ("a100", "a100-sxm"),
        ("data", None),
        ("", None),
    ],
)
def test_systems_are_chips(name, chip):
    assert configs.chip_named(name) == chip


def test_no_two_chips_share_a_name():
    ids = configs.ids("chips")
    aliases = [alias.lower().replace("_", "-") for chip in ids for alias in configs.load_chip(chip).aliases]
    assert len({*ids, *aliases}) == len(ids) + len(aliases)


# --- our own layout


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("ending", ["csv", "parquet", "txt"])
def test_our_tables(tmp_path, family, ending):
    rows = [{"system": "h100_sxm", "kernel": "k", **ROWS[family], "note": "x"}] * 2
    path = tmp_path / f"mine.{ending}"
    if ending == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        table(path, rows)
    timings = only(path)
    assert timings.family == family
    assert timings.rows == 2  # our tables are taken as they are: repeats stay
    assert timings.systems == ("h100_sxm",)
    for name, value in ROWS[family].items():
        assert timings.columns[name].tolist() == [value] * 2
    assert timings.columns["kernel"].tolist() == ["k", "k"]


def test_the_file_name_tells_prefill_from_decode_or_else_the_shape(tmp_path):
    lone = {**ROWS["attention_decode"], "kv_len": 1}  # a prompt of one token
    rows = [ROWS["attention_prefill"], ROWS["attention_decode"], lone]
    prefill, decode = read(table(tmp_path / "mixed.csv", rows), "h100-sxm")[0]
    assert (prefill.family, prefill.rows, decode.family, decode.rows) == ("attention_prefill", 2, "attention_decode", 1)
    for family in ("attention_prefill", "attention_decode"):
        timings = only(table(tmp_path / f"{family}.csv", rows), "h100-sxm")
        assert (timings.family, timings.rows) == (family, 3)


def test_attention_without_window_or_kv_dtype(tmp_path):
    row = {name: value for name, value in ROWS["attention_prefill"].items() if name not in ("window", "kv_dtype")}
    timings = only(table(tmp_path / "a.csv", [row]), "l4")
    assert timings.columns["kv_dtype"].tolist() == ["bf16"]
    assert timings.columns["window"].tolist() == [0.0]


# --- aiconfigurator


def aic(path: Path, header: str, *rows: str) -> Path:
    return text(path, "\n".join([AIC + header, *rows]) + "\n")


def test_aiconfigurator_gemm_in_both_trees(tmp_path):
    header = "gemm_dtype,m,n,k,latency,power"
    rows = [f"VLLM,0.24.0,H200,gemm,torch,bfloat16,1,32,64,{ms},0" for ms in (0.002, 0.004, 0.003)]
    rows.append("VLLM,0.24.0,H200,gemm,torch,int4_wo,1,32,64,0.005,0")
    for folder in ("data/h200_sxm/vllm/0.24.0", "data/h200_sxm/gemm/vllm/0.24.0"):
        aic(tmp_path / folder.split("/")[2] / folder / "gemm_perf.txt", header, *rows)
        timings = only(tmp_path / folder.split("/")[2])
        assert timings.systems == ("h200_sxm",)
        assert timings.columns["dtype"].tolist() == ["bfloat16", "int4_wo"]
        assert timings.columns["seconds"] == pytest.approx([3e-6, 5e-6])  # milliseconds; repeats by their median
        assert shape(timings) == (1, 32, 64)
        for name, value in {"framework": "vllm", "framework_version": "0.24.0", "source": "aiconfigurator"}.items():
            assert set(timings.columns[name]) == {value}


def test_aiconfigurator_attention(tmp_path):
    header = "batch_size,isl,num_heads,num_key_value_heads,head_dim,window_size,attn_dtype,kv_cache_dtype,step,latency"
    a = aic(
        tmp_path / "b200_sxm" / "context_attention_perf.csv",
        header,
        "VLLM,0.24.0,B200,context_attention,fa,4,1024,32,8,128,0,bfloat16,fp8,0,0.5",
    )
    b = aic(
        tmp_path / "b200_sxm" / "generation_attention_perf.csv",
        header,
        "VLLM,0.24.0,B200,generation_attention,fa,4,1,32,8,128,128,bfloat16,fp8,1023,0.02",
        "VLLM,0.24.0,B200,generation_attention,fa,4,1,32,8,128,128,bfloat16,fp8,0,0.01",
    )
    prefill, decode = only(a), only(b)
    assert shape(prefill) == (4, 32, 8, 128, 0, 1024, 1024)
    assert prefill.columns["seconds"] == pytest.approx([5e-4])
    assert prefill.columns["kv_dtype"].tolist() == ["fp8"]
    assert decode.family == "attention_decode"
    assert decode.rows == 2  # even one without cached tokens, as its name says so
    assert shape(decode) == (4, 32, 8, 128, 128, 1, 1024)  # isl + step


def test_aiconfigurator_attention_of_an_older_table(tmp_path):
    header = "attn_dtype,kv_cache_dtype,batch_size,isl,num_heads,num_key_value_heads,step,latency\n"
    row = "float16,float16,1,1,32,32,{step},{ms}\n"
    content = header + row.format(step=0, ms=0.01) + row.format(step=7, ms=0.02)
    prefill, decode = read(text(tmp_path / "perf.txt", content), "a100_sxm")[0]  # nothing names the phase
    assert shape(prefill) == (1, 32, 32, 128, 0, 1, 1)
    assert shape(decode) == (1, 32, 32, 128, 0, 1, 8)
    named = only(text(tmp_path / "generation_attention_perf.txt", content), "a100_sxm")
    assert (named.family, named.rows) == ("attention_decode", 2)


def test_aiconfigurator_moe_keeps_the_model_s_totals(tmp_path):
    header = "moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution,latency"
    row = "VLLM,0.20.0,A100,{op},vllm_marlin_int4_moe,int4_wo,1,4096,14336,2,8,2,1,power_law_1.2,0.362944"
    path = aic(tmp_path / "a100_sxm" / "moe_perf.txt", header, row.format(op="moe"), row.format(op="moe_context"))
    (timings,), (warning,) = read(path)
    assert shape(timings) == (1, 4096, 14336, 2, 8, 2, 1)
    assert timings.columns["seconds"] == pytest.approx([3.62944e-4])
    assert timings.columns["distribution"].tolist() == ["power_law_1.2"]
    assert "1 of 2 rows skipped: of an operation other than moe" in warning
    wide = path.with_name("wideep_moe_perf.txt")
    refused(text(wide, path.read_text().replace("topk,", "num_slots,topk,")), "no known layout", "num_slots")


def test_aiconfigurator_collectives_count_elements(tmp_path):
    header = "nccl_dtype,num_gpus,message_size,latency"
    rows = [f"TRTLLM,2.29.2,B200,all_gather,NCCL,{dtype},4,256,0.01" for dtype in ("half", "int8", "posit")]
    (timings,), (warning,) = read(aic(tmp_path / "b200_sxm" / "nccl" / "2.29.2" / "nccl_perf.txt", header, *rows))
    assert timings.columns["bytes"].tolist() == [512, 256]  # times the width of the dtype
    assert set(timings.columns["op"]) == {"all_gather"}
    assert set(timings.columns["kernel"]) == set(timings.columns["framework"]) == {"nccl"}
    assert timings.columns["seconds"] == pytest.approx([1e-5, 1e-5])
    assert "1 of 3 timings skipped" in warning  # a width nobody knows
    oneccl = aic(tmp_path / "b60" / "oneccl_perf.txt", header, rows[0])
    assert only(oneccl).columns["kernel"].tolist() == ["oneccl"]


def test_aiconfigurator_custom_all_reduce(tmp_path):
    header = "allreduce_dtype,num_gpus,message_size,latency,backend"
    rows = [f"vLLM,0.24.0,H100,all_reduce,vLLM_custom_{how},bfloat16,8,128,0.02,vllm" for how in ("graph", "eager")]
    timings = only(aic(tmp_path / "h100_sxm" / "custom_allreduce_perf.txt", header, *rows))
    assert timings.columns["kernel"].tolist() == ["vLLM_custom_graph", "vLLM_custom_eager"]  # told apart, not merged
    assert shape(timings) == (8, 256)


def test_aiconfigurator_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "gb300" / "gemm" / "sglang" / "0.5.14" / "gemm_perf.parquet"
    path.parent.mkdir(parents=True)
    row = {"gemm_dtype": "nvfp4", "m": 2, "n": 64, "k": 128, "latency": 0.001, "framework": "SGLang", "version": None}
    missing = {**row, "latency": None}
    kinds = pa.Table.from_pylist([row, row, missing])
    kinds = kinds.set_column(0, "gemm_dtype", kinds["gemm_dtype"].dictionary_encode())
    pq.write_table(kinds, path)
    (timings,), warnings = read(tmp_path)
    assert timings.rows == 1
    assert timings.systems == ("gb300",)
    assert timings.columns["framework_version"].tolist() == [""]
    assert ["1 of 3" in warning for warning in warnings] == [True]


# --- Vidur


def vidur_row(ms: dict[str, float | str], **shape_of) -> dict:
    return {**{f"time_stats.{op}.{stat}": v for op, v in ms.items() for stat in ("min", "median")}, **shape_of}


def test_vidur_mlp(tmp_path):
    model = {"n_head": 32, "n_kv_head": 8, "n_embd": 4096, "n_expanded_embd": 14336, "vocab_size": 128256}
    ops = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj")
    rows = [
        vidur_row(dict(zip((*ops, "emb"), (*ms, 1.0), strict=True)), **model, use_gated_mlp=gated, **run)
        for ms, gated, run in (
            ((7.2595, 4.926, 33.094, 16.6075), True, {"num_tokens": 32768, "num_tensor_parallel_workers": 1}),
            ((7.35, 4.965, 33.6135, 16.8265), True, {"num_tokens": 32768, "num_tensor_parallel_workers": 1}),
            ((1.0, 2.0, 3.0, 4.0), False, {"num_tokens": 8, "num_tensor_parallel_workers": 4}),
        )
    ]
    path = table(tmp_path / "compute" / "a100" / "meta-llama" / "Meta-Llama-3-8B" / "mlp.csv", rows)
    timings = only(path)
    assert {configs.chip_named(name) for name in timings.systems} == {"a100-sxm"}
    found = {shape(timings, i): timings.columns["seconds"][i] for i in range(timings.rows)}
    assert found == pytest.approx(
        {
            (32768, 6144, 4096): 7.30475e-3,
            (32768, 4096, 4096): 4.9455e-3,
            (32768, 28672, 4096): 33.35375e-3,  # as kept in the shared table: 33.354 ms
            (32768, 4096, 14336): 16.717e-3,
            (8, 1536, 4096): 1e-3,
            (8, 4096, 1024): 2e-3,
            (8, 3584, 4096): 3e-3,
            (8, 4096, 3584): 4e-3,
        }
    )
    assert set(timings.columns["dtype"]) == {"float16"}


def test_vidur_all_reduce_waits_for_the_slowest_rank(tmp_path):
    rows = [
        vidur_row({"all_reduce": ms}, rank=rank, num_workers=workers, size=2048, devices_per_node=node)
        for ms, rank, workers, node in (
            (0.005, 0, 2, 2),
            (0.007, 0, 2, 2),  # median of rank 0: 0.006
            (0.009, 1, 2, 2),
            (0.010, 1, 2, 2),  # median of rank 1: 0.0095
            (0.5, 0, 8, 4),  # two nodes
            (0.02, 0, 4, 4),
        )
    ]
    (timings,), (warning,) = read(table(tmp_path / "network" / "h100_pairwise_nvlink" / "all_reduce.csv", rows))
    found = {shape(timings, i): timings.columns["seconds"][i] for i in range(timings.rows)}
    assert found == pytest.approx({(2, 2048): 9.5e-6, (4, 2048): 2e-5})  # bytes already
    assert "1 of 6 rows skipped: an all-reduce across nodes" in warning
    assert configs.chip_named(timings.systems[0]) == "h100-nvl"


def test_vidur_attention(tmp_path):
    model = {"n_embd": 4096, "n_q_head": 32, "n_kv_head": 8, "num_tensor_parallel_workers": 2, "max_model_len": 4096}
    model |= {"attention_backend": "FLASHINFER", "block_size": 16}
    rows = [
        vidur_row({"attn_prefill": 1.5, "attn_decode": ""}, **model)
        | {"batch_size": 1, "prefill_chunk_size": 512, "kv_cache_size": 1024, "is_prefill": True},
        vidur_row({"attn_prefill": "", "attn_decode": 0.25}, **model)
        | {"batch_size": 3, "prefill_chunk_size": 0, "kv_cache_size": 95, "is_prefill": False},
    ]
    prefill, decode = read(table(tmp_path / "attention.csv", rows), "a100")[0]
    assert shape(prefill) == (1, 16, 4, 128, 0, 512, 1536)
    assert shape(decode) == (3, 16, 4, 128, 0, 1, 96)  # the cached tokens and this one
    assert (prefill.columns["seconds"][0], decode.columns["seconds"][0]) == pytest.approx((1.5e-3, 2.5e-4))


# --- our log


def logged(family: str, **more) -> dict:
    return {"family": family, **ROWS[family], "spread": 0.02, **more}


def test_a_log_as_lines_and_as_one_object(tmp_path):
    rows = [logged(family) for family in FAMILIES]
    skipped = {"family": "gemm", "dtype": "fp8", "m": 1, "n": 8, "k": 8, "skipped": "fp8 is not supported here"}
    lines = log(tmp_path / "a.jsonl", HEADER, *rows, skipped)
    whole = text(tmp_path / "a.json", json.dumps({**HEADER, "rows": [*rows, skipped]}, indent=1))
    for path in (lines, whole):
        tables, warnings = read(path)
        assert not warnings
        assert [found.family for found in tables] == list(FAMILIES)
        for found in tables:
            assert found.rows == 1
            assert found.systems == ("h100-sxm",)  # from the header's device
            assert found.columns["source"].tolist() == ["calibrate"]
            for name, value in ROWS[found.family].items():
                assert found.columns[name].tolist() == [value]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_log_cut_short_keeps_its_whole_lines(tmp_path, cut):
    path = log(tmp_path / "a.jsonl", HEADER, logged("gemm"), logged("gemm"))
    path.write_bytes(path.read_bytes()[: -cut - 1])
    assert only(path).rows == 1


def test_a_log_that_breaks_off_within_a_letter(tmp_path):
    path = log(tmp_path / "a.jsonl", HEADER, logged("gemm"), end="\n")
    path.write_bytes(path.read_bytes() + '{"family": "gemm", "note": "é'.encode()[:-1])
    assert only(path).rows == 1


def test_a_log_with_bad_rows(tmp_path):
    path = log(
        tmp_path / "a.jsonl",
        HEADER,
        "{not json}",
        "[1, 2]",
        logged("gemm", seconds=math.nan),
        logged("gemm", seconds=None),
        logged("gemm", m=[1, 2]),
        logged("gemm", m="many"),
        logged("gemm", k=10**400),
        {"family": "gemm", "seconds": 1.0},
        {"family": ["gemm"], "seconds": 1.0},
        {"family": "conv", "seconds": 1.0},
        "",
        logged("attention_decode"),
        {name: value for name, value in logged("attention_decode").items() if name not in ("window", "kv_dtype")},
    )
    (timings,), warnings = read(path)
    assert timings.rows == 2
    assert timings.columns["window"].tolist() == [128, 0]
    assert timings.columns["kv_dtype"].tolist() == ["fp8", "bf16"]
    assert sum(int(warning.split(": ")[1].split()[0]) for warning in warnings) == 2 + 6 + 2


# --- which system


def test_where_the_system_comes_from(tmp_path):
    path = table(tmp_path / "l4" / "h100_sxm" / "x" / "gemm.csv", [ROWS["gemm"]])
    assert only(path).systems == ("h100_sxm",)  # the nearest folder above
    assert only(path, "mine").systems == ("mine",)  # told beats guessed for a file
    assert only(tmp_path / "l4", "mine").systems == ("h100_sxm",)  # a folder's own folders beat what was told
    assert only(tmp_path / "l4" / "h100_sxm" / "x").systems == ("h100_sxm",)
    table(path, [{**ROWS["gemm"], "system": "a40"}, {**ROWS["gemm"], "system": ""}])
    assert only(path, "mine").systems == ("a40", "mine")  # a row's own beats all


def test_no_system_at_all_is_warned_of(tmp_path):
    (timings,), (warning,) = read(table(tmp_path / "gemm.csv", [ROWS["gemm"]]))
    assert timings.systems == (UNKNOWN,)
    assert "1 rows name no known system" in warning


# --- folders


def test_a_folder_of_everything(tmp_path):
    table(tmp_path / "h100_sxm" / "a.csv", [ROWS["gemm"], {**ROWS["gemm"], "seconds": "oops"}])
    table(tmp_path / "l40s" / "a.csv", [ROWS["gemm"]])
    log(tmp_path / "run.jsonl", HEADER, logged("moe"))
    table(tmp_path / "chips.csv", [{"system": "h100_sxm", "sm_count": 132}])
    text(tmp_path / "README.txt", "about")
    text(tmp_path / "README.md", "about")
    text(tmp_path / ".cache" / "x.csv", "a,b\n1,2\n")
    for number in range(5):
        table(tmp_path / "other" / f"mla{number}.csv", [{"mla_dtype": "bf16", "latency": 1.0}])
    text(tmp_path / "notes.json", "{}")
    text(tmp_path / "cut.json", '{"schema": "timings/1", "rows": [')
    text(tmp_path / "lfs.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    text(tmp_path / "empty.csv", "")
    (gemm, moe), warnings = read(tmp_path)
    assert (gemm.rows, gemm.dropped, gemm.systems) == (2, 1, ("h100_sxm", "l40s"))
    assert moe.rows == 1
    told = "\n".join(warnings)
    assert told.count("unknown layout") == 1
    assert "and 3 more: skipped, of unknown layout" in told  # five of MLA and one of JSON
    assert "1 of 2 timings skipped" in told
    for word in ("git-LFS pointer", "empty file", "not valid JSON"):
        assert word in told
    for word in ("chips.csv", "README", ".cache"):
        assert word not in told


# --- bad input

GOOD = "dtype,m,n,k,seconds\nbf16,1,2,3,0.5\n"
BAD = {
    "empty.csv": ("", "empty file"),
    "blank.csv": ("\n\n \n", "empty file"),
    "header.csv": ("dtype,m,n,k,seconds\n", "no usable timings", "no rows"),
    "words.csv": ("some words\nmore words\n", "no known layout", "some words"),
    "columns.csv": ("a,b,c\n1,2,3\n", "no known layout", "a, b, c", "aiconfigurator", "Vidur"),
    "noseconds.csv": ("dtype,m,n,k\nbf16,1,2,3\n", "no known layout"),
    "nodtype.csv": ("m,n,k,seconds\n1,2,3,4\n", "no known layout"),
    "nan.csv": ("dtype,m,n,k,seconds\nbf16,1,2,3,nan\n", "no usable timings", "1 of 1"),
    "negative.csv": ("dtype,m,n,k,seconds\nbf16,1,2,3,-4\n", "no usable timings"),
    "zero.csv": ("dtype,m,n,k,seconds\nbf16,1,0,3,4\n", "no usable timings"),
    "infinite.csv": ("dtype,m,n,k,seconds\nbf16,1,inf,3,4\n", "no usable timings"),
    "text.csv": ("dtype,m,n,k,seconds\nbf16,one,2,3,4\n", "no usable timings"),
    "short.csv": ("dtype,m,n,k,seconds\nbf16,1\n", "no usable timings"),
    "tabs.csv": (GOOD.replace(",", "\t"), "no known layout"),
    "binary.csv": (bytes(range(256)), "not readable as CSV"),
    "latin.csv": ("dtype,m,n,k,seconds\nbf16é,1,2,3,4\n".encode("latin-1"), "not readable as CSV"),
    "huge.csv": ('dtype,m,n,k,seconds\n"' + "x" * 200_000, "not readable as CSV"),
    "wide.csv": (",".join(f"c{i}" for i in range(50)) + "\n", "no known layout", "..."),
    "lfs.parquet": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "git-LFS pointer",
        "git lfs",
    ),
    "garbage.parquet": ("PAR1 this is not one", "not a readable parquet file"),
    "empty.parquet": ("", "empty file"),
    "broken.json": ('{"schema": "timings/1", "rows": [', "not valid JSON"),
    "other.json": ('{"a": 1}', "no known layout", "timings/1"),
    "list.json": ("[1, 2]", "no known layout"),
    "deep.json": ("[" * 100_000, "not valid JSON"),
    "norows.json": ('{"schema": "timings/1"}', "no usable timings"),
    "skipped.json": (
        '{"schema": "timings/1", "rows": [{"family": "gemm", "skipped": "no"}]}',
        "only 1 that were skipped",
    ),
    "oddrows.json": ('{"schema": "timings/1", "rows": 7}', "no usable timings"),
    "later.json": ('{"schema": "timings/2", "rows": []}', "timings/2", "timings/1"),
    "headless.jsonl": (json.dumps(logged("gemm")) + "\n", "no known layout"),
    "header.jsonl": ('{"schema": "timings/1"}\n', "no usable timings"),
    "cuthead.jsonl": ('{"schema": "tim', "no known layout"),
    "later.jsonl": ('{"schema": "timings/9"}\n', "timings/9"),
    "nothing.jsonl": ("x\ny\nz\n", "no known layout"),
    "spaces.jsonl": (" " * 200, "empty file"),
    "manyspaces.jsonl": (" " * 2 + "\n" * 200, "empty file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_told_in_a_sentence(tmp_path, name):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    content, *words = BAD[name]
    path = text(tmp_path / name, content)
    assert refused(path, *words).startswith(str(path))
    refused(tmp_path, *words[:1])  # alone in a folder
    text(tmp_path / "good" / "a.csv", GOOD)
    (timings,), warnings = read(tmp_path, "l4")  # beside a good one it is a warning
    assert timings.rows == 1
    assert name in " ".join(warnings)


def test_parquet_cut_short(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "gemm.parquet"
    pq.write_table(pa.Table.from_pylist([ROWS["gemm"]] * 1000), path)
    whole = path.read_bytes()
    for keep in (5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        refused(path, "not a readable parquet file")
    pq.write_table(pa.table({"x": [1]}), path)
    refused(path, "no known layout", "columns x")


@pytest.mark.parametrize("name", ["absent.csv", "absent", "a\0b", "x" * 5000, "\x1b[31m"], ids=repr)
def test_no_such_place(tmp_path, name):
    refused(tmp_path / name)


def test_a_folder_without_anything(tmp_path):
    refused(tmp_path, "no files of kernel timings")
    text(tmp_path / "README.txt", "about")
    refused(tmp_path, "no files of kernel timings")


def test_csv_from_a_spreadsheet(tmp_path):
    content = '\ufeffsystem, dtype, "m",n,k,seconds\r\nl4, bf16, 1,2,3,5E-1\r\n\r\n'
    timings = only(text(tmp_path / "a.csv", content))
    assert timings.columns["seconds"].tolist() == [0.5]
    assert timings.columns["dtype"].tolist() == ["bf16"]


def test_without_pyarrow(tmp_path, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    text(tmp_path / "gemm.parquet", "PAR1")
    refused(tmp_path / "gemm.parquet", "pip install 'llm-lifetime-planner[data]'")
    text(tmp_path / "a.csv", GOOD)
    refused(tmp_path, "pip install")  # never half an answer
    assert only(tmp_path / "a.csv", "l4").rows == 1


def test_reading_needs_no_jax():
    code = "import sys, planner.calibration.readers\nassert not {'jax', 'pyarrow', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


# --- the shared tables


@pytest.fixture(scope="module")
def shared(data):
    pytest.importorskip("pyarrow")
    start = time.perf_counter()
    tables, warnings = read(data / "kernels")
    return {table.family: table for table in tables}, warnings, time.perf_counter() - start


def test_the_shared_tables(shared):
    tables, warnings, seconds = shared
    assert not warnings
    assert set(tables) == set(FAMILIES)
    assert sum(table.rows for table in tables.values()) > 700_000
    assert not any(table.dropped for table in tables.values())
    assert seconds < 10.0  # about 1.5 s on two idle cores
    for timings in tables.values():
        assert all(configs.chip_named(name) for name in timings.systems)
    assert (tables["attention_decode"].columns["q_len"] == 1).all()


def test_the_shared_tables_as_pandas_reads_them(shared, data):
    pandas = pytest.importorskip("pandas")
    for family, timings in shared[0].items():
        frame = pandas.read_parquet(data / "kernels" / f"{family}.parquet")
        assert set(timings.columns) - set(frame) <= {"copies"}
        for name in set(timings.columns) & set(frame):
            assert timings.columns[name].tolist() == frame[name].tolist(), (family, name)
