"""Measured training runs: read from tables, predicted, compared, and the shipped profiles fitted to them."""

import csv
import json

import numpy as np
import pytest

import configs
from planner.cli.main import main
from planner.model.decoder import Decoder
from planner.runs import trained, training_validation
from planner.runs.trainer_refit import refit
from planner.runs.training_fit import numbers, predict
from planner.train.measured import lay
from planner.training.layout import TrainingLayout
from planner.training.step import tally

GOOD = {
    "source": "test", "kind": "measured", "model": "Llama 3.1 8B", "arch": "dense", "chip": "H100", "n_chips": "64",
    "precision": "bf16", "seq_len": "8192", "global_batch_seq": "512", "micro_batch": "1", "tp": "2", "pp": "1",
    "cp": "1", "vp": "1", "ep": "n/a", "framework": "Megatron-Bridge 26.02", "tok_s_per_chip": "12000", "notes": "",
}  # fmt: skip


def parsed(**changes):
    return trained.parse([(2, {**GOOD, **changes})], "t.csv")


def one(**changes):
    runs, left = parsed(**changes)
    assert not left, left
    return runs[0]


def test_a_row_is_read_as_it_stands():
    run = one()
    assert (run.model.id, run.chip.id, run.trainer, run.precision) == ("llama-3.1-8b", "h100-sxm", "megatron", "bf16")
    assert (run.tp, run.pp, run.dp, run.ep, run.chips) == (2.0, 1.0, 32.0, 1.0, 64.0)
    assert (run.sequences, run.micro_batch, run.sequence_tokens, run.sharded) == (512.0, 1.0, 8192.0, False)
    assert run.guessed == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "secondary"}, "not a measurement"),
        ({"chip": "H9000"}, "'H9000' is not known"),
        ({"model": "nobody-1"}, "not known and its parameters are not given"),
        ({"model": "nobody-1", "arch": "moe", "total_params_b": "700"}, "active is not stated"),
        ({"n_chips": ""}, "n_chips is not stated"),
        ({"n_chips": "", "tok_s_per_chip": "", "chip_hours": "1e6"}, "no step was measured"),
        ({"n_chips": "12.5"}, "must be a whole number"),
        ({"tp": "3"}, "does not divide n_chips"),
        ({"tp": "", "pp": "", "cp": ""}, "layout is not stated"),
        ({"tok_s_per_chip": ""}, "neither throughput nor FLOPs"),
        ({"tok_s_per_chip": "-4"}, "outside"),
        ({"seq_len": "long"}, "is not a number"),
        ({"precision": "fp8", "chip": "A100-80"}, "no matrix units"),
        ({"chip": "MI300X"}, "no trainer profile for AMD"),
    ],
)  # fmt: skip
def test_rows_that_say_too_little_are_left_out_with_their_reason(changes, said):
    runs, left = parsed(**changes)
    assert not runs
    assert said in left[0].why


def test_what_is_filled_in_is_said():
    run = one(framework="MaxText", chip="TPU v5e", tp="", pp="", cp="", seq_len="", global_batch_seq="", micro_batch="")
    assert run.sharded
    assert run.trainer == "maxtext-tpu"
    assert {"weights sharded over all chips", "the global batch"} <= set(run.guessed)
    assert one(notes="act ckpt True; grad accum 2").recomputed == 1.0
    assert one(framework="unheard of").guessed == ("trainer profile megatron",)
    by_flops = one(tok_s_per_chip="", tflops_per_chip="400")
    flops = trained.token_flops(by_flops.model, 8192.0)
    assert by_flops.tokens_per_s_per_chip == pytest.approx(400e12 / flops)
    # 6 N and causal attention: 12 L d s / 2 (Chowdhery et al. 2022, appendix B).
    assert flops == pytest.approx(6 * by_flops.model.params + 6 * 32 * 4096 * 8192, rel=1e-3)


