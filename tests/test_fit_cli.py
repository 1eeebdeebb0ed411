"""`fit` as a user meets it: the document, the law file, refusals, what a terminal and a pipe show."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import configs
from planner.cli.main import main
from planner.laws import asked, fitted, judged
from planner.uncertain.law_draws import load_draws
from scaling import FORMS
from scaling.downstream import fit_errors

ROOT = Path(__file__).parents[1]
LAW = {"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """120 runs of a known law with 0.3 % of noise, and what other forms ask of them."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["name", "split", "N", "D", "C", "L", "err", "w", "U", "X", "bits", "one"])
        for i in range(120):
            N, D = 10.0 ** rng.uniform(7.5, 9.5), 10.0 ** rng.uniform(9.0, 11.0)
            L = LAW["E"] + LAW["A"] * N ** -LAW["alpha"] + LAW["B"] * D ** -LAW["beta"]
            err = 0.85 - 2.0 * np.exp(-0.7 * L)
            L = L * np.exp(0.003 * rng.standard_normal())
            cells = [f"{N:.10e}", f"{D:.10e}", f"{6.0 * N * D:.10e}", f"{L:.8f}", f"{err:.8f}" if i % 2 else ""]
            more = [1 + i % 2, f"{D / (1 + i % 4):.10e}", 2 ** (i % 4), 16, 1]
            out.writerow([f"run {i // 3}", "val" if i % 3 else "test", *cells, *more])
    return path


