"""The command line: finds the command, parses its flags, prints its answer.

Flags are checked before jax is imported, so that help and bad input answer at once.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import configs
from configs.loader import Field

from .files import check_writable, write
from .values import InputError, parse, settings

COMMANDS = {
    "optimize": "choose size, tokens, chip, replica, precision and batch at the least lifetime cost",
    "evaluate": "cost a given plan the same way",
    "estimate": "say how fast one model runs on one slice of chips, at what cost, and how sure",
    "frontier": "say what speed costs: the price at every latency, and fast, standard and batch tiers",
    "price": "make the price card that costs imply, each line traced to what takes the money",
    "deduce": "read a price card backwards: KV bytes, active parameters, MFU, and what it cannot tell",
    "assign": "give each task the cheapest model and tier that does it, and say what its promises cost",
    "train": "cost one training run: best layout, step time, days, dollars, memory, and how sure",
    "fit": "fit a scaling law to your own training runs, exactly, and say how sure it is",
    "calibrate": "time kernels here, or read recorded timings, and write a chip file",
    "validate": "show predicted against measured kernel times",
    "list": "show chips, laws, models, workloads, prices, scenarios and constants with their sources",
}
# Those that answer settings of these with a document.
_DOCUMENTS = {
    "estimate": configs.ESTIMATE_SETTINGS,
    "frontier": configs.FRONTIER_SETTINGS,
    "price": configs.PRICE_SETTINGS,
    "deduce": configs.DEDUCE_SETTINGS,
    "assign": configs.ASSIGN_SETTINGS,
    "train": configs.TRAIN_SETTINGS,
    "fit": configs.FIT_SETTINGS,
}
_ANSWERED = ("ok", "fitted")  # what the status of a document says where there is an answer
_USAGE = "usage: llm-planner COMMAND [flags]      (or: python -m planner COMMAND [flags])"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 answered, 1 our defect, 2 bad input, 3 infeasible or no law."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except (InputError, configs.ConfigError) as error:
        print(f"planner: {error}", file=sys.stderr)
        return 2
    except ArithmeticError as error:
        print(f"planner: our defect, please report it: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has gone; nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"planner: the answer cannot be written: {error.strerror or error}", file=sys.stderr)
        with contextlib.suppress(OSError):  # what is buffered cannot be written either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("LLM_PLANNER_DEBUG"):
            raise
        print(
            f"planner: our defect, please report it with the output of LLM_PLANNER_DEBUG=1: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}",
            file=sys.stderr,
        )
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview(), file=sys.stdout if words else sys.stderr)
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
        raise InputError(f"unknown command '{configs.shown(command)}'{hint}")
    if "-h" in rest or "--help" in rest:
        _help(command)
        return 0
    if command in _DOCUMENTS:
        return _document(command, _DOCUMENTS[command], rest)
    handlers = {
        "optimize": _optimize,
        "evaluate": _evaluate,
        "calibrate": partial(_kernels, "calibrate"),
        "validate": partial(_kernels, "validate"),
        "list": _list,
    }
    return handlers[command](rest)


def _overview() -> str:
    lines = [_USAGE, "", "What to train and how to serve it, at the least cost over the model's life.", ""]
    lines += [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "Start with:",
        "  llm-planner optimize --lifetime-tokens 1e15",
        "",
        "llm-planner COMMAND --help explains each.",
    ]
    return "\n".join(lines)


def _help(command: str) -> None:
    import tyro

    from .flags import EXAMPLES

    form = _form(command)
    with contextlib.suppress(SystemExit):
        tyro.cli(form, prog=f"llm-planner {command}", args=["--help"])
    print("Examples:")
    for example in EXAMPLES.get(command) or import_module(form.__module__).EXAMPLES:
        print(f"  llm-planner {example}")


def _form(command: str) -> type:
    name = f"{command}_flags" if command in _DOCUMENTS else "flags"
    return getattr(import_module(f"{__package__}.{name}"), command.capitalize())


def _optimize(words: Sequence[str]) -> int:
    asked = parse("optimize", _form("optimize"), words)
    _check_save(asked)
    from ..scenario import Scenario

    scenario = Scenario.of(settings(asked))
    s = scenario.settings
    wanted = [name for name in ("draws", "laws", "cvar") if name in s]
    wanted += [name for name in ("uncertainty", "robust") if name in asked]
    if wanted and "budget_usd" in s:
        raise InputError(f"--{wanted[0]} needs --quality-like or --target-loss: a budget fixes the cost")
    if len(s.get("laws", ())) > 1 and "target_loss" in s:
        raise InputError("--laws needs --quality-like: each law measures loss on data of its own")
    from ..choices import expansions
    from ..plan import optimize
    from .progress import progress

    steps = len(expansions(scenario))
    with progress("searching", steps + 1) if steps > 1 else contextlib.nullcontext() as tick:
        outcome = optimize(scenario, tick)
    if outcome.infeasible or not wanted:
        return _answer(asked, "optimize", outcome)
    from ..uncertain import DRAWS, study

    robust = "robust" in asked or "cvar" in s
    found = study(outcome, int(s.get("draws", DRAWS)), s.get("laws", ()), robust, s.get("cvar"))
    return _answer(asked, "optimize", outcome, found)


def _evaluate(words: Sequence[str]) -> int:
    asked = parse("evaluate", _form("evaluate"), words)
    _check_save(asked)
    if "scenario" in asked:
        asked = {**configs.load_scenario(asked["scenario"]).plan, **asked}
    for name, example in (("params", "8e9"), ("chips_per_replica", "1")):
        if name not in asked:
            raise InputError(f"--{name.replace('_', '-')} is missing: give it, for instance {example}")
    from ..scenario import Scenario

    known = settings(asked)
    if "chip" in asked:
        known["chips"] = [asked["chip"]]
    if len(known.get("chips", [])) != 1:
        raise InputError("--chip is missing: give one of 'llm-planner list chips', for instance h100-sxm")
    scenario = Scenario.of(known)
    from ..plan import evaluate

    outcome = evaluate(
        scenario, asked["params"], int(asked["chips_per_replica"]), asked.get("batch"), asked.get("train_tokens"),
        _experts(asked),
    )  # fmt: skip
    return _answer(asked, "evaluate", outcome)


def _experts(asked: dict[str, Any]) -> float:
    """Return total over active parameters of the feed-forward blocks of the plan given."""
    from ..model.generic import experts_at

    if "total_params" not in asked:
        return asked.get("experts", 1.0)
    if "experts" in asked:
        raise InputError("--total-params and --experts exclude each other: state the experts one way")
    if asked["total_params"] < asked["params"]:
        raise InputError(
            f"--total-params = {asked['total_params']:g} must be at least --params {asked['params']:g}, the active ones"
        )
    return experts_at(asked["total_params"] / asked["params"])


def _document(command: str, specs: Mapping[str, Field], words: Sequence[str]) -> int:
    """Run a command whose module here makes a document that its namesake among the reports shows."""
    asked = parse(command, _form(command), words, specs)
    _check_save(asked)
    answer = getattr(import_module(f"{__package__}.{command}"), command)(asked)
    _emit(asked, answer)
    if not asked.get("json"):
        import_module(f"planner.report.{command}").show(answer, _console())
    return 0 if answer["status"] in _ANSWERED else 3


def _answer(asked: dict[str, Any], command: str, outcome: Any, study: Any = None) -> int:
    from ..report.document import document

    answer = document(outcome, command, study)
    _emit(asked, answer)
    if not asked.get("json"):
        from ..report.tables import show

        show(answer, _console())
    return 3 if outcome.infeasible else 0


def _kernels(command: str, words: Sequence[str]) -> int:
    """Run `calibrate` or `validate`."""
    asked = parse(command, _form(command), words, configs.ESTIMATE_SETTINGS)
    _check_save(asked)
    from . import kernels

    answer = {"calibrate": kernels.calibrate, "validate": kernels.validate}[command](asked)
    _emit(asked, answer)
    if not asked.get("json"):
        from ..report.kernels import show_calibration, show_validation

        {"calibrate": show_calibration, "validate": show_validation}[command](answer, _console())
    return 0


def _list(words: Sequence[str]) -> int:
    asked = parse("list", _form("list"), words)
    _check_save(asked)
    from ..report.catalog import KINDS, listing, show_listing

    kind = asked.get("kind")
    if kind not in KINDS:
        hint = configs.nearest(kind, KINDS) if kind else ""
        said = f"cannot list '{configs.shown(kind)}'{hint}" if kind else "what should be listed?"
        raise InputError(f"{said} (one of {', '.join(KINDS)})")
    answer = listing(kind)
    _emit(asked, answer)
    if not asked.get("json"):
        show_listing(answer, _console())
    return 0


def _console():
    from rich.console import Console

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Terminal(file=sys.stdout, width=None if sys.stdout.isatty() else 100)


def _emit(asked: dict[str, Any], answer: dict[str, Any]) -> None:
    """Print the JSON where asked for, and save it atomically."""
    text = json.dumps(answer, indent=2, allow_nan=False)
    if asked.get("json"):
        print(text)
    if "save" in asked:
        write("--save", asked["save"], text + "\n")


def _check_save(asked: dict[str, Any]) -> None:
    if "save" in asked:
        check_writable("--save", asked["save"])
