"""The command train as a user meets it: the document, errors, refusals and what the terminal shows."""

import json
import math
from pathlib import Path

import pytest

import configs
from planner.cli.main import main

RUN = ["train", "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--chips", "64", "--tokens", "1T"]


def told(capsys, *words, code=0):
    assert main([*words, "--json"]) == code
    out = capsys.readouterr()
    return json.loads(out.out)


def test_the_document_adds_up(capsys):
    answer = told(capsys, *RUN)
    assert answer["schema"] == "train/1"
    assert answer["status"] == "ok"
    assert sum(row["seconds"] for row in answer["breakdown"]) == pytest.approx(answer["step_s"], rel=1e-9)
    assert sum(answer["passes_s"].values()) == pytest.approx(answer["step_s"], rel=1e-9)
    memory = dict(answer["memory_bytes"])
    total = memory.pop("total")
    assert sum(memory.values()) == pytest.approx(total, rel=1e-9)
    assert answer["batch_tokens"] / answer["step_s"] == pytest.approx(answer["tokens_per_s"], rel=1e-9)
    assert answer["steps"] * answer["batch_tokens"] == pytest.approx(1e12, rel=1e-9)
    busy = answer["steps"] * answer["step_s"] / 86400
    assert answer["days"] == pytest.approx(busy / answer["goodput"]["fraction"], rel=1e-9)
    assert answer["chip_hours"] == pytest.approx(64 * 24 * answer["days"], rel=1e-9)
    assert answer["usd"] == pytest.approx(answer["chip_hours"] * answer["usd_per_hour"], rel=1e-9)
    assert answer["joules"] == pytest.approx(answer["chip_hours"] * 3600 * 700.0 * answer["pue"], rel=1e-9)
    layout = answer["layout"]
    assert layout["tp"] * layout["pp"] * layout["cp"] * layout["dp"] == 64
    assert answer["micro_batches"] * layout["dp"] * layout["micro_batch"] == answer["batch_sequences"]
    low, high = answer["interval"]["days"]
    assert low < answer["days"] < high
    assert 0.2 < answer["mfu"] < 0.7
    assert answer["elasticities"]["tokens"] == pytest.approx(1.0, abs=1e-6)


def test_days_find_the_chips(capsys):
    answer = told(
        capsys, "train", "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--days", "30", "--tokens", "15T",
        "--batch-tokens", "8388608",
    )  # fmt: skip
    assert answer["days"] <= 30.0
    rows = {row["chips"]: row["days"] for row in answer["chips_considered"]}
    assert rows[answer["chips"]] == pytest.approx(answer["days"], rel=1e-9)
    assert all(days > 30.0 for chips, days in rows.items() if chips < answer["chips"])


