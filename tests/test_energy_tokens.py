"""Joules of tokens by cause, as `estimate` tells them: they add up, batching spreads them, and a meter prices them."""

import json
from itertools import pairwise

import jax
import numpy as np
import pytest

import configs
from planner.cli.main import main
from planner.estimate.energy import CAUSES, energy
from planner.estimate.point import evaluate
from planner.estimate.question import Question
from planner.report.units import grams_of
from planner.serving.curve import curve

ASK = ["--model", "llama-3.1-8b", "--chip", "h100-sxm"]
MOVED = ("hbm", "hbm_overhead", "sram")  # from memory into the units
# Dense, experts in a pipeline, speculation, a cache, more chips than a domain holds, hardly any load.
LOADS = {
    "saturated": ASK,
    "one sequence": [*ASK, "--batch", "1"],
    "split": [*ASK, "--chips", "8", "--tp", "4", "--pp", "2", "--batch", "64"],
    "fewer sequences than stages": [*ASK, "--pp", "4", "--batch", "2"],
    "experts": ["--model", "qwen3-30b-a3b", "--chip", "b200-sxm", "--tp", "2", "--ep", "2", "--batch", "100"],
    "speculation": [*ASK, "--batch", "8", "--draft-tokens", "3", "--accept-tokens", "2.2"],
    "cached": [*ASK, "--input-tokens", "4k", "--cached-tokens", "3k", "--batch", "16"],
    "two servers": ["--model", "llama-3.1-405b", "--chip", "h100-sxm", "--tp", "16", "--batch", "32"],
    "a rate": [*ASK, "--request-rate", "2"],
    "hardly any rate": [*ASK, "--request-rate", "0.001"],
    "hardly any rate, in stages": [*ASK, "--pp", "2", "--request-rate", "0.001"],
    "one token in, one out": [*ASK, "--input-tokens", "1", "--output-tokens", "1"],
}


@pytest.fixture
def ask(capsys):
    """Return a function that runs estimate with --json and returns its object."""

    def call(words):
        assert main(["estimate", *words, "--json"]) == 0, words
        return json.loads(capsys.readouterr().out)

    return call


def total(parts):
    return sum(parts.values())


# They add up


@pytest.mark.parametrize("name", LOADS)
def test_parts_of_tokens_requests_and_watts_add_up(name, ask):
    answer = ask(LOADS[name])
    told, lengths = answer["energy"], answer["requests"]
    for kind in ("input", "output"):
        parts = told["joules_per_token"][kind]
        assert set(parts) == set(CAUSES)
        assert all(value >= 0.0 for value in parts.values())
        assert total(parts) == pytest.approx(answer["joules_per_token"][kind], rel=1e-12)
    new = max(lengths["input_tokens"] - lengths["cached_tokens"], 1.0)
    request = (
        new * answer["joules_per_token"]["input"] + lengths["output_tokens"] * answer["joules_per_token"]["output"]
    )
    assert told["joules_per_request"] == pytest.approx(request, rel=1e-9)
    drawn = request * answer["requests_per_s"] / answer["chip"]["chips"]
    assert told["watts_per_chip"] == pytest.approx(drawn, rel=1e-9)
    assert told["idle_watts_per_chip"] < told["watts_per_chip"] * (1.0 + 1e-9)
    assert 0.0 < told["board_power_fraction"] < 1.3


def asked(flags):
    """Return a question of flags that all take values."""
    given = {k.removeprefix("--").replace("-", "_"): v for k, v in zip(flags[::2], flags[1::2], strict=True)}
    return Question.of({k: v if k in ("model", "chip") else float(v.replace("k", "e3")) for k, v in given.items()})


@pytest.mark.parametrize("name", ["split", "speculation", "cached", "two servers"])
def test_watts_are_those_of_the_passes(name):
    """Not by way of tokens: joules of the mean pass, of which each stage has one under way."""
    question = asked(LOADS[name])
    point = evaluate(question, question.splits[0], question.amount)
    share = float(point.told["share"][0])
    joules = sum(
        weight * sum(float(values[0]) for values in point.told[kind]["joules"].values())
        for weight, kind in ((1.0 - share, "plain"), (share, "mixed"))
    )
    watts = energy(question, point, point, None)["watts_per_chip"] * point.split.chips
    assert watts == pytest.approx(joules * point.split.pp / point.at("step_s"), rel=1e-9)


