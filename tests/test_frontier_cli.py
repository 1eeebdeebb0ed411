"""The command frontier: its JSON, tiers and limits, its files, and how it refuses."""

import json
import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import configs

ROOT = Path(__file__).resolve().parent.parent
ASK = ["frontier", "--model", "llama-3.1-8b", "--chip", "h100-sxm"]
ONE = [*ASK, "--chips", "1"]
QUESTIONS = {
    "every replica": ASK,
    "one chip": ONE,
    "a limit": [*ONE, "--tpot-ms", "15"],
    "two limits": [*ONE, "--tpot-ms", "15", "--ttft-ms", "60"],
    "a limit beyond the slowest": [*ONE, "--tpot-ms", "1e6"],
    "experts": ["frontier", "--model", "qwen3-30b-a3b", "--chip", "h100-sxm", "--chips", "8"],
    "a layout": [*ASK, "--tp", "2"],
    "latents": ["frontier", "--model", "deepseek-v2-lite", "--chip", "h200-sxm", "--chips", "2"],
    "no price": ["frontier", "--model", "llama-3.1-8b", "--chip", "m3-max", "--chips", "1"],
    "own price": [*ONE, "--chip-usd-per-hour", "1"],
    "speculation": [*ONE, "--draft-tokens", "3", "--accept-tokens", "2.2"],
    "all fast, all batch": [*ONE, "--fast-share", "1", "--batch-share", "0.999"],
    "no fast, no batch": [*ONE, "--fast-share", "0", "--batch-share", "0", "--peak-to-mean", "1"],
    "faster than there is": [*ONE, "--fast-speedup", "100"],
    "as fast": [*ONE, "--fast-speedup", "1"],
    "one token in, one out": [*ONE, "--input-tokens", "1", "--output-tokens", "1"],
    "hardly a prompt that fits": [*ONE, "--input-tokens", "500k"],
}
KEYS = {
    "": {"schema", "status", "message", "model", "chip", "engine", "precision", "requests", "points", "tiers", "mix",
         "limits", "schedule", "smallest_efficient", "interval", "price_basis", "layouts_tried", "warnings"},
    "limits": {"latency_floor_s", "fastest_tpot_s", "cheapest_usd_per_mtok_output", "slow_usd_per_mtok_output",
               "slow_chip_s_per_output_token", "drain_s", "ideal_batch", "balanced_context_tokens"},
    "mix": {"shares", "trough_share", "peak_to_mean", "utilisation", "utilisation_without_batch", "batch", "standard",
            "fast"},
    "schedule": {"interval_s", "worst_wait_s", "worst_latency_s"},
    "smallest_efficient": {"batch", "chips", "output_tokens_per_s", "requests_per_s", "usd_per_hour"},
    "interval": {"tpot_s", "coverage", "basis"},
}  # fmt: skip
POINT = {
    "batch", "chips", "tp", "pp", "dp", "ep", "tpot_s", "ttft_s", "tokens_per_s_per_user",
    "output_tokens_per_s_per_chip", "chip_s_per_output_token", "usd_per_mtok_output", "usd_per_mtok_input",
}  # fmt: skip
TIER = POINT | {"name", "speedup", "price_multiple", "input_price_multiple", "request_price_multiple",
                "worth_above_usd_per_hour", "usd_per_mtok"}  # fmt: skip


def numbers(tree: Any) -> list[float]:
    """Return every number in ``tree``."""
    if isinstance(tree, dict | list):
        return [v for sub in (tree.values() if isinstance(tree, dict) else tree) for v in numbers(sub)]
    return [tree] if isinstance(tree, int | float) and not isinstance(tree, bool) else []


