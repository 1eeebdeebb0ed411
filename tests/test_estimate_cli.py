"""The command estimate: its JSON, its tables and picture, and how it refuses."""

import io
import json
import math
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

import configs
from planner.report.units import energy_per, gigabytes, price, seconds
from planner.report.verdict import count, figure

ROOT = Path(__file__).resolve().parent.parent
ASK = ["estimate", "--model", "llama-3.1-8b", "--chip", "h100-sxm"]
# One of each kind: dense, experts, latents, recurrent; every load; other vendors; no price; speculation, two pools.
QUESTIONS = {
    "saturated": ASK,
    "one sequence": [*ASK, "--batch", "1"],
    "a batch": [*ASK, "--chips", "4", "--batch", "64"],
    "more in flight than fit": [*ASK, "--concurrency", "1e6"],
    "a rate": [*ASK, "--request-rate", "2", "--input-tokens", "4k", "--cached-tokens", "3k"],
    "hardly any rate": [*ASK, "--request-rate", "1e-9"],
    "limits": [*ASK, "--tpot-ms", "20", "--ttft-ms", "500"],
    "limits not kept": [*ASK, "--batch", "400", "--tpot-ms", "12"],
    "one token in, one out": [*ASK, "--input-tokens", "1", "--output-tokens", "1"],
    "speculation": [*ASK, "--batch", "8", "--draft-tokens", "3", "--accept-tokens", "2.2"],
    "two pools": [*ASK, "--disaggregated"],
    "a given layout": [*ASK, "--chips", "8", "--tp", "4", "--pp", "2"],
    "a layout that makes the chips": [*ASK, "--tp", "2"],
    "experts": ["estimate", "--model", "qwen3-30b-a3b", "--chip", "b200-sxm", "--chips", "4", "--batch", "100"],
    "latents": ["estimate", "--model", "deepseek-v2-lite", "--chip", "h200-sxm", "--dp", "2", "--ep", "2"],
    "a size": ["estimate", "--params", "30B", "--active-params", "3B", "--chip", "h100-sxm", "--chips", "2"],
    "a TPU": ["estimate", "--model", "llama-3.1-8b", "--chip", "tpu-v6e", "--chips", "4", "--precision", "int8"],
    "an AMD chip": ["estimate", "--model", "llama-3.1-8b", "--chip", "mi300x", "--engine", "vllm-rocm"],
    "no price": ["estimate", "--model", "llama-3.1-8b", "--chip", "m3-max"],
    "own price": [*ASK, "--chip-usd-per-hour", "0.5", "--precision", "bf16", "--kv-precision", "fp8"],
}
KEYS = {
    "": {"schema", "status", "message", "model", "chip", "layout", "engine", "precision", "requests", "batch", "load",
         "tpot_s", "ttft_s", "step_s", "e2e_s", "output_tokens_per_s", "output_tokens_per_s_per_chip",
         "input_tokens_per_s", "requests_per_s", "tokens_per_s_per_user", "latency_floor_s", "ideal_batch", "max_batch",
         "max_batch_limit", "bound", "saturated", "goodput", "memory_bytes", "usd_per_mtok", "usd_per_hour",
         "price_basis", "joules_per_token", "energy", "breakdown", "prefill_breakdown", "interval", "curve", "roofline",
         "layouts", "disaggregated", "speculation", "warnings"},
    "model": {"id", "name", "params", "active_params", "kv_bytes_per_token"},
    "chip": {"id", "name", "chips", "basis"},
    "layout": {"tp", "pp", "dp", "ep", "chosen"},
    "engine": {"id", "name"},
    "precision": {"weights", "kv_cache", "recipe"},
    "requests": {"input_tokens", "cached_tokens", "output_tokens"},
    "saturated": {"batch", "output_tokens_per_s", "tpot_s", "ttft_s", "usd_per_mtok_output"},
    "memory_bytes": {"weights", "kv_cache", "activations", "free", "total"},
    "usd_per_mtok": {"input", "cached_input", "output"},
    "joules_per_token": {"input", "output"},
    "energy": {"joules_per_token", "joules_per_request", "watts_per_chip", "board_power_fraction", "amortisation",
               "idle_watts_per_chip", "idle_usd_per_chip_hour", "usd_per_mtok", "usd_per_request", "price_fraction",
               "pue", "server_ratio", "usd_per_kwh", "co2_g_per_kwh", "basis", "grams_co2_per_mtok",
               "grams_co2_per_request"},
    "interval": {"tpot_s", "ttft_s", "output_tokens_per_s", "coverage", "basis"},
    "roofline": {"peak_flops_per_s", "hbm_bytes_per_s", "ridge_flops_per_byte", "ops"},
}  # fmt: skip
PART = {"op", "seconds", "share", "bound", "basis", "flops", "bytes"}
ROW = {"batch", "tpot_s", "ttft_s", "output_tokens_per_s", "usd_per_mtok_output", "feasible"}


