"""The law of the house: who may import whom, and what starts up without jax."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("configs", "hw", "scaling", "planner")
ALLOWED = {"configs": set(), "hw": set(), "scaling": set(), "planner": {"configs", "hw", "scaling"}}
# Inside planner, from the ground up: a room imports only rooms before it.
FLOORS = (
    ("model", "calibration"),
    ("serving",),
    ("training",),
    ("economics", "runs"),
    ("optimize",),
    ("scenario", "compiled", "trees"),
    ("choices", "estimate", "laws", "assign"),
    ("infeasible", "condensed", "train", "frontier"),
    ("slopes", "schooling", "other_laws", "price"),
    ("search", "deduce"),
    ("capped", "repetition", "expansion"),
    ("budget",),
    ("plan",),
    ("uncertain",),
    ("report",),
    ("cli",),
    ("__main__",),
)
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path):
    """Yield (level, dotted name) of every import in a file, resolved to absolute names."""
    package = list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                yield node.module or ""
            else:
                base = package[: len(package) - node.level + 1]
                names = [node.module] if node.module else [alias.name for alias in node.names]
                yield from (".".join([*base, name]) for name in names)


def files():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downward(path):
    package = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        top = name.split(".")[0]
        assert top not in PACKAGES or top == package or top in ALLOWED[package], f"{path} imports {name}"
        if package == "planner" and name.startswith("planner."):
            here = path.relative_to(ROOT / "planner").parts[0].removesuffix(".py")
            there = name.split(".")[1]
            if here != "__init__" and here != there:
                assert FLOOR[there] < FLOOR[here], f"{path} imports upward: {name}"


def test_configs_stand_on_the_standard_library_alone():
    known = set(sys.stdlib_module_names) | {"configs"}
    for path in (ROOT / "configs").rglob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= known, path


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["optimize", "--help"], ["optimize", "--lifetime-token", "1"], ["list", "chips"]],
    ids=" ".join,
)
def test_help_errors_and_lists_do_not_import_jax(arguments):
    code = f"import sys; sys.argv[1:] = {arguments!r}\nfrom planner.cli.main import main\n"
    code += "try: main()\nexcept SystemExit: pass\nassert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_a_warm_answer_needs_neither_equinox_nor_optax():
    from planner.cli.main import main

    assert main(["optimize", "--lifetime-tokens", "1e15", "--json"]) == 0  # fills the cache
    code = "import sys\nfrom planner.cli.main import main\n"
    code += "assert main(['optimize', '--lifetime-tokens', '1e15', '--json']) == 0\n"
    code += "assert not {'equinox', 'optax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
