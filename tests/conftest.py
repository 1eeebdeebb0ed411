"""Shared by all tests: where the measured data is, strict arrays, run-time shape checks."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from hypothesis import settings

from planner.cli.main import main

# The first example pays for compilation, so deadlines mean nothing; a fixed seed keeps failures repeatable.
settings.register_profile("planner", deadline=None, derandomize=True)
settings.load_profile("planner")

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)

DATA = Path(os.environ.get("LLM_PLANNER_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of measured data and oracles; tests that need it skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"the measured data is not at {DATA} (set LLM_PLANNER_DATA)")
    return DATA


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory):
    """Keep the tests' compiled programs away from the user's; xdist workers share one."""
    root = tmp_path_factory.getbasetemp()
    shared = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    old = os.environ.get("LLM_PLANNER_CACHE")
    os.environ["LLM_PLANNER_CACHE"] = str(shared / "planner-cache")
    yield
    if old is None:
        del os.environ["LLM_PLANNER_CACHE"]
    else:
        os.environ["LLM_PLANNER_CACHE"] = old


Run = Callable[[list[str]], tuple[int, str, str]]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path) -> Run:
    """Return a function that runs words in an empty folder, and returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(words: list[str]) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def ask(run) -> Callable[..., dict[str, Any]]:
    """Return a function that runs words with --json and returns the one strict JSON object."""

    def call(words: list[str], code: int = 0) -> dict[str, Any]:
        done, out, err = run([*words, "--json"])
        assert (done, err) == (code, ""), (out[:500], err)
        return json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} in the JSON"))

    return call


@pytest.fixture
def refused(run) -> Callable[[list[str]], str]:
    """Return a function that runs bad words, checks how they are refused, and returns the sentence."""

    def call(words: list[str]) -> str:
        code, out, err = run(words)
        assert (code, out) == (2, ""), err
        assert err.startswith("planner: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        sentence = err.removeprefix("planner: ").strip()
        assert not re.search(r"[.!] +[A-Z]", sentence), "the refusal must be one sentence"
        return sentence

    return call