def test_an_idle_replica_draws_its_idle_power_and_no_more(ask):
    for name in ("hardly any rate", "hardly any rate, in stages"):
        told = ask(LOADS[name])["energy"]
        assert told["idle_watts_per_chip"] == pytest.approx(0.165 * 700.0)
        assert told["watts_per_chip"] == pytest.approx(told["idle_watts_per_chip"], rel=0.02)
        assert told["joules_per_token"]["output"]["idle"] > 0.9 * total(told["joules_per_token"]["output"])
    # Twice the rate is twice the work, and half the idling per token.
    twice = ask([*ASK, "--request-rate", "0.002"])["energy"]["joules_per_token"]["output"]
    once = ask(LOADS["hardly any rate"])["energy"]["joules_per_token"]["output"]
    assert twice["idle"] == pytest.approx(once["idle"] / 2.0, rel=0.02)
    assert {k: v for k, v in twice.items() if k != "idle"} == pytest.approx(
        {k: v for k, v in once.items() if k != "idle"}
    )


def test_nothing_idles_where_every_stage_has_a_sequence(ask):
    for name in ("saturated", "one sequence", "split", "a rate"):
        assert ask(LOADS[name])["energy"]["joules_per_token"]["output"]["idle"] == 0.0
    # Two sequences on four stages: half of the time.
    told = ask(LOADS["fewer sequences than stages"])["energy"]["joules_per_token"]["output"]
    assert told["idle"] == pytest.approx(told["static"] * 0.165 / 0.265, rel=0.05)


# Data movement against arithmetic, and how batching amortises it


def test_reading_memory_takes_most_for_one_sequence_and_batching_spreads_it(ask):
    short = [*ASK, "--input-tokens", "128", "--output-tokens", "128"]
    alone, many = ask([*short, "--batch", "1"])["energy"], ask(short)["energy"]
    few, most = alone["joules_per_token"]["output"], many["joules_per_token"]["output"]

    def moved(parts):
        return sum(parts[cause] for cause in MOVED)

    # One sequence: a byte of weights per two FLOPs; 8 GB at 37 + 83 + 8 pJ, hundreds of times their multiplication.
    assert moved(few) == pytest.approx(8.0e9 * 128e-12, rel=0.1)
    assert moved(few) > 500.0 * few["arithmetic"]
    assert 0.45 < moved(few) / total(few) < 0.6
    # Many read the weights together: a hundredth of that each, arithmetic as before, and a smaller share.
    assert moved(most) < moved(few) / 100.0
    assert most["arithmetic"] == pytest.approx(few["arithmetic"], rel=0.01)
    assert moved(most) / total(most) < 0.75 * moved(few) / total(few)
    assert total(most) < total(few) / 50.0
    # What no batch spreads is a sequence's own cache: in long contexts memory keeps its share.
    long = ask(LOADS["saturated"])["energy"]["joules_per_token"]["output"]
    assert long["hbm"] > 1536.0 * 65536.0 * 37e-12 > 2.0 * most["hbm"]
    assert moved(long) / total(long) > 0.45


@pytest.mark.parametrize("name", ["saturated", "split", "experts", "two servers"])
def test_every_cause_falls_with_the_batch_or_stays(name, ask):
    answer = ask(LOADS[name])
    rows = answer["energy"]["amortisation"]
    batches = [row["batch"] for row in rows]
    assert batches[0] == 1.0
    assert batches[-1] == answer["max_batch"]
    assert all(1.0 < more / less <= 2.0 for less, more in pairwise(batches))
    for less, more in pairwise(rows):
        assert total(more["joules_per_token"]) < total(less["joules_per_token"]) * 1.03  # tiles
        for cause, jumps in {"hbm": 1.0, "hbm_overhead": 1.0, "sram": 1.0, "static": 1.1}.items():
            assert more["joules_per_token"][cause] <= less["joules_per_token"][cause] * jumps * 1.001, cause
    if answer["load"] == "saturated":
        assert rows[-1]["joules_per_token"] == pytest.approx(answer["energy"]["joules_per_token"]["output"])


