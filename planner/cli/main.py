"""The command line: finds the command, parses its flags, prints its answer.

Flags are checked before jax is imported, so that help and bad input answer at once.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import configs

from .values import InputError, parse, settings

COMMANDS = {
    "optimize": "choose size, tokens, chip, replica, precision and batch at the least lifetime cost",
    "evaluate": "cost a given plan the same way",
    "list": "show chips, laws, models, workloads, prices, scenarios and engines with their sources",
}
_USAGE = "usage: planner COMMAND [flags]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 answered, 1 our defect, 2 bad input, 3 infeasible."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except (InputError, configs.ConfigError) as error:
        print(f"planner: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has gone; nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(version("llm-lifetime-planner"))
        except PackageNotFoundError:
            print("not installed")
        return 0
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        hint = configs.nearest(command, COMMANDS) or f"; the commands are {', '.join(COMMANDS)}"
        raise InputError(f"unknown command '{command}'{hint}")
    if "-h" in rest or "--help" in rest:
        _help(command)
        return 0
    return {"optimize": _optimize, "evaluate": _evaluate, "list": _list}[command](rest)


def _overview() -> str:
    lines = [_USAGE, "", "What to train and how to serve it, at the least cost over the model's life.", ""]
    lines += [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "Start with:",
        "  planner optimize --lifetime-tokens 1e15",
        "",
        "planner COMMAND --help explains each.",
    ]
    return "\n".join(lines)


def _help(command: str) -> None:
    import tyro

    from . import flags

    form = {"optimize": flags.Optimize, "evaluate": flags.Evaluate, "list": flags.List}[command]
    tyro.cli(form, prog=f"planner {command}", args=["--help"])


def _form(command: str) -> type:
    from . import flags

    return {"optimize": flags.Optimize, "evaluate": flags.Evaluate, "list": flags.List}[command]


def _optimize(words: Sequence[str]) -> int:
    asked = parse("optimize", _form("optimize"), words)
    from ..scenario import Scenario

    scenario = Scenario.of(settings(asked))
    from ..plan import optimize

    return _answer(asked, "optimize", optimize(scenario))


def _evaluate(words: Sequence[str]) -> int:
    asked = parse("evaluate", _form("evaluate"), words)
    for name, example in (("params", "8e9"), ("chips_per_replica", "1")):
        if name not in asked:
            raise InputError(f"--{name.replace('_', '-')} is missing: give it, for instance {example}")
    from ..scenario import Scenario

    known = settings(asked)
    if "chip" in asked:
        known["chips"] = [asked["chip"]]
    if len(known.get("chips", [])) != 1:
        raise InputError("--chip is missing: give one of 'planner list chips', for instance h100-sxm")
    known.pop("budget_usd", None)
    scenario = Scenario.of(known)
    from ..plan import evaluate

    outcome = evaluate(
        scenario, asked["params"], int(asked["chips_per_replica"]), asked.get("batch"), asked.get("train_tokens")
    )
    return _answer(asked, "evaluate", outcome)


def _answer(asked: dict[str, Any], command: str, outcome: Any) -> int:
    from ..report.document import document

    answer = document(outcome, command)
    _emit(asked, answer)
    if not asked.get("json"):
        from ..report.tables import show

        show(answer, _console())
    return 3 if outcome.infeasible else 0


def _list(words: Sequence[str]) -> int:
    asked = parse("list", _form("list"), words)
    from ..report.catalog import KINDS, listing, show_listing

    kind = asked.get("kind")
    if kind not in KINDS:
        hint = configs.nearest(kind, KINDS) if kind else ""
        said = f"cannot list '{kind}'{hint}" if kind else "what should be listed?"
        raise InputError(f"{said} (one of {', '.join(KINDS)})")
    answer = listing(kind)
    _emit(asked, answer)
    if not asked.get("json"):
        show_listing(answer, _console())
    return 0


def _console():
    from rich.console import Console

    width = None if sys.stdout.isatty() else 100
    return Console(file=sys.stdout, width=width, soft_wrap=not sys.stdout.isatty())


def _emit(asked: dict[str, Any], answer: dict[str, Any]) -> None:
    """Print the JSON where asked for, and save it atomically."""
    text = json.dumps(answer, indent=2, allow_nan=False)
    if asked.get("json"):
        print(text)
    if "save" not in asked:
        return
    path = Path(asked["save"])
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(text + "\n")
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise InputError(f"--save = '{path}' cannot be written ({error.strerror})") from None