def numbers(tree: Any, path: str = "") -> dict[str, float]:
    """Return every number in ``tree`` by dotted key."""
    if isinstance(tree, dict):
        return {k: v for key, sub in tree.items() for k, v in numbers(sub, f"{path}.{key}").items()}
    if isinstance(tree, list):
        return {k: v for i, sub in enumerate(tree) for k, v in numbers(sub, f"{path}.{i}").items()}
    return {path: tree} if isinstance(tree, int | float) and not isinstance(tree, bool) else {}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


# The JSON object


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_json_has_the_keys_of_the_contract_and_finite_numbers(name, ask):
    answer = ask(QUESTIONS[name])
    for place, names in KEYS.items():
        assert names <= set(answer[place] if place else answer), place
    assert (answer["schema"], answer["status"]) == ("estimate/1", "ok")
    assert answer["message"].endswith(".")
    assert answer["load"] in ("batch", "concurrency", "rate", "saturated")
    assert answer["bound"] in ("memory", "compute", "network", "overhead")
    assert answer["max_batch_limit"] in ("memory", "slots", "tokens")
    assert answer["chip"]["basis"] in ("calibrated", "datasheet")
    assert all(isinstance(w, str) and w.endswith(".") for w in answer["warnings"])
    for row in (*answer["breakdown"], *answer["prefill_breakdown"]):
        assert set(row) >= PART
        assert row["bound"] in ("memory", "compute", "network", "overhead")
        assert row["basis"] in ("measured", "calibrated", "datasheet")
    assert all(set(row) >= ROW for row in answer["curve"])
    found = numbers(answer)
    assert len(found) > 200
    assert all(math.isfinite(v) and v >= 0.0 for v in found.values())


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_numbers_agree_with_each_other(name, ask):
    answer = ask(QUESTIONS[name])
    chips, lengths, layout = answer["chip"]["chips"], answer["requests"], answer["layout"]
    assert layout["tp"] * layout["pp"] * layout["dp"] == chips
    rate = answer["requests_per_s"]
    assert answer["output_tokens_per_s"] == pytest.approx(rate * lengths["output_tokens"], rel=1e-9)
    assert answer["input_tokens_per_s"] == pytest.approx(rate * lengths["input_tokens"], rel=1e-9)
    assert answer["output_tokens_per_s_per_chip"] == pytest.approx(answer["output_tokens_per_s"] / chips, rel=1e-9)
    assert answer["tokens_per_s_per_user"] == pytest.approx(1.0 / answer["tpot_s"], rel=1e-9)
    assert answer["e2e_s"] >= answer["ttft_s"]
    assert answer["latency_floor_s"] <= answer["tpot_s"]
    assert answer["batch"] <= answer["max_batch"] * (1.0 + 1e-9)
    assert sum(row["seconds"] for row in answer["breakdown"]) == pytest.approx(answer["step_s"], rel=1e-6)
    for rows in (answer["breakdown"], answer["prefill_breakdown"]):
        assert sum(row["share"] for row in rows) == pytest.approx(1.0, rel=1e-9)
    parts = answer["memory_bytes"]
    used = sum(parts[k] for k in ("weights", "kv_cache", "activations", "free"))
    assert used == pytest.approx(parts["total"], rel=1e-6)
    for key in ("tpot_s", "ttft_s"):
        low, high = answer["interval"][key]
        assert 0.0 < low < answer[key] < high
    roof = answer["roofline"]
    assert roof["ridge_flops_per_byte"] == pytest.approx(roof["peak_flops_per_s"] / roof["hbm_bytes_per_s"])
    batches = [row["batch"] for row in answer["curve"]]
    assert batches == sorted(batches)
    assert all(row["feasible"] == (row["batch"] <= answer["max_batch"]) for row in answer["curve"])


@pytest.mark.parametrize(
    ("name", "engine"), [("saturated", "tensorrt-llm"), ("an AMD chip", "vllm-rocm"), ("a TPU", "vllm-tpu")]
)
def test_the_engine_follows_from_the_chip(name, engine, ask):
    assert ask(QUESTIONS[name])["engine"]["id"] == engine


