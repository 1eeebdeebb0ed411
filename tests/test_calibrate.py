"""`calibrate` and `validate` from the command line: recorded timings, the devices here, a kill, nonsense."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import configs
from hw.kernels import GemmShape, Rates, gemm
from planner.calibration import session
from planner.cli.main import main

ROOT = Path(__file__).parents[1]


def run(capsys, *words):
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def timings(tmp_path_factory):
    """GEMM timings of an H100 that obeys the model exactly but for 3 % of noise, in this planner's own columns."""
    chip, rng = configs.load_chip("h100-sxm"), np.random.default_rng(0)
    rates = Rates(
        chip.peak_flops_per_s["bf16"], chip.hbm_bytes_per_s, chip.cores, chip.cache_bytes, chip.link_bytes_per_s
    )
    path = tmp_path_factory.mktemp("timings") / "gemm.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["system", "dtype", "m", "n", "k", "seconds"])
        for _ in range(300):
            m, n, k = (int(2 ** rng.uniform(*r)) for r in ((0, 13), (7, 14), (7, 14)))
            t = float(gemm.START.seconds(rates, GemmShape(float(m), float(n), float(k))))
            writer.writerow(["h100_sxm", "bfloat16", m, n, k, t * np.exp(0.03 * rng.standard_normal())])
    return path


@pytest.fixture(scope="module")
def recorded(timings, tmp_path_factory):
    """The answer of `calibrate --from` and the chip file it wrote."""
    folder = tmp_path_factory.mktemp("out")
    words = ["calibrate", "--from", str(timings), "--out", str(folder / "mine.toml"), "--json"]
    words += ["--save", str(folder / "answer.json")]
    assert main(words) == 0
    return json.loads((folder / "answer.json").read_text()), folder / "mine.toml"


def test_recorded_timings_become_constants(recorded):
    answer, _ = recorded
    assert answer["schema"] == "calibrate/1"
    sharp = next(s for s in answer["chips"][0]["sets"] if s["family"] == "gemm")
    assert sharp["rows"] == 300
    assert sharp["mdape"] < 0.03  # the noise's own median is 2 %
    assert sharp["unseen_mdape"] < 0.04
    for name in ("compute_fraction", "hbm_fraction", "launch_s"):
        error = np.log(sharp["constants"][name] / getattr(gemm.START, name))
        assert abs(error) < 4 * sharp["log_standard_errors"][name] + 0.02, name


def test_the_chip_file_is_a_chip(recorded, capsys):
    _, path = recorded
    chip = configs.load_chip(str(path))
    facts = configs.kernels_of(chip)
    assert facts.measured("gemm", "bf16")
    assert not facts.measured("attention_decode", "bf16")  # none was timed: generic
    code, out, _ = run(
        capsys, "optimize", "--lifetime-tokens", "1e13", "--quality-like", "7B", "--chips", str(path), "--json"
    )
    assert code == 0
    assert json.loads(out)["plan"]["chip"] == str(path)


def test_validate_reads_the_same_timings(timings, capsys):
    code, out, _ = run(capsys, "validate", "--kernels", str(timings), "--json")
    assert code == 0
    group = json.loads(out)["gemm"][0]
    assert {"system", "dtype", "rows", "mdape", "p90"} <= group.keys()
    assert (group["system"], group["dtype"], group["rows"], group["basis"]) == (
        "h100_sxm",
        "bfloat16",
        300,
        "calibrated",
    )


def test_validate_without_flags_shows_the_shipped_table(capsys):
    code, out, _ = run(capsys, "validate", "--json")
    assert code == 0
    answer = json.loads(out)
    assert {g["system"] for g in answer["gemm"]} >= {"h100-sxm", "b200-sxm", "generic"}
    code, out, _ = run(capsys, "validate")
    assert code == 0
    assert "h100-sxm" in out


