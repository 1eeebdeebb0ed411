"""Served runs: every odd row has a reason, result files of vLLM read as published, errors and intervals as defined."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from planner.cli.main import main
from planner.runs import published, serving_table, validation
from planner.runs.compare import errors, log_ratios
from planner.runs.interval import interval
from planner.runs.names import chip_of, engine_of, precision_in, precision_of
from planner.runs.predict import Predicted, predict
from planner.runs.quantiles import FEWEST, conformal
from planner.runs.readers import holds_runs, read
from planner.runs.run import Unusable
from planner.runs.vllm_result import Deployment
from planner.runs.vllm_result import read as read_result

GOOD = {
    "source": "test", "kind": "measured", "model": "Llama 3.1 8B", "quant": "FP8", "chip": "H100", "n_chips": "1",
    "tp": "1", "framework": "TensorRT-LLM", "version": "1.0", "isl": "128", "osl": "128", "concurrency": "64",
    "out_tok_s_total": "5000", "tpot_ms": "10",
}  # fmt: skip
RESULT = {
    "date": "20260101-120000", "endpoint_type": "vllm", "backend": "vllm", "label": "vllm",
    "model_id": "meta-llama/Llama-3.1-8B-Instruct", "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 1000, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 64, "duration": 30.0,
    "completed": 1000, "failed": 0, "total_input_tokens": 1024000, "total_output_tokens": 128000,
    "request_throughput": 33.3, "request_goodput": None, "output_throughput": 4266.7, "total_token_throughput": 38400.0,
    "mean_ttft_ms": 210.5, "median_ttft_ms": 190.0, "std_ttft_ms": 40.0, "p99_ttft_ms": 400.0, "mean_tpot_ms": 13.2,
    "median_tpot_ms": 13.1, "mean_itl_ms": 13.0, "p99_itl_ms": 30.0,
}  # fmt: skip


def parsed(**changes):
    runs, left = serving_table.parse([(2, {**GOOD, **changes})], "t.csv")
    return runs[0] if runs else left[0]


def written(path, rows):
    names = list(dict.fromkeys(k for row in rows for k in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def result(tmp_path, deployed=None, **changes):
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**RESULT, **changes}))
    runs, left = read_result(path, deployed or Deployment(chip="h100-sxm", precision="fp8"))
    return runs[0] if runs else left[0]


def test_a_plain_row_is_read_in_si_units():
    run = parsed(ttft_ms="30")
    assert (run.model.id, run.chip.id, run.engine, run.precision) == ("llama-3.1-8b", "h100-sxm", "tensorrt-llm", "fp8")
    assert (run.concurrency, run.output_tokens_per_s, run.tpot_s, run.ttft_s) == (64.0, 5000.0, 0.01, 0.03)
    assert not run.guessed
    assert not run.doubts


LEFT_OUT = {
    "unknown model": ({"model": "Foo 9"}, "'Foo 9' is not known and its parameters are not given"),
    "no model": ({"model": ""}, "the model is not stated"),
    "model too small": ({"model": "Foo 9", "total_params_b": "0.001", "active_params_b": "2"}, "active of"),
    "params garbage": ({"model": "Foo 9", "total_params_b": "many"}, "total_params_b = 'many' is not a number"),
    "params huge": ({"model": "Foo 9", "total_params_b": "1e300"}, "total_params_b = 1e300 is outside"),
    "unknown chip": ({"chip": "H9000"}, "chip 'H9000' is not known"),
    "no chip": ({"chip": ""}, "the chip is not stated"),
    "no chips": ({"n_chips": ""}, "the number of chips is not stated"),
    "chips garbage": ({"n_chips": "two"}, "n_chips = 'two' is not a number"),
    "chips fractional": ({"n_chips": "2.5"}, "must be a whole number"),
    "chips negative": ({"n_chips": "-8"}, "n_chips = -8 is outside 1 to"),
    "chips infinite": ({"n_chips": "inf"}, "n_chips = inf is outside"),
    "too many ways": ({"n_chips": "4", "tp": "8"}, "tp x pp x dp = 8 x 1 x 1 does not divide n_chips = 4"),
    "odd ways": ({"n_chips": "8", "tp": "3"}, "does not divide"),
    "odd stages": ({"n_chips": "8", "tp": "2", "pp": "3"}, "does not divide"),
    "odd experts": ({"model": "Mixtral 8x7B", "n_chips": "8", "tp": "8", "ep": "3"}, "ep = 3 does not divide"),
    "no lengths": ({"isl": ""}, "the lengths of requests are not stated"),
    "zero length": ({"osl": "0"}, "osl = 0 is outside"),
    "length garbage": ({"isl": "1k"}, "isl = '1k' is not a number"),
    "length with comma": ({"isl": "1,000"}, "isl = '1,000' is not a number"),
    "length huge": ({"isl": "1e308"}, "isl = 1e308 is outside"),
    "no software": ({"framework": ""}, "the serving software is not stated"),
    "unknown software": ({"framework": "llama.cpp"}, "no engine profile for 'llama.cpp'"),
    "no load": ({"concurrency": ""}, "neither concurrency nor a request rate is stated"),
    "load garbage": ({"concurrency": "lots"}, "neither concurrency nor a request rate is stated"),
    "load zero": ({"concurrency": "0"}, "concurrency = 0 is outside"),
    "rate negative": ({"concurrency": "", "request_rate": "-1"}, "request_rate = -1 is outside"),
    "nothing measured": ({"out_tok_s_total": "", "tpot_ms": ""}, "neither throughput nor latency"),
    "throughput zero": ({"out_tok_s_total": "0"}, "out_tok_s_total = 0 is outside"),
    "throughput huge": ({"out_tok_s_total": "1e99"}, "out_tok_s_total = 1e99 is outside"),
    "throughput garbage": ({"out_tok_s_total": "fast"}, "out_tok_s_total = 'fast' is not a number"),
    "latency negative": ({"tpot_ms": "-3"}, "tpot_ms = -3 is outside"),
    "speculation": ({"spec_decode": "EAGLE"}, "how many tokens 'EAGLE' accepts is not known"),
    "analytic": ({"kind": "analytic"}, "kind 'analytic': not a measurement"),
    "odd kind": ({"kind": "dreamt"}, "kind 'dreamt': not a measurement"),
    "prefill": ({"phase": "prefill"}, "prefill alone"),
    "control characters": ({"chip": "H\x1b[31m100"}, "is not known"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_odd_rows_are_left_out_with_a_reason(name):
    changes, why = LEFT_OUT[name]
    left = parsed(**changes)
    assert isinstance(left, serving_table.Left), left
    assert why in left.why
    assert left.where == "t.csv:2"
    assert left.why.isprintable()


def test_kinds_that_measure_nothing_are_told_apart():
    assert parsed(kind="secondary").kind == "secondary"
    assert parsed(chip="H9000").kind == "measured"


MORE = ("dp", "ep", "pp", "notes", "request_rate", "kv_quant", "spec_decode", "total_params_b", "active_params_b",
        "ttft_ms", "phase")  # fmt: skip
CELLS = st.one_of(st.text(max_size=12), st.floats().map(str), st.integers(-5, 10**20).map(str))


@given(st.dictionaries(st.sampled_from([*GOOD, *MORE]), CELLS))
def test_no_row_crashes_the_reader(changes):
    runs, left = serving_table.parse([(2, {**GOOD, **changes})], "t.csv")
    assert len(runs) + len(left) == 1
    for run in runs:
        assert run.chips == run.tp * run.pp * run.dp >= 1.0
        values = (
            run.input_tokens,
            run.output_tokens,
            run.cached_tokens,
            run.concurrency or 1.0,
            run.request_rate or 1.0,
        )
        assert all(math.isfinite(x) and 0 <= x <= 1e8 for x in values)
        assert run.cached_tokens < run.input_tokens


def test_rows_shorter_and_longer_than_the_header_are_read(tmp_path):
    path = tmp_path / "ragged.csv"
    header = ",".join(GOOD)
    path.write_text(f"\ufeff{header}\n{','.join(GOOD.values())},extra,more\nonly,two\n\n")
    runs, left = serving_table.read(str(path))
    assert len(runs) == 1
    assert [one.where for one in left] == ["ragged.csv:3"]


def test_an_unknown_model_of_stated_size_is_a_typical_one():
    run = parsed(model="Foo 30B-A3B", total_params_b="30", active_params_b="3")
    assert run.guessed == ("shape of the model",)
    assert run.model.params == 30e9
    assert run.experts
    told = predict([run])
    assert 100 < told.output_tokens_per_s[0] < 1e5


def test_layouts_follow_the_published_protocol():
    experts = {"model": "Qwen3-30B-A3B", "n_chips": "4", "tp": "4"}
    overview = {"source": "TRT-LLM perf-overview v1.0", "concurrency": "saturated (all requests queued)"}
    new = parsed(**experts, **overview)
    assert (new.tp, new.dp, new.ep, new.guessed) == (1.0, 4.0, 4.0, ("attention-DP",))
    old = parsed(**experts, **{**overview, "version": "0.17"})
    assert (old.tp, old.dp, old.ep) == (4.0, 1.0, 1.0)
    dense = parsed(n_chips="4", tp="4", ep="4", **overview)
    assert (dense.tp, dense.dp, dense.ep, dense.requests) == (4.0, 1.0, 1.0, 30000.0)


def test_figures_of_several_replicas_are_of_one():
    run = parsed(n_chips="8", tp="2", concurrency="64", out_tok_s_total="8000")
    assert (run.chips, run.concurrency, run.output_tokens_per_s) == (2.0, 16.0, 2000.0)
    twice = {"model": "Llama 3.1 405B", "framework": "vLLM", "version": "0.6.3", "chip": "MI300X", "n_chips": "8"}
    run = parsed(**twice, tp="see notes", notes="2FP8: presumably two replicas (TP4 each)", out_tok_s_total="87")
    assert (run.tp, run.chips, run.concurrency, run.output_tokens_per_s) == (4.0, 4.0, 64.0, 87.0)
    assert "two replicas with the figures of one: taken as one's" in run.doubts


def test_tensor_cores_are_not_chips():
    run = parsed(framework="vLLM TPU", version="", chip="TPU7x (Ironwood)", n_chips="4", tp="8", model="Qwen3-32B")
    assert (run.tp, run.chips, run.engine) == (4.0, 4.0, "vllm-tpu")


def test_speculation_needs_the_tokens_it_gains():
    run = parsed(spec_decode="MTP 3", model="DeepSeek-R1", n_chips="8", tp="8")
    assert (run.drafts, run.tokens_per_step) == (3.0, 2.6)
    assert "accepted drafts were assumed" in run.doubts


def test_doubts_of_published_rows(data):
    runs, left = serving_table.read(str(data / "serving" / "serving.csv"))
    counts = {}
    for run in runs:
        for doubt in run.doubts:
            counts[doubt] = counts.get(doubt, 0) + 1
    assert counts["starved of KV cache"] >= 20
    assert counts["Meta's FBGEMM checkpoint on an AMD chip: not its FP8 kernels"] == 38
    assert counts["accepted drafts were assumed"] == 1
    measured = len(runs) + sum(one.kind == "measured" for one in left)
    assert len(runs) / measured > 0.98
    assert {one.kind for one in left} == {"measured", "analytic", "secondary", "vendor_claim"}
    shared = [run for run in runs if run.cached_tokens]
    assert {(run.input_tokens, run.output_tokens, run.cached_tokens) for run in shared} == {(3275.0, 800.0, 1960.0)}


@pytest.mark.parametrize("name", ["H100", "h100-sxm", "MI300X", "TPU v6e", "RTX6000Pro", "A100-80", "GB200", "L40S"])
def test_chips_are_known_by_what_tables_call_them(name):
    assert chip_of(name).id in configs.ids("chips")


def test_engines_are_found_by_software_vendor_and_version():
    h100, mi300x, tpu = map(configs.load_chip, ("h100-sxm", "mi300x", "tpu-v6e"))
    assert engine_of("vLLM", h100, "0.6.3") == ("vllm-0.6", "")
    assert engine_of("vLLM", h100, "0.9") == ("vllm", "")
    assert engine_of("vllm", mi300x, "~0.6.3 (2024-11)") == ("vllm-rocm-0.6", "")
    assert engine_of("vLLM", tpu, "") == ("vllm-tpu", "")
    assert engine_of("TensorRT-LLM", mi300x, "")[1]
    with pytest.raises(Unusable, match="no engine profile for 'TGI'"):
        engine_of("TGI", h100, "")


def test_result_files_of_vllm_are_read_as_it_writes_them(tmp_path):
    run = result(tmp_path)
    assert (run.model.id, run.chip.id, run.engine, run.tp) == ("llama-3.1-8b", "h100-sxm", "vllm", 1.0)
    assert (run.input_tokens, run.output_tokens, run.requests, run.concurrency) == (1024.0, 128.0, 1000.0, 64.0)
    assert (run.output_tokens_per_s, run.tpot_s, run.ttft_s) == (4266.7, 0.0132, 0.2105)
    assert run.request_rate is None
    at_rate = result(tmp_path, request_rate=4.0, max_concurrency=None)
    assert (at_rate.request_rate, at_rate.concurrency) == (4.0, None)
    unlimited = result(tmp_path, max_concurrency=None)
    assert unlimited.saturated
    spoken = result(
        tmp_path, spec_decode_num_drafts=100, spec_decode_draft_tokens=300, spec_decode_acceptance_length=2.2
    )
    assert (spoken.drafts, spoken.tokens_per_step) == (3.0, 2.2)
    named = result(tmp_path, Deployment(chip="H100", tp=2.0), model_id="neuralmagic/Llama-3.1-8B-Instruct-FP8")
    assert (named.precision, named.tp, named.guessed) == ("fp8", 2.0, ())
    assert result(tmp_path, completed=900).doubts == ("requests failed",)


BAD_RESULTS = {
    "no tokens": ({"total_output_tokens": 0}, "total_output_tokens = 0 is outside"),
    "text": ({"total_input_tokens": "many"}, "total_input_tokens = 'many' is not a number"),
    "list": ({"completed": [1]}, "completed = [1] is not a number"),
    "true": ({"completed": True}, "completed = True is not a number"),
    "none": ({"completed": None}, "no request completed"),
    "huge": ({"output_throughput": 1e300}, "output_throughput = 1e+300 is outside"),
    "negative": ({"mean_tpot_ms": -1}, "mean_tpot_ms = -1 is outside"),
    "unknown model": ({"model_id": "x/y"}, "model 'x/y' is not known"),
    "no model": ({"model_id": None}, "the model is not stated"),
    "ramp": ({"ramp_up_strategy": "linear"}, "ramped up"),
    "rate": ({"request_rate": 0}, "request_rate = 0 is outside"),
    "big integer": ({"total_input_tokens": 10**400}, "is outside"),
}


@pytest.mark.parametrize("name", BAD_RESULTS)
def test_odd_results_are_left_out_with_a_reason(tmp_path, name):
    changes, why = BAD_RESULTS[name]
    left = result(tmp_path, **changes)
    assert isinstance(left, serving_table.Left), left
    assert why in left.why


NO_RESULTS = {
    "empty": "", "text": "hello", "number": "3", "null": "null", "half": '{"completed": 1', "list": "[]",
    "list of numbers": "[1, 2]", "deep": "[" * 100_000, "other": '{"a": 1}', "nan": "NaN", "nul": "\0",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_RESULTS)
def test_files_that_are_no_results_are_refused_in_one_sentence(tmp_path, name, capsys):
    path = tmp_path / "r.json"
    path.write_text(NO_RESULTS[name])
    assert main(["validate", "--serving", str(path), "--chip", "h100-sxm"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("planner: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_appended_results_and_nan_are_read(tmp_path):
    path = tmp_path / "appended.json"
    path.write_text(json.dumps(RESULT) + "\n" + json.dumps({**RESULT, "mean_ttft_ms": float("nan")}) + "\n7\n")
    runs, left = read_result(path, Deployment(chip="h100-sxm"))
    assert [run.ttft_s for run in runs] == [0.2105, 0.19]
    assert [one.where for one in left] == ["appended.json:3"]


def test_a_folder_is_read_file_by_file(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(RESULT))
    (tmp_path / "notes.json").write_text('{"hello": 1}')
    (tmp_path / "prices.csv").write_text("a,b\n1,2\n")
    assert holds_runs(str(tmp_path))
    runs, left, warnings = read(str(tmp_path), Deployment(chip="h100-sxm"))
    assert (len(runs), left, len(warnings)) == (1, [], 2)
    assert not holds_runs(str(tmp_path / "prices.csv"))


BAD_FLAGS = {
    "no file": (["--serving", "nowhere.csv"], "no such file"),
    "no chip": (["--serving", "RESULT"], "--chip is missing"),
    "chip": (["--serving", "RESULT", "--chip", "h100-sxn"], "did you mean 'h100-sxm'"),
    "engine": (["--serving", "TABLE", "--engine", "vlm"], "unknown engine 'vlm'"),
    "tp of a table": (["--serving", "TABLE", "--tp", "2"], "--tp goes with result files of vLLM"),
    "tp": (["--serving", "RESULT", "--chip", "h100-sxm", "--tp", "1.5"], "whole number"),
    "tp zero": (["--serving", "RESULT", "--chip", "h100-sxm", "--tp", "0"], "outside 1 to"),
    "ep": (["--serving", "RESULT", "--chip", "h100-sxm", "--tp", "4", "--ep", "3"], "must divide"),
    "precision": (["--serving", "RESULT", "--chip", "h100-sxm", "--precision", "fp9"], "must be one of"),
    "engine alone": (["--engine", "vllm"], "--engine says how"),
    "plot alone": (["--plot", "x.png"], "--plot says how"),
    "plot": (["--serving", "TABLE", "--plot", "x.gif"], "must end in .png or .svg"),
    "other engine": (["--serving", "TABLE", "--engine", "sglang"], "not run with what sglang is the profile of"),
    "header only": (["--serving", "HEADER"], "a header without rows"),
    "columns": (["--serving", "COLUMNS"], "no column 'quant'"),
    "binary": (["--serving", "BINARY"], "cannot be read"),
}


@pytest.mark.parametrize("name", BAD_FLAGS)
def test_bad_flags_are_refused_in_one_sentence(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    (tmp_path / "header.csv").write_text(",".join(GOOD) + "\n")
    (tmp_path / "columns.csv").write_text("model,framework,isl,osl\na,b,1,1\n")
    (tmp_path / "binary.csv").write_bytes(b"model,framework,isl,osl\n\xff\xfe\x00,\x80\n")
    files = {"RESULT": "result.json", "TABLE": written(tmp_path / "t.csv", [GOOD]), "HEADER": "header.csv",
             "COLUMNS": "columns.csv", "BINARY": "binary.csv"}  # fmt: skip
    words, said = BAD_FLAGS[name]
    assert main(["validate", *(files.get(word, word) for word in words)]) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert out.err.count("\n") == 1
    assert out.out == ""


def test_validate_answers_with_the_promised_keys(tmp_path, capsys):
    rows = [GOOD, {**GOOD, "concurrency": "16", "out_tok_s_total": "2400"}, {**GOOD, "chip": "H9000"},
            {**GOOD, "kind": "vendor_claim"},
            {**GOOD, "concurrency": "", "request_rate": "4", "tpot_ms": "9", "ttft_ms": "25"}]  # fmt: skip
    path = written(tmp_path / "t.csv", rows)
    picture = tmp_path / "p.png"
    assert main(["validate", "--serving", path, "--json", "--plot", str(picture)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "validate/1"
    found = answer["serving"]
    assert (found["rows"], found["covered"]) == (3, 0.75)
    assert {"mdape", "p90", "bias", "interval_coverage", "groups", "by_quantity", "left_out"} <= set(found)
    group = found["groups"][0]
    assert set(group["by"]) == {"chip", "model", "engine", "precision"}
    assert found["by_quantity"]["output_tokens_per_s"]["rows"] == 2  # the throughput at a request rate tells nothing
    assert found["by_quantity"]["tpot_s"]["rows"] == 3
    assert sorted(one["rows"] for one in found["left_out"]) == [1, 1]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["validate", "--serving", path, "--engine", "tensorrt-llm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["serving"]["covered"] == 0.75
    assert main(["validate", "--serving", path]) == 0
    assert "3 served runs predicted of 4 measured" in capsys.readouterr().out


def test_results_of_vllm_are_validated_from_the_command_line(tmp_path, capsys):
    path = tmp_path / "r.json"
    path.write_text(json.dumps(RESULT))
    words = [
        "validate",
        "--serving",
        str(path),
        "--chip",
        "h100-sxm",
        "--precision",
        "fp8",
        "--engine",
        "vllm",
        "--json",
    ]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)["serving"]
    assert (found["rows"], found["by_quantity"]["ttft_s"]["rows"]) == (1, 1)


def test_errors_are_of_predicted_over_measured():
    told = errors(np.log([1 / 1.1, 1 / 1.1, 1 / 0.8]))
    assert told == pytest.approx({"rows": 3, "mdape": 0.1, "p90": 0.18, "bias": 0.1})


def test_what_cannot_be_compared_is_not():
    run = parsed(concurrency="", request_rate="4")
    told = Predicted(*(np.array([x]) for x in (8.0, 512.0, 0.01, np.inf, 100.0)))
    ratios = log_ratios([replace(run, ttft_s=1.0)], told)
    assert np.isnan(ratios["output_tokens_per_s"]).all()
    assert np.isnan(ratios["ttft_s"]).all()
    assert ratios["tpot_s"] == pytest.approx(0.0)


def test_more_load_takes_longer():
    """Throughput and TPOT rise with concurrency; a queue that outgrows the service makes the first token wait."""
    runs = [parsed(concurrency=str(c)) for c in (1, 4, 16, 64, 256)]
    told = predict(runs)
    assert (np.diff(told.output_tokens_per_s) > 0).all()
    assert (np.diff(told.tpot_s) > 0).all()
    rates = [replace(parsed(concurrency="", request_rate=r), requests=20000.0) for r in ("1", "50", "500", "5000")]
    waits = predict(rates).ttft_s
    assert (np.diff(waits) > 0).all()
    assert waits[-1] > 10 * waits[0]
    assert np.isinf(predict([replace(rates[-1], requests=None)]).ttft_s[0])


@given(st.lists(st.floats(-1, 1), min_size=FEWEST, max_size=200))
def test_conformal_bounds_hold_for_a_run_left_out(values):
    """Of every exchangeable sample nine in ten lie between the bounds that the others give, on average."""
    sample = np.array(values)
    inside = 0
    for i in range(len(sample)):
        low, high = conformal(np.delete(sample, i)) if len(sample) > FEWEST else (sample.min(), sample.max())
        inside += low <= sample[i] <= high
    assert inside / len(sample) >= 0.9 - 2.0 / len(sample)


CHIPS = st.sampled_from(["h100-sxm", "b200-sxm", "mi300x", "tpu-v6e", "h200-sxm", "mi325x", "gaudi3", "l4"])
MODELS = st.sampled_from(["llama-3.1-8b", "llama-3.1-70b", "qwen3-30b-a3b", "deepseek-v3", "gemma-3-27b", "phi-4"])
ENGINES = st.sampled_from([name for name in configs.ids("engines") if name not in ("ideal", "xla")])
QUANTITY = st.sampled_from(["output_tokens_per_s", "tpot_s", "ttft_s"])
LENGTH = st.floats(1.0, 1e6)


@given(ENGINES, CHIPS, MODELS, QUANTITY, LENGTH, LENGTH, LENGTH, st.booleans())
def test_intervals_hold_their_prediction_and_grow_with_what_is_unseen(engine, chip, model, quantity, i, o, batch, rate):
    facts, one, shape = configs.load_engine(engine), configs.load_chip(chip), configs.load_model(model)
    told = interval(facts, one, shape, quantity, i, o, batch, rate)
    assert 0.0 < told.low <= 1.0 <= told.high < math.inf
    assert told.of(100.0) == (100.0 * told.low, 100.0 * told.high)
    assert told.basis
    seen = replace(facts, chips=(*facts.chips, chip), models=(*facts.models, model))
    narrow = interval(seen, one, shape, quantity, None, None, None, rate)
    assert narrow.low >= told.low - 1e-12
    assert narrow.high <= told.high + 1e-12


def test_intervals_of_times_are_those_of_throughput_upside_down():
    facts, chip, model = configs.load_engine("tensorrt-llm"), configs.load_chip("h100-sxm"), "llama-3.1-8b"
    rate = interval(facts, chip, configs.load_model(model), "output_tokens_per_s")
    time = interval(facts, chip, configs.load_model(model), "tpot_s")
    assert (time.low, time.high) == pytest.approx((1 / rate.high, 1 / rate.low))


def test_twins_of_a_fitted_model_count_as_seen():
    facts = replace(configs.load_engine("tensorrt-llm"), models=("llama-3.1-70b",))
    chip = configs.load_chip("h100-sxm")
    twin, other = (interval(facts, chip, configs.load_model(m), "tpot_s") for m in ("llama-3.3-70b", "qwen2.5-72b"))
    assert "left out" not in twin.basis
    assert "left out" in other.basis


def test_precision_is_read_off_a_checkpoint():
    assert precision_in("RedHatAI/Llama-3.1-405B-Instruct-FP8") == "fp8"
    assert precision_in("nvidia/DeepSeek-R1-NVFP4") == "fp4"
    assert precision_in("meta-llama/Llama-3.1-8B") is None


def test_published_request_counts_are_those_of_the_page():
    row = {"source": "TRT-LLM perf-overview v1.0", "isl": "20000", "osl": "2000"}
    assert published.requests(row, None) == 1000.0
    assert published.requests({**row, "source": "mine"}, None) is None


def test_no_row_to_predict_says_why():
    _, left = serving_table.parse([(2, {**GOOD, "chip": "H9000"})], "t.csv")
    with pytest.raises(configs.ConfigError, match="1 rows: chip 'H9000' is not known"):
        validation.compare([], left)


@pytest.mark.parametrize(
    ("name", "chip"),
    [
        ("H200", "h200-sxm"),
        ("A100-40", "a100-sxm-40gb"),
        ("V100", "v100-sxm"),
        ("B200", "b200-sxm"),
        ("TPU v5e", "tpu-v5e"),
    ],
)
def test_chips_by_the_names_that_tables_use(name, chip):
    assert chip_of(name).id == chip


@pytest.mark.parametrize(
    ("text", "precision", "guessed"),
    [
        ("MXFP4", "fp4", False),
        ("W4A8_MXFP4_MXFP8", "fp4", False),
        ("FP8 per tensor", "fp8", False),
        ("", "fp8", True),
        ("secret", "fp8", True),
    ],
)
def test_precisions_by_the_names_that_tables_use(text, precision, guessed):
    found, guess = precision_of(text, configs.load_chip("h100-sxm"))
    assert (found, bool(guess)) == (precision, guessed)
