"""A valid question without a plan exits with 3 and says what binds, by how much, and what would be feasible."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import configs
from planner.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
FLOOR = configs.load_law("epoch-2024").coefficients["E"]
ASK = ["optimize", "--lifetime-tokens", "1e15"]
LOOSE = ["--tpot-ms", "1e8", "--ttft-ms", "1e9"]
RELAX = 1e-6


def judge(params: str, chip: str = "h100-sxm", chips: str = "1") -> list[str]:
    return ["evaluate", "--lifetime-tokens", "1e15", "--params", params, "--chip", chip, "--chips-per-replica", chips]


# The question, the status, the limit that binds, and the remedy that the sentence names.
CASES: dict[str, tuple[list[str], str, str, str]] = {
    "loss below the floor": (
        [*ASK, "--target-loss", "1.5", "--objective", "flops"],
        "target-loss-unreachable",
        "target_loss",
        "raise --target-loss",
    ),
    "loss below the floor, served": (
        [*ASK, "--target-loss", "1.5"],
        "target-loss-unreachable",
        "target_loss",
        "raise --target-loss",
    ),
    "loss just above the floor, tight limits": (
        [*ASK, "--target-loss", "1.83", "--tpot-ms", "5", "--ttft-ms", "50"],
        "infeasible",
        "tpot",
        "raise --tpot-ms to",
    ),
    "tpot": ([*ASK, "--tpot-ms", "0.5"], "infeasible", "tpot", "raise --tpot-ms to"),
    "tpot of a large model": (
        [*ASK, "--tpot-ms", "2", "--quality-like", "400e9"],
        "infeasible",
        "tpot",
        "raise --tpot-ms to",
    ),
    "tpot on a slow chip": ([*ASK, "--tpot-ms", "5", "--chips", "l4"], "infeasible", "tpot", "raise --tpot-ms to"),
    "tpot on a fast chip": (
        [*ASK, "--tpot-ms", "1", "--chips", "h200-sxm"],
        "infeasible",
        "tpot",
        "raise --tpot-ms to",
    ),
    "ttft": ([*ASK, "--ttft-ms", "1"], "infeasible", "ttft", "raise --ttft-ms to"),
    "ttft of a large model": (
        [*ASK, "--ttft-ms", "5", "--quality-like", "400e9"],
        "infeasible",
        "ttft",
        "raise --ttft-ms to",
    ),
    "both latencies": ([*ASK, "--tpot-ms", "0.5", "--ttft-ms", "1"], "infeasible", "ttft", "raise --ttft-ms to"),
    "memory": (
        [*ASK, "--chips", "l4", "--quality-like", "1e13", "--precision", "bf16", *LOOSE],
        "infeasible",
        "hbm",
        "--chips",
    ),
    "memory and latency": (
        [*ASK, "--chips", "l4", "--quality-like", "1e13", "--precision", "bf16"],
        "infeasible",
        "tpot",
        "raise --tpot-ms to",
    ),
    "memory of a long prompt": (
        [*ASK, "--chips", "l4", "--input-tokens", "1e7", "--precision", "bf16", *LOOSE],
        "infeasible",
        "hbm",
        "--input-tokens",
    ),
    "budget": ([*ASK, "--budget-usd", "1000"], "budget-too-small", "budget_usd", "raise --budget-usd"),
    "budget of little demand": (
        ["optimize", "--lifetime-tokens", "1e12", "--budget-usd", "100"],
        "budget-too-small",
        "budget_usd",
        "raise --budget-usd",
    ),
    "budget with no time": (
        [*ASK, "--budget-usd", "1e7", "--tpot-ms", "0.01"],
        "infeasible",
        "tpot",
        "raise --tpot-ms to",
    ),
    "given: below the law's floor": (judge("8e9"), "below-law-floor", "params", "--params must be above"),
    "given: far below the law's floor": (judge("1e9"), "below-law-floor", "params", "--params must be above"),
    "given: batch too slow": ([*judge("20e9"), "--batch", "5000"], "infeasible", "tpot", "lower --batch to"),
    "given: batch too big": ([*judge("20e9"), "--batch", "5000", *LOOSE], "infeasible", "hbm", "lower --batch to"),
    "given: quality missed": (
        [*judge("20e9"), "--train-tokens", "1e12"],
        "quality-missed",
        "target_loss",
        "raise --train-tokens to",
    ),
    "given: quality out of reach": (
        [*judge("1e9"), "--train-tokens", "1e13"],
        "quality-missed",
        "target_loss",
        "raise --params to",
    ),
    "given: too slow alone": ([*judge("20e9"), "--tpot-ms", "1"], "infeasible", "tpot", "raise --tpot-ms to"),
    "given: too late alone": (
        [*judge("200e9", chips="4"), "--ttft-ms", "5"],
        "infeasible",
        "ttft",
        "raise --ttft-ms to",
    ),
    "given: too big alone": ([*judge("200e9")], "infeasible", "hbm", "--chips"),
    "given: too big alone, loose": ([*judge("200e9"), *LOOSE], "infeasible", "hbm", "--chips"),
    "given: flops": (
        [*judge("20e9"), "--objective", "flops", "--batch", "5000"],
        "infeasible",
        "tpot",
        "lower --batch to",
    ),
}


@pytest.fixture
def ask(capsys) -> Callable[[list[str]], tuple[int, dict[str, Any]]]:
    """Return a function that runs words with --json and returns the exit code and the one strict JSON object."""

    def run(words: list[str]) -> tuple[int, dict[str, Any]]:
        code = main([*words, "--json"])
        said = capsys.readouterr()
        assert said.err == ""
        answer = json.loads(said.out, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
        assert isinstance(answer, dict)
        return code, answer

    return run


def put(words: list[str], flag: str, value: str) -> list[str]:
    """Return ``words`` with ``flag`` set to ``value``."""
    if flag not in words:
        return [*words, flag, value]
    at = words.index(flag)
    return [*words[: at + 1], value, *words[at + 2 :]]


def relaxed(words: list[str], answer: dict[str, Any], folder: Path) -> list[str]:
    """Return ``words`` with every nearest feasible value taken, a millionth further from the limit."""
    for name, value in answer["nearest_feasible"].items():
        if name == "replica_hbm_bytes":  # of the whole replica: no flag, but a chip with more memory
            n_chips, chip = re.search(r"(\d+) x ([\w.-]+) in ", answer["message"]).groups()
            gb = value / int(n_chips) / 1e9 * (1.0 + RELAX)
            text = (ROOT / "configs" / "chips" / f"{chip}.toml").read_text()
            path = folder / f"{chip}.toml"
            text = re.sub(r"(?m)^visible_gb = .*$", "", text)  # hbm_gb counts where it is absent
            if chip in configs.ids("kernels"):  # a file is no shipped chip: on the same kernels all the same
                text = f'kernels_like = "{chip}"\n' + re.sub(r"(?m)^kernels_like = .*$", "", text)
            path.write_text(re.sub(r"(?m)^hbm_gb = .*$", f"hbm_gb = {gb!r}", text))
            words = put(words, "--chip" if "--chip" in words else "--chips", str(path))
        elif name == "batch":
            words = put(words, "--batch", repr(value * (1.0 - RELAX)))
        else:
            flag, scale = (f"--{name[:-2]}-ms", 1e3) if name.endswith("_s") else ("--" + name.replace("_", "-"), 1.0)
            words = put(words, flag, repr(value * scale * (1.0 + RELAX)))
    return words


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_in_json(name, ask):
    words, status, limit, _ = CASES[name]
    code, answer = ask(words)
    assert code == 3
    assert answer["schema"] == f"{words[0]}/1"
    assert answer["status"] == status
    assert answer["limit"] == limit
    assert answer["excess_fraction"] > 0.0
    assert answer["message"]
    assert "\n" not in answer["message"]
    assert answer["nearest_feasible"]
    for key, value in answer["nearest_feasible"].items():
        assert isinstance(value, float), key
        assert math.isfinite(value), key
        assert value > 0.0, key
    assert answer["question"]["lifetime_tokens"] == float(words[2])
    assert answer["warnings"] == [] or all(isinstance(w, str) for w in answer["warnings"])


@pytest.mark.parametrize("name", CASES)
def test_the_nearest_feasible_value_is_feasible(name, ask, tmp_path):
    words = CASES[name][0]
    _, answer = ask(words)
    code, again = ask(relaxed(words, answer, tmp_path))
    assert code == 0, again["message"]
    assert again["status"] in ("converged", "feasible")


@pytest.mark.parametrize("name", CASES)
def test_a_person_is_told_the_remedy(name, capsys):
    words, _, _, remedy = CASES[name]
    assert main(words) == 3
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(("No feasible plan: ", "Not feasible as given: "))
    first = " ".join(said.out.split("\n\n")[0].split())
    assert remedy in first
    assert first.endswith(".")
    assert "nan" not in said.out.lower().split()
    assert "None" not in said.out


# What the sentence says to type; the number is rounded for reading, to the feasible side.
SPOKEN = {
    "tpot": r"raise (--tpot-ms) to ([\d.e+]+\d)",
    "tpot of a large model": r"raise (--tpot-ms) to ([\d.e+]+\d)",
    "tpot on a slow chip": r"raise (--tpot-ms) to ([\d.e+]+\d)",
    "tpot on a fast chip": r"raise (--tpot-ms) to ([\d.e+]+\d)",
    "ttft": r"raise (--ttft-ms) to ([\d.e+]+\d)",
    "ttft of a large model": r"raise (--ttft-ms) to ([\d.e+]+\d)",
    "given: too slow alone": r"raise (--tpot-ms) to ([\d.e+]+\d)",
    "given: too late alone": r"raise (--ttft-ms) to ([\d.e+]+\d)",
    "given: batch too slow": r"lower --(batch) to ([\d.e+]+\d)",
    "given: batch too big": r"lower --(batch) to ([\d.e+]+\d)",
    "given: quality missed": r"raise (--train-tokens) to ([\d.e+]+\d)",
    "budget": r"costs (about) \$([\d,]+)",
}


@pytest.mark.parametrize("name", SPOKEN)
def test_doing_as_the_sentence_says_works(name, ask):
    words = CASES[name][0]
    _, answer = ask(words)
    found = re.search(SPOKEN[name], answer["message"])
    assert found, answer["message"]
    flag = {"batch": "--batch", "about": "--budget-usd"}.get(found.group(1), found.group(1))
    code, again = ask(put(words, flag, found.group(2).replace(",", "")))
    assert code == 0, again["message"]


@pytest.mark.parametrize("margin", [1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 0.1])
@pytest.mark.parametrize(
    "name", ["tpot on a slow chip", "tpot on a fast chip", "ttft", "memory", "tpot of a large model"]
)
def test_a_sliver_of_room_is_found(name, margin, ask, tmp_path, monkeypatch):
    """Just past the nearest feasible value a plan exists, and the solver must find it however little room it has."""
    words = CASES[name][0]
    _, answer = ask(words)
    monkeypatch.setattr(__name__ + ".RELAX", margin)
    code, again = ask(relaxed(words, answer, tmp_path))
    assert code == 0, again["message"]


@pytest.mark.parametrize("name", ["tpot", "ttft", "tpot on a slow chip", "given: too slow alone", "budget"])
def test_short_of_the_nearest_feasible_value_there_is_none(name, ask):
    """The nearest value is near: 6 % short of it (a budget's carries 5 % of room) the question fails the same way."""
    words, _, limit, _ = CASES[name]
    _, answer = ask(words)
    flag, key, scale = {
        "tpot": ("--tpot-ms", "tpot_s", 1e3),
        "ttft": ("--ttft-ms", "ttft_s", 1e3),
        "budget_usd": ("--budget-usd", "budget_usd", 1.0),
    }[limit]
    code, again = ask(put(words, flag, repr(answer["nearest_feasible"][key] * scale * 0.94)))
    assert code == 3
    assert again["limit"] == limit
    assert 0.0 < again["excess_fraction"] < answer["excess_fraction"]


def test_the_excess_is_what_separates_asked_from_nearest(ask):
    _, answer = ask([*ASK, "--tpot-ms", "0.5"])
    assert answer["excess_fraction"] == pytest.approx(answer["nearest_feasible"]["tpot_s"] / 0.5e-3 - 1.0, rel=1e-5)
    _, answer = ask([*ASK, "--target-loss", "1.5"])
    assert answer["excess_fraction"] == pytest.approx(FLOOR / 1.5 - 1.0, rel=1e-12)
    assert answer["nearest_feasible"]["target_loss"] > FLOOR


def test_a_loss_at_the_floor_is_out_of_reach_too(ask):
    code, answer = ask([*ASK, "--target-loss", repr(FLOOR)])
    assert code == 3
    assert answer["status"] == "target-loss-unreachable"
    assert answer["excess_fraction"] >= 0.0


def test_memory_too_small_names_what_is_needed_and_what_there_is(ask):
    _, answer = ask(CASES["memory"][0])
    has = 64 * configs.load_chip("l4").visible_bytes
    assert answer["nearest_feasible"]["replica_hbm_bytes"] == pytest.approx(
        has * (1.0 + answer["excess_fraction"]), rel=1e-9
    )
    assert "64 x l4 in bf16" in answer["message"]
    assert "has 1546 GB" in answer["message"]


def test_every_limit_that_must_move_is_named(ask):
    """Where memory is short as well as time, both are in the nearest feasible values."""
    _, answer = ask(CASES["memory and latency"][0])
    assert {"tpot_s", "replica_hbm_bytes"} <= set(answer["nearest_feasible"])


def test_a_given_plan_that_fails_is_still_costed(ask):
    code, answer = ask([*judge("20e9"), "--batch", "5000"])
    assert code == 3
    assert answer["plan"]["active_params"] == pytest.approx(20e9, rel=1e-12)
    assert answer["plan"]["batch"] == pytest.approx(5000, rel=1e-12)
    assert answer["plan"]["tpot_s"] == pytest.approx(40e-3 * (1.0 + answer["excess_fraction"]), rel=1e-9)
    assert answer["bill"]["total_usd"] > 0.0


def test_no_plan_leaves_its_keys_empty(ask):
    code, answer = ask([*ASK, "--tpot-ms", "0.5"])
    assert code == 3
    for key in ("plan", "bill", "baseline", "saving_fraction", "batch_limit", "certificate", "elasticities"):
        assert answer[key] is None


def test_the_answer_is_saved_even_without_a_plan(ask, tmp_path):
    path = tmp_path / "no-plan.json"
    code, answer = ask([*ASK, "--tpot-ms", "0.5", "--save", str(path)])
    assert code == 3
    assert json.loads(path.read_text()) == answer