def test_chips_are_found_for_layouts_that_are_no_powers_of_two(capsys):
    run = ["train", "--model", "llama-3.1-405b", "--chip", "h100-sxm", "--tokens", "1T", "--days", "100"]
    answer = told(capsys, *run, "--pp", "9")
    assert answer["chips"] % 9 == 0
    assert answer["layout"]["pp"] == 9
    assert answer["days"] <= 100.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "--model is missing"),
        (RUN[:3], "--chip is missing"),
        (RUN[:5], "--tokens is missing"),
        ([*RUN[:5], "--tokens", "1T"], "--chips is missing"),
        ([*RUN, "--params", "8B"], "exclude each other"),
        ([*RUN, "--active-params", "1B"], "goes with --params"),
        ([*RUN[:4], "h1000", *RUN[5:]], "did you mean"),
        ([*RUN[:2], "lama-3.1-8b", *RUN[3:]], "did you mean"),
        ([*RUN[:-1], "many"], "is not a number"),
        ([*RUN[:-1], "-5"], "outside"),
        ([*RUN, "--tp", "1.5"], "must be a whole number"),
        ([*RUN, "--tp", "7"], "must divide the 32 heads"),
        ([*RUN, "--pp", "64"], "must not exceed the 32 layers"),
        ([*RUN, "--pp", "8", "--vp", "5"], "must not exceed the 32 layers"),
        ([*RUN, "--pp", "1", "--vp", "4"], "needs a pipeline"),
        ([*RUN, "--vp", "4", "--schedule", "zero-bubble"], "exclude each other"),
        ([*RUN, "--pp", "3"], "must be a multiple of --pp 3 = 3: 63 or 66"),
        ([*RUN, "--cp", "3"], "must divide the 8192 tokens"),
        ([*RUN, "--ep", "8"], "no experts to spread"),
        ([*RUN, "--expert-load", "2"], "has no experts"),
        ([*RUN, "--reversible", "--recompute", "0.5"], "exclude each other"),
        ([*RUN, "--micro-batch", "4096"], "must not exceed"),
        ([*RUN[:-1], "1e9", "--batch-tokens", "1e12"], "must not exceed --tokens"),
        ([*RUN, "--price-mode", "on-demand", "--chip-usd-per-hour", "2"], "exclude each other"),
        ([*RUN, "--sequence-tokens", "1000.5"], "must be a whole number"),
        ([*RUN, "--precision", "fp4"], "no matrix units"),
        ([*RUN, "--precision", "fp5"], "must be one of"),
        ([*RUN, "--trainer", "megatrom"], "did you mean 'megatron'"),
        ([*RUN, "--batch-law", "kaplan-2020"], "speaks of a loss"),
        ([*RUN, "--batch-law", "nobody"], "unknown"),
        ([*RUN, "--batch-tokens", "100"], "at least --sequence-tokens"),
        ([*RUN, "--failures", "lama-3"], "did you mean"),
        ([*RUN, "--recompute", "2"], "outside 0 to 1"),
        ([*RUN, "--expert-load", "0.5"], "outside 1"),
        ([*RUN, "--schedule", "gpipe"], "must be one of"),
        ([*RUN, "--sharding", "all"], "must be one of"),
        ([*RUN, "--price-mode", "spot"], "has no spot price"),
        ([*RUN, "--export", "deepspeed"], "must be one of"),
        ([*RUN, "--overlap=yes"], "takes no value"),
        ([*RUN, "--laytout", "auto"], "unknown flag"),
        ([*RUN, "--scenario", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_bad_input_is_told_in_one_sentence(words, said, capsys):
    assert main(words) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert out.err.count("\n") == 1
    assert out.out == ""


@pytest.mark.parametrize(
    ("words", "limit", "key"),
    [
        (["--model", "llama-3.1-405b", "--chips", "64"], "memory", "chips"),
        (["--model", "llama-3.1-8b", "--chips", "9000"], "batch", "chips"),
        (["--model", "llama-3.1-8b", "--chips", "8", "--days", "10"], "days", "chips"),
        (["--model", "llama-3.1-8b", "--days", "0.01"], "days", "days"),
    ],
)
def test_refusals_name_the_limit_and_what_would_do(words, limit, key, capsys):
    answer = told(capsys, "train", "--chip", "h100-sxm", "--tokens", "15T", *words, code=3)
    assert answer["status"] == "infeasible"
    assert answer["limit"] == limit
    assert answer["message"]
    nearest = answer["nearest"][key]
    kept = [word for i, word in enumerate(words) if "--chips" not in (word, *words[max(i - 1, 0) : i])]
    if key == "chips":
        again = told(capsys, "train", "--chip", "h100-sxm", "--tokens", "15T", *kept, "--chips", str(int(nearest)))
        assert again["chips"] == nearest
    else:
        again = told(
            capsys,
            "train",
            "--chip",
            "h100-sxm",
            "--tokens",
            "15T",
            "--model",
            words[1],
            "--days",
            str(nearest * 1.001),
        )
        assert again["days"] <= nearest * 1.001


def test_choices_of_how_to_train_move_the_answer_as_they_should(capsys):
    plain = told(capsys, *RUN, "--batch-tokens", "4M")
    again = told(capsys, *RUN, "--batch-tokens", "4M", "--recompute", "1")
    assert again["tokens_per_s"] < plain["tokens_per_s"]
    assert again["memory_bytes"]["activations"] < plain["memory_bytes"]["activations"]
    narrow = told(capsys, *RUN, "--batch-tokens", "4M", "--precision", "fp8")
    assert narrow["tokens_per_s"] > plain["tokens_per_s"]
    assert narrow["mfu_peak"] == "fp8"
    cheap = told(capsys, *RUN, "--batch-tokens", "4M", "--chip-usd-per-hour", "1.5")
    assert cheap["usd"] == pytest.approx(1.5 * plain["chip_hours"], rel=1e-9)
    boards = told(capsys, *RUN, "--batch-tokens", "4M", "--pue", "1")
    assert plain["joules"] == pytest.approx(configs.load_electricity().pue * boards["joules"], rel=1e-9)
    assert plain["pue"] == configs.load_electricity().pue
    backwards = told(capsys, *RUN, "--batch-tokens", "4M", "--reversible")
    assert backwards["memory_bytes"]["activations"] < again["memory_bytes"]["activations"]
    split = told(capsys, *RUN, "--batch-tokens", "4M", "--tp", "8", "--pp", "2")
    assert (split["layout"]["tp"], split["layout"]["pp"], split["layout"]["dp"]) == (8, 2, 4)
    assert split["tokens_per_s"] <= plain["tokens_per_s"]


def test_a_price_without_a_provider_is_told_by_its_source(capsys):
    own = [str(Path(__file__).parent / "blackboard" / "chip.toml") if word == "h100-sxm" else word for word in RUN]
    answer = told(capsys, *own, "--batch-tokens", "4M")
    assert answer["price_basis"].startswith("on-demand, the same: two dollars")


def test_experts_that_are_not_balanced_are_slower(capsys):
    run = ["train", "--model", "qwen3-30b-a3b", "--chip", "h100-sxm", "--chips", "64", "--tokens", "1T"]
    even, loaded = told(capsys, *run), told(capsys, *run, "--expert-load", "1.5")
    assert loaded["tokens_per_s"] < even["tokens_per_s"]
    assert any("balanced" in line for line in even["warnings"])
    assert not any("balanced" in line for line in loaded["warnings"])


def test_a_scenario_file_holds_the_flags(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text('model = "llama-3.1-8b"\nchip = "h100-sxm"\nchips = 64\ntokens = 1e12\nbatch_tokens = 4194304\n')
    assert told(capsys, "train", "--scenario", str(path))["chips"] == 64
    assert told(capsys, "train", "--scenario", str(path), "--chips", "32")["chips"] == 32
    assert told(capsys, "train", "--scenario", str(path), "--days", "20")["days"] <= 20
    path.write_text('modle = "llama-3.1-8b"\n')
    assert main(["train", "--scenario", str(path)]) == 2
    assert "modle" in capsys.readouterr().err


@pytest.mark.parametrize("chip", ["mi300x", "tpu-v5e", "a100-sxm", "trainium2", "gaudi3", "rtx-4090"])
def test_any_chip_is_answered_with_its_doubts(chip, capsys):
    answer = told(capsys, "train", "--params", "2B", "--chip", chip, "--chips", "64", "--tokens", "1T")
    assert 0.05 < answer["mfu"] < 0.9
    assert answer["warnings"]
    vendor = configs.load_chip(chip).vendor
    if vendor not in ("NVIDIA", "Google"):
        assert any(vendor in line and "stands in" in line for line in answer["warnings"])


def test_the_terminal_says_it_first(capsys):
    assert main([*RUN, "--batch-tokens", "4M"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Llama 3.1 8B on 1 T tokens in bf16: ")
    assert max(map(len, out.splitlines())) <= 80
    for word in ("MFU", "One step", "Memory of the fullest chip", "Layouts", "Failures:", "How far to trust it:"):
        assert word in out


def test_no_number_is_missing_or_endless(capsys):
    def check(value):
        if isinstance(value, dict):
            return all(map(check, value.values()))
        if isinstance(value, list):
            return all(map(check, value))
        return not isinstance(value, float) or math.isfinite(value)

    assert check(told(capsys, *RUN))
