"""What the commands print, save and return when all is well."""

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import configs
from planner.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
ASK = ["optimize", "--lifetime-tokens", "1e15"]
JUDGE = ["evaluate", "--lifetime-tokens", "1e15", "--params", "20e9", "--chip", "h100-sxm", "--chips-per-replica", "1"]
KINDS = (
    "chips", "laws", "models", "workloads", "prices", "scenarios", "engines", "batch-laws", "failures", "cards",
    "storage", "offers", "electricity",
)  # fmt: skip

# The contract's flags and keys.
SHARED = ["lifetime-tokens", "quality-like", "target-loss", "law", "objective", "input-tokens", "output-tokens",
          "tpot-ms", "ttft-ms", "precision", "max-sparsity", "json", "scenario", "save", "help"]  # fmt: skip
FLAGS = {
    "optimize": [*SHARED, "budget-usd", "chips"],
    "evaluate": [*SHARED, "params", "chip", "chips-per-replica", "batch", "train-tokens"],
    "list": ["json", "save", "help"],
}
KEYS = {
    "": {"schema", "status", "message", "plan", "bill", "baseline", "saving_fraction", "batch_limit", "certificate",
         "elasticities", "warnings"},
    "plan": {"active_params", "total_params", "train_tokens", "tokens_per_param", "loss_nats", "chip",
             "chips_per_replica", "precision", "batch", "tpot_s", "ttft_s", "step_s"},
    "bill": {"training_usd", "prefill_usd", "decode_usd", "total_usd", "training_flops", "inference_flops",
             "total_flops"},
    "baseline": {"active_params", "train_tokens", "total_usd", "total_flops"},
    "certificate": {"gradient_norm", "convex", "feasibility"},
}  # fmt: skip
IDS = {
    "chips": {"a100-sxm", "a100-sxm-40gb", "a100-pcie", "h100-sxm", "h100-pcie", "h100-nvl", "gh200", "h20", "h800",
              "h200-sxm", "b200-sxm", "b300-sxm", "gb200", "gb300", "l4", "l40s", "a40", "v100-sxm", "rtx-pro-6000",
              "rtx-4090", "rtx-3090", "b60", "mi300x", "mi325x", "mi355x", "gaudi2", "gaudi3", "trainium1",
              "trainium2", "inferentia2", "ascend-910b", "m3-max", "tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e",
              "tpu-v7"},
    "laws": {"epoch-2024", "besiroglu-2024", "hoffmann-2022", "hoffmann-2022-rounded", "sardana-2024-code"},
}  # fmt: skip

Ask = Callable[[list[str]], dict[str, Any]]


@pytest.fixture
def say(capsys) -> Callable[[list[str]], str]:
    """Return a function that runs words, which must succeed in silence on stderr, and returns stdout."""

    def run(words: list[str]) -> str:
        try:
            code = main(words)
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        assert code == 0, said
        assert said.err == ""
        return said.out

    return run


@pytest.fixture
def ask(say) -> Ask:
    """Return a function that runs words with --json and returns the one strict JSON object."""
    return lambda words: json.loads(say([*words, "--json"]), parse_constant=lambda c: pytest.fail(f"{c} in the JSON"))


def numbers(tree: Any, path: str = "") -> dict[str, float]:
    """Return every number in ``tree`` by dotted key."""
    if isinstance(tree, dict):
        return {k: v for key, sub in tree.items() for k, v in numbers(sub, f"{path}.{key}").items()}
    if isinstance(tree, list):
        return {k: v for i, sub in enumerate(tree) for k, v in numbers(sub, f"{path}.{i}").items()}
    return {path: tree} if isinstance(tree, int | float) and not isinstance(tree, bool) else {}


def run(*words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "planner", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, **how
    )


# Help


