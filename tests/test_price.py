"""The price card that costs imply: its lines add up, its caches keep where it is cheapest, and it reads as a card."""

import json
import re
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from planner.cli.main import main
from planner.estimate.answer import estimate
from planner.estimate.question import Question
from planner.frontier.tiers import Asked as Tiers
from planner.price.answer import Asked, price
from planner.price.cache import Keeping, cheapest, keepings, reigns
from planner.price.lines import CAUSES, KINDS
from planner.price.market import RATIOS, market, ratios

TIERS = Tiers(fast_speedup=2.5, peak_to_mean=1.226, fast_share=0.1, batch_share=None)
STORAGE = ("ddr5", "nvme", "disk")
SMALL = {"model": "llama-3.1-8b", "chip": "h100-sxm", "chips": 2.0, "input_tokens": 2000.0, "output_tokens": 500.0}
ASK = ["price", "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--chips", "2"]
ALONE = ASK[:-2]


@cache
def card(margin=0.0, steps=(32e3, 128e3), storage=STORAGE, **changed):
    return price(Question.of({**SMALL, **changed}), Asked(TIERS, margin, steps, storage), True)


def line(answer, name):
    return next(row for row in answer["lines"] if row["name"] == name)


@pytest.mark.parametrize("margin", [0.0, 0.5, 0.9])
def test_lines_add_up(margin):
    answer = card(margin)
    assert [row["name"] for row in answer["lines"]] == list(KINDS)
    for row in answer["lines"]:
        assert set(row["parts_usd_per_mtok"]) == set(CAUSES)
        assert all(part >= 0.0 for part in row["parts_usd_per_mtok"].values())
        assert sum(row["parts_usd_per_mtok"].values()) == pytest.approx(row["cost_usd_per_mtok"])
        assert row["cost_usd_per_mtok"] + row["margin_usd_per_mtok"] == pytest.approx(row["usd_per_mtok"])
        assert row["margin_usd_per_mtok"] == pytest.approx(margin * row["usd_per_mtok"])
        assert answer["usd_per_mtok"][row["name"]] == row["usd_per_mtok"]


@pytest.mark.parametrize("cached", [0.0, 1500.0])
def test_a_request_pays_for_its_share_of_the_fleet(cached):
    answer = card(steps=(), cached_tokens=cached)
    replica = {k: float(answer["replica"][k]) for k in ("tp", "pp", "dp", "ep", "batch")}
    told = estimate(Question.of({**SMALL, "cached_tokens": cached, **replica}))
    fetched = line(answer, "cached_input")["parts_usd_per_mtok"]["storage"]
    cost = {row["name"]: row["cost_usd_per_mtok"] for row in answer["lines"]}
    paid = (2000.0 - cached) * cost["input"] + cached * (cost["cached_input"] - fetched) + 500.0 * cost["output"]
    chip_seconds = 2.0 / told["requests_per_s"]
    rent = configs.load_chip("h100-sxm").usd_per_hour / 3600.0
    assert paid / 1e6 == pytest.approx(1.226 * rent * chip_seconds, rel=1e-9)


def test_idle_time_is_what_the_peak_adds():
    for name in ("input", "output"):
        parts = line(card(), name)["parts_usd_per_mtok"]
        busy = sum(value for cause, value in parts.items() if cause not in ("idle", "storage"))
        assert parts["idle"] == pytest.approx(0.226 * busy)


def test_longer_contexts_cost_more_each():
    steps = card()["context_steps"]
    assert [row["min_context_tokens"] for row in steps] == [0.0, 32e3, 128e3]
    assert [row["max_context_tokens"] for row in steps] == [32e3, 128e3, None]
    for name in ("input", "output", "cached_input"):
        prices = [row["usd_per_mtok"][name] for row in steps]
        assert prices == sorted(prices), name
    assert card(steps=())["context_steps"] == []


def test_tiers_are_dearer_the_faster():
    fast, standard, batch = card()["tiers"]
    assert fast["speedup"] > 1.0 > batch["speedup"]
    assert fast["price_multiple"] > 1.0 > batch["price_multiple"]
    assert standard["usd_per_mtok"] == card()["usd_per_mtok"]