@pytest.fixture
def words(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ["fit", "--runs", str(table), "--params", "N", "--tokens", "D", "--loss", "L", "--bootstrap", "100"]


def told(capsys, *words, code=0):
    assert main([*words, "--json"]) == code
    said = capsys.readouterr()
    assert said.err == ""
    return json.loads(said.out)


def test_the_document(words, capsys):
    answer = told(capsys, *words)
    assert (answer["schema"], answer["status"], answer["rows"]) == ("fit/1", "fitted", 120)
    assert answer["gradient_norm"] < 1e-8
    for name, value in LAW.items():
        low, high = answer["intervals"][name]
        assert low < answer[name] < high
        assert abs(answer[name] - value) < 4.0 * answer["standard_errors"][name], name
    assert answer["not_identified"] == {}
    assert answer["message"].startswith("L = 1.")
    assert answer["residuals"]["log_rms"] == pytest.approx(0.003, rel=0.25)
    assert len(answer["residuals"]["largest"]) == 8
    for row in answer["compute_optimal"]:
        N, D = row["params"], row["tokens"]
        assert row["flops"] == pytest.approx(6.0 * N * D, rel=1e-9)
        by_size = answer["alpha"] * answer["A"] * N ** -answer["alpha"]
        assert by_size == pytest.approx(answer["beta"] * answer["B"] * D ** -answer["beta"], rel=1e-6)
        low, high = row["tokens_per_param_interval"]
        assert low <= row["tokens_per_param"] <= high
    assert answer["law_file"] == "fitted-law.toml"


def test_the_law_goes_round(words, capsys):
    answer = told(capsys, *words, "--out", "mine.toml", "--error", "err")
    law = configs.load_law("mine.toml")
    assert law.coefficients == {name: answer[name] for name in LAW}  # to the last digit
    assert law.downstream == pytest.approx({"eps": 0.85, "k": 2.0, "gamma": 0.7}, rel=0.2)
    assert law.valid == answer["valid"]
    assert law.draws is not None
    drawn = load_draws(law.draws, list(LAW))
    assert {len(values) for values in drawn.values()} == {100}
    for name, values in drawn.items():
        assert np.std(values, ddof=1) == pytest.approx(answer["standard_errors"][name], rel=1e-12)
    with np.load(law.draws, allow_pickle=False) as file:
        assert sorted(file.files) == sorted(LAW)
        assert {file[name].dtype for name in file.files} == {np.dtype(np.float64)}
    plan = told(
        capsys, "optimize", "--lifetime-tokens", "1e14", "--quality-like", "1e9", "--objective", "flops",
        "--law", "mine.toml",
    )  # fmt: skip
    assert plan["status"] == "converged"


def test_the_same_seed_gives_the_same_files(words, capsys):
    told(capsys, *words, "--out", "one.toml", "--seed", "7")
    told(capsys, *words, "--out", "two.toml", "--seed", "7")
    assert Path("one.npz").read_bytes() == Path("two.npz").read_bytes()
    told(capsys, *words, "--out", "two.toml", "--seed", "8")
    assert Path("one.npz").read_bytes() != Path("two.npz").read_bytes()


def test_flops_in_place_of_tokens(words, capsys):
    plain = told(capsys, *words)
    swapped = ["C" if word == "D" else "--flops" if word == "--tokens" else word for word in words]
    answer = told(capsys, *swapped)
    for name in LAW:
        assert answer[name] == pytest.approx(plain[name], rel=1e-6)


def test_no_resampling_no_errors(words, capsys):
    answer = told(capsys, *words[:-1], "0")
    assert answer["standard_errors"] == answer["intervals"] == {}
    assert answer["draws_file"] is None
    assert configs.load_law(answer["law_file"]).draws is None


def test_held_coefficients_stay(words, capsys):
    answer = told(capsys, *words, "--fix", "alpha=0.3, E=1.7")
    assert (answer["alpha"], answer["E"]) == (0.3, 1.7)
    assert sorted(answer["standard_errors"]) == ["A", "B", "beta"]


def test_rows_are_picked_and_left_out_as_asked_and_listed(words, capsys, table):
    answer = told(capsys, *words, "--where", "split=val,bits=16.0", "--drop-highest", "3", "--group", "name")
    assert answer["rows"] == 77
    assert answer["rows_left_out"]["where"] == 40
    dropped = answer["rows_left_out"]["highest"]
    with table.open(newline="") as file:
        rows = [(i, row) for i, row in enumerate(csv.DictReader(file), 2) if row["split"] == "val"]
    highest = sorted(((float(row["L"]), i) for i, row in rows), reverse=True)[:3]
    assert [(one["loss_nats"], one["line"]) for one in dropped] == highest
    assert answer["bootstrap"]["groups"] == 40


def test_runs_of_no_weight_count_for_errors_alone(words, capsys, tmp_path, table):
    lines = table.read_text().splitlines()
    marked = [lines[0] + ",m"] + [f"{line},{int(i % 4 > 0)}" for i, line in enumerate(lines[1:])]
    (tmp_path / "marked.csv").write_text("\n".join(marked))
    words[words.index("--runs") + 1] = "marked.csv"
    answer = told(capsys, *words, "--weights", "m", "--error", "err")
    assert (answer["rows"], answer["rows_left_out"]["weightless"]) == (90, 30)
    assert answer["downstream"]["rows"] == 60


def test_a_run_far_off_is_named_not_dropped(words, capsys, tmp_path, table):
    lines = table.read_text().splitlines()
    cells = lines[9].split(",")
    lines[9] = ",".join([*cells[:5], str(1.3 * float(cells[5])), *cells[6:]])
    (tmp_path / "off.csv").write_text("\n".join(lines))
    words[words.index("--runs") + 1] = "off.csv"
    answer = told(capsys, *words)
    assert answer["rows"] == 120
    assert answer["residuals"]["far_off"][0]["line"] == 10
    assert any("line" in w and "10" in w and "none was left out" in w for w in answer["warnings"])


@pytest.mark.parametrize("form", ["tied", "gadre", "kaplan", "repeated"])
def test_other_forms_become_laws(form, words, capsys):
    words[-1] = "20"
    more = ["--unique-tokens", "U"] if form == "repeated" else []
    answer = told(capsys, *words, "--form", form, *more)
    assert answer["gradient_norm"] < 1e-8
    if answer["law_file"]:
        law = configs.load_law(answer["law_file"])
        assert law.form == form
        assert law.coefficients == {name: answer[name] for name in configs.LAW_FORMS[form]}
    else:
        assert any("no law file is written" in warning for warning in answer["warnings"])


def test_forms_ask_for_the_columns_that_they_read():
    assert {name: form.columns for name, form in FORMS.items() if form.columns} == asked.COLUMNS
    assert {name for name, form in FORMS.items() if form.terms} == set(asked.MONOMIALS)
    for name, form in FORMS.items():
        assert set(form.names) == set(configs.LAW_FORMS[name])


def same(words, tmp_path, change):
    with Path(words[2]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    with (tmp_path / "same.csv").open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        out.writerows(rows)
    return [*words[:2], "same.csv", *words[3:]]


@pytest.mark.parametrize("which", ["N", "D", "together"])
def test_sizes_that_never_vary_are_told(which, words, capsys, tmp_path):
    def change(row):
        row.update({"N": "1e8"} if which == "N" else {"D": "1e10"} if which == "D" else {"D": 20 * float(row["N"])})

    code = main([*same(words, tmp_path, change), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code in (0, 3)
    expected = {"N": "A and alpha cannot", "D": "B and beta cannot", "together": "rise together"}[which]
    assert any(expected in warning for warning in answer["warnings"])
    if which != "together":
        assert {*expected.split()[:3:2]} <= set(answer["not_identified"])
        assert not {*expected.split()[:3:2]} & set(answer["standard_errors"])
        assert answer["law_file"] is None
        assert answer["compute_optimal"] == []


def test_no_optimum_is_no_law(words, capsys, monkeypatch):
    whole = fitted.fit

    def stuck(*arguments):
        return replace(whole(*arguments), gradient_norm=1e-3, trouble="no start reached an optimum")

    monkeypatch.setattr(fitted, "fit", stuck)
    answer = told(capsys, *words, code=3)
    assert answer["status"] == "not-converged"
    assert "no start reached an optimum" in answer["message"]
    assert answer["law_file"] is None
    assert not list(Path().glob("fitted-law*"))
    assert main(words) == 3


def test_coefficients_that_are_open():
    law = replace_law({"E": 1.0, "A": 100.0, "B": 10.0, "alpha": 0.3, "beta": 0.3})
    between = {"A": (5.0, 60.0), "B": (5.0, 40.0), "alpha": (0.1, 0.5), "beta": (0.2, 0.4)}
    assert list(judged.not_identified(law, between)) == ["A", "alpha"]


def replace_law(values):
    from scaling.fit import Fit

    return Fit("chinchilla", values, 1.0, 0.0, 1, 1, {}, 1e-3, False, np.zeros(1))


L = np.linspace(2.5, 4.0, 8)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (0.3 + 0.1 * L, "straight line"),
        (np.full(8, 0.5), "the same"),
        (1.0 - 0.1 * L, "straight line"),
        (0.8 - 0.001 * np.exp(2.0 * (L - 2.5)), "straight line"),
    ],
)
def test_errors_that_tell_no_curve(error, why):
    assert why in (fit_errors(L, error).trouble or "")


def test_errors_to_the_last_digit():
    found = fit_errors(L, 0.8 - 3.0 * np.exp(-0.9 * L))
    assert (found.eps, found.k, found.gamma) == pytest.approx((0.8, 3.0, 0.9), rel=1e-9)
    assert found.trouble is None


BAD = {
    "no runs": (lambda w: w[:1], "--runs is missing"),
    "no such file": (lambda w: [*w[:2], "nowhere.csv", *w[3:]], "nowhere.csv: cannot be read as CSV (No such file"),
    "a folder": (lambda w: [*w[:2], ".", *w[3:]], "cannot be read as CSV"),
    "no params": (lambda w: [*w[:3], *w[5:]], "--params is missing: name the column"),
    "no tokens": (lambda w: [*w[:5], *w[7:]], "--tokens (or --flops) is missing"),
    "no loss": (lambda w: [*w[:7], *w[9:]], "--loss is missing"),
    "no such column": (lambda w: [*w[:8], "splt", *w[9:]], "no such column; did you mean 'split'?"),
    "unlike any column": (lambda w: [*w[:8], "zzz", *w[9:]], "(it has name, split, N"),
    "tokens and flops": (lambda w: [*w, "--flops", "C"], "exclude each other"),
    "text in a number": (lambda w: [*w[:8], "split", *w[9:]], "line 2: split = 'test' is not a number"),
    "text with a suffix": (lambda w: [*w, "--weights", "name"], "line 2: name = 'run 0' is not a number"),
    "blank cells": (lambda w: [*w[:8], "err", *w[9:]], "line 2: no err"),
    "tokens as loss": (lambda w: [*w[:8], "D", *w[9:]], "--tokens and --loss both name the column 'D'"),
    "unknown form": (lambda w: [*w, "--form", "chinchila"], "did you mean 'chinchilla'?"),
    "no unique tokens": (lambda w: [*w, "--form", "repeated"], "--unique-tokens is missing"),
    "no bits": (lambda w: [*w, "--form", "precision", "--train-bits", "bits"], "--serve-bits is missing"),
    "experts of nothing": (lambda w: [*w, "--experts", "X"], "--experts goes with --form moe"),
    "unknown coefficient": (lambda w: [*w, "--fix", "alfa=1"], "'alfa' is no coefficient of chinchilla; did you mean"),
    "no number held": (lambda w: [*w, "--fix", "alpha=much"], "alpha = 'much' is not a number"),
    "held out of range": (lambda w: [*w, "--fix", "alpha=5"], "alpha = 5 is outside 0.01 to 2"),
    "held at nothing": (lambda w: [*w, "--fix", "E=0"], "E = 0 must be positive"),
    "held NaN": (lambda w: [*w, "--fix", "alpha=nan"], "alpha = nan is outside"),
    "held twice": (lambda w: [*w, "--fix", "alpha=0.3,alpha=0.4"], "'alpha' is given twice"),
    "fix without a value": (lambda w: [*w, "--fix", "alpha"], "must be name=number"),
    "where without a value": (lambda w: [*w, "--where", "split"], "must be column=value"),
    "where nothing is": (lambda w: [*w, "--where", "split=vall"], "did you mean 'val'?"),
    "where no column is": (lambda w: [*w, "--where", "spilt=val"], "did you mean 'split'?"),
    "delta": (lambda w: [*w, "--delta", "wide"], "--delta = 'wide' must be a positive number"),
    "negative delta": (lambda w: [*w, "--delta", "-1"], "must be a positive number"),
    "delta NaN": (lambda w: [*w, "--delta", "nan"], "must be a positive number"),
    "residual": (lambda w: [*w, "--residual", "bits"], "must be one of log, nats"),
    "few draws": (lambda w: [*w[:-1], "3"], "must be 0, or 20 or more"),
    "half a draw": (lambda w: [*w[:-1], "100.5"], "must be a whole number"),
    "negative draws": (lambda w: [*w[:-1], "-1"], "outside 0 to 100000"),
    "all dropped": (lambda w: [*w, "--drop-highest", "120"], "leaves none of the 120 runs"),
    "most dropped": (lambda w: [*w, "--drop-highest", "117"], "3 runs are too few for 5 coefficients"),
    "one left": (lambda w: [*w, "--where", "name=run 1"], "3 runs are too few for 5 coefficients"),
    "out": (lambda w: [*w, "--out", "law.txt"], "must end in .toml"),
    "out nowhere": (lambda w: [*w, "--out", "no/law.toml"], "there is no directory 'no'"),
    "plot": (lambda w: [*w, "--plot", "law.pdf"], "must end in .png or .svg"),
    "mistyped flag": (lambda w: [*w, "--bootstraps", "5"], "did you mean '--bootstrap'?"),
    "stray word": (lambda w: [*w, "fast"], "does not belong here"),
    "scenario": (lambda w: [*w, "--scenario", "nowhere.toml"], "nowhere.toml"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_told_in_one_sentence(what, words, capsys):
    change, said = BAD[what]
    assert main(change(list(words))) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.count("\n") == 1
    assert said in out.err
    assert not list(Path().glob("fitted-law*"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("N,D,L\n", "a header without rows"),
        ("N,D,L\n1e8,1e9,nan\n", "line 2: L = nan is outside"),
        ("N,D,L\n1e8,1e9,3\n1e8,-1e9,3\n", "line 3: D = -1e9 is outside"),
        ("N,D,L\n1e8,1e9,3\n0.1,1e9,3\n", "line 3: N = 0.1 is outside 1 to 1e+15 (parameters)"),
        ("N,D,L\n1e8,1e9\n", "line 2: no L"),
        ("N,D,L\n1e8,1e9,inf\n", "line 2: L = inf is outside"),
        ("N,D,L,N\n1e8,1e9,3,4\n", "2 columns of that name"),
        ("\xff\xfe\x00", "cannot be read as CSV"),
        ("{'not': 'a table'}\n{}\n", "no such column"),
    ],
)
def test_bad_tables(text, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs.csv").write_bytes(text.encode("latin-1"))
    assert main(["fit", "--runs", "runs.csv", "--params", "N", "--tokens", "D", "--loss", "L"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_flags_from_a_file(words, capsys, tmp_path):
    text = f'runs = "{words[2]}"\nparams = "N"\ntokens = "D"\nloss = "L"\nbootstrap = 0\nfix = "alpha=0.3"\n'
    (tmp_path / "question.toml").write_text(text)
    answer = told(capsys, "fit", "--scenario", "question.toml", "--fix", "alpha=0.35")
    assert answer["alpha"] == 0.35


def test_the_report_and_the_picture(words, capsys):
    assert main([*words, "--plot", "law.png", "--drop-highest", "2", "--error", "err"]) == 0
    said = capsys.readouterr()
    assert said.err == ""  # no bar where nobody watches
    for text in ("L = 1.", "Coefficients", "90 % interval", "Compute-optimal", "Farthest runs", "Left out", "Next:"):
        assert text in said.out
    assert Path("law.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert main([*words[:-1], "0", "--plot", "law.svg"]) == 0
    assert "<svg" in Path("law.svg").read_text()


def test_a_killed_fit_leaves_no_broken_law(words, tmp_path):
    """Whatever is there after a kill is a whole law, the old one or the new one, and no draft is taken for one."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "planner", *words]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    before = (tmp_path / "fitted-law.toml").read_bytes()
    for wait in (0.3, 1.0, 1.5):
        run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(wait)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert (tmp_path / "fitted-law.toml").read_bytes() == before
        law = configs.load_law(str(tmp_path / "fitted-law.toml"))
        assert law.draws is not None
        load_draws(law.draws, list(law.coefficients))


def test_every_law_is_listed_with_its_form(capsys):
    answer = told(capsys, "list", "laws")
    rows = {row["id"]: row for row in answer["items"]}
    assert rows["epoch-2024"]["law"] == "1.817 + 477.8 / N^0.3473 + 2143 / D^0.3672"
    assert {row["form"] for row in rows.values()} >= {
        "chinchilla",
        "kaplan",
        "moe",
        "sparsity",
        "repeated",
        "precision",
    }
    assert main(["list", "laws"]) == 0
    shown = capsys.readouterr().out
    for name in rows:
        assert name in shown