@pytest.mark.parametrize(
    ("said", "framework", "weights", "gradients"),
    [
        ("FULL_SHARD", "Composer", True, False),
        ("SHARD_GRAD_OP", "Composer", False, True),
        ("NO_SHARD", "Composer", False, False),
        ("", "Composer", True, False),
        ("ZeRO-2", "Megatron", False, True),
        ("64", "Megatron", True, False),
        ("64 (0)", "Megatron", True, False),
        ("0", "Megatron", False, False),
        ("", "Megatron", False, False),
    ],
)
def test_what_copies_share_out_is_read_by_its_names(said, framework, weights, gradients):
    run = one(fsdp=said, framework=framework)
    assert (run.sharded, run.sharded_gradients) == (weights, gradients)
    split = numbers(run, configs.load_trainer(run.trainer))["layout"]
    assert (split["sharded"], split["sharded_gradients"]) == (float(weights), float(gradients))


BARE = {"tp": "", "pp": "", "cp": "", "vp": "", "ep": "", "micro_batch": ""}


def test_a_run_without_a_layout_takes_the_best_that_fits():
    """Against layouts written out one by one, each costed as a run that states it."""
    row = {**GOOD, **BARE, "model": "Llama 3.1 70B", "n_chips": "64", "global_batch_seq": "256"}
    (run,), left = trained.parse([(2, row)], "t.csv", lay)
    assert not left
    assert "the best layout that fits" in run.guessed
    assert run.tp * run.pp * run.cp * run.dp == 64.0
    assert run.sequences == pytest.approx(256.0, rel=0.05)  # whole micro-batches
    rate = float(predict([run])[0])
    tried = 0
    for tp in (1, 2, 4, 8):
        for pp in (1, 2, 4, 8):
            for micro in (1, 2):
                stated = {"tp": str(tp), "pp": str(pp), "cp": "1", "vp": "1", "ep": "1", "micro_batch": str(micro)}
                other = one(**{**row, **stated})
                given = numbers(other, configs.load_trainer(other.trainer))
                given["decoder"] = Decoder.of(given["model"])
                told, state, kept = tally(given, TrainingLayout(**given["layout"]), other.sequences)
                if float(state.total() + kept.bytes(told.recomputed_fraction())) < 0.95 * given["hbm_bytes"]:
                    assert float(predict([other])[0]) <= rate * (1.0 + 1e-6)
                    tried += 1
    assert tried > 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n_chips": "1", "model": "Llama 3.1 70B"}, "none fits"),
        ({"micro_batch": "0.5"}, "micro_batch = 0.5 is not whole"),
        ({"global_batch_seq": "0.01"}, "layout is not stated: --batch-tokens"),
    ],
)
def test_runs_that_no_layout_does_are_left_out(changes, said):
    runs, left = trained.parse([(2, {**GOOD, **BARE, **changes})], "t.csv", lay)
    assert not runs
    assert said in left[0].why


def test_profiles_are_not_fitted_to_layouts_that_were_guessed(tmp_path):
    path = write(tmp_path / "t.csv", [GOOD, {**GOOD, **BARE}])
    assert [len(trained.read(path)[0]), len(trained.read(path, lay)[0])] == [1, 2]