def test_a_million_tokens_kept_cost_what_the_blackboard_says():
    question = Question.of(SMALL)
    kv = 2.0 * configs.kv_elements_per_token(question.model) / 2.0  # fp8
    ways = {way.tier: way for way in keepings(question, 1e-6, STORAGE)}
    chip, disk = question.chip, configs.load_storage("disk")
    assert ways["hbm"].retrieve_usd == 0.0
    assert ways["hbm"].hold_usd_per_s == pytest.approx(kv / chip.hbm_bytes * chip.usd_per_hour / 3600.0)
    assert ways["compute"].hold_usd_per_s == 0.0
    assert ways["disk"].retrieve_usd == pytest.approx(kv / disk.bytes_per_s * disk.usd_per_hour / 3600.0)
    for way in ways.values():
        if way.drain_s is not None and way.retrieve_usd > 0.0:
            # For as long as reading it all takes, holding costs as much as fetching.
            assert way.drain_s * way.hold_usd_per_s == pytest.approx(way.retrieve_usd)


_usd = st.floats(1e-12, 1e-3)


@given(st.lists(st.tuples(_usd, _usd), min_size=1, max_size=6, unique=True))
def test_who_keeps_cheapest_when(costs):
    ways = [Keeping(f"{i}", "", fetch, hold, 0.0, None) for i, (fetch, hold) in enumerate(costs)]
    spans = reigns(ways)
    assert spans[0][1] == 0.0
    assert spans[-1][2] == float("inf")
    assert all(a[2] == b[1] for a, b in pairwise(spans))
    for way, start, end in spans:
        for t in (start, 0.5 * (start + min(end, 2.0 * start + 1.0))):
            assert way.usd(t) <= cheapest(ways, t).usd(t) * (1.0 + 1e-9)


def test_what_is_saved_reads_as_the_card(tmp_path, capsys):
    file = tmp_path / "card.json"
    assert main([*ASK, "--context-steps", "32k", "--margin", "0.3", "--json", "--save", str(file)]) == 0
    answer, read = json.loads(capsys.readouterr().out), configs.load_card(str(file))
    prices = {(row.tier, row.min_context_tokens): row for row in read.prices}
    for kind in KINDS:
        assert getattr(prices["standard", 0.0], kind) == answer["usd_per_mtok"][kind]
        assert getattr(prices["standard", 32e3], kind) == answer["context_steps"][1]["usd_per_mtok"][kind]
        assert getattr(prices["fast", 0.0], kind) == answer["tiers"][0]["usd_per_mtok"][kind]
    assert read.output_tokens_per_s["standard"] == answer["tokens_per_s_per_user"]
    own, told = ratios(read), answer["ratios"]
    for name in RATIOS:
        assert own[name] == pytest.approx(told[name]), name


