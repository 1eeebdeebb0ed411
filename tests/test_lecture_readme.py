"""The README's table of the lecture: every row's command gives the printed answer, and no claim is left out."""

import re
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import pytest
from lecture import NOT_COMPUTED, ROOT, ask

HEADING = "## The blackboard lecture, claim by claim"
UNITS = {"": 1, "%": 0.01, "us": 1e-6, "ms": 1e-3, "s": 1, "k": 1e3, "M": 1e6, "B": 1e9, "GB": 1e9, "T": 1e12}
ROW = re.compile(r"\| ?(\d*) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|")
FIELD = re.compile(r"(?:([a-zA-Z]) )?`([^`]+)`")


@cache
def section() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count(HEADING) == 1
    return text.split(HEADING)[1].split("\n## ")[0]


@cache
def commands() -> dict[str, str]:
    """Return the section's commands by their letter, its shell variables filled in."""
    known = dict(re.findall(r'^([A-Z0-9]+)="([^"]*)"', section(), re.MULTILINE))
    lines = re.findall(r"^llm-planner (.*?) +# (\w)$", section(), re.MULTILINE)
    assert len({letter for _, letter in lines}) == len(lines)
    return {letter: Template(words).substitute(known) for words, letter in lines}


def rows() -> list[tuple[str, str, str, str]]:
    """Return number, claim, fields and answer of every row; a row without number goes on with the claim before."""
    found, number = [], ""
    for row in ROW.findall(section()):
        number = row[0] or number
        found.append((number, *row[1:]))
    return found


def pick(tree: Any, path: str) -> Any:
    """Return what ``path`` leads to: names, [0] counted, [x] the row called x, [*] the sum over all rows."""
    step = re.match(r"\.?([^.\[\]]+)|\[([^\]]+)\]", path)
    if step is None:
        return tree
    name, which = step.groups()
    rest = path[step.end() :]
    if name:
        return pick(tree[name], rest)
    if which == "*":
        return sum(pick(one, rest) for one in tree)
    named = [one for one in tree if which in (one.get("id"), one.get("name"), one.get("op"), one.get("tier"))]
    return pick(named[0] if named else tree[int(which)], rest)


@pytest.mark.parametrize(("number", "claim", "fields", "answer"), rows(), ids=[row[0] for row in rows()])
def test_every_row_is_what_its_command_says(number, claim, fields, answer):
    found, letter = [], ""
    for own, path in FIELD.findall(fields):
        letter = own or letter
        found.append(pick(ask(commands()[letter]), path))
    value = found[0] if len(found) == 1 else found[0] / found[1]
    printed, _, unit = answer.strip().removeprefix("$").partition(" ")
    digits = len(printed.partition(".")[2])
    # Counts of thousands end in zeros that are not digits: 1,890 is to ten.
    zeros = len(printed) - len(printed.rstrip("0")) if "," in printed and not digits else 0
    told = float(printed.replace(",", ""))
    assert abs(value / UNITS[unit] - told) <= 0.5001 * 10.0 ** (zeros - digits), (number, claim, value)


def test_every_claim_is_tested_or_said_not_to_be():
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_lecture_[a-g].py"))
    tested = {int(number) for number in re.findall(r"^def test_(\d\d)_", text, re.MULTILINE)}
    assert tested | set(NOT_COMPUTED) == set(range(1, 49))
    assert not tested & set(NOT_COMPUTED)
    before, _, after = section().partition("```")[0].partition("Not computed:")
    alone = {int(number) for number in re.findall(r"\d+", before[before.index("In the tests alone") :])}
    assert {int(number) for number in re.findall(r"\d+", after)} == set(NOT_COMPUTED)
    assert {int(row[0]) for row in rows()} == tested - alone


def test_every_command_is_used():
    used = {letter for row in rows() for letter, _ in FIELD.findall(row[2])} - {""}
    assert used == set(commands())