def test_prediction_of_a_typical_run_is_sane():
    rate = float(predict([one()])[0])
    assert 0.3 < 6.0 * 8.03e9 * rate / 989e12 < 0.6
    faster, slower = (float(predict([one(chip=chip)])[0]) for chip in ("B200", "A100-80"))
    assert slower < rate < faster


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, GOOD)
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_validate_answers_with_the_promised_keys(tmp_path, capsys):
    path = write(tmp_path / "t.csv", [GOOD, {**GOOD, "chip": "H9000"}])
    assert main(["validate", "--training", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["training"]
    assert {"rows", "covered", "mdape", "p90", "bias", "groups", "left_out"} <= set(found)
    assert (found["rows"], found["covered"]) == (1, 0.5)
    assert main(["validate", "--training", path]) == 0
    assert "megatron" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--training", "nowhere.csv"], "cannot be read as CSV"),
        (["--training", "empty.csv"], "no column 'model'"),
        (["--training", "short.csv"], "no row can be predicted"),
        (["--training", "good.csv", "--plot", "x.png"], "goes with --serving"),
        (["--training", "good.csv", "--chip", "h100"], "--chip says whose"),
    ],
)
def test_bad_flags_are_refused_in_one_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").write_text("")
    write(tmp_path / "short.csv", [{**GOOD, "chip": "H9000"}])
    write(tmp_path / "good.csv", [GOOD])
    assert main(["validate", *words]) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert out.err.count("\n") == 1
    assert out.out == ""


@pytest.fixture(scope="module")
def measured(data):
    return trained.read(str(data / "serving" / "training.csv"), lay)


def test_errors_on_published_runs_are_within_the_bar(measured):
    """Tokens per second and chip of every published run that can be expressed: 9 % median, 35 % p90."""
    found = training_validation.document(*measured)
    assert found["rows"] > 430
    assert found["covered"] > 0.9
    assert found["mdape"] < 0.09
    assert found["p90"] < 0.35
    assert 0.85 < found["interval_coverage"] < 0.95


def test_every_stated_configuration_that_ran_fits(measured):
    """Of runs whose layout and micro-batch are published; recomputing is taken where it is not said and needed.

    One says that it shards nothing and cannot: 70 B parameters on single chips. Another needs gradients in 16 bits.
    """
    over, tried = set(), 0
    for run in measured[0]:
        if {"weights sharded over all chips", "the best layout that fits", "the global batch"} & set(run.guessed):
            continue
        given = numbers(run, configs.load_trainer(run.trainer))
        given["decoder"] = Decoder.of(given["model"])
        told, state, kept = tally(given, TrainingLayout(**given["layout"]), run.sequences)
        tried += 1
        if float(state.total() + kept.bytes(told.recomputed_fraction())) > given["hbm_bytes"]:
            over.add((run.model.id, run.chip.id, run.precision))
    assert tried > 300
    assert over <= {("llama-3-70b", "gb300", "fp4"), ("nemotron-3-ultra-550b-a55b", "gb300", "fp8")}


def test_shipped_profiles_are_what_the_fit_finds(measured):
    """Refitted here, parameters stay where the files have them; the smallest trainers stand for all."""
    runs = [run for run in measured[0] if run.trainer in ("pax", "maxtext-gpu")]
    for again in refit(runs):
        for name, value in again.profile.value.items():
            assert value == pytest.approx(again.trainer.profile[name], rel=2e-3), (again.trainer.id, name)


def test_a_user_fits_a_profile_to_own_runs(tmp_path, capsys):
    """Runs half as fast as the shipped profile says are fitted with slower kernels, and predicted as they are."""
    rows = []
    for model in ("Llama 3.1 8B", "Llama 3.1 70B"):
        for chips in ("64", "128", "256"):
            row = {**GOOD, "model": model, "n_chips": chips, "tp": "8", "global_batch_seq": "1024"}
            rate = float(predict([one(**row)])[0])
            rows.append({**row, "tok_s_per_chip": f"{0.6 * rate:.3f}"})
    path, out = write(tmp_path / "mine.csv", rows), tmp_path / "mine.toml"
    assert main(["calibrate", "--from", path, "--out", str(out)]) == 0
    capsys.readouterr()
    facts = configs.load_trainer(str(out))
    # Over eight chips it is collectives that bf16 products leave room to be slower.
    assert facts.profile["link_ratio"] > 2.0 * configs.load_trainer("megatron").profile["link_ratio"]
    assert facts.chips == ("h100-sxm",)
    assert np.isfinite(list(facts.profile.values())).all()