def test_public_cards_are_the_yardstick():
    found = market()
    assert set(found) == set(RATIOS)
    assert all(row["low"] <= row["median"] <= row["high"] and row["cards"] >= 6 for row in found.values())
    assert found["cached_to_input"]["median"] == pytest.approx(0.1)
    assert found["batch_to_standard"]["median"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--margin", "1"], "--margin = 1 is outside 0 to 0.99"),
        (["--margin", "-0.1"], "outside 0 to 0.99"),
        (["--margin", "nan"], "is not a number"),
        (["--margin", "inf"], "is not a number"),
        (["--margin", "30%"], "is not a number"),
        (["--margin", ""], "is not a number"),
        (["--context-steps", "200k,100k"], "must rise from one to the next"),
        (["--context-steps", "none,5k"], "--context-steps = 'none' must be"),
        (["--context-steps", ""], "--context-steps is empty"),
        (["--context-steps", "200"], "must be 1000 to 1e+08 tokens"),
        (["--context-steps", "2k"], "must be above the 2,048 tokens"),
        (["--context-steps", "inf"], "must be 1000 to 1e+08 tokens"),
        (["--context-steps", "nan"], "--context-steps = 'nan' must be"),
        (["--context-steps", "5k,,9k"], "--context-steps = '' must be"),
        (["--context-steps", "5k,5k"], "must rise from one to the next"),
        (["--context-steps", "1e9"], "must be 1000 to 1e+08 tokens"),
        (["--storage", "floppy"], "unknown storage 'floppy'"),
        (["--storage", "ddr5,"], "unknown storage ''"),
        (["--storage", "nvme,nvme"], "names nvme twice"),
        (["--storage", ""], "--storage is empty"),
        (["--storage", "none,ddr5"], "unknown storage 'none'"),
        (["--storage", "no/such.toml"], "no such file"),
        (["--peak-to-mean", "0.5"], "outside 1 to 1000"),
        (["--fast-speed", "2"], "did you mean '--fast-speedup'"),
        (["--batch", "8"], "belongs to"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_bad_flags_are_refused_in_one_sentence(flags, said, capsys):
    assert main([*ASK, *flags]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_a_chip_without_a_price_needs_one(capsys):
    chip = next(name for name in configs.ids("chips") if configs.load_chip(name).usd_per_hour is None)
    assert main(["price", "--model", "llama-3.1-8b", "--chip", chip]) == 2
    assert "--chip-usd-per-hour is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "limit"), [(["--tpot-ms", "0.01"], "tpot"), (["--ttft-ms", "0.01"], "ttft")], ids=["tpot", "ttft"]
)
def test_what_cannot_be_kept_is_said_with_what_would_do(flags, limit, capsys):
    assert main([*ASK, *flags, "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert (answer["status"], answer["binding_limit"]) == ("infeasible", limit)
    would = answer["nearest_feasible"][f"{limit}_ms"]
    assert main([*ASK, f"--{limit}-ms", f"{would}", "--json"]) == 0


def test_the_terminal_shows_a_card(capsys):
    assert main([*ASK, "--margin", "0.25"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert "of which 25 % is margin" in " ".join(out.split())
    for words in ("Per million tokens", "Tiers", "Long contexts", "cheapest when held", "Beside public cards"):
        assert words in out
    assert np.isfinite(float(out.split("Llama 3.1 8B")[1].split("$")[1].split()[0]))


ODD = {
    "one token in, one out": ["--input-tokens", "1", "--output-tokens", "1"],
    "prompts that fit once": ["--input-tokens", "1e6", "--output-tokens", "100"],
    "answers that fit once": ["--input-tokens", "1", "--output-tokens", "1e6"],
    "all but one token cached": ["--input-tokens", "8k", "--cached-tokens", "7999"],
    "one token cached": ["--input-tokens", "8k", "--cached-tokens", "1"],
    "speculation": ["--draft-tokens", "3", "--accept-tokens", "2.2"],
    "prompts apart": ["--disaggregated"],
    "a pipeline": ["--chips", "2", "--pp", "2"],
    "four bits": ["--precision", "int4"],
    "a first token soon": ["--ttft-ms", "60"],
    "no storage, no steps": ["--storage", "none", "--context-steps", "none"],
    "hardly a price": ["--chip-usd-per-hour", "0.001"],
}


def numbers(tree):
    """Every number in ``tree``."""
    if isinstance(tree, dict | list):
        for sub in tree.values() if isinstance(tree, dict) else tree:
            yield from numbers(sub)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield tree


@pytest.mark.parametrize("name", ODD)
def test_odd_questions_have_finite_prices_that_do_not_fall_where_they_must_rise(name, capsys):
    assert main([*ALONE, *ODD[name], "--json"]) == 0
    answer = json.loads(capsys.readouterr().out, parse_constant=lambda c: pytest.fail(f"{c} in the JSON"))
    assert all(value >= 0.0 for value in numbers(answer))
    usd = answer["usd_per_mtok"]
    assert 0.0 < usd["cached_input"] <= usd["input"] <= usd["cache_write_5m"] <= usd["cache_write_1h"]
    fast, standard, batch = (row["usd_per_mtok"]["output"] for row in answer["tiers"])
    assert fast >= standard == usd["output"] >= batch
    steps = answer["context_steps"]
    assert all(a["context_tokens"] < b["context_tokens"] for a, b in pairwise(steps))
    assert all(a["usd_per_mtok"]["output"] < b["usd_per_mtok"]["output"] for a, b in pairwise(steps))
    spans = [(row["cheapest_from_s"], row["cheapest_to_s"]) for row in answer["cache_tiers"]]
    spans = sorted(span for span in spans if span[0] is not None)
    assert [0.0, *(end for _, end in spans)] == [*(start for start, _ in spans), None]


SHOWN = {
    "experts": ["price", "--model", "qwen3-30b-a3b", "--chip", "h100-sxm", "--margin", "0.123456"],
    "a tiny model": ["price", "--params", "1M", "--chip", "l4", "--margin", "0.5"],
    "dear, all steps": [
        *ALONE,
        "--chip-usd-per-hour",
        "999",
        "--margin",
        "0.99",
        "--context-steps",
        "4k,16k,64k,1M,100M",
    ],
}


@pytest.mark.parametrize("name", SHOWN)
def test_no_cell_is_cut_or_wrapped_at_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(SHOWN[name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in text for text in lines)
    # As many rows as there are, each with as many cells as the header.
    rows = {text.split("  ")[0]: re.split(r"\s{2,}", text.strip()) for text in lines}
    for first in ("input", "cached input", "write, 5 min", "write, 1 h", "output"):
        assert len(rows[first]) == len(rows["input"])
    for first in ("fast", "standard", "batch"):
        assert len(rows[first]) == 8, rows[first]