def test_what_was_asked_for_is_answered(ask):
    given = ask(QUESTIONS["a given layout"])["layout"]
    assert (given["tp"], given["pp"], given["dp"], given["ep"], given["chosen"]) == (4, 2, 1, 1, False)
    chosen = ask(QUESTIONS["a batch"])
    assert chosen["layout"]["chosen"] is True
    assert chosen["layouts"][0].items() >= {k: chosen["layout"][k] for k in ("tp", "pp", "dp", "ep")}.items()
    assert ask(QUESTIONS["a layout that makes the chips"])["chip"]["chips"] == 2
    assert ask(QUESTIONS["one sequence"])["batch"] == 1.0
    own = ask(QUESTIONS["own price"])
    assert (own["usd_per_hour"], own["price_basis"]) == (0.5, "given")
    assert (own["precision"]["weights"], own["precision"]["kv_cache"]) == ("bf16", "fp8")
    assert ask(QUESTIONS["no price"])["usd_per_mtok"]["output"] is None
    assert ask(QUESTIONS["two pools"])["disaggregated"] is not None
    assert ask(QUESTIONS["speculation"])["speculation"]["draft_tokens"] == 3
    limited = ask(QUESTIONS["limits"])
    assert limited["goodput"]["limit"] in ("tpot", "ttft", "memory", "slots", "tokens")
    assert limited["tpot_s"] <= 0.020 * (1.0 + 1e-3)
    assert any("do not fit" in w for w in ask(QUESTIONS["more in flight than fit"])["warnings"])
    assert any("--tpot-ms" in w for w in ask(QUESTIONS["limits not kept"])["warnings"])


@pytest.mark.parametrize(
    ("spoken", "plain"),
    [
        (["--input-tokens", "2k", "--batch=16"], ["--input-tokens=2000", "--batch", "1.6e1"]),
        (["--output_tokens", "0.5k"], ["--output-tokens", "500"]),
    ],
)
def test_spoken_numbers_equal_plain_ones(spoken, plain, ask):
    assert ask([*ASK, *spoken]) == ask([*ASK, *plain])


@pytest.mark.parametrize("name", ["Llama 3.1 8B", "meta-llama/Llama-3.1-8B-Instruct", "LLAMA-3.1-8B"])
def test_a_model_goes_by_its_names(name, ask):
    assert ask(["estimate", "--model", name, "--chip", "h100-sxm"]) == ask(ASK)


