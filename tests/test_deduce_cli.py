"""The command deduce: its JSON, its tables, its files, and how it refuses."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

PLAIN = ["deduce", "--input", "1", "--output", "4", "--chip", "h100-sxm"]
BOARD = ["deduce", "--input", "2", "--output", "12", "--context-step", "200k", "--long-input", "4", "--long-output",
         "18", "--active-params", "100B"]  # fmt: skip
ALL = ["--margin", "0.5", "--active-params", "50B", "--sparsity", "10", "--kv-bytes-per-token", "70k", "--chips", "8"]
HOPELESS = ["deduce", "--input", "10k", "--output", "10k", "--margin", "0", "--active-params", "1B", "--tokens-per-s",
            "10k", "--pricing-noise", "0", "--chip", "h100-sxm"]  # fmt: skip
MAKE = ["price", "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--chips", "1", "--margin", "0.4"]
CACHES = ["--cached-input", "0.1", "--cache-write-5m", "1.25", "--cache-write-1h", "2"]
QUESTIONS = {
    "two prices": PLAIN,
    "the lecture": [*BOARD, "--chip", "h100-sxm"],
    "caches": [*PLAIN, *CACHES],
    "writes that cost no more": [*PLAIN, "--cache-write-5m", "1", "--cache-write-1h", "1"],
    "writes for less": [*PLAIN, "--cache-write-5m", "2", "--cache-write-1h", "0.5"],
    "an hour alone": [*PLAIN, "--cache-write-1h", "2"],
    "a public card": ["deduce", "--card", "claude-opus-4.6", "--chip", "h100-sxm"],
    "output for less": [*PLAIN[:1], "--input", "10", "--output", "1", "--chip", "h100-sxm"],
    "next to nothing": [*PLAIN[:1], "--input", "0.001", "--output", "0.001", "--chip", "h100-sxm"],
    "very fast": [*PLAIN, "--tokens-per-s", "5000"],
    "a step far out": [*PLAIN, "--context-step", "100M", "--long-input", "2", "--long-output", "8"],
    "all of it stated": [*PLAIN, *ALL],
    "one token in, one out": [*PLAIN, "--input-tokens", "1", "--output-tokens", "1"],
    "what contradicts itself": HOPELESS,
    "far too large": [*PLAIN, "--active-params", "1e14", "--chips", "1"],
    "far too many chips": [*PLAIN, "--chips", "16384"],
}  # fmt: skip
KEYS = {"schema", "status", "message", "card", "parameters", "assumptions", "cache_tiers", "fit", "not_identified",
        "blackboard", "warnings"}  # fmt: skip
PARAMETERS = {"kv_bytes_per_token", "active_params", "sparsity", "total_params", "decode_mfu", "prefill_mfu",
              "balanced_context_tokens", "batch", "chips", "margin_fraction"}  # fmt: skip
BOARD_KEYS = {"chip", "step_tokens", "active_params", "kv_bytes_per_token", "decode_over_prefill_mfu",
              "refined_over_blackboard", "refined_agrees"}  # fmt: skip


def numbers(tree: Any) -> list[float]:
    """Return every number in ``tree``."""
    if isinstance(tree, dict | list):
        return [v for sub in (tree.values() if isinstance(tree, dict) else tree) for v in numbers(sub)]
    return [tree] if isinstance(tree, int | float) and not isinstance(tree, bool) else []


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_json_has_the_keys_of_the_contract_and_finite_numbers(name, ask):
    answer = ask(QUESTIONS[name])
    assert (set(answer), answer["schema"], answer["status"]) == (KEYS, "deduce/1", "ok")
    assert answer["message"].endswith(".")
    assert set(answer["parameters"]) == PARAMETERS
    assert set(answer["blackboard"]) == BOARD_KEYS
    assert all(math.isfinite(v) for v in numbers(answer))
    for row in answer["parameters"].values():
        assert row["low"] <= row["value"] <= row["high"]
        assert row["identified"] in ("yes", "weakly", "no", "given")
    assert answer["not_identified"] == [k for k, v in answer["parameters"].items() if v["identified"] == "no"]
    assert sum(row["odds"] for row in answer["assumptions"]["weighed"]) == pytest.approx(1.0)
    assert all(row["ratio"] == pytest.approx(row["model"] / row["card"]) for row in answer["fit"])
    assert all(isinstance(w, str) and w.endswith(".") for w in answer["warnings"])


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_tables_are_80_columns_wide_and_start_with_the_verdict(name, run, ask):
    code, out, err = run(QUESTIONS[name])
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    answer = ask(QUESTIONS[name])
    assert " ".join(out.split()).startswith(" ".join(answer["message"].split()))
    for title in ("What the card tells", "Card and likeliest model", "On a blackboard:", "Assumed:"):
        assert re.search(rf"(?m)^{title}", out)
    for bad in (r"\bnan\b", r"\binf\b", "None", "e[+]", r"\$[0-9.]+e-"):
        assert not re.search(bad, out), bad
    assert out.count("Note: ") == len(answer["warnings"])
    # Every row of the first table is one line: no cell wraps.
    table = out.split("What the card tells")[1].split("\n\n")[0].splitlines()
    assert len(table) == 2 + len(PARAMETERS)
    if name == "what contradicts itself":
        assert answer["warnings"]


def test_the_terminal_says_what_it_should(run):
    """All of it stated: the rows given are as given, in words, and the others are told."""
    _, out, _ = run(QUESTIONS["all of it stated"])
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith("the prices given: about 50 B active parameters (given), 70 kB of KV cache per")
    for row in (
        "KV cache per token 70 kB given",
        "active parameters 50 B given",
        "total over active 10 given",
        "chips of a replica 8 given",
        "margin 50 % given",
    ):
        assert row in lines
    assert any(re.fullmatch(r"MFU of decoding \S+ % \S+ % to \S+ % (yes|weakly|no: assumed)", line) for line in lines)
    assert any(re.fullmatch(r"output \$4\.00 \$\d\.\d\d [+-]\d+ %", line) for line in lines)
    assert not any(line.startswith("Margin:") for line in lines)


def test_the_terminal_reads_the_lecture_s_step(run):
    _, out, _ = run(QUESTIONS["the lecture"])
    told = " ".join(out.split())
    assert "output at 6 times input: decoding at 16.7 % of the MFU of prompts." in told
    found = re.search(
        r"A step at 200 k tokens, if where costs on h100-sxm have their kink, makes ([\d,]+) bytes of KV cache", told
    )
    assert found
    assert float(found[1].replace(",", "")) == pytest.approx(1667, rel=0.1)
    assert re.search(r"all prices together (allow it|disagree: .* cost too) \([\d.]+ kB to [\d.]+ [kM]B\)\.", told)


def test_what_caches_cost_is_beside_what_is_charged(ask, run):
    answer = ask(QUESTIONS["caches"])["cache_tiers"]
    assert answer["write_over_input_usd_per_mtok"] == pytest.approx({"5m": 0.25, "1h": 1.0})
    assert answer["charged_usd_per_mtok_per_hour"] == pytest.approx((2 - 1.25) / (55 / 60))
    costs = {row["tier"]: row["usd_per_mtok_per_hour"] for row in answer["tiers"]}
    assert costs["hbm"] > costs["ddr5"] > costs["nvme"]
    assert answer["priced_like"] in costs
    assert set(answer["drains_like"]) == {"5m", "1h"}
    free = ask(QUESTIONS["writes that cost no more"])["cache_tiers"]
    assert (free["charged_usd_per_mtok_per_hour"], free["priced_like"]) == (0.0, None)
    assert ask(QUESTIONS["an hour alone"])["cache_tiers"]["charged_usd_per_mtok_per_hour"] is None
    assert "charged: $0.818)" in run(QUESTIONS["caches"])[1]


# Files


@pytest.fixture
def card(run) -> dict[str, Any]:
    """Return a card that `price --save card.json` wrote in the folder."""
    assert run([*MAKE, "--save", "card.json", "--json"])[0] == 0
    return json.loads(Path("card.json").read_text())


def test_a_saved_card_is_read(card, ask):
    answer = ask(["deduce", "--card", "card.json"])
    assert answer["card"]["id"] == "card"
    assert answer["assumptions"]["pricing_noise"] == 0.0
    rows = answer["parameters"]
    assert rows["active_params"]["low"] < 8.03e9 < rows["active_params"]["high"]
    assert rows["kv_bytes_per_token"]["low"] < card["kv_bytes_per_token"] < rows["kv_bytes_per_token"]["high"]


def test_flags_win_over_the_file_and_one_card_over_the_other(ask, tmp_path):
    text = "input = 1\noutput = 4\nchip = 'h100-sxm'\nmargin = 0.5\n"
    (tmp_path / "mine.toml").write_text(text)
    words = ["deduce", "--scenario", "mine.toml"]
    assert ask(words) == ask([*PLAIN, "--margin", "0.5"])
    assert ask([*words, "--margin", "0.2"]) == ask([*PLAIN, "--margin", "0.2"])
    other = ["--card", "deepseek-v3"]
    assert ask([*words, *other]) == ask(["deduce", *other, "--chip", "h100-sxm", "--margin", "0.5"])


def test_save_writes_what_json_prints(ask, tmp_path):
    answer = ask([*PLAIN, "--save", "answer.json"])
    assert json.loads((tmp_path / "answer.json").read_text()) == answer
    assert [p.name for p in tmp_path.iterdir()] == ["answer.json"]


def test_help_tells_every_flag(run):
    code, out, _ = run(["deduce", "--help"])
    assert code == 0
    for flag in ("--card", "--cached-input", "--context-step", "--tokens-per-s", "--margin", "--pricing-noise"):
        assert flag in out


# What cannot be

BAD_WORDS = {
    "nothing": (["deduce"], "--input is missing: give a --card of 'llm-planner list cards', or --input and --output"),
    "no output": (["deduce", "--input", "1"], "--output is missing"),
    "a card and a price": (["deduce", "--card", "gpt-5.5", "--input", "1"], "--card and --input exclude each other"),
    "a card and a speed": (["deduce", "--card", "gpt-5.5", "--tokens-per-s", "9"], "--card and --tokens-per-s exclude"),
    "a lone price beyond": ([*PLAIN, "--long-output", "9"], "--context-step is missing: a step of context needs"),
    "a lone step": ([*PLAIN, "--context-step", "200k"], "--long-input is missing"),
    "cached above input": ([*PLAIN, "--cached-input", "2"], "--cached-input = 2 is above --input = 1"),
    "no such card": (["deduce", "--card", "gtp-5.5"], "did you mean 'gpt-5.5'?"),
    "no such file": (["deduce", "--card", "no.json"], "no.json: no such file"),
    "no such chip": ([*PLAIN[:-1], "h100-sxn"], "unknown chip 'h100-sxn'; did you mean 'h100-sxm'?"),
    "an empty chip": ([*PLAIN[:-1], "h100-sxm,"], "--chip = 'h100-sxm,' must be ids separated by single commas"),
    "a chip twice": ([*PLAIN[:-1], "h100-sxm,h100-sxm"], "--chip names h100-sxm twice"),
    "a chip without a price": ([*PLAIN[:-1], "m3-max"], "--chip-usd-per-hour is missing"),
    "part of a chip": ([*PLAIN, "--chips", "1.5"], "--chips = 1.5 must be a whole number of chips"),
    "no chips": ([*PLAIN, "--chips", "0"], "--chips = 0 is outside 1 to 16384"),
    "all margin": ([*PLAIN, "--margin", "1"], "--margin = 1 is outside 0 to 0.99"),
    "no price": (["deduce", "--input", "0", "--output", "1"], "--input = 0 is outside"),
    "nan": (["deduce", "--input", "nan", "--output", "1"], "--input"),
    "infinite": (["deduce", "--input", "1", "--output", "inf"], "--output"),
    "empty": (["deduce", "--input", "", "--output", "1"], "--input"),
    "an empty card": (["deduce", "--card", ""], "--card is empty"),
    "fewer than none": ([*PLAIN, "--sparsity", "0.5"], "--sparsity = 0.5 is outside 1 to 1000"),
    "no units": ([*PLAIN, "--precision", "fp4"], "'fp4' has no matrix units on chip 'h100-sxm'"),
    "no such precision": ([*PLAIN, "--precision", "fp9"], "--precision = 'fp9' must be one of"),
    "no such engine": ([*PLAIN, "--engine", "vlm"], "unknown engine 'vlm'; did you mean 'vllm'?"),
    "too noisy": ([*PLAIN, "--pricing-noise", "9"], "--pricing-noise = 9 is outside 0 to 3"),
    "mistyped": ([*PLAIN, "--margn", "0"], "unknown flag '--margn'; did you mean '--margin'?"),
    "twice": ([*PLAIN, "--input", "2"], "--input is given twice"),
    "a stray word": (["deduce", "gpt-5.5"], "'gpt-5.5' does not belong here"),
    "another command's": ([*PLAIN, "--tpot-ms", "9"], "unknown flag '--tpot-ms': it belongs to"),
    "save nowhere": ([*PLAIN, "--save", "no/a.json"], "there is no directory 'no'"),
    "no scenario": (["deduce", "--scenario", "no.toml"], "no.toml: no such file"),
}


@pytest.mark.parametrize("what", BAD_WORDS)
def test_bad_flags_are_told_in_one_sentence(what, refused):
    words, said = BAD_WORDS[what]
    assert said in refused(words)


BAD_FILES = {
    "another schema": ({"schema": "estimate/1"}, 'schema must be "price/1"'),
    "no prices": ({"usd_per_mtok": None}, "usd_per_mtok is missing"),
    "a price below nothing": ({"usd_per_mtok": {"input": -1, "output": 2}}, "usd_per_mtok.input = -1 must be"),
    "a length of words": ({"requests": {"input_tokens": "abc"}}, 'requests.input_tokens = "abc" must be a number'),
    "no answer": ({"requests": {"output_tokens": 0}}, "requests.output_tokens = 0 must be a number"),
    "a length without end": ({"requests": {"input_tokens": 1e30}}, "requests.input_tokens = 1e+30 must be"),
    "requests of a list": ({"requests": [1, 2]}, "requests = [1, 2] must be a table"),
    "peaks below means": ({"peak_to_mean": 0.1}, "peak_to_mean = 0.1 must be a number"),
    "a chip of one's own": ({"chip": {"id": "mine"}}, "unknown chip 'mine'"),
    "a chip of a number": ({"chip": {"id": 7}}, "chip.id = 7 must be a name"),
    "an engine of one's own": ({"engine": {"id": "mine"}}, "unknown engine 'mine'"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_cards_are_told_in_one_sentence(what, card, refused, tmp_path):
    change, said = BAD_FILES[what]
    (tmp_path / "bad.json").write_text(json.dumps(card | change))
    assert said in refused(["deduce", "--card", "bad.json"])


def test_flags_stand_in_for_what_a_file_states_of_one_s_own(card, ask, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps(card | {"chip": {"id": "mine"}, "engine": {"id": "mine"}}))
    answer = ask(["deduce", "--card", "own.json", "--chip", "h100-sxm", "--engine", "vllm"])
    assert {row["chip"] for row in answer["assumptions"]["weighed"]} == {"h100-sxm"}
    (tmp_path / "least.json").write_text(json.dumps({k: card[k] for k in ("schema", "usd_per_mtok")}))
    assert len(ask(["deduce", "--card", "least.json"])["assumptions"]["weighed"]) == 6
