"""Reinforcement learning beside a training run: its bill and the rule of equal costs, by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from planner.cli.main import main
from planner.train import rollouts
from planner.train.answer import train
from planner.train.asked import BUSY_FRACTION, Asked
from planner.train.generation import Generation, fastest
from planner.train.question import Question

CHIPS = 16
RUN = {"model": "llama-3.1-8b", "chip": "h100-sxm", "chips": CHIPS, "tokens": 1e12}
ASK = ["train", "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--chips", "16", "--tokens", "1T"]
KINDS = ("pretraining", "rollout", "inference")


@pytest.fixture(scope="module")
def question() -> Question:
    return Question.of({**RUN, "rollout_tokens": 1e11, "inference_tokens": 1e13})


@pytest.fixture(scope="module")
def answer(question) -> dict[str, Any]:
    return train(question)


@pytest.fixture(scope="module")
def generation(question) -> Generation:
    found = fastest(question.served)
    assert found is not None
    return found


def ask(capsys, words: list[str]) -> tuple[int, str, str]:
    code = main(words)
    told = capsys.readouterr()
    return code, told.out, told.err


def documents(question: Question, generation: Generation, run: dict[str, Any], **changed: Any) -> dict[str, Any]:
    assert question.rollouts is not None
    return rollouts.documents(replace(question.rollouts, **changed), question.model, generation, run)


def run_of(question: Question, generation: Generation, efficiency: float) -> dict[str, Any]:
    """A run without failures that trains 1 / e times as fast as ``generation`` decodes."""
    assert question.rollouts is not None
    flops = rollouts.forward_flops(question.model, question.rollouts)
    rate = flops * generation.tokens_per_s_per_chip / efficiency
    hours = 3.0 * flops * 1e12 / rate / 3600.0
    return {"tokens": 1e12, "chip_hours": hours, "model_flops_per_s_per_chip": rate, "goodput": {"fraction": 1.0},
            "joules": hours * 7e2, "usd_per_hour": 2.0}  # fmt: skip


@given(st.floats(0.05, 3.0), st.floats(0.1, 1.0), st.floats(0.0, 8.0), st.floats(0.0, 1.0))
def test_alpha_by_hand(question, generation, efficiency, busy, passes, trained):
    """In thirds of pre-training: one for generating over its efficiency and busy share, one a pass, three to train."""
    run = run_of(question, generation, efficiency)
    changed = {"busy_fraction": busy, "scoring_passes": passes, "trained_fraction": trained}
    found = documents(question, generation, run, **changed)["equal_cost"]
    assert found["alpha"] == pytest.approx((1 / (efficiency * busy) + passes + 3 * trained) / 3, rel=1e-12)


# The run's own numbers


def test_bill_by_hand(question, answer):
    """From FLOPs of the shape: 32 layers of 32 heads of 128; prompt and answer read whole, half of each attended to."""
    found, asked = answer["reinforcement"], question.rollouts
    whole = asked.input_tokens + asked.output_tokens
    forward = 2 * (question.model.active_params + 32 * 32 * 2 * 128 * whole / 2) * whole / asked.output_tokens
    rate = answer["model_flops_per_s_per_chip"] * answer["goodput"]["fraction"]
    assert found["scoring"]["chip_hours"] == pytest.approx(forward * 1e11 / rate / 3600, rel=1e-9)
    assert found["training"]["chip_hours"] == pytest.approx(3 * forward * 1e11 / rate / 3600, rel=1e-9)
    made = found["replica"]["tokens_per_s_per_chip"]
    assert found["generation"]["chip_hours"] == pytest.approx(1e11 / made / BUSY_FRACTION / 3600, rel=1e-9)
    peak = question.chip.peak_flops_per_s["fp8"]
    assert found["replica"]["decode_mfu"] == pytest.approx(forward * made / peak, rel=1e-9)
    assert found["decode_efficiency"] == pytest.approx(forward * made / answer["model_flops_per_s_per_chip"], rel=1e-9)


def test_totals_add_up(answer):
    found = answer["reinforcement"]
    for unit in ("chip_hours", "usd", "joules"):
        parts = sum(found[name][unit] for name in ("generation", "scoring", "training"))
        assert found["total"][unit] == pytest.approx(parts, rel=1e-12)
    assert found["total"]["usd"] == pytest.approx(found["total"]["chip_hours"] * answer["usd_per_hour"], rel=1e-12)
    assert found["total"]["joules"] == pytest.approx(
        found["total"]["chip_hours"] * 3600 * configs.load_chip("h100-sxm").power_w * answer["pue"], rel=1e-9
    )


def test_equal_costs_are_equal(answer):
    found = answer["equal_cost"]
    per_token = found["chip_seconds_per_token"]
    whole = answer["chip_hours"] * 3600
    for beside, cost in (("beside_pretraining", whole), ("beside_inference", per_token["inference"] * 1e13)):
        assert [per_token[kind] * found[beside][kind] for kind in KINDS] == pytest.approx([cost] * 3, rel=1e-9)
    spent = answer["reinforcement"]["total"]["chip_hours"] * 3600
    assert per_token["rollout"] * answer["reinforcement"]["tokens"] == pytest.approx(spent, rel=1e-9)


@given(st.floats(1e6, 1e15), st.floats(0.0, 0.99), st.floats(0.0, 50.0), st.floats(1.001, 100.0))
def test_monotone(question, answer, generation, tokens, trained, passes, more):
    def hours(**changed):
        return documents(question, generation, answer, **changed)["reinforcement"]["total"]["chip_hours"]

    here = {"rollout_tokens": tokens, "trained_fraction": trained, "scoring_passes": passes}
    base = hours(**here)
    assert hours(**{**here, "rollout_tokens": tokens * more}) == pytest.approx(base * more, rel=1e-9)
    assert hours(**{**here, "trained_fraction": min(trained + 0.01 * more, 1.0)}) > base
    assert hours(**{**here, "scoring_passes": passes + more}) > base
    assert hours(**{**here, "busy_fraction": BUSY_FRACTION / more}) > base


def test_generation_is_what_estimate_says(capsys, answer):
    replica = answer["reinforcement"]["replica"]
    words = ["estimate", "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--precision", replica["precision"], "--json"]
    words += ["--input-tokens", "128", "--output-tokens", "5671", "--chips", str(replica["chips"])]
    code, out, _ = ask(capsys, words)
    told = json.loads(out)
    assert code == 0
    assert replica["tokens_per_s_per_chip"] == pytest.approx(told["output_tokens_per_s_per_chip"], rel=1e-9)
    assert replica["layout"] == {name: told["layout"][name] for name in replica["layout"]}


def test_no_slice_of_a_server_generates_faster(capsys, answer):
    """Up to the hundredth that the smaller of two replicas may lose at every doubling."""
    for chips in ("2", "4", "8"):
        words = ["estimate", "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--precision", "fp8", "--json"]
        words += ["--input-tokens", "128", "--output-tokens", "5671", "--chips", chips]
        rate = json.loads(ask(capsys, words)[1])["output_tokens_per_s_per_chip"]
        assert rate < 1.03 * answer["reinforcement"]["replica"]["tokens_per_s_per_chip"]


def test_published_runs_are_slower_but_not_by_an_order(question):
    """NeMo RL 0.4 (docs/about/performance-summary.md): GRPO of Llama 3.1 8B on 16 H100, sequences of 1,060 tokens in
    the mean, 1,562 tokens per second and GPU. It generates in bf16, waits between stages and moves weights."""
    lengths = {"rollout_input_tokens": 128.0, "rollout_output_tokens": 932.0, "sequence_tokens": 4096.0}
    run = {**RUN, **lengths, "batch_tokens": 512 * 4096.0, "rollout_tokens": 1e9}
    rate = 1.0 / train(Question.of(run))["equal_cost"]["chip_seconds_per_token"]["rollout"]
    assert 1562 < rate < 5 * 1562


# The command


def test_nothing_asked_nothing_told():
    assert Question.of(RUN).rollouts is None
    assert train(Question.of(RUN))["reinforcement"] is None


@pytest.mark.parametrize(
    "words", [["--rollout-tokens", "10B"], ["--inference-tokens", "1T", "--used-probability", "0.1"]]
)
def test_json_and_report(capsys, words):
    code, out, _ = ask(capsys, [*ASK, *words, "--json"])
    told = json.loads(out)
    assert code == 0
    assert (told["reinforcement"] is None) == ("--rollout-tokens" not in words)

    def finite(tree: Any) -> bool:
        if isinstance(tree, dict | list):
            return all(map(finite, tree.values() if isinstance(tree, dict) else tree))
        return not isinstance(tree, float) or math.isfinite(tree)

    assert finite(told)
    code, out, _ = ask(capsys, [*ASK, *words])
    assert code == 0
    assert "Tokens that cost the same" in out
    assert ("Reinforcement learning on 10 B tokens" in out) == ("--rollout-tokens" in words)
    assert max(map(len, out.splitlines())) <= 80


def test_assumptions_are_told_until_given(answer):
    def told(**settings: float) -> str:
        asked = Question.of({**RUN, "rollout_tokens": 1e9, **settings})
        assert asked.rollouts is not None
        assert asked.served is not None
        generation = fastest(asked.served)
        assert generation is not None
        return "\n".join(rollouts.warnings(asked.rollouts, generation))

    plain = "\n".join(answer["warnings"])
    named = ("--busy-fraction", "--rollout-output-tokens", "--scoring-passes")
    assert all(name in plain for name in named)
    lengths = {"rollout_input_tokens": 2000.0, "rollout_output_tokens": 500.0}
    given = told(busy_fraction=0.9, scoring_passes=2.0, **lengths)
    assert not any(name in given for name in named)
    assert "groups of answers" in given


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trained-fraction", "0.5"], "--trained-fraction = 0.5 goes with --rollout-tokens or --inference-tokens"),
        (["--rollout-output-tokens", "1k"], "--rollout-output-tokens = 1000 goes with --rollout-tokens"),
        (["--rollout-tokens", "1T", "--used-probability", "0.5"], "--used-probability = 0.5 goes with --inference-"),
        (["--rollout-tokens", "1T", "--busy-fraction", "0"], "--busy-fraction = 0 is outside 0.01 to 1"),
        (["--rollout-tokens", "1T", "--trained-fraction", "1.1"], "--trained-fraction = 1.1 is outside 0 to 1"),
        (["--rollout-tokens", "-1"], "--rollout-tokens = -1 is outside"),
        (["--rollout-tokens", "nan"], "--rollout-tokens = 'nan' is not a number"),
        (["--rollout-token", "1T"], "did you mean '--rollout-tokens'"),
        (["--inference-tokens"], "--inference-tokens needs a value"),
    ],
)
def test_bad_input_is_one_sentence(capsys, words, said):
    code, out, err = ask(capsys, [*ASK, *words])
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_python_is_refused_as_well():
    with pytest.raises(configs.ConfigError, match="--scoring-passes = 2 goes with --rollout-tokens"):
        Asked.of({"scoring_passes": 2.0})


def test_what_no_replica_holds_is_infeasible(capsys):
    """A sequence of 1e8 tokens of 8B in fp8 is 6.6 TB, more than the 32 stages of 8 chips that share it have."""
    words = ["train", "--model", "llama-3.1-8b", "--chip", "l4", "--chips", "64", "--tokens", "1T"]
    words += ["--rollout-tokens", "1T", "--rollout-output-tokens", "1e8", "--json"]
    code, out, _ = ask(capsys, words)
    told = json.loads(out)
    assert code == 3
    assert (told["status"], told["limit"]) == ("infeasible", "memory")
    assert "no replica of up to 1,024 x l4 holds Llama 3.1 8B" in told["message"]


def test_a_file_asks_as_flags_do(capsys, tmp_path):
    path = Path(tmp_path) / "run.toml"
    path.write_text(
        'model = "llama-3.1-8b"\nchip = "h100-sxm"\nchips = 16\ntokens = 1e12\nrollout_tokens = 1e10\n',
        encoding="utf-8",
    )
    flags = ["--trained-fraction", "0.25"]
    by_file = json.loads(ask(capsys, ["train", "--scenario", str(path), *flags, "--json"])[1])
    by_flags = json.loads(ask(capsys, [*ASK, "--rollout-tokens", "10B", *flags, "--json"])[1])
    assert by_file["reinforcement"] == by_flags["reinforcement"]
    assert by_file["reinforcement"]["trained_fraction"] == 0.25