def test_files_serve_where_ids_do(ask, tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text((ROOT / "configs/models/llama-3.1-8b.toml").read_text())
    engine = str(ROOT / "configs/engines/tensorrt-llm.toml")
    by_file = ask(["estimate", "--model", str(own), "--chip", "h100-sxm", "--engine", engine])
    assert by_file["tpot_s"] == ask(ASK)["tpot_s"]
    assert by_file["engine"]["id"] == engine
    chip = tmp_path / "chip.toml"
    chip.write_text((ROOT / "configs/chips/h100-sxm.toml").read_text())
    assert ask([*ASK[:3], "--chip", str(chip)])["chip"]["id"] == str(chip)


HUGGING_FACE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize("place", ["config.json", "."])
def test_a_config_json_is_a_model(place, ask, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(HUGGING_FACE))
    answer = ask(["estimate", "--model", str(tmp_path / place), "--chip", "h100-sxm"])
    assert answer["tpot_s"] == pytest.approx(ask(ASK)["tpot_s"], rel=1e-6)


# Scenarios and files


def test_flags_win_over_the_file(ask, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("model = 'llama-3.1-8b'\nchip = 'h100-sxm'\nbatch = 8\ninput_tokens = 500\n")
    words = ["estimate", "--scenario", str(path)]
    assert ask(words) == ask([*ASK, "--batch", "8", "--input-tokens", "500"])
    assert ask([*words, "--batch", "16"])["batch"] == 16.0
    assert ask([*words, "--request-rate", "1"])["load"] == "rate"
    assert ask([*words, "--params", "8B"])["model"]["generic"] is True


def test_save_writes_what_json_prints_whole_or_not_at_all(ask, run, tmp_path, monkeypatch):
    path = tmp_path / "answer.json"
    path.write_text("old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        code, _, err = run([*ASK, "--save", str(path)])
    assert code == 2
    assert "No space left" in err
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["answer.json"], "a temporary file is left behind"
    answer = ask([*ASK, "--save", str(path)])
    assert json.loads(path.read_text()) == answer
    assert [p.name for p in tmp_path.iterdir()] == ["answer.json"]


@pytest.mark.parametrize("flag", ["--save", "--plot"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(flag, refused, monkeypatch):
    from planner.estimate import answer

    monkeypatch.setattr(answer, "estimate", lambda question: pytest.fail("the answer was made first"))
    assert "no directory" in refused([*ASK, flag, "no/such/folder/answer.png"])


def test_an_infeasible_answer_is_saved_too(ask, tmp_path):
    path = tmp_path / "answer.json"
    answer = ask([*ASK, "--batch", "1e9", "--save", str(path)], code=3)
    assert json.loads(path.read_text()) == answer


# The picture


def test_the_picture_is_1200_pixels_wide(ask, tmp_path):
    path = tmp_path / "roof.png"
    answer = ask([*ASK, "--plot", str(path)])
    assert answer["files"] == [str(path)]
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(head[16:20], "big") == 1200


@pytest.mark.parametrize("name", ["experts", "latents", "no price", "one sequence"])
def test_the_picture_of_anything_is_svg_without_not_a_number(name, run, tmp_path):
    path = tmp_path / "roof.svg"
    code, out, err = run([*QUESTIONS[name], "--plot", str(path)])
    assert (code, err) == (0, "")
    assert out.endswith(f"Wrote {path}\n") or "Wrote " in out
    text = path.read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "nan" not in text.lower().replace("nanum", "")


def test_names_in_a_crowd_hide_neither_names_nor_the_frame():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from planner.report.labels import label

    figure = Figure(figsize=(8, 5), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(xscale="log", yscale="log", xlim=(1, 1e4), ylim=(1, 1e4))
    points = [
        {"x": 100 * 1.25**i, "y": 100 * 1.2 ** (i * i % 7), "area": 30.0 + 20 * i, "name": f"an operation  {i} ms"}
        for i in range(12)
    ]
    figure.draw_without_rendering()
    label(figure, axes, points, 9.0)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
    assert len(boxes) == len(points)
    assert all(frame.x0 <= b.x0 and b.x1 <= frame.x1 and frame.y0 <= b.y0 and b.y1 <= frame.y1 for b in boxes)
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert wide <= 0 or high <= 1.0, "two names overlap"


# The tables


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_tables_are_80_columns_wide_and_start_with_the_verdict(name, run, ask):
    code, out, err = run(QUESTIONS[name])
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    answer = ask(QUESTIONS[name])
    assert " ".join(out.split()).startswith(" ".join(answer["message"].split()))
    for title in ("At this load", "Memory of the busiest chip", "Cost", "Mean step", "One prompt alone"):
        assert re.search(rf"(?m)^{title}", out)
    assert "How far to trust it:" in out
    for bad in ("nan", "inf ", "None", "[bold]", "e+"):
        assert bad not in re.sub(r"\S*/\S*", "", out), bad
    assert out.count("Note: ") == len(answer["warnings"])


def test_a_terminal_without_blocks_gets_hashes(ask):
    from rich.console import Console

    from planner.report.estimate import show

    buffer = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show(ask(ASK), Console(file=buffer, width=80))
    buffer.seek(0)
    assert "##" in buffer.read()


def test_names_in_brackets_are_not_taken_for_markup(run, tmp_path):
    path = tmp_path / "[red]mine.toml"
    path.write_text((ROOT / "configs/chips/h100-sxm.toml").read_text())
    code, out, _ = run(["estimate", "--model", "llama-3.1-8b", "--chip", str(path)])
    assert code == 0
    assert "[red]mine.toml" in out.replace("\n", "").replace(" ", "")


@pytest.mark.skipif(os.name != "posix", reason="pipes are of POSIX")
def test_a_reader_that_leaves_is_no_defect():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "planner", *ASK, "--json"],
            cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("unit", "value", "said"),
    [
        (seconds, 0.9996, "1 s"), (seconds, 999.7, "1,000 s"), (seconds, 1.16e-7, "116 ns"), (seconds, 0.02, "20 ms"),
        (price, 131.6, "$132"), (price, 1.1, "$1.10"), (price, 0.1, "$0.100"), (price, 0.9996, "$1.00"),
        (price, 0.00123, "$0.00123"), (price, 23456.0, "$23,456"), (gigabytes, 65.24e9, "65.2 GB"),
        (gigabytes, 1.34e12, "1,340 GB"), (energy_per, 0.35, "350 mJ"), (energy_per, 0.9999, "1 J"),
        (figure, 19_834.0, "19,800"), (figure, 99.96, "100"), (figure, 8.321, "8.32"), (count, 1.5, "1.5"),
        (count, 1674.6, "1,675"), (count, 3.0, "3"),
    ],
)  # fmt: skip
def test_figures_are_said_as_people_do(unit, value, said):
    assert unit(value) == said


# What does not fit


@pytest.mark.parametrize(
    ("words", "limit", "flag"),
    [
        ([*ASK, "--batch", "1e5"], "memory", "--batch"),
        (
            [*ASK, "--batch", "1e5", "--engine", "vllm", "--input-tokens", "9", "--output-tokens", "9"],
            "slots",
            "--batch",
        ),
        ([*ASK, "--request-rate", "1e5"], "throughput", "--request-rate"),
        ([*ASK, "--tpot-ms", "1"], "tpot", "--tpot-ms"),
        ([*ASK, "--ttft-ms", "0.5"], "ttft", "--ttft-ms"),
        (["estimate", "--model", "llama-3.1-405b", "--chip", "h100-sxm"], "memory", "--chips"),
        (["estimate", "--model", "llama-3.1-405b", "--chip", "h100-sxm", "--tp", "4"], "memory", "--chips"),
        ([*ASK, "--input-tokens", "1e7"], "memory", "--chips"),
    ],
    ids=lambda words: " ".join(words[1:]) if isinstance(words, list) else None,
)
def test_what_does_not_fit_names_the_nearest_that_does(words, limit, flag, ask):
    answer = ask(words, code=3)
    assert (answer["schema"], answer["status"], answer["binding_limit"]) == ("estimate/1", "infeasible", limit)
    assert answer["exceeds_by_ratio"] > 1.0
    assert flag in answer["message"]
    assert all(math.isfinite(v) for v in numbers(answer).values())
    nearest = {"--" + name.replace("_", "-"): value for name, value in answer["nearest_feasible"].items()}
    assert flag in nearest
    assert set(nearest) == {flag} or "--tp" in words  # a layout that was given is replaced by one that fits
    for given, value in nearest.items():
        if given in words:
            at = words.index(given)
            words = words[:at] + words[at + 2 :]
        words = [*words, given, f"{value:.10g}"]
    assert ask(words)["status"] == "ok"


def test_an_infeasible_answer_reads_well(run):
    code, out, err = run([*ASK, "--batch", "1e5"])
    assert (code, err) == (3, "")
    assert out.startswith("Not feasible: a batch of 100,000 does not fit")
    assert max(map(len, out.splitlines())) <= 80


# Bad input

WITHOUT_CHIP = ["estimate", "--model", "llama-3.1-8b"]
EXPERTS = ["estimate", "--model", "qwen3-30b-a3b", "--chip", "h100-sxm"]
TYPED: dict[str, tuple[list[str], list[str]]] = {
    # models
    "no model": (["estimate", "--chip", "h100-sxm"], ["--model is missing", "list models"]),
    "mistyped model": (["estimate", "--model", "llama-3.1-8", "--chip", "h100-sxm"], ["did you mean 'llama-3.1-8b'?"]),
    "unlike any model": (["estimate", "--model", "zzz", "--chip", "h100-sxm"], ["model 'zzz'", "config.json"]),
    "empty model": (["estimate", "--model", "", "--chip", "h100-sxm"], ["--model is empty"]),
    "model file absent": (["estimate", "--model", "no.toml", "--chip", "h100-sxm"], ["no.toml", "no such file"]),
    "config.json absent": (["estimate", "--model", "a/config.json", "--chip", "l4"], ["a/config.json", "no such file"]),
    "folder without a config.json": (["estimate", "--model", ".", "--chip", "l4"], ["config.json", "no such file"]),
    "model and params": ([*ASK, "--params", "8B"], ["--model", "--params", "exclude"]),
    "active without params": ([*ASK, "--active-params", "1B"], ["--active-params", "--params"]),
    "more active than all": (
        ["estimate", "--params", "8B", "--active-params", "9B", "--chip", "h100-sxm"],
        ["--active-params = 9e+09", "--params = 8e+09"],
    ),
    "billions forgotten": (["estimate", "--params", "8", "--chip", "h100-sxm"], ["--params = 8", "1e+06 to 1e+15"]),
    "params in words": (["estimate", "--params", "big", "--chip", "h100-sxm"], ["--params = 'big'", "1e12 or 1T"]),
    # chips
    "no chip": (WITHOUT_CHIP, ["--chip is missing", "list chips"]),
    "mistyped chip": ([*WITHOUT_CHIP, "--chip", "h100-smx"], ["'h100-smx'", "did you mean 'h100-sxm'?"]),
    "chip file absent": ([*WITHOUT_CHIP, "--chip", "x.toml"], ["x.toml", "no such file"]),
    "a model where a chip belongs": (
        [*WITHOUT_CHIP, "--chip", str(ROOT / "configs/models/yi-34b.toml")], ["yi-34b.toml", "not a known key"],
    ),
    "no chips": ([*ASK, "--chips", "0"], ["--chips = 0", "1 to 16384", "chips"]),
    "negative chips": ([*ASK, "--chips=-8"], ["--chips = -8", "1 to 16384"]),
    "half a chip": ([*ASK, "--chips", "1.5"], ["--chips = 1.5", "whole number of chips"]),
    "chips by name": ([*ASK, "--chips", "h100-sxm"], ["--chips = 'h100-sxm'", "not a number"]),
    # layouts
    "tp does not divide heads": ([*ASK, "--tp", "3"], ["--tp = 3", "32 attention heads", "1, 2, 4, 8, 16, 32"]),
    "a product that is not the chips": (
        [*ASK, "--chips", "8", "--tp", "2", "--pp", "2", "--dp", "1"], ["--tp 2", "--pp 2", "4 chips", "--chips 8"],
    ),
    "more stages than layers": ([*ASK, "--pp", "64"], ["--pp = 64", "32 layers"]),
    "half a stage": ([*ASK, "--pp", "1.5"], ["--pp = 1.5", "whole number"]),
    "experts of a dense model": ([*ASK, "--tp", "2", "--ep", "2"], ["--ep = 2", "no experts"]),
    "ep does not divide": ([*EXPERTS, "--chips", "8", "--tp", "8", "--ep", "3"], ["--ep = 3", "1, 2, 4, 8"]),
    "no tp at all": ([*ASK, "--tp", "0"], ["--tp = 0", "1 to 16384"]),
    # loads
    "batch and rate": ([*ASK, "--batch", "8", "--request-rate", "1"], ["--batch", "--request-rate", "exclude"]),
    "batch and concurrency": ([*ASK, "--batch", "8", "--concurrency", "8"], ["--batch", "--concurrency", "exclude"]),
    "empty batch": ([*ASK, "--batch", "0"], ["--batch = 0", "1 to 1e+09", "sequences"]),
    "negative batch": ([*ASK, "--batch", "-4"], ["--batch = -4", "1 to 1e+09"]),
    "batch not a number": ([*ASK, "--batch", "nan"], ["--batch = 'nan'", "not a number"]),
    "endless rate": ([*ASK, "--request-rate", "inf"], ["--request-rate = 'inf'", "not a number", "per second"]),
    "no rate": ([*ASK, "--request-rate", "0"], ["--request-rate = 0", "requests per second"]),
    "no concurrency": ([*ASK, "--concurrency", "0.5"], ["--concurrency = 0.5", "1 to 1e+09"]),
    # requests
    "empty prompts": ([*ASK, "--input-tokens", "0"], ["--input-tokens = 0", "1 to 1e+08"]),
    "empty answers": ([*ASK, "--output-tokens", "0"], ["--output-tokens = 0", "1 to 1e+08"]),
    "all cached": ([*ASK, "--cached-tokens", "1024"], ["--cached-tokens = 1024", "--input-tokens = 1024"]),
    "less than nothing cached": ([*ASK, "--cached-tokens=-1"], ["--cached-tokens = -1", "0 to 1e+08"]),
    # precision, engine
    "precision the chip lacks": ([*ASK, "--precision", "fp4"], ["--precision", "'fp4'", "'h100-sxm'", "bf16, fp8"]),
    "unknown precision": ([*ASK, "--precision", "fp16"], ["--precision = 'fp16'", "bf16, fp8, int8, fp4, int4"]),
    "unknown KV precision": ([*ASK, "--kv-precision", "fp4"], ["--kv-precision = 'fp4'", "bf16, fp8"]),
    "unknown engine": ([*ASK, "--engine", "vlm"], ["engine 'vlm'", "did you mean 'vllm'?"]),
    "engine file absent": ([*ASK, "--engine", "e.toml"], ["e.toml", "no such file"]),
    # limits, speculation, price
    "no time per token": ([*ASK, "--tpot-ms", "0"], ["--tpot-ms = 0", "milliseconds"]),
    "a limit with its unit": ([*ASK, "--ttft-ms", "200ms"], ["--ttft-ms = '200ms'", "not a number"]),
    "drafts alone": ([*ASK, "--draft-tokens", "3"], ["--accept-tokens is missing"]),
    "accepted alone": ([*ASK, "--accept-tokens", "2"], ["--draft-tokens is missing"]),
    "more accepted than drafted": (
        [*ASK, "--draft-tokens", "1", "--accept-tokens", "2.5"], ["--accept-tokens = 2.5", "1 to 2"],
    ),
    "half a draft": ([*ASK, "--draft-tokens", "1.5", "--accept-tokens", "1"], ["--draft-tokens = 1.5", "whole number"]),
    "free chips": ([*ASK, "--chip-usd-per-hour", "0"], ["--chip-usd-per-hour = 0", "0.001 to 1000"]),
    # energy
    "percent for a ratio": ([*ASK, "--pue", "115"], ["--pue = 115", "1 to 5", "building's power"]),
    "a building that gives power": ([*ASK, "--pue", "0.9"], ["--pue = 0.9", "1 to 5"]),
    "PUE in words": ([*ASK, "--pue", "good"], ["--pue = 'good'", "not a number"]),
    "PUE without a value": ([*ASK, "--pue"], ["--pue needs a value"]),
    "a server below its boards": ([*ASK, "--server-ratio", "0.5"], ["--server-ratio = 0.5", "1 to 5"]),
    "cents for dollars": ([*ASK, "--usd-per-kwh", "8"], ["--usd-per-kwh = 8", "0 to 2", "US dollars per kWh"]),
    "paid to draw": ([*ASK, "--usd-per-kwh", "-0.01"], ["--usd-per-kwh = -0.01", "0 to 2"]),
    "a price with its unit": ([*ASK, "--usd-per-kwh", "0.08/kWh"], ["--usd-per-kwh", "not a number"]),
    "tonnes for grams": ([*ASK, "--co2-g-per-kwh", "4e5"], ["--co2-g-per-kwh = 4e5", "0 to 2000", "grams"]),
    "carbon below nothing": ([*ASK, "--co2-g-per-kwh=-1"], ["--co2-g-per-kwh = -1", "0 to 2000"]),
    "a grid for a number": ([*ASK, "--co2-g-per-kwh", "france"], ["--co2-g-per-kwh = 'france'", "not a number"]),
    "no number at all": ([*ASK, "--co2-g-per-kwh", "nan"], ["--co2-g-per-kwh = 'nan'", "not a number"]),
    "mistyped grid": ([*ASK, "--grid", "frnace"], ["unknown grid 'frnace'", "did you mean 'france'?"]),
    "unlike any grid": ([*ASK, "--grid", "xyz"], ["unknown grid 'xyz'", "the grids are world, australia"]),
    "empty grid": ([*ASK, "--grid", ""], ["--grid is empty"]),
    "two intensities": (
        [*ASK, "--grid", "france", "--co2-g-per-kwh", "44"], ["--co2-g-per-kwh", "--grid", "exclude each other"],
    ),
    # words
    "mistyped flag": ([*ASK, "--inputs-tokens", "1"], ["'--inputs-tokens'", "did you mean '--input-tokens'?"]),
    "flag of optimize": ([*ASK, "--lifetime-tokens", "1e15"], ["'--lifetime-tokens'"]),
    "flag twice": ([*ASK, "--batch", "1", "--batch", "2"], ["--batch is given twice"]),
    "flag without a value": ([*ASK, "--batch"], ["--batch needs a value"]),
    "switch with a value": ([*ASK, "--disaggregated=yes"], ["--disaggregated takes no value"]),
    "stray word": ([*ASK, "fast"], ["'fast'", "estimate --help"]),
    # files
    "unwritable save": ([*ASK, "--save", "/no/such/folder/a.json"], ["--save", "cannot be written"]),
    "a picture of another kind": ([*ASK, "--plot", "roof.pdf"], ["--plot = 'roof.pdf'", ".png or .svg"]),
    "empty plot": ([*ASK, "--plot", ""], ["--plot is empty"]),
    "scenario absent": (["estimate", "--scenario", "no.toml"], ["no.toml", "no such file"]),
    "a question of optimize": (["estimate", "--scenario", "default"], ["lifetime_tokens", "optimize"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPED)
def test_words_are_refused(name, refused):
    words, essentials = TYPED[name]
    sentence = refused(words)
    for essential in essentials:
        assert essential in sentence


SCENARIOS: dict[str, tuple[str, list[str]]] = {
    "an unknown key": ("model = 'yi-34b'\nchipz = 'l4'\n", ["mine.toml", "chipz", "did you mean 'chip'?"]),
    "a number in quotes": ("model = 'yi-34b'\nbatch = '8'\n", ["mine.toml", "batch = '8'", "number"]),
    "a fraction of a chip": ("model = 'yi-34b'\nchip = 'l4'\ntp = 1.5\n", ["--tp = 1.5", "whole number"]),
    "a value out of range": ("model = 'yi-34b'\nbatch = -1\n", ["mine.toml", "batch = -1", "1 to 1e+09"]),
    "an unknown precision": ("model = 'yi-34b'\nprecision = 'fp88'\n", ["mine.toml", "'fp88'", "bf16, fp8"]),
    "not TOML": ("model == 'yi-34b'\n", ["mine.toml", "not valid TOML"]),
    "a grid that is a number": ("model = 'yi-34b'\ngrid = 44\n", ["mine.toml", "grid = 44", "non-empty string"]),
    "a PUE in per cent": ("model = 'yi-34b'\npue = 115\n", ["mine.toml", "pue = 115", "1 to 5"]),
    "an unknown grid": ("model = 'yi-34b'\nchip = 'l4'\ngrid = 'mars'\n", ["unknown grid 'mars'"]),
    "two loads": (
        "model = 'yi-34b'\nchip = 'h100-sxm'\nbatch = 8\nconcurrency = 8\n", ["--batch", "--concurrency", "exclude"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_files_are_refused(name, refused, tmp_path):
    text, essentials = SCENARIOS[name]
    (tmp_path / "mine.toml").write_text(text)
    sentence = refused(["estimate", "--scenario", "mine.toml"])
    for essential in essentials:
        assert essential in sentence


BROKEN = {
    "not JSON": ("{", ["config.json", "JSON"]),
    "a list": ("[]", ["config.json"]),
    "nothing known": ("{}", ["config.json"]),
    "no layers": (json.dumps(HUGGING_FACE | {"num_hidden_layers": 0}), ["num_hidden_layers"]),
    "a word for a number": (json.dumps(HUGGING_FACE | {"hidden_size": "wide"}), ["hidden_size", "wide"]),
    "not a number": (json.dumps(HUGGING_FACE | {"hidden_size": math.nan}), ["config.json"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_config_json_is_refused(name, refused, tmp_path):
    text, essentials = BROKEN[name]
    (tmp_path / "config.json").write_text(text)
    sentence = refused(["estimate", "--model", "config.json", "--chip", "h100-sxm"])
    for essential in essentials:
        assert essential in sentence


# No layout, or no good one


@pytest.mark.parametrize("chips", ["97", "1000"])
def test_chips_that_no_layout_uses_are_refused_or_infeasible(chips, run):
    code, out, err = run([*ASK, "--chips", chips])
    assert code in (2, 3), err
    assert "chips" in err + out


# Help, start


def test_help_names_every_flag_of_the_contract(run):
    code, out, _ = run(["estimate", "--help"])
    assert code == 0
    said = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", out))
    assert said >= {name.replace("_", "-") for name in configs.ESTIMATE_SETTINGS}
    assert said >= {"json", "save", "scenario", "plot", "disaggregated", "help"}
    assert "None" not in out
    assert "estimate" in run(["--help"])[1]


def test_help_has_examples_that_run(run):
    text = re.sub(r"[│|]", "\n", run(["estimate", "--help"])[1])
    examples = re.findall(r"llm-planner (estimate --[^\n]+)", text)
    assert len(examples) >= 3
    for example in examples:
        assert run(example.split())[0] == 0, example


@pytest.mark.parametrize(
    "words",
    [
        ["estimate", "--help"],
        ["estimate", "--model", "llama-3.1-8", "--chip", "h100-sxm"],
        [*ASK, "--batch", "nan"],
        [*ASK, "--engine", "vlm"],
        [*ASK, "--chips", "1.5"],
        [*ASK, "--plot", "x.pdf"],
        ["list", "engines"],
    ],
    ids=" ".join,
)
def test_help_and_refusals_do_not_load_jax(words):
    code = f"import sys\nfrom planner.cli.main import main\ntry: main({words!r})\nexcept SystemExit: pass\n"
    done = python(code + "print([m for m in ('jax', 'jaxlib', 'equinox') if m in sys.modules])")
    assert done.stdout.endswith("[]\n"), done.stderr


def test_an_answer_without_a_picture_needs_neither_matplotlib_nor_optax(ask):
    ask(ASK)  # fills the cache
    code = f"import sys\nfrom planner.cli.main import main\nassert main({[*ASK, '--json']!r}) == 0\n"
    done = python(code + "print([m for m in ('matplotlib', 'optax') if m in sys.modules], file=sys.stderr)")
    assert done.stderr == "[]\n"


def test_the_engines_are_listed(ask, run):
    items = {row["id"]: row for row in ask(["list", "engines"])["items"]}
    assert set(items) == set(configs.ids("engines"))
    assert all(
        {"engine", "chips", "rows", "profile", "limits", "residuals", "source"} <= set(r) for r in items.values()
    )
    code, out, _ = run(["list", "engines"])
    assert code == 0
    assert all(re.search(rf"(?m)^{re.escape(name)} ", out) for name in items)