# The JSON object


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_json_has_the_keys_of_the_contract_and_finite_numbers(name, ask):
    answer = ask(QUESTIONS[name])
    for place, names in KEYS.items():
        assert names <= set(answer[place] if place else answer), place
    assert (answer["schema"], answer["status"]) == ("frontier/1", "ok")
    assert answer["message"].endswith(".")
    assert "e+" not in answer["message"]
    assert all(set(row) >= POINT for row in answer["points"])
    assert [tier["name"] for tier in answer["tiers"]] == ["fast", "standard", "batch"]
    assert all(set(row) >= TIER for row in answer["tiers"])
    assert all(isinstance(w, str) and w.endswith(".") for w in answer["warnings"])
    assert all(math.isfinite(v) for v in numbers(answer))


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_points_are_a_curve_and_the_tiers_are_on_it(name, ask):
    answer = ask(QUESTIONS[name])
    points, (fast, standard, batch) = answer["points"], answer["tiers"]
    assert all(a["tpot_s"] < b["tpot_s"] for a, b in pairwise(points))
    costs = [row["chip_s_per_output_token"] for row in points]
    assert costs == sorted(costs, reverse=True)
    for row in (*points, fast, standard, batch):
        assert row["tp"] * row["pp"] * row["dp"] == row["chips"]
        assert row["tokens_per_s_per_user"] == pytest.approx(1.0 / row["tpot_s"])
        beaten = [p for p in points if p["tpot_s"] < 0.999 * row["tpot_s"] and
                  p["chip_s_per_output_token"] < 0.999 * row["chip_s_per_output_token"]]  # fmt: skip
        assert not beaten
        usd = row["usd_per_mtok_output"]
        if usd is not None:
            per_s = (answer["smallest_efficient"]["usd_per_hour"] / answer["smallest_efficient"]["chips"]) / 3600.0
            assert usd == pytest.approx(1e6 * per_s * row["chip_s_per_output_token"], rel=1e-6)
    assert fast["tpot_s"] <= standard["tpot_s"] * (1.0 + 1e-9)
    assert standard["chip_s_per_output_token"] <= fast["chip_s_per_output_token"] * (1.0 + 1e-9)
    assert batch["chip_s_per_output_token"] == costs[-1]
    assert (standard["speedup"], standard["price_multiple"]) == (1.0, 1.0)
    limits = answer["limits"]
    assert limits["latency_floor_s"] <= limits["fastest_tpot_s"] == points[0]["tpot_s"]
    assert limits["slow_chip_s_per_output_token"] <= costs[-1]
    assert sum(answer["mix"]["shares"].values()) == pytest.approx(1.0)


def test_what_was_asked_for_is_answered(ask):
    assert ask(QUESTIONS["a limit"])["tiers"][1]["tpot_s"] <= 0.015
    assert all(row["ttft_s"] <= 0.060 for row in ask(QUESTIONS["two limits"])["points"])
    assert {(row["tp"], row["chips"]) for row in ask(QUESTIONS["a layout"])["points"]} == {(2, 2)}
    assert {row["chips"] for row in ask(ONE)["points"]} == {1}
    assert len({row["chips"] for row in ask(ASK)["points"]}) > 1
    own = ask(QUESTIONS["own price"])
    assert (own["price_basis"], own["smallest_efficient"]["usd_per_hour"]) == ("given", 1.0)
    free = ask(QUESTIONS["no price"])
    assert [free["tiers"][1]["usd_per_mtok"]["output"], free["limits"]["slow_usd_per_mtok_output"]] == [None, None]
    assert free["limits"]["slow_chip_s_per_output_token"] > 0.0
    assert any("times as fast" in w for w in ask(QUESTIONS["faster than there is"])["warnings"])
    assert "times as fast" not in ask(QUESTIONS["as fast"])["message"]
    half = ask([*ONE, "--fast-speedup", "1.5", "--batch-share", "0.3", "--fast-share", "0.5"])
    assert half["tiers"][0]["speedup"] == pytest.approx(1.5, rel=0.02)
    assert half["mix"]["shares"] == pytest.approx({"fast": 0.35, "standard": 0.35, "batch": 0.3})


# Files


def test_flags_win_over_the_file(ask, tmp_path):
    (tmp_path / "mine.toml").write_text("model = 'llama-3.1-8b'\nchip = 'h100-sxm'\nchips = 1\nfast_speedup = 1.5\n")
    words = ["frontier", "--scenario", "mine.toml"]
    assert ask(words) == ask([*ONE, "--fast-speedup", "1.5"])
    assert ask([*words, "--fast-speedup", "2"]) == ask([*ONE, "--fast-speedup", "2"])


