"""Whole training runs: read, costed as `train` costs them, and told apart from runs that measured a step."""

import csv
import json

import pytest

from planner.cli.main import main
from planner.runs import whole_run
from planner.train import whole_runs
from planner.train.answer import train
from planner.train.question import Question

WHOLE = {
    "source": "test", "kind": "measured", "model": "Llama 3.1 8B", "chip": "H100", "n_chips": "512", "framework": "",
    "precision": "", "seq_len": "8192", "tokens_t": "1", "tok_s_per_chip": "", "chip_hours": "40000", "tp": "",
    "notes": "global batch 4M tokens",
}  # fmt: skip
STEP = {**WHOLE, "framework": "Megatron", "tp": "2", "tok_s_per_chip": "12000", "tokens_t": "", "chip_hours": ""}


def whole(**changes):
    return whole_run.parse([(2, {**WHOLE, **changes})], "t.csv")


def test_a_whole_run_is_costed_as_train_does():
    (run,), left = whole()
    assert not left
    row = whole_runs.document([run], [])["runs"][0]
    asked = {"model": "llama-3.1-8b", "chip": "h100-sxm", "chips": 512, "tokens": 1e12, "sequence_tokens": 8192}
    answer = train(Question.of({**asked, "batch_tokens": 4e6}))
    assert row["predicted_chip_hours"] == pytest.approx(answer["chip_hours"], rel=1e-9)
    assert row["ratio"] == pytest.approx(answer["chip_hours"] / 40000.0, rel=1e-9)
    assert (row["chips"], row["where"], row["cumulative"]) == (512, "t.csv:2", False)
    assert "the best layout that fits" in row["guessed"]


def test_what_a_whole_run_does_not_say_is_filled_in_and_said():
    (run,), _ = whole(n_chips="", seq_len="", notes="cumulative, includes post-training")
    row = whole_runs.document([run], [])["runs"][0]
    days = row["predicted_chip_hours"] / row["chips"] / 24.0
    assert 60.0 / 1.13 < days <= 60.0  # the fewest chips, in steps of a sixteenth
    assert row["cumulative"]
    said = " ".join(row["guessed"])
    for words in ("60 days", "sequences of 8192", "step-law-2025", "bf16", "megatron"):
        assert words in said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "secondary"}, "not a measurement"),
        ({"notes": "uses pruning+logit distillation"}, "distilled or pruned"),
        ({"tokens_t": ""}, "tokens the run took is not stated"),
        ({"tokens_t": "-3"}, "outside"),
        ({"chip_hours": "inf"}, "outside"),
        ({"chip": "H9000"}, "not known"),
        ({"n_chips": "1", "model": "Llama 3.1 405B"}, "no layout fits"),
        ({"notes": "global batch 0.001M tokens"}, "--batch-tokens"),
    ],
)
def test_whole_runs_that_say_too_little_are_left_out_with_their_reason(changes, said):
    runs, left = whole(**changes)
    assert said in whole_runs.document(runs, left)["left_out"][0]["why"]


def test_validate_tells_whole_runs_apart(tmp_path, capsys):
    """They are no rows of tokens per second, neither predicted nor left out; a table may hold nothing else."""
    path = tmp_path / "t.csv"
    for rows, steps in (([STEP, WHOLE], 1), ([WHOLE], 0)):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, WHOLE)
            writer.writeheader()
            writer.writerows(rows)
        assert main(["validate", "--training", str(path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["training"]
        assert (found["rows"], found["left_out"], found["whole_runs"]["rows"]) == (steps, [], 1)
        assert main(["validate", "--training", str(path)]) == 0
        assert "whole runs, in chip-hours" in capsys.readouterr().out


def test_published_chip_hours_are_told_in_full(data):
    """Eleven runs. Teams rarely ran the best layout at the best rate: hours are under-predicted, not over."""
    found = whole_runs.document(*whole_run.read(str(data / "serving" / "training.csv")))
    assert found["rows"] == 11
    assert sum(one["rows"] for one in found["left_out"]) == 6
    assert -0.5 < found["bias"] < 0.1
    assert all(0.25 < one["ratio"] < 1.3 for one in found["runs"])