def test_several_chips_need_a_folder(timings, tmp_path, capsys):
    two = tmp_path / "gemm.csv"
    lines = timings.read_text().splitlines()
    two.write_text("\n".join([*lines, *(line.replace("h100_sxm", "h200_sxm") for line in lines[1:])]))
    code, _, err = run(capsys, "calibrate", "--from", str(two), "--out", str(tmp_path / "x.toml"))
    assert code == 2
    assert "folder" in err
    assert "h200-sxm" in err
    folder = tmp_path / "constants"
    folder.mkdir()
    code, _, _ = run(capsys, "calibrate", "--from", str(two), "--out", str(folder), "--json")
    assert code == 0
    assert {p.name for p in folder.iterdir()} == {"h100-sxm.toml", "h200-sxm.toml", "generic.toml"}
    assert configs.load_kernels(str(folder / "generic.toml")).sets["gemm"]["bf16"].rows == 600


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["calibrate", "--grid", "smal"], "did you mean 'small'"),
        (["calibrate", "--families", "gemm,atention_decode"], "did you mean 'attention_decode'"),
        (["calibrate", "--families", "gemm,"], "must be one of"),
        (["calibrate", "--precisions", "fp9"], "must be one of"),
        (["calibrate", "--chip", "h1000"], "unknown chip"),
        (["calibrate", "--out", "/nowhere/x.toml"], "no directory"),
        (["calibrate", "--out", "x.json"], "must end in .toml"),
        (["calibrate", "--out", "."], "is a directory"),
        (["calibrate", "--from", "nothing.parquet"], "no such file"),
        (["calibrate", "--from", "pyproject.toml", "--out", "x.toml"], "pyproject.toml"),
        (["calibrate", "--from", "TIMINGS", "--grid", "small"], "does not go with --from"),
        (["calibrate", "--plot", "x.pdf"], ".png or .svg"),
        (["calibrate", "--form", "x"], "did you mean '--from'"),
        (["calibrate", "--grid"], "needs a value"),
        (["calibrate", "here"], "does not belong here"),
        (["validate", "--kernels", "nothing"], "no such file"),
        (["validate", "--chip", "h100-sxm"], "give both"),
        (["validate", "--kernel", "x"], "did you mean '--kernels'"),
        (["validate", "--kernels", ""], "empty"),
    ],
)
def test_nonsense_is_one_sentence(words, said, timings, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [str(timings) if w == "TIMINGS" else w for w in words]
    code, out, err = run(capsys, *words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""


def test_timings_of_an_unknown_chip_ask_for_its_name(timings, tmp_path, capsys):
    alien = tmp_path / "gemm.csv"
    alien.write_text(timings.read_text().replace("h100_sxm", "warp9"))
    code, _, err = run(capsys, "calibrate", "--from", str(alien), "--out", str(tmp_path / "x.toml"))
    assert code == 2
    assert "warp9" in err
    assert "--chip" in err
    code, _, _ = run(
        capsys, "calibrate", "--from", str(alien), "--chip", "h100-sxm", "--out", str(tmp_path / "x.toml"), "--json"
    )
    assert code == 0
    code, _, err = run(capsys, "validate", "--kernels", str(alien))
    assert code == 2
    assert "warp9" in err
    code, out, _ = run(capsys, "validate", "--kernels", str(alien), "--chip", str(tmp_path / "x.toml"), "--json")
    assert code == 0
    group = json.loads(out)["gemm"][0]
    assert (group["system"], group["basis"]) == ("warp9", "calibrated")
    assert group["mdape"] < 0.04


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("compute_fraction =", "compute_fractoin =", "did you mean 'compute_fraction'"),
        ("compute_fraction = 0", "compute_fraction = 0.0 # 0", "compute_fraction = 0.0 must be a positive number"),
    ],
)
def test_spoiled_constants_name_their_file(old, new, said, recorded, timings, tmp_path, capsys):
    spoiled = tmp_path / "spoiled.toml"
    spoiled.write_text(recorded[1].read_text().replace(old, new))
    alien = tmp_path / "gemm.csv"
    alien.write_text(timings.read_text().replace("h100_sxm", "warp9"))
    code, _, err = run(capsys, "validate", "--kernels", str(alien), "--chip", str(spoiled))
    assert code == 2
    assert "spoiled.toml" in err
    assert said in err


def test_too_few_timings_are_refused(timings, tmp_path, capsys):
    few = tmp_path / "gemm.csv"
    few.write_text("\n".join(timings.read_text().splitlines()[:5]))
    code, _, err = run(capsys, "calibrate", "--from", str(few), "--out", str(tmp_path / "x.toml"))
    assert code == 2
    assert "too few" in err


def test_a_chip_given_stands_for_the_system_of_the_table(timings, tmp_path, capsys):
    code, out, _ = run(
        capsys, "calibrate", "--from", str(timings), "--chip", "h200-sxm", "--out", str(tmp_path / "x.toml"), "--json"
    )
    assert code == 0
    assert json.loads(out)["chips"][0]["chip"] == "h200-sxm"
    assert configs.load_chip(str(tmp_path / "x.toml")).hbm_bytes_per_s == configs.load_chip("h200-sxm").hbm_bytes_per_s