def test_save_writes_what_json_prints(ask, run, tmp_path):
    answer = ask([*ONE, "--save", "answer.json"])
    assert json.loads((tmp_path / "answer.json").read_text()) == answer
    refusal = ask([*ONE, "--tpot-ms", "1", "--save", "answer.json"], code=3)
    assert json.loads((tmp_path / "answer.json").read_text()) == refusal
    assert [p.name for p in tmp_path.iterdir()] == ["answer.json"], "a temporary file is left behind"


class Scripts(HTMLParser):
    """Collects what is in the scripts of a page, and what its title says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tag, self.scripts, self.heading = "", [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tag = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.tag = ""

    def handle_data(self, data):
        if self.tag == "script":
            self.scripts[-1] += data
        self.heading += data if self.tag == "h1" else ""


NAME = '<script>alert(1)</script>"[red]'


@pytest.mark.parametrize("kind", ["a model of TOML", "a config.json"])
def test_the_page_of_a_model_with_a_hostile_name_is_a_page(kind, ask, tmp_path):
    if kind == "a config.json":
        model = tmp_path / "<script>x" / "config.json"
        model.parent.mkdir()
        shape = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                 "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
                 "torch_dtype": "bfloat16", "architectures": ["<script>alert(1)</script>"]}  # fmt: skip
        model.write_text(json.dumps(shape))
    else:
        model = tmp_path / "mine.toml"
        text = (ROOT / "configs/models/llama-3.1-8b.toml").read_text()
        assert 'name = "Llama 3.1 8B"' in text
        model.write_text(text.replace('name = "Llama 3.1 8B"', f"name = '{NAME}'"))
    answer = ask(["frontier", "--model", str(model), *ONE[3:], "--html", "page.html"])
    assert answer.pop("files") == ["page.html"]
    read = Scripts((tmp_path / "page.html").read_text("utf-8"))
    assert len(read.scripts) == 1
    assert json.loads(read.scripts[0]) == answer
    assert answer["model"]["name"] in read.heading
    if kind == "a model of TOML":
        assert answer["model"]["name"] == NAME


def test_the_terminal_says_where_the_page_is(run, tmp_path):
    code, out, err = run([*ONE, "--html", "page.htm"])
    assert (code, err) == (0, "")
    assert out.endswith("Wrote page.htm\n")
    assert (tmp_path / "page.htm").read_text("utf-8").startswith("<!DOCTYPE html>")


def test_there_is_no_page_of_nothing(run, tmp_path):
    code, out, _ = run([*ONE, "--tpot-ms", "1", "--html", "page.html"])
    assert code == 3
    assert "Wrote" not in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--save", "--html"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(flag, refused, monkeypatch):
    from planner.frontier import answer

    monkeypatch.setattr(answer, "frontier", lambda *_: pytest.fail("the answer was made first"))
    assert "there is no directory 'no/such'" in refused([*ASK, flag, "no/such/answer.html"])


# The tables


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_tables_are_80_columns_wide_and_start_with_the_verdict(name, run, ask):
    code, out, err = run(QUESTIONS[name])
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    answer = ask(QUESTIONS[name])
    assert " ".join(out.split()).startswith(" ".join(answer["message"].split()))
    for title in ("Tiers, each on a fleet of its own", "The cheapest at every speed", "On one fleet"):
        assert re.search(rf"(?m)^{title}", out)
    for bad in ("nan", "inf ", "None", "e+"):
        assert bad not in re.sub(r"\S*/\S*", "", out), bad
    assert out.count("Note: ") == len(answer["warnings"])


# What cannot be


@pytest.mark.parametrize(
    ("words", "limit", "flag"),
    [
        ([*ONE, "--tpot-ms", "1"], "tpot", "--tpot-ms"),
        ([*ASK, "--tpot-ms", "1"], "tpot", "--tpot-ms"),
        ([*ONE, "--ttft-ms", "1"], "ttft", "--ttft-ms"),
        ([*ONE, "--ttft-ms", "1", "--tpot-ms", "50"], "ttft", "--ttft-ms"),
        (["frontier", "--model", "llama-3.1-405b", "--chip", "h100-sxm", "--chips", "1"], "memory", "--chips"),
        ([*ONE, "--input-tokens", "1e8"], "memory", "--chips"),
    ],
    ids=lambda words: " ".join(words[1:]) if isinstance(words, list) else None,
)
def test_what_cannot_be_kept_is_said_with_what_would_do(words, limit, flag, ask, run):
    answer = ask(words, code=3)
    assert (answer["schema"], answer["status"], answer["binding_limit"]) == ("frontier/1", "infeasible", limit)
    assert answer["exceeds_by_ratio"] > 1.0
    assert flag in answer["message"]
    assert all(math.isfinite(v) for v in numbers(answer))
    ((name, value),) = answer["nearest_feasible"].items()
    assert "--" + name.replace("_", "-") == flag
    at = words.index(flag)
    assert ask([*words[:at], *words[at + 2 :], flag, f"{value:.10g}"])["status"] == "ok"
    code, out, err = run(words)
    assert (code, err) == (3, "")
    assert out.startswith("Not feasible: ")
    assert max(map(len, out.splitlines())) <= 80


TYPED: dict[str, tuple[list[str], list[str]]] = {
    "no model": (["frontier", "--chip", "h100-sxm"], ["--model is missing", "list models"]),
    "no chip": (["frontier", "--model", "llama-3.1-8b"], ["--chip is missing", "list chips"]),
    "mistyped model": (["frontier", "--model", "llama-3.1-8", "--chip", "h100-sxm"], ["did you mean 'llama-3.1-8b'?"]),
    "mistyped chip": ([*ASK[:3], "--chip", "h100-smx"], ["'h100-smx'", "did you mean 'h100-sxm'?"]),
    "mistyped flag": ([*ASK, "--fast-sped", "2"], ["'--fast-sped'", "did you mean '--fast-speedup'?"]),
    "unlike any flag": ([*ASK, "--qqqq", "2"], ["'--qqqq'", "frontier --help"]),
    "a batch": ([*ASK, "--batch", "8"], ["'--batch'", "belongs to", "estimate"]),
    "a rate": ([*ASK, "--request-rate", "8"], ["'--request-rate'", "belongs to estimate"]),
    "a lifetime": ([*ASK, "--lifetime-tokens", "1e15"], ["'--lifetime-tokens'", "belongs to optimize"]),
    "a flag twice": ([*ASK, "--html", "a.html", "--html", "b.html"], ["--html is given twice"]),
    "a flag without a value": ([*ASK, "--html"], ["--html needs a value"]),
    "a stray word": ([*ASK, "fast"], ["'fast'", "frontier --help"]),
    "slower than standard": ([*ASK, "--fast-speedup", "0.5"], ["--fast-speedup = 0.5", "1 to 100"]),
    "a speed in words": ([*ASK, "--fast-speedup", "2.5x"], ["--fast-speedup = '2.5x'", "not a number"]),
    "not a number": ([*ASK, "--fast-speedup", "nan"], ["--fast-speedup = 'nan'", "not a number"]),
    "a peak below the mean": ([*ASK, "--peak-to-mean", "0.9"], ["--peak-to-mean = 0.9", "1 to 1000"]),
    "more than all fast": ([*ASK, "--fast-share", "1.1"], ["--fast-share = 1.1", "0 to 1"]),
    "a share in per cent": ([*ASK, "--fast-share", "10%"], ["--fast-share = '10%'", "not a number", "share"]),
    "nothing but batch": ([*ASK, "--batch-share", "1"], ["--batch-share = 1", "0 to 0.999"]),
    "less than no batch": ([*ASK, "--batch-share=-0.1"], ["--batch-share = -0.1", "0 to 0.999"]),
    "half a chip": ([*ASK, "--chips", "1.5"], ["--chips = 1.5", "whole number of chips"]),
    "chips that no layout uses": ([*ASK, "--chips", "97"], ["--chips = 97", "96 or 100"]),
    "tp does not divide heads": ([*ASK, "--tp", "3"], ["--tp = 3", "32 attention heads"]),
    "all cached": ([*ASK, "--cached-tokens", "1024"], ["--cached-tokens = 1024", "--input-tokens = 1024"]),
    "precision the chip lacks": ([*ASK, "--precision", "fp4"], ["'fp4'", "'h100-sxm'"]),
    "drafts alone": ([*ASK, "--draft-tokens", "3"], ["--accept-tokens is missing"]),
    "free chips": ([*ASK, "--chip-usd-per-hour", "0"], ["--chip-usd-per-hour = 0", "0.001 to 1000"]),
    "a page of another kind": ([*ASK, "--html", "curve.pdf"], ["--html = 'curve.pdf'", ".html"]),
    "a page that is a folder": ([*ASK, "--html", "."], ["--html = '.'", "directory"]),
    "a page nowhere": ([*ASK, "--html", "no/such/a.html"], ["--html", "no directory 'no/such'"]),
    "a page without a name": ([*ASK, "--html", ""], ["--html is empty"]),
    "scenario absent": (["frontier", "--scenario", "no.toml"], ["no.toml", "no such file"]),
    "a question of optimize": (["frontier", "--scenario", "default"], ["lifetime_tokens", "optimize"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPED)
def test_words_are_refused(name, refused):
    words, essentials = TYPED[name]
    sentence = refused(words)
    for essential in essentials:
        assert essential in sentence


SCENARIOS: dict[str, tuple[str, list[str]]] = {
    "an unknown key": ("fast_sped = 2\n", ["mine.toml", "fast_sped", "did you mean 'fast_speedup'?"]),
    "a share out of range": ("fast_share = 2\n", ["mine.toml", "fast_share = 2", "0 to 1"]),
    "a number in quotes": ("fast_share = '0.2'\n", ["mine.toml", "fast_share", "number"]),
    "a load": ("batch = 8\n", ["mine.toml", "batch belongs to estimate"]),
    "a rate": ("request_rate = 8\n", ["mine.toml", "request_rate belongs to estimate"]),
    "not TOML": ("fast_share == 1\n", ["mine.toml", "not valid TOML"]),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_files_are_refused(name, refused, tmp_path):
    text, essentials = SCENARIOS[name]
    (tmp_path / "mine.toml").write_text(f"model = 'llama-3.1-8b'\nchip = 'h100-sxm'\n{text}")
    sentence = refused(["frontier", "--scenario", "mine.toml"])
    for essential in essentials:
        assert essential in sentence


# Help, start, pipes


def test_help_names_every_flag_and_shows_examples(run):
    code, out, _ = run(["frontier", "--help"])
    assert code == 0
    said = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", out))
    assert said >= {name.replace("_", "-") for name in configs.FRONTIER_SETTINGS}
    assert said >= {"json", "save", "scenario", "html", "disaggregated", "help"}
    assert "None" not in out
    examples = [line.split()[1:] for line in out.splitlines() if line.startswith("  llm-planner frontier --")]
    assert len(examples) >= 3
    assert any("--html" in words for words in examples)
    assert "frontier" in run(["--help"])[1]
    for words in examples[-1:]:  # the quickest: the others ask about large models on every replica
        assert run(words)[0] == 0


@pytest.mark.parametrize("words", [["--help"], [*ASK[1:], "--batch", "8"], [*ASK[1:], "--html", "no/such/a.html"]])
def test_help_and_refusals_do_not_import_jax(words):
    code = f"import sys; from planner.cli.main import main\nmain({['frontier', *words]!r})\n"
    code += "assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=120)


@pytest.mark.skipif(os.name != "posix", reason="pipes are of POSIX")
def test_pipes_get_plain_text_and_may_close_early():
    words = [sys.executable, "-m", "planner", *ONE]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    reader, writer = os.pipe()
    os.close(reader)
    try:
        gone = subprocess.run(words, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120)
    finally:
        os.close(writer)
    assert (gone.returncode, gone.stderr) == (0, "")