@pytest.mark.parametrize("command", FLAGS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_flag(command, flag, say):
    text = say([command, flag])
    said = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", text))
    assert set(FLAGS[command]) <= said
    assert re.match(rf"usage: (llm-)?planner {command}\b", text)


@pytest.mark.parametrize("command", ["optimize", "evaluate"])
def test_help_has_examples_that_run(command, say):
    """Each example is typed as shown."""
    text = re.sub(r"[│|]", "\n", say([command, "--help"]))
    examples = re.findall(rf"{command} (--[^\n]+)", text)
    assert len(examples) >= 2
    for example in examples:
        words = example.split()
        assert main([command, *words]) == 0, example


@pytest.mark.parametrize("command", FLAGS)
def test_help_states_each_default_once_and_in_words(command, say):
    text = " ".join(say([command, "--help"]).replace("│", " ").split())
    assert "default: None" not in text
    assert "{None," not in text
    assert "default: False" not in text


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(words, say):
    text = say(words)
    for command in FLAGS:
        assert re.search(rf"(?m)^  {command} +\w", text)
    assert "planner optimize --lifetime-tokens 1e15" in text


def test_help_does_not_load_jax():
    script = (
        "import sys\nfrom planner.cli.main import main\ntry: main(['optimize', '--help'])\nexcept SystemExit: pass\n"
    )
    script += "print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("False\n"), done.stderr


def test_the_version_is_one_line(say):
    assert re.fullmatch(r"(\d+\.\d+(\.\w+)*|not installed)\n", say(["--version"]))


# The JSON object


@pytest.mark.parametrize("words", [ASK, JUDGE], ids=["optimize", "evaluate"])
def test_the_json_has_the_keys_of_the_contract(words, ask):
    answer = ask(words)
    for place, names in KEYS.items():
        assert names <= set(answer[place] if place else answer), place
    assert answer["schema"] == f"{words[0]}/1"
    assert answer["status"] == {"optimize": "converged", "evaluate": "feasible"}[words[0]]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", answer["status"])
    assert answer["batch_limit"] in ("hbm", "tpot", "ttft", "demand", "interior")
    assert answer["certificate"]["convex"] is True
    assert answer["certificate"]["feasibility"] <= 1e-8
    assert isinstance(answer["warnings"], list)
    assert all(w.endswith(".") for w in answer["warnings"])


@pytest.mark.parametrize(
    "words",
    [
        ASK,
        JUDGE,
        [*ASK, "--objective", "flops"],
        [*ASK, "--objective", "joules"],
        [*ASK, "--objective", "joules", "--chips", "m3-max", "--tpot-ms", "1000", "--ttft-ms", "60000"],
        ["optimize", "--lifetime-tokens", "0", "--objective", "flops"],
        [*ASK, "--budget-usd", "1e8"],
        [*JUDGE, "--objective", "flops"],
        [*JUDGE, "--objective", "joules"],
    ],
    ids=lambda words: " ".join(words[2:]),
)
def test_every_number_is_finite(words, ask):
    answer = ask(words)
    found = numbers(answer)
    assert len(found) > 60
    assert all(math.isfinite(v) for v in found.values())
    assert answer["plan"]["active_params"] > 0.0


def test_the_numbers_are_of_the_plan(ask):
    answer = ask(ASK)
    plan, sure = answer["plan"], answer["certificate"]
    law = configs.load_law("epoch-2024").coefficients
    loss = law["E"] + law["A"] / plan["active_params"] ** law["alpha"] + law["B"] / plan["train_tokens"] ** law["beta"]
    assert plan["loss_nats"] == pytest.approx(loss, rel=1e-12)
    assert plan["tokens_per_param"] == pytest.approx(plan["train_tokens"] / plan["active_params"], rel=1e-12)
    assert plan["total_params"] == plan["active_params"]
    assert plan["tpot_s"] <= 0.040 * (1 + 1e-8)
    assert plan["ttft_s"] <= 0.450 * (1 + 1e-8)
    assert plan["chip"] in configs.ids("chips")
    assert answer["baseline"]["active_params"] == pytest.approx(70e9, rel=1e-9)
    assert answer["saving_fraction"] == pytest.approx(
        1.0 - answer["bill"]["total_usd"] / answer["baseline"]["total_usd"], rel=1e-9
    )
    assert sure["gradient_norm"] < 1e-6
    assert answer["bill"]["training_flops"] == pytest.approx(6 * plan["active_params"] * plan["train_tokens"], rel=1e-9)


@pytest.mark.parametrize("name", ["lifetime_tokens", "law.alpha", "chip.hbm_bytes_per_s", "tpot_ms", "quality_like"])
def test_the_elasticities_cover_the_inputs(name, ask):
    assert math.isfinite(ask(ASK)["elasticities"][name])


def test_with_flops_the_bill_is_6nd_and_2nt(ask):
    answer = ask([*ASK, "--objective", "flops"])
    n, d = answer["plan"]["active_params"], answer["plan"]["train_tokens"]
    assert answer["bill"]["total_flops"] == pytest.approx(6 * n * d + 2 * n * 1e15, rel=1e-9)


@pytest.mark.parametrize("words", [ASK, JUDGE, [*ASK, "--objective", "joules"], [*ASK, "--budget-usd", "5e7"]])
@pytest.mark.parametrize("unit", ["usd", "joules"])
def test_the_bill_adds_up(words, unit, ask):
    bill = ask(words)["bill"]
    parts = [bill[f"{part}_{unit}"] for part in ("training", "prefill", "decode")]
    assert all(part > 0.0 for part in parts)
    assert sum(parts) == pytest.approx(bill[f"total_{unit}"], rel=1e-12)
    assert bill["training_flops"] + bill["inference_flops"] == pytest.approx(bill["total_flops"], rel=1e-12)
    assert 0.0 <= bill["of_which"][f"idle_{unit}"] < bill[f"total_{unit}"]


def test_a_budget_is_spent(ask):
    answer = ask([*ASK, "--budget-usd", "6e7"])
    assert answer["bill"]["total_usd"] == pytest.approx(6e7, rel=1e-6)
    assert answer["plan"]["loss_nats"] < ask(ASK)["plan"]["loss_nats"]  # which costs less


# Save


def test_save_writes_what_json_prints(ask, say, tmp_path):
    path = tmp_path / "plan.json"
    answer = ask([*ASK, "--save", str(path)])
    assert json.loads(path.read_text()) == answer
    shown = say([*ASK, "--save", str(path)])
    assert shown.startswith("Train ")
    assert json.loads(path.read_text()) == answer
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_save_replaces_the_old_file_whole_or_not_at_all(say, capsys, tmp_path, monkeypatch):
    path = tmp_path / "laws.json"
    path.write_text("old")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        broken.setattr(Path, "replace", fail)
        assert main(["list", "laws", "--save", str(path)]) == 2
    assert "No space left" in capsys.readouterr().err
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["laws.json"], "a temporary file is left behind"
    say(["list", "laws", "--save", str(path)])
    assert json.loads(path.read_text())["kind"] == "laws"
    assert [p.name for p in tmp_path.iterdir()] == ["laws.json"]


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_save_respects_the_umask(say, tmp_path):
    path = tmp_path / "laws.json"
    old = os.umask(0o077)
    try:
        say(["list", "laws", "--save", str(path)])
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600


# Scenarios


@pytest.mark.parametrize("name", configs.ids("scenarios"))
def test_every_shipped_scenario_has_an_answer(name, ask, say):
    answer = ask(["optimize", "--scenario", name])
    assert answer["status"] == "converged"
    for key, value in configs.load_scenario(name).settings.items():
        assert answer["question"][key] == value
    assert say(["optimize", "--scenario", name]).startswith("Train ")


def test_flags_win_over_the_scenario(ask):
    question = ask(["optimize", "--scenario", "code-completion", "--tpot-ms", "25", "--lifetime-tokens", "2e14"])[
        "question"
    ]
    assert question["tpot_ms"] == 25.0
    assert question["lifetime_tokens"] == 2e14
    assert question["ttft_ms"] == 200.0  # the scenario's
    assert question["quality_like"] == 7e9  # the scenario's
    assert question["peak_to_mean"] == 1.226  # the default


def test_a_quality_given_replaces_the_scenarios(ask):
    question = ask(["optimize", "--scenario", "code-completion", "--target-loss", "2.2"])["question"]
    assert question["target_loss"] == 2.2
    assert "quality_like" not in question


def test_a_scenario_file_says_the_same_as_its_flags(ask, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("lifetime_tokens = 3e14\nquality_like = 13e9\nchips = ['h100-sxm']\ntpot_ms = 30\n")
    flags = ["--lifetime-tokens", "3e14", "--quality-like", "13e9", "--chips", "h100-sxm", "--tpot-ms", "30"]
    assert ask(["optimize", "--scenario", str(path)]) == ask(["optimize", *flags])


def test_a_scenario_serves_evaluate_too(ask, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("lifetime_tokens = 1e15\nchips = ['h100-sxm']\n")
    words = ["evaluate", "--scenario", str(path), "--params", "20e9", "--chips-per-replica", "1"]
    assert ask(words)["bill"] == ask(JUDGE)["bill"]


@pytest.mark.parametrize(
    ("flag", "kind", "name"),
    [("--chips", "chips", "h100-sxm"), ("--law", "laws", "hoffmann-2022"), ("--workload", "workloads", "code"),
     ("--engine", "engines", "tensorrt-llm"), ("--scenario", "scenarios", "default")],
)  # fmt: skip
def test_a_path_serves_wherever_an_id_does(flag, kind, name, ask):
    path = str(ROOT / "configs" / kind / f"{name}.toml")
    by_id, by_path = ask([*ASK, flag, name]), ask([*ASK, flag, path])
    if kind == "chips":  # a file is named by its path, and never taken for the shipped chip
        assert by_path["plan"].pop("chip") == path
        assert by_id["plan"].pop("chip") == name
        assert any("datasheet-only" in warning for warning in by_path["warnings"])
        assert any("no kernel was timed" in warning for warning in by_path["warnings"])
        return  # on generic kernels: another plan
    if kind == "engines":
        assert (by_path["plan"].pop("engine"), by_id["plan"].pop("engine")) == (path, name)
    assert by_path["plan"] == by_id["plan"]
    assert by_path["bill"] == by_id["bill"]


# Numbers as people say them


@pytest.mark.parametrize(
    ("spoken", "scientific"),
    [
        (["--lifetime-tokens=1e15", "--quality-like", "70B"], ["--lifetime-tokens", "1000T", "--quality-like", "70e9"]),
        (["--lifetime-tokens", "1.5T"], ["--lifetime-tokens", "1.5e12"]),
        (["--lifetime-tokens", "100t", "--budget-usd", "10M"], ["--lifetime-tokens", "1e14", "--budget-usd", "1e7"]),
        (["--lifetime-tokens=100T", "--budget-usd", "$10m"], ["--lifetime-tokens=1e14", "--budget-usd=10_000_000"]),
        (["--lifetime-tokens=1e15", "--input-tokens", "2k"], ["--lifetime-tokens", "1e15", "--input-tokens=2000"]),
    ],
)  # fmt: skip
def test_spoken_numbers_equal_scientific_ones(spoken, scientific, ask):
    assert ask(["optimize", *spoken]) == ask(["optimize", *scientific])


def test_spoken_numbers_serve_evaluate(ask):
    words = ["evaluate", "--lifetime-tokens", "1e15", "--chip", "h100-sxm", "--chips-per-replica", "1"]
    spoken = ask([*words, "--params", "20B", "--train-tokens", "15T"])
    assert spoken == ask([*words, "--params", "2e10", "--train-tokens", "1.5e13"])
    assert spoken["plan"]["train_tokens"] == pytest.approx(1.5e13, rel=1e-12)


# Evaluate against optimize


def given(plan: dict[str, Any], **changed: float) -> list[str]:
    plan = plan | changed
    named = {"--params": "active_params", "--train-tokens": "train_tokens", "--batch": "batch",
             "--chips-per-replica": "chips_per_replica"}  # fmt: skip
    return [
        "--chip",
        plan["chip"],
        "--precision",
        plan["precision"],
        *(w for f, k in named.items() for w in (f, repr(plan[k]))),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["--lifetime-tokens", "1e15"],
        ["--lifetime-tokens", "1e13", "--quality-like", "8e9", "--tpot-ms", "20"],
        ["--lifetime-tokens", "1e15", "--objective", "joules"],
        ["--lifetime-tokens", "1e14", "--law", "hoffmann-2022", "--workload", "rag", "--ttft-ms", "2000"],
        ["--scenario", "batch-annotation"],
        ["--scenario", "on-premise"],
        ["--scenario", "code-completion"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_evaluate_agrees_with_optimize_on_its_plan(words, ask):
    best = ask(["optimize", *words])
    unit = best["question"]["objective"]
    again = ask(["evaluate", *words, *given(best["plan"])])
    assert again["status"] == "feasible"
    assert again["bill"][f"total_{unit}"] == pytest.approx(best["bill"][f"total_{unit}"], rel=1e-9)
    for key in ("loss_nats", "tpot_s", "ttft_s", "step_s", "replicas"):
        assert again["plan"][key] == pytest.approx(best["plan"][key], rel=1e-9), key
    assert again["certificate"]["above_optimum_fraction"] == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("params", [0.9, 0.99, 1.01, 1.1, 1.5])
@pytest.mark.parametrize("batch", [None, 0.3])
def test_no_neighbour_of_the_plan_is_cheaper(params, batch, ask):
    best = ask(ASK)
    near = {"active_params": best["plan"]["active_params"] * params}
    if batch:
        near["batch"] = best["plan"]["batch"] * batch
    words = given(best["plan"], **near)
    for flag in ("--train-tokens",) if batch else ("--train-tokens", "--batch"):
        at = words.index(flag)
        words = words[:at] + words[at + 2 :]  # evaluate finds the tokens that reach the quality, and the batch
    other = ask(["evaluate", *ASK[1:], *words])
    assert other["bill"]["total_usd"] > best["bill"]["total_usd"]


@pytest.mark.parametrize("chip", ["b200-sxm", "h200-sxm", "l40s"])
@pytest.mark.parametrize("flag", ["--tpot-ms", "--ttft-ms"])
def test_a_looser_limit_never_costs_more(chip, flag, ask):
    """A choice that the solver fails to settle is silently lost, and shows as a cost that rises."""
    limits = {"--tpot-ms": (7, 8, 9, 10, 12, 15, 20, 40), "--ttft-ms": (120, 135, 150, 200, 300, 450, 1000)}[flag]
    costs = [ask([*ASK, "--chips", chip, flag, str(limit)])["bill"]["total_usd"] for limit in limits]
    for tight, loose in pairwise(costs):
        assert loose <= tight * (1.0 + 1e-9), dict(zip(limits, costs, strict=True))


# For people


def test_the_verdict_comes_first_and_agrees_with_the_json(ask, say):
    text = " ".join(say(ASK).split("\n\n")[0].split())
    number = r"([\d.]+) ?(k|M|B|T|quadrillion)?"
    found = re.fullmatch(
        rf"Train {number} parameters on {number} tokens \(([\d,]+) per parameter\), "
        r"serve in (bf16|fp8|int8|fp4) on replicas of (\d+) x ([a-z0-9-]+), (\d+) sequences at a time: "
        rf"\${number} over its life, ([\d.]+) % (less|more) than compute-optimal training of the same quality "
        rf"\({number} on {number} tokens, \${number}\)\.",
        text,
    )
    assert found, text
    scale = {None: 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "quadrillion": 1e15}
    said = found.groups()
    answer = ask(ASK)
    plan, base = answer["plan"], answer["baseline"]
    pairs = [(0, plan["active_params"]), (2, plan["train_tokens"]), (9, answer["bill"]["total_usd"]),
             (13, base["active_params"]), (15, base["train_tokens"]), (17, base["total_usd"])]  # fmt: skip
    for i, value in pairs:
        assert float(said[i]) * scale[said[i + 1]] == pytest.approx(value, rel=6e-3)
    assert float(said[4].replace(",", "")) == pytest.approx(plan["tokens_per_param"], abs=0.5)
    assert (said[5], int(said[6]), said[7]) == (plan["precision"], plan["chips_per_replica"], plan["chip"])
    assert int(said[8]) == pytest.approx(plan["batch"], abs=0.5)
    assert float(said[11]) == pytest.approx(100 * abs(answer["saving_fraction"]), rel=6e-3)
    assert said[12] == ("less" if answer["saving_fraction"] >= 0 else "more")


@pytest.mark.parametrize(
    ("words", "titles"),
    [
        (ASK, ["Plan", "Bill", "Choices in order", "What moves the cost"]),
        (JUDGE, ["Plan", "Bill", "What moves the cost"]),
        ([*ASK, "--objective", "joules"], ["Plan", "Bill", "Choices in order", "What moves the energy"]),
        ([*ASK, "--objective", "flops"], ["Plan", "What moves the FLOPs"]),
        ([*ASK, "--budget-usd", "1e8"], ["Plan", "Bill", "What moves the loss"]),
    ],
)
def test_the_tables_follow_in_order(words, titles, say):
    text = say(words)
    places = [re.search(rf"(?m)^{title}", text) for title in titles]
    assert all(places), [t for t, p in zip(titles, places, strict=True) if not p]
    starts = [p.start() for p in places if p]
    assert starts == sorted(starts)
    assert "None" not in text
    assert "nan" not in text.split()
    assert "[bold]" not in text  # markup that was never rendered
    assert "\x1b" not in text  # colours in a pipe


@pytest.mark.parametrize(
    "words",
    [ASK, JUDGE, [*ASK, "--objective", "flops"], [*ASK, "--budget-usd", "1e8"], *(["list", kind] for kind in KINDS)],
    ids=lambda words: " ".join(words[:2]),
)
def test_piped_output_fits_in_100_columns(words, say):
    long = [line for line in say(words).splitlines() if len(line) > 100]
    assert not long


# Lists


@pytest.mark.parametrize("kind", KINDS)
def test_every_listed_fact_has_a_source(kind, ask, say):
    answer = ask(["list", kind])
    assert (answer["schema"], answer["kind"], answer["warnings"]) == ("list/1", kind, [])
    ids = [item["id"] for item in answer["items"]]
    assert ids == sorted(set(ids))
    assert all(math.isfinite(v) for v in numbers(answer).values())
    for item in answer["items"]:
        assert item["source"].strip(), item["id"]
        if kind == "models":
            assert "config.json" in item["source"], item["id"]
    shown = say(["list", kind])
    assert shown.splitlines()[0].split() == [str(len(ids)), kind]
    for name in ids:
        assert re.search(rf"(?m)^{re.escape(name)}\b", shown), name


@pytest.mark.parametrize("kind", IDS)
def test_the_contracts_ids_are_listed(kind, ask):
    assert IDS[kind] <= {item["id"] for item in ask(["list", kind])["items"]}


def test_listed_numbers_are_si(ask):
    chips = {item["id"]: item for item in ask(["list", "chips"])["items"]}
    assert chips["h100-sxm"]["hbm_bytes"] == 80e9
    assert chips["h100-sxm"]["bf16_flops_per_s"] == pytest.approx(989e12, rel=1e-2)
    assert chips["h100-sxm"]["hbm_bytes_per_s"] == pytest.approx(3.35e12, rel=1e-2)


def test_the_listed_prices_are_those_of_the_chips(ask):
    chips = {item["id"]: item["usd_per_hour"] for item in ask(["list", "chips"])["items"]}
    prices = {item["id"]: item for item in ask(["list", "prices"])["items"]}
    assert {k: v for k, v in chips.items() if v is not None} == {k: v["usd_per_hour"] for k, v in prices.items()}
    for name, price in prices.items():
        assert (price["low_usd_per_hour"] or 0.0) <= price["usd_per_hour"], name
        assert (price["high_usd_per_hour"] or math.inf) >= price["usd_per_hour"], name


# As a process


def test_the_module_runs_as_a_process(ask):
    done = run(*ASK, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    there, here = json.loads(done.stdout), ask(ASK)
    assert there.keys() == here.keys()
    assert numbers(there["plan"]) == pytest.approx(numbers(here["plan"]), rel=1e-9)
    assert numbers(there["bill"]) == pytest.approx(numbers(here["bill"]), rel=1e-9)


@pytest.mark.skipif(os.name != "posix", reason="pipes of a POSIX shell")
@pytest.mark.parametrize(
    "words", ["list chips", "list chips --json", "optimize --lifetime-tokens 1e15", "optimize --help"]
)
def test_a_pipe_that_closes_is_no_error(words):
    script = f'set -o pipefail; "{sys.executable}" -m planner {words} | head -1'
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="pipes of a POSIX shell")
@pytest.mark.parametrize("words", ["list chips", "list chips --json", "optimize --lifetime-tokens 1e15", "--help"])
def test_a_pipe_that_was_never_read_is_no_error(words):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "planner", *words.split()],
            cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_without_a_traceback():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "planner", "list", "laws"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("quality", [["--quality-like", "1e6"], ["--target-loss", "9"]])
def test_the_smallest_models_are_answered(quality, ask):
    answer = ask(["optimize", "--lifetime-tokens", "1e13", *quality])
    assert answer["status"] == "converged"
    assert "linear" not in answer["step"]["operations"]