def test_a_log_of_a_known_device_names_its_chip(timings, tmp_path, capsys):
    """As `calibrate` on an H100 leaves it: fitted and validated elsewhere without a flag; the quicker visit counts."""
    log = tmp_path / "far.timings.jsonl"
    rows = list(csv.DictReader(timings.read_text().splitlines()))[:60]
    header = {"schema": "timings/1", "device": {"kind": "NVIDIA H100 80GB HBM3", "chip": None}, "grid": "small"}
    lines = [header, {"probe": "bf16", "rate": 8e14}, {"family": "gemm", "dtype": "bf16", "skipped": "out of memory"}]
    for visit, slower in ((0, 1.5), (1, 1.0)):
        for number, row in enumerate(rows):
            shape = {k: int(row[k]) for k in "mnk"}
            split = "heldout" if number % 5 == 4 else "fit"
            took = {"seconds": float(row["seconds"]) * slower, "copies": 6}
            lines.append(
                {"job": f"{number} {visit}", "family": "gemm", "dtype": "bf16", **shape, "split": split, **took}
            )
    log.write_text("\n".join(map(json.dumps, lines)) + "\n")
    code, out, err = run(capsys, "calibrate", "--from", str(log), "--out", str(tmp_path / "far.toml"), "--json")
    assert code == 0, err
    answer = json.loads(out)
    sharp = answer["chips"][0]["sets"][0]
    assert answer["chips"][0]["chip"] == "h100-sxm"
    assert answer["warnings"] == []
    assert sharp["rows"] == 60
    assert sharp["mdape"] < 0.05  # the slower visit would be 50 % off
    assert sum(row["held_out"] for row in sharp["residuals"]) == 12
    held = [row["predicted_s"] / row["measured_s"] - 1 for row in sharp["residuals"] if row["held_out"]]
    assert sharp["unseen_mdape"] == pytest.approx(np.median(np.abs(held)), rel=1e-9)
    assert configs.load_chip(str(tmp_path / "far.toml")).tables["kernels_like"] == "h100-sxm"
    code, out, err = run(capsys, "validate", "--kernels", str(log), "--json")
    assert code == 0, err
    assert json.loads(out)["gemm"][0]["basis"] == "calibrated"


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("gemm", "system,dtype,m,n,k,seconds,copies", "h100_sxm,bfloat16,8,4096,4096,1e-5,"),
        ("attention_prefill", "system,dtype,kv_dtype,batch,heads,kv_heads,head_dim,window,q_len,kv_len,seconds",
         "h100_sxm,bfloat16,bfloat16,1,8,8,128,0,100,100,1e-5"),
    ],
)  # fmt: skip
def test_gaps_and_contradictions_never_become_nan(name, header, row, tmp_path, capsys):
    path = tmp_path / f"{name}.csv"
    broken = row.replace(",100,100,", ",100,50,")
    path.write_text("\n".join([header, row, broken]))
    code, out, _ = run(capsys, "validate", "--kernels", str(path), "--json")
    assert code == 0
    assert json.loads(out)[name][0]["rows"] == (2 if name == "gemm" else 1)


def test_an_unknown_operation_is_no_answer(tmp_path, capsys):
    path = tmp_path / "allreduce.csv"
    path.write_text("system,op,dtype,devices,bytes,seconds\nh100_sxm,frobnicate,half,8,1024,1e-5\n")
    code, out, err = run(capsys, "validate", "--kernels", str(path), "--json")
    assert code == 2
    assert out == ""
    assert "frobnicate" in err or "no constants" in err


def test_no_device_is_said(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cuda"}
    done = subprocess.run(
        [sys.executable, "-m", "planner", "calibrate", "--out", str(tmp_path / "x.toml")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "no device" in done.stderr
    assert "Traceback" not in done.stderr


def test_collectives_of_one_device_are_refused(tmp_path, capsys):
    code, _, err = run(capsys, "calibrate", "--families", "allreduce", "--out", str(tmp_path / "x.toml"))
    assert code == 2
    assert "two devices" in err
    assert list(tmp_path.iterdir()) == []


def spawn(folder, *words):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "LLM_PLANNER_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-m", "planner", "calibrate", "--grid", "quick", "--families", "gemm", "--precisions", "bf16",
         "--out", str(folder / "cpu.toml"), *words],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def rows_of(path):
    return [line for line in path.read_text().split("\n")[:-1] if '"job"' in line] if path.exists() else []


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    """On the CPU here, for real: killed after a few kernels, then finished, then asked again."""
    log = tmp_path / "cpu.timings.jsonl"
    first = spawn(tmp_path)
    deadline = time.monotonic() + 240
    while len(rows_of(log)) < 3:
        assert first.poll() is None, first.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = rows_of(log)
    with log.open("a") as file:
        file.write('{"job": "cut sho')  # what a kill in the middle of a write leaves behind
    second = spawn(tmp_path, "--json")
    out, err = second.communicate(timeout=500)
    assert second.returncode == 0, err
    answer = json.loads(out)
    assert rows_of(log)[: len(kept)] == kept
    assert len({json.loads(row)["job"] for row in rows_of(log)}) == len(rows_of(log)) == 16 * session.VISITS
    assert answer["device"]["backend"] == "cpu"
    assert configs.kernels_of(configs.load_chip(str(tmp_path / "cpu.toml"))).measured("gemm", "bf16")
    sharp = next(s for s in answer["chips"][0]["sets"] if s["family"] == "gemm")
    assert sharp["rows"] == 16
    assert 0 < sharp["mdape"] < 1
    taken = log.read_text()
    third = spawn(tmp_path, "--json")
    out, err = third.communicate(timeout=500)
    assert third.returncode == 0, err
    assert log.read_text() == taken  # nothing was timed again
    assert json.loads(out)["chips"] == answer["chips"]
    other = spawn(tmp_path, "--grid", "small")
    assert "--grid is given twice" in other.communicate(timeout=120)[1]
    (tmp_path / "cpu.timings.jsonl").write_text(
        '{"schema": "timings/1", "device": {"kind": "Cray"}, "grid": "quick"}\n'
    )
    other = spawn(tmp_path)
    _, err = other.communicate(timeout=120)
    assert other.returncode == 2
    assert "Cray" in err
