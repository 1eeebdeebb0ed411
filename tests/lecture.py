"""The blackboard lecture asked of the planner: questions as a user puts them, and what cannot be asked.

Reiner Pope on the Dwarkesh Podcast, "The math behind how LLMs are trained and served", 2026-04-29. Its claims are
numbered 1 to 48 as in the README; the tests of each are named after its number, in `test_lecture_a.py` and on.
"""

import contextlib
import io
import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

from planner.cli.main import main

ROOT = Path(__file__).parents[1]
CHIP, LINKS = "tests/blackboard/chip.toml", "tests/blackboard/links.toml"
# The blackboard: a textbook roofline on a chip of 288 GB at 20 TB/s that multiplies 300 weights per weight read.
BOARD = f"--chip {CHIP} --precision fp8 --engine ideal"
SEEN = f"--chip {CHIP} --precision fp8 --engine {LINKS}"  # the same, messages not hidden behind anything
F, W = 12e15, 20e12  # its FLOP/s in fp8 and bytes per second: what the tests state expected numbers with

NOT_COMPUTED = {
    19: "power, weight, cooling and cables bound a rack: facts of mechanics, of which no chip file knows",
    27: "what hyperscalers and makers of phones spend on memory is news of a market",
    46: "says that the lecture makes no claim on energy",
    48: "FPGAs against ASICs and the register files of systolic arrays: no command designs chips",
}


@cache
def run(words: str) -> tuple[int, str, str]:
    """Return the exit code, output and errors of a command; paths are those of the repository."""
    out, err = io.StringIO(), io.StringIO()
    arguments = [str(ROOT / word) if word in (CHIP, LINKS) else word for word in shlex.split(words)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def ask(words: str) -> dict[str, Any]:
    """Return the JSON answer of a command that has one."""
    code, out, err = run(f"{words} --json")
    assert code == 0, err or json.loads(out)["message"]
    return json.loads(out)


def estimate(words: str, board: str = BOARD) -> dict[str, Any]:
    """Return an estimate at the blackboard."""
    return ask(f"estimate {board} {words}")


def frontier(words: str) -> dict[str, Any]:
    """Return the blackboard's latency-cost curve."""
    return ask(f"frontier {BOARD} --peak-to-mean 1 {words}")


def decode_s(words: str) -> float:
    """Return the seconds of a pass that only decodes."""
    return estimate(f"{words} --disaggregated")["disaggregated"]["tpot_s"]


def ops(answer: dict[str, Any], which: str = "breakdown") -> dict[str, dict[str, Any]]:
    """Return the rows of a breakdown by op."""
    return {row["op"]: row for row in answer[which]}


def context(tokens: float) -> str:
    """Return lengths of requests whose passes decode at about ``tokens`` of context and hardly read prompts."""
    return f"--input-tokens {tokens - 50:g} --cached-tokens {tokens - 51:g} --output-tokens 100"


def short() -> str:
    """Return lengths at which the cache hardly matters: contexts of 51 tokens."""
    return "--input-tokens 1 --output-tokens 100"
