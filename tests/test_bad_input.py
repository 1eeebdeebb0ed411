"""Bad input is refused with exit code 2 and one sentence that says where, what, and what would do."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import configs
from planner.cli.main import COMMANDS, main

_COMMANDS = ", ".join(COMMANDS)
ROOT = Path(__file__).resolve().parent.parent
L4 = (ROOT / "configs" / "chips" / "l4.toml").read_text()
ASK = ["optimize", "--lifetime-tokens", "1e15"]
JUDGE = ["evaluate", "--lifetime-tokens", "1e15", "--params", "20e9", "--chip", "h100-sxm", "--chips-per-replica", "1"]


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path) -> Callable[[list[str]], str]:
    """Return a function that runs bad words, checks how they are refused, and returns the sentence."""
    monkeypatch.chdir(tmp_path)

    def run(words: list[str]) -> str:
        code = main(words)
        said = capsys.readouterr()
        assert code == 2, said
        assert said.out == ""
        assert said.err.startswith("planner: ")
        assert said.err.endswith("\n")
        assert said.err.count("\n") == 1, "the refusal must be one line"
        sentence = said.err.removeprefix("planner: ").strip()
        assert "Traceback" not in sentence
        assert not re.search(r"[.!] +[A-Z]", sentence), "the refusal must be one sentence"
        return sentence

    return run


def without(words: list[str], flag: str) -> list[str]:
    """Return ``words`` less ``flag`` and its value."""
    at = words.index(flag)
    return words[:at] + words[at + 2 :]


# Words as typed, and what the sentence must hold: the flag or name, the value, and what would do.
TYPED: dict[str, tuple[list[str], list[str]]] = {
    # commands
    "mistyped command": (["optimise"], ["'optimise'", "did you mean 'optimize'?"]),
    "unlike any command": (["xyz"], ["'xyz'", _COMMANDS]),
    "flag before the command": (
        ["--lifetime-tokens", "1e15"],
        ["'--lifetime-tokens'", _COMMANDS],
    ),
    "empty command": ([""], ["command ''", _COMMANDS]),
    # words that are not flag and value
    "mistyped flag": ([*ASK, "--tpot", "40"], ["'--tpot'", "did you mean '--tpot-ms'?"]),
    "mistyped switch": ([*ASK, "--jsn"], ["'--jsn'", "did you mean '--json'?"]),
    "unlike any flag": ([*ASK, "--qqqq", "1"], ["'--qqqq'", "optimize --help"]),
    "single dash": ([*ASK, "-t", "1"], ["'-t'", "optimize --help"]),
    "stray word": ([*ASK, "70B"], ["'70B'", "optimize --help"]),
    "stray second kind": (["list", "chips", "laws"], ["'laws'", "list --help"]),
    "flag without a value": (["optimize", "--lifetime-tokens"], ["--lifetime-tokens needs a value"]),
    "flag before a flag": (["optimize", "--lifetime-tokens", "--json"], ["--lifetime-tokens needs a value"]),
    "flag given twice": ([*ASK, "--lifetime-tokens", "1e14"], ["--lifetime-tokens is given twice"]),
    "flag twice, once with =": ([*ASK, "--lifetime_tokens=1e14"], ["--lifetime-tokens is given twice"]),
    "switch with a value": ([*ASK, "--json=yes"], ["--json takes no value"]),
    # numbers
    "a word for a number": (
        ["optimize", "--lifetime-tokens", "many"],
        ["--lifetime-tokens = 'many'", "not a number", "1e12 or 1T"],
    ),
    "a number with a comma": (["optimize", "--lifetime-tokens", "1,000"], ["'1,000'", "not a number"]),
    "a number with its unit": ([*ASK, "--tpot-ms", "40ms"], ["--tpot-ms = '40ms'", "not a number", "milliseconds"]),
    "a suffix alone": ([*ASK, "--quality-like", "B"], ["--quality-like = 'B'", "not a number", "parameters"]),
    "a per cent sign": ([*ASK, "--cached-fraction", "50%"], ["--cached-fraction = '50%'", "not a number", "fraction"]),
    "nan": (["optimize", "--lifetime-tokens", "nan"], ["--lifetime-tokens = 'nan'", "not a number"]),
    "inf": (["optimize", "--lifetime-tokens", "inf"], ["--lifetime-tokens = 'inf'", "not a number"]),
    "more than a float": (["optimize", "--lifetime-tokens", "1e400"], ["--lifetime-tokens = '1e400'", "not a number"]),
    "empty number": (["optimize", "--lifetime-tokens", ""], ["--lifetime-tokens = ''", "not a number"]),
    "negative": (["optimize", "--lifetime-tokens", "-1e15"], ["--lifetime-tokens = -1e15", "0 to 1e+30"]),
    "negative after =": (["optimize", "--lifetime-tokens=-1e15"], ["--lifetime-tokens = -1e15", "0 to 1e+30"]),
    "zero tokens": (["optimize", "--lifetime-tokens", "0"], ["--lifetime-tokens = 0", "at least 1"]),
    "zero parameters": ([*ASK, "--quality-like", "0"], ["--quality-like = 0", "1e+06 to 1e+15", "parameters"]),
    "billions forgotten": ([*ASK, "--quality-like", "70"], ["--quality-like = 70", "1e+06 to 1e+15"]),
    "too many parameters": ([*ASK, "--quality-like", "7e20"], ["--quality-like = 7e20", "1e+06 to 1e+15"]),
    "loss too high": ([*ASK, "--target-loss", "200"], ["--target-loss = 200", "0.001 to 20", "nats per token"]),
    "budget of nothing": ([*ASK, "--budget-usd", "0"], ["--budget-usd = 0", "1 to 1e+18", "US dollars"]),
    "no time per token": ([*ASK, "--tpot-ms", "0"], ["--tpot-ms = 0", "0.001 to 1e+09", "milliseconds"]),
    "no time to first token": ([*ASK, "--ttft-ms", "0"], ["--ttft-ms = 0", "0.001 to 1e+09", "milliseconds"]),
    "all cached": ([*ASK, "--cached-fraction", "1"], ["--cached-fraction = 1", "0 to 0.999"]),
    "peak below the mean": ([*ASK, "--peak-to-mean", "0.5"], ["--peak-to-mean = 0.5", "1 to 1000"]),
    "no days": ([*ASK, "--lifetime-days", "0"], ["--lifetime-days = 0", "0.01 to 100000", "days"]),
    "free chips": ([*ASK, "--chip-usd-per-hour", "0"], ["--chip-usd-per-hour = 0", "0.001 to 1000"]),
    "sparser than dense": ([*ASK, "--max-sparsity", "0.5"], ["--max-sparsity = 0.5", "1 to 1000"]),
    "empty prompts": ([*ASK, "--input-tokens", "0"], ["--input-tokens = 0", "1 to 1e+08"]),
    "empty answers": ([*ASK, "--output-tokens", "0"], ["--output-tokens = 0", "1 to 1e+08"]),
    # names
    "empty name": ([*ASK, "--law", " "], ["--law is empty"]),
    "empty list": ([*ASK, "--chips", ""], ["--chips is empty"]),
    "trailing comma": ([*ASK, "--chips", "h100-sxm,"], ["--chips = 'h100-sxm,'", "single commas"]),
    "mistyped chip": ([*ASK, "--chips", "b200-sxm,h100-smx"], ["'h100-smx'", "did you mean 'h100-sxm'?"]),
    "chip with a letter too many": ([*ASK, "--chips", "h1000"], ["'h1000'", "did you mean 'h100-sxm'?"]),
    "unlike any chip": ([*ASK, "--chips", "zzzz"], ["chip 'zzzz'", "a100-sxm,", "tpu-v7"]),
    "mistyped law": ([*ASK, "--law", "epoch-2025"], ["law 'epoch-2025'", "did you mean 'epoch-2024'?"]),
    "unlike any law": ([*ASK, "--law", "qqqq"], ["law 'qqqq'", "besiroglu-2024", "hoffmann-2022"]),
    "mistyped workload": ([*ASK, "--workload", "chta"], ["workload 'chta'", "did you mean 'chat'?"]),
    "unknown engine": ([*ASK, "--engine", "trtllm"], ["engine 'trtllm'", "tensorrt-llm"]),
    "mistyped scenario": ([*ASK, "--scenario", "defualt"], ["scenario 'defualt'", "did you mean 'default'?"]),
    "unknown precision": ([*ASK, "--precision", "fp16"], ["--precision = 'fp16'", "bf16, fp8, int8, fp4"]),
    "unknown objective": ([*ASK, "--objective", "cost"], ["--objective = 'cost'", "usd, flops, joules"]),
    # flags that do not go together
    "no lifetime tokens": (["optimize"], ["--lifetime-tokens is missing", "--lifetime-tokens", "1e15"]),
    "two qualities": (
        [*ASK, "--quality-like", "7e9", "--target-loss", "2"],
        ["--quality-like", "--target-loss", "exclude"],
    ),
    "loss and budget": (
        [*ASK, "--budget-usd", "1e7", "--target-loss", "2"],
        ["--budget-usd", "--target-loss", "exclude"],
    ),
    "budget with flops": (
        [*ASK, "--budget-usd", "1e7", "--objective", "flops"],
        ["--budget-usd", "--objective usd", "flops"],
    ),
    "budget with joules": (
        [*ASK, "--budget-usd", "1e7", "--objective", "joules"],
        ["--budget-usd", "--objective usd", "joules"],
    ),
    "precision a chip lacks": (
        [*ASK, "--chips", "h100-sxm,a100-sxm", "--precision", "fp8"],
        ["'fp8'", "'a100-sxm'", "bf16, int8"],
    ),
    "chip without a price": ([*ASK, "--chips", "m3-max"], ["'m3-max'", "no rental price", "--chip-usd-per-hour"]),
    # evaluate
    "no parameters": (without(JUDGE, "--params"), ["--params is missing", "8e9"]),
    "no chip": (without(JUDGE, "--chip"), ["--chip is missing", "list chips"]),
    "no chips per replica": (without(JUDGE, "--chips-per-replica"), ["--chips-per-replica is missing"]),
    "half a chip": (
        [*without(JUDGE, "--chips-per-replica"), "--chips-per-replica", "1.5"],
        ["--chips-per-replica = 1.5", "whole number"],
    ),
    "no chips at all": (
        [*without(JUDGE, "--chips-per-replica"), "--chips-per-replica", "0"],
        ["--chips-per-replica = 0", "1 to 1e+06"],
    ),
    "replica off the menu": (
        [*without(JUDGE, "--chips-per-replica"), "--chips-per-replica", "3"],
        ["= 3", "1, 2, 4, 8, 16, 32, 64"],
    ),
    "several chips": ([*without(JUDGE, "--chip"), "--chip", "h100-sxm,l4"], ["'h100-sxm,l4'", "h100-sxm'?"]),
    "empty batch": ([*JUDGE, "--batch", "0"], ["--batch = 0", "1 to 1e+09", "sequences"]),
    "negative batch": ([*JUDGE, "--batch=-3"], ["--batch = -3", "1 to 1e+09"]),
    "hardly any training": ([*JUDGE, "--train-tokens", "15"], ["--train-tokens = 15", "1000 to 1e+24", "tokens"]),
    "evaluate for a budget": ([*JUDGE, "--budget-usd", "1e7"], ["--budget-usd"]),
    "precision the chip lacks": ([*JUDGE, "--precision", "fp4"], ["'fp4'", "'h100-sxm'", "bf16, fp8, int8"]),
    # list
    "nothing to list": (["list"], ["chips, laws, models, workloads, prices, scenarios, engines"]),
    "mistyped kind": (["list", "chip"], ["'chip'", "did you mean 'chips'?"]),
    "unknown kind": (["list", "xyzzy"], ["'xyzzy'", "chips, laws, models, workloads, prices, scenarios, engines"]),
    "flag of another command": (["list", "chips", "--law", "epoch-2024"], ["'--law'"]),
    # files
    "chip file absent": ([*ASK, "--chips", "no/such/chip.toml"], ["no/such/chip.toml", "no such file"]),
    "law file absent": ([*ASK, "--law", "no/such/law.toml"], ["no/such/law.toml", "no such file"]),
    "scenario file absent": (["optimize", "--scenario", "no/such.toml"], ["no/such.toml", "no such file"]),
    "unwritable save": (
        [*ASK, "--save", "/no/such/folder/plan.json"],
        ["--save", "'/no/such/folder/plan.json'", "cannot be written"],
    ),
    "unwritable save of a list": (
        ["list", "laws", "--save", "/no/such/laws.json"],
        ["--save", "'/no/such/laws.json'", "cannot be written"],
    ),
    "unwritable save beside --json": (
        [*ASK, "--json", "--save", "/no/such/plan.json"],
        ["--save", "'/no/such/plan.json'"],
    ),
    "empty save": ([*ASK, "--save", ""], ["--save is empty"]),
    "impossible save": ([*ASK, "--save", "plan\0.json"], ["--save", "cannot be written"]),
    "a name of two lines": ([*ASK, "--law", "epoch\n2024"], ["law", "epoch-2024"]),
    "a name too long for a file": ([*ASK, "--law", "x" * 5000 + ".toml"], ["no such file"]),
    "a chip where a law belongs": (
        [*ASK, "--law", str(ROOT / "configs/chips/l4.toml")],
        ["l4.toml", "vendor", "coefficients"],
    ),
}


@pytest.mark.parametrize("name", TYPED)
def test_words_are_refused(name, refused):
    words, essentials = TYPED[name]
    sentence = refused(words)
    for essential in essentials:
        assert essential in sentence


CORES = L4[L4.index("[cores]") : L4.index("[scale_up]")]
POWER = L4[L4.index("[power]") : L4.index("[price]")]

# A chip file is the L4's with one thing replaced; the sentence must name the file, and these.
CHIP_FILES: dict[str, tuple[str, str, list[str]]] = {
    "syntax error": ("hbm_gb = 24.0", "hbm_gb = = 24.0", ["not valid TOML", "line "]),
    "key twice": ("tdp_w = 72.0", "tdp_w = 72.0\ntdp_w = 72.0", ["not valid TOML", "line"]),
    "unknown key": ("hbm_gb = 24.0", "hbm_gbs = 24.0", ["memory.hbm_gbs", "not a known key", "did you mean 'hbm_gb'?"]),
    "unknown table": ("[memory]", "[memroy]", ["memroy", "not a known key", "did you mean 'memory'?"]),
    "missing key": ("hbm_gb = 24.0\n", "", ["memory.hbm_gb is missing"]),
    "missing table": (POWER, "", ["power is missing"]),
    "missing cores": (CORES, "", ["cores is missing"]),
    "bytes for MB": ("cache_mb = 48.0", "cache_mb = 48e6", ["cores.cache_mb = 48000000.0", "MB of 1e6 bytes"]),
    "no energy set": ('energy = "nvidia-4n-gddr"\n', "", ["power.energy is missing"]),
    "unknown energy set": (
        '"nvidia-4n-gddr"',
        '"nvidia-4n"',
        ["power.energy", "unknown energy 'nvidia-4n'", "did you mean 'nvidia-4n-"],
    ),
    "missing source": ('source = "NVIDIA L4 datasheet"\n', "", ["peak_tflops.source is missing", "source"]),
    "empty source": ('source = "NVIDIA L4 datasheet"', 'source = " "', ["peak_tflops.source", "non-empty string"]),
    "missing date": ('retrieved = "2026-11-22"\n', "", ["peak_tflops", "'retrieved' or 'date'"]),
    "text for a number": ("24.0", '"24 GB"', ["memory.hbm_gb = '24 GB'", "number", "GB"]),
    "truth for a number": ("24.0", "true", ["memory.hbm_gb = True", "number", "GB"]),
    "list for a number": ("24.0", "[24.0]", ["memory.hbm_gb = [24.0]", "number", "GB"]),
    "number for a text": ('"NVIDIA"', "3", ["vendor = 3", "string"]),
    "number for a table": ("[peak_tflops]", "peak_tflops = 3\n[memroy]", ["memroy"]),
    "bytes for GB": (
        "hbm_gb = 24.0",
        "hbm_gb = 80e9",
        ["memory.hbm_gb = 80000000000.0", "1 to 10000", "GB of 1e9 bytes"],
    ),
    "FLOP/s for TFLOP/s": ("bf16 = 121.0", "bf16 = 121e12", ["peak_tflops.bf16 = 121000000000000.0", "dense TFLOP/s"]),
    "TB/s for GB/s": ("hbm_gb_per_s = 300.0", "hbm_gb_per_s = 0.3", ["memory.hbm_gb_per_s = 0.3", "GB/s"]),
    "kilowatts for watts": ("tdp_w = 72.0", "tdp_w = 0.072", ["power.tdp_w = 0.072", "watts"]),
    "nan": ("24.0", "nan", ["memory.hbm_gb = nan", "1 to 10000"]),
    "infinity": ("tdp_w = 72.0", "tdp_w = inf", ["power.tdp_w = inf", "watts"]),
    "negative price": ("0.39", "-1", ["price.usd_per_hour = -1", "0.001 to 1000", "US dollars per chip-hour"]),
    "a date in words": ('"2026-11-22"', '"last week"', ["peak_tflops.retrieved = 'last week'", "YYYY-MM-DD"]),
    "month 13": ('"2026-11-22"', '"2026-13-22"', ["peak_tflops.retrieved = '2026-13-22'", "YYYY-MM-DD"]),
    "a date without quotes": ('"2026-11-22"', "2026-11-22", ["peak_tflops.retrieved", "string"]),
    "unknown class": ('"datacenter"', '"datacentre"', ["class = 'datacentre'", "did you mean 'datacenter'?"]),
    "unknown price mode": ('"on-demand"', '"ondemand"', ["price.mode = 'ondemand'", "did you mean 'on-demand'?"]),
}


@pytest.mark.parametrize("name", CHIP_FILES)
def test_chip_files_are_refused(name, refused, tmp_path):
    old, new, essentials = CHIP_FILES[name]
    assert old in L4
    path = tmp_path / "mine.toml"
    path.write_text(L4.replace(old, new, 1))
    sentence = refused([*ASK, "--chips", str(path)])
    assert str(path) in sentence
    for essential in essentials:
        assert essential in sentence.replace(str(path), "")  # the folder is named after the test


def test_the_chip_file_that_they_spoil_is_good(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(L4)
    assert configs.load_chip(str(path)).hbm_bytes == 24e9


# A whole scenario file, and what the sentence must hold.
SCENARIO_FILES: dict[str, tuple[str, list[str]]] = {
    "a value out of range": ("lifetime_tokens = -5\n", ["mine.toml", "lifetime_tokens = -5", "0 to 1e+30"]),
    "a number in quotes": ("lifetime_tokens = '1e15'\n", ["mine.toml", "lifetime_tokens = '1e15'", "number"]),
    "an unknown key": ("lifetime_token = 1e15\n", ["mine.toml", "lifetime_token ", "did you mean 'lifetime_tokens'?"]),
    "a flag for a key": ("lifetime-tokens = 1e15\n", ["mine.toml", "did you mean 'lifetime_tokens'?"]),
    "an unknown law": (
        "lifetime_tokens = 1e15\nlaw = 'hofman-2022'\n",
        ["'hofman-2022'", "did you mean 'hoffmann-2022'?"],
    ),
    "an unknown precision": (
        "lifetime_tokens = 1e15\nprecision = 'fp88'\n",
        ["mine.toml", "'fp88'", "bf16, fp8, int8, fp4"],
    ),
    "two qualities": (
        "lifetime_tokens = 1e15\nquality_like = 7e9\ntarget_loss = 2.0\n",
        ["quality", "target", "exclude"],
    ),
    "no lifetime tokens": ("quality_like = 7e9\n", ["--lifetime-tokens is missing"]),
    "chips that are no list": (
        "lifetime_tokens = 1e15\nchips = 'h100-sxm'\n",
        ["mine.toml", "chips = 'h100-sxm'", "list"],
    ),
    "no chips in the list": ("lifetime_tokens = 1e15\nchips = []\n", ["mine.toml", "chips = []", "non-empty list"]),
    "a syntax error": ("lifetime_tokens = 1e15\nlaw == 'x'\n", ["mine.toml", "not valid TOML", "line 2"]),
}


@pytest.mark.parametrize("name", SCENARIO_FILES)
def test_scenario_files_are_refused(name, refused, tmp_path):
    text, essentials = SCENARIO_FILES[name]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    sentence = refused(["optimize", "--scenario", str(path)])
    for essential in essentials:
        assert essential in sentence


def test_a_law_file_without_a_coefficient_is_refused(refused, tmp_path):
    path = tmp_path / "mine.toml"
    text = (ROOT / "configs/laws/epoch-2024.toml").read_text()
    path.write_text(re.sub(r"(?m)^beta = .*\n", "", text, count=1))
    sentence = refused([*ASK, "--law", str(path)])
    assert str(path) in sentence
    assert "coefficients.beta is missing" in sentence


def test_an_empty_file_is_refused(refused, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("")
    assert f"{path}: name is missing" in refused([*ASK, "--chips", str(path)])


def test_a_file_that_is_not_utf8_is_refused(refused, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b'name = "\xff\xfe"\n')
    sentence = refused([*ASK, "--chips", str(path)])
    assert str(path) in sentence
    assert "utf-8" in sentence.lower()


def test_a_directory_for_a_file_is_refused_as_one(refused, tmp_path):
    path = tmp_path / "mine.toml"
    path.mkdir()
    sentence = refused([*ASK, "--chips", str(path)])
    assert str(path) in sentence
    assert "directory" in sentence.replace(str(path), "")  # the folder is named after the test


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_that_may_not_be_read_is_refused(refused, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(L4)
    path.chmod(0)
    sentence = refused([*ASK, "--chips", str(path)])
    assert str(path) in sentence
    assert "cannot be read" in sentence


def test_saving_onto_a_directory_is_refused_and_leaves_nothing(refused, tmp_path):
    target = tmp_path / "plan.json"
    target.mkdir()
    sentence = refused([*ASK, "--save", str(target)])
    assert "--save" in sentence
    assert str(target) in sentence
    assert sorted(tmp_path.rglob("*")) == [target]


def test_an_unwritable_save_is_refused_before_the_work(refused, monkeypatch):
    """No plan is worked out for an answer that cannot be kept."""
    import planner.plan

    monkeypatch.setattr(planner.plan, "optimize", lambda scenario: pytest.fail("the plan was made first"))
    assert "--save" in refused([*ASK, "--save", "/no/such/folder/plan.json"])


def test_no_words_at_all_show_the_commands(capsys):
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "planner optimize --lifetime-tokens 1e15" in said.err


@pytest.mark.parametrize("start", ["h10", "tpu", "mi300", "gaudi"])
def test_the_start_of_an_id_leads_to_an_id_that_starts_so(start, refused):
    hint = re.search(r"did you mean '([^']+)'", refused([*ASK, "--chips", start]))
    assert hint
    assert hint.group(1).startswith(start)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ([*ASK, "--params", "8e9"], "--tpot-ms"),
        ([*JUDGE, "--budget-usd", "1e7"], "--target-loss"),
        (["list", "chips", "--law", "epoch-2024"], "--save"),
        ([*ASK, "--"], "--law"),
        (["list", "shapes"], "chips"),
    ],
)
def test_no_hint_is_better_than_a_wrong_one(words, wrong, refused):
    assert f"did you mean '{wrong}'" not in refused(words)


@pytest.mark.parametrize(
    "words",
    [
        ["optimise"],
        ["optimize", "--lifetime-tokens", "many"],
        [*ASK, "--tpot", "40"],
        [*ASK, "--law", "epoch-2025"],
        [*JUDGE, "--batch", "0"],
        ["list", "xyzzy"],
    ],
)
def test_refusing_does_not_load_jax(words):
    script = (
        "import sys\nfrom planner.cli.main import main\n"
        f"code = main({words!r})\nprint(code, [m for m in ('jax', 'jaxlib', 'equinox') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "2 []\n", done.stderr
    assert done.stderr.startswith("planner: ")
    assert done.stderr.count("\n") == 1


def test_the_exit_code_reaches_the_shell():
    done = subprocess.run(
        [sys.executable, "-m", "planner", *ASK, "--chips", "h100-smx"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "planner: unknown chip 'h100-smx'; did you mean 'h100-sxm'?\n"
