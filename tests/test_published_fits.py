"""Fits that others have published or checked: reproduced from the runs behind them, to the digits stated."""

import csv
import json

import pytest

from planner.cli.main import main

# Besiroglu et al. 2024, arXiv:2404.10102: the 240 points that its notebook keeps, exact minimiser of the sum of Huber
# losses (delta 1e-3) of log residuals, by two independent solvers.
EPOCH = {
    "E": 1.81721809901, "A": 477.825868234, "B": 2143.41736336, "alpha": 0.347310498882, "beta": 0.367172432628,
    "objective": 0.00101827401780,
}  # fmt: skip
# Gadre et al. 2024, arXiv:2403.08540, section 3: five small runs of each data set for the law of the loss, and one
# larger run beside them for the law of errors. Exact least squares, by independent solvers.
LAW_RUNS = {("d=96_l=8_h=4", 1.0), ("d=512_l=8_h=4", 1.0), ("d=576_l=24_h=8", 1.0), ("d=1024_l=24_h=8", 1.0),
            ("d=96_l=8_h=4", 16.0)}  # fmt: skip
ERROR_RUNS = {*LAW_RUNS, ("open_lm_1b", 1.0)}
GADRE = {
    "c4_original": {"E": 1.50826054, "a": 141.277255, "b": 189.515520, "eta": 0.1212361195},
    "rpj": {"E": 1.83664838, "a": 212.236110, "b": 366.687174, "eta": 0.1364253513},
    "rw_original": {"E": 1.73446209, "a": 157.116284, "b": 246.206687, "eta": 0.1271974223},
}
ERRORS = {
    ("c4_original", "err_avg_subset17"): (0.849742292, 2.078899168, 0.756119140),
    ("rpj", "err_avg_subset17"): (0.856991907, 2.206490639, 0.714590662),
    ("rw_original", "err_avg_subset17"): (0.865279495, 2.214815850, 0.707048705),
    ("c4_original", "err_avg"): (0.758949471, 1.288513782, 0.972163561),
    ("rpj", "err_avg"): (0.760849390, 1.322907032, 0.890710347),
    ("rw_original", "err_avg"): (0.767679183, 1.128075624, 0.821523280),
}


def told(capsys, *words):
    assert main([*words, "--bootstrap", "0", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def gadre(data, tmp_path, monkeypatch):
    """The published runs that the paper fits, a column saying which ones count for the law of the loss."""
    monkeypatch.chdir(tmp_path)
    with (data / "scaling" / "gadre_overtraining_runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = tmp_path / "gadre.csv"
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, [*rows[0], "counts"])
        out.writeheader()
        for row in rows:
            which = row["model"], float(row["chinchilla_multiplier"])
            if which in ERROR_RUNS:
                out.writerow({**row, "counts": int(which in LAW_RUNS)})
    return ["fit", "--runs", str(path), "--params", "n_params", "--tokens", "d_tokens", "--loss", "loss_c4_val",
            "--form", "gadre", "--residual", "nats", "--delta", "inf", "--weights", "counts"]  # fmt: skip


def test_chinchilla_as_corrected(data, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = told(
        capsys, "fit", "--runs", str(data / "scaling" / "epoch_chinchilla_fig4.csv"), "--params", "n_params",
        "--tokens", "d_tokens", "--loss", "loss_nats", "--where", "dropped_by_epoch_notebook=0",
    )  # fmt: skip
    assert answer["rows"] == 240
    for name, value in EPOCH.items():
        assert answer[name] == pytest.approx(value, rel=1e-8), name


@pytest.mark.parametrize(("kind", "measure"), ERRORS)
def test_over_training_and_errors(kind, measure, gadre, capsys):
    answer = told(capsys, *gadre, "--where", f"train_dataset={kind}", "--error", measure)
    assert answer["rows"] == 5
    for name, value in GADRE[kind].items():
        assert answer[name] == pytest.approx(value, rel=1e-7), name
    curve = answer["downstream"]
    assert curve["rows"] == 6
    assert curve["gradient_norm"] < 1e-12
    for name, value in zip(("eps", "k", "gamma"), ERRORS[kind, measure], strict=True):
        assert curve[name] == pytest.approx(value, rel=1e-7), name