def test_what_leaves_a_server_is_told_apart(ask):
    inside = ask([*ASK, "--tp", "8", "--batch", "32"])["energy"]["joules_per_token"]["output"]
    assert inside["link"] > 0.0
    assert inside["scale_out"] == 0.0
    across = ask(LOADS["two servers"])["energy"]["joules_per_token"]["output"]
    assert across["scale_out"] > across["link"] > 0.0
    alone = ask(LOADS["saturated"])["energy"]["joules_per_token"]["output"]
    assert alone["link"] == alone["scale_out"] == 0.0


def test_narrow_formats_take_less(ask):
    wide, narrow = (
        ask([*ASK, "--batch", "64", "--precision", p])["energy"]["joules_per_token"] for p in ("bf16", "fp8")
    )
    for kind in ("input", "output"):
        assert narrow[kind]["arithmetic"] < 0.6 * wide[kind]["arithmetic"]
        assert total(narrow[kind]) < total(wide[kind])


# Slopes


def test_slopes_by_constants_agree_with_differences():
    question = asked([*ASK, "--batch", "16"])
    layout = {k: float(v) for k, v in question.splits[0]._asdict().items()}
    given = question.numbers() | {"layout": layout, "batches": 16.0}

    def per_token(constants):
        told = curve({**given, "energy": {**given["energy"], "constants": constants}})
        return sum(values[0] for values in told["plain"]["joules"].values()) / 16.0

    with jax.enable_x64(True):
        constants = jax.tree.map(np.float64, given["energy"]["constants"])
        slopes = jax.jit(jax.grad(per_token))(constants)
        value = jax.jit(per_token)
        middle = float(value(constants))
        for name in ("joules_per_hbm_byte", "overhead_joules_per_hbm_byte", "joules_per_sram_byte", "idle_fraction"):
            up, down = (float(value({**constants, name: constants[name] * f})) for f in (1.01, 0.99))
            assert float(slopes[name]) == pytest.approx((up - down) / (0.02 * constants[name]), rel=1e-6), name
        # All but time is a sum of constants times amounts, and so is time.
        whole = jax.tree.leaves(jax.tree.map(lambda s, c: s * c, slopes, constants))
        assert sum(map(float, whole)) == pytest.approx(middle, rel=1e-9)
    assert float(slopes["joules_per_hbm_byte"]) == pytest.approx(8.0e9 / 16.0 + 131072.0 / 2.0 * 1536.0, rel=0.1)


# Dollars and grams


def test_dollars_and_grams_follow_the_meter(ask):
    plain = ask([*ASK, "--batch", "64"])["energy"]
    assert plain["grams_co2_per_mtok"] is None
    assert plain["grams_co2_per_request"] is None
    facts = configs.load_electricity()
    assert (plain["pue"], plain["server_ratio"], plain["usd_per_kwh"]) == (
        facts.pue,
        facts.server_ratio,
        facts.usd_per_kwh,
    )
    meter = facts.pue * facts.server_ratio * facts.usd_per_kwh / 3.6e6
    for kind in ("input", "output"):
        joules = total(plain["joules_per_token"][kind])
        assert plain["usd_per_mtok"][kind] == pytest.approx(1e6 * joules * meter, rel=1e-9)
    assert plain["usd_per_request"] == pytest.approx(plain["joules_per_request"] * meter, rel=1e-9)
    assert plain["idle_usd_per_chip_hour"] == pytest.approx(3600.0 * plain["idle_watts_per_chip"] * meter, rel=1e-9)
    assert all("given" not in plain["basis"][name] for name in ("pue", "server_ratio", "usd_per_kwh"))
    flags = ["--pue", "1.3", "--server-ratio", "1", "--usd-per-kwh", "0.2", "--co2-g-per-kwh", "400"]
    own = ask([*ASK, "--batch", "64", *flags])["energy"]
    assert own["joules_per_token"] == plain["joules_per_token"]
    assert own["usd_per_request"] == pytest.approx(own["joules_per_request"] * 1.3 * 0.2 / 3.6e6, rel=1e-9)
    assert own["grams_co2_per_request"] == pytest.approx(own["joules_per_request"] * 1.3 * 400 / 3.6e6, rel=1e-9)
    assert all(own["basis"][name] == "given" for name in ("pue", "server_ratio", "usd_per_kwh", "co2_g_per_kwh"))
    double = ask([*ASK, "--batch", "64", *flags[:-1], "800"])["energy"]
    assert double["grams_co2_per_request"] == pytest.approx(2.0 * own["grams_co2_per_request"], rel=1e-12)
    for kind in ("input", "output"):
        assert double["grams_co2_per_mtok"][kind] == pytest.approx(2.0 * own["grams_co2_per_mtok"][kind], rel=1e-12)
    free = ask([*ASK, "--batch", "64", "--usd-per-kwh", "0", "--co2-g-per-kwh", "0"])["energy"]
    assert free["usd_per_request"] == free["grams_co2_per_request"] == 0.0


def test_a_grid_is_an_intensity(ask):
    told = ask([*ASK, "--batch", "64", "--grid", "france"])["energy"]
    assert told["co2_g_per_kwh"] == 44.0
    assert "Ember" in told["basis"]["co2_g_per_kwh"]
    given = ask([*ASK, "--batch", "64", "--co2-g-per-kwh", "44"])["energy"]
    assert told["grams_co2_per_mtok"] == given["grams_co2_per_mtok"]


def test_electricity_is_a_small_share_of_the_rent(ask):
    told = ask(ASK)
    assert told["energy"]["price_fraction"] == pytest.approx(
        told["energy"]["usd_per_request"] / told["usd_per_request"]
    )
    assert 0.005 < told["energy"]["price_fraction"] < 0.05
    assert ask(["--model", "llama-3.1-8b", "--chip", "m3-max"])["energy"]["price_fraction"] is None


def test_facts_of_electricity_lie_between_their_bounds():
    tables = configs.load_electricity().tables
    for name, key in (("pue", "ratio"), ("server", "ratio"), ("price", "usd_per_kwh")):
        assert tables[name][f"low_{key}"] < tables[name][key] < tables[name][f"high_{key}"]
        assert tables[name]["source"]
        assert tables[name]["date"]
    grids = configs.load_electricity().co2_g_per_kwh
    assert grids["sweden"] < grids["france"] < grids["eu"] < grids["united-states"] < grids["world"] < grids["india"]


# What is said


def test_a_board_that_is_asked_for_more_than_it_draws_is_told_of(ask):
    # H100 NVL: more bandwidth than the H100 SXM, and 400 W.
    said = ask([*ASK[:2], "--chip", "h100-nvl", "--batch", "64", "--precision", "bf16"])
    assert any("more than 400 W" in line and "slow down" in line for line in said["warnings"])
    assert said["energy"]["board_power_fraction"] > 1.0
    assert not any("slow down" in line for line in ask([*ASK, "--batch", "32"])["warnings"])
    assert any("never measured" in line for line in ask([*ASK[:2], "--chip", "tpu-v6e"])["warnings"])


@pytest.mark.parametrize("name", LOADS)
def test_the_table_reads_well_at_80_columns(name, capsys):
    assert main(["estimate", *LOADS[name], "--grid", "world"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    start = lines.index(next(line for line in lines if line.startswith("Energy per token")))
    section = lines[start : lines.index("", start)]
    assert any(line.startswith("in all") for line in section)
    assert any(line.startswith("CO2, per M tokens") for line in section)
    assert "Power: " in out
    assert "hosts and memory" in out
    assert not any(bad in "\n".join(section) for bad in ("nan", "inf ", "None", "e-0", "e+0"))


@pytest.mark.parametrize(("grams", "said"), [(48.7, "48.7 g"), (0.0688, "68.8 mg"), (1340.0, "1.34 kg"), (0.0, "0 mg")])
def test_grams_are_said_as_people_do(grams, said):
    assert grams_of(grams) == said


def test_electricity_is_listed(capsys):
    assert main(["list", "electricity", "--json"]) == 0
    items = {row["id"]: row for row in json.loads(capsys.readouterr().out)["items"]}
    assert items["pue"]["value"] == configs.load_electricity().pue
    assert items["germany"]["unit"] == "g CO2 per kWh"
    assert all(row["source"] for row in items.values())
