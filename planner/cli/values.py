"""Turns the words of a command line into checked values, with errors for people."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import configs
from configs.loader import Field, Number, Text
from configs.spoken import number

from ..scenario import QUALITIES

_SPECS: dict[str, Field] = {**configs.SETTINGS, **configs.PLAN_SETTINGS}
# What each command asks, to say whose flag one is.
_ASKED: dict[str, Mapping[str, Field]] = {
    "optimize": configs.SETTINGS,
    "evaluate": _SPECS,
    "fit": configs.FIT_SETTINGS,
    "train": configs.TRAIN_SETTINGS,
    "assign": configs.ASSIGN_SETTINGS,
    "deduce": configs.DEDUCE_SETTINGS,
    "price": configs.PRICE_SETTINGS,
    "frontier": configs.FRONTIER_SETTINGS,
    "estimate": configs.ESTIMATE_SETTINGS,
}
_SWITCHES = ("json", "disaggregated", "auto", "overlap", "reversible", "uncertainty", "robust")
_PLAIN = ("scenario", "save", "chip", "card", "kind", "train_on", "laws")  # names and their lists: checked where read


class InputError(ValueError):
    """Bad input on the command line; one sentence that names flag, value and what is allowed."""


def flag_of(name: str) -> str:
    """Return a setting's flag: lifetime_tokens -> --lifetime-tokens; from_, a Python keyword without it, -> --from."""
    return "--" + name.removesuffix("_").replace("_", "-")


def check(name: str, value: Any, specs: Mapping[str, Field] = _SPECS) -> Any:
    """Return the setting's value, a number or a name, once it is within the range that ``specs`` state.

    Raises:
        InputError: not a number, out of range, or not one of the names allowed.
    """
    spec = specs.get(name)
    flag = flag_of(name)
    if isinstance(spec, Number):
        found = number(value)
        if found is None:
            raise InputError(
                f"{flag} = '{configs.shown(value)}' is not a number: give {spec.unit}, such as {_example(spec)}"
            )
        if not spec.low <= found <= spec.high:
            raise InputError(f"{flag} = {configs.shown(value)} is outside {spec.low:g} to {spec.high:g} ({spec.unit})")
        if name == "chips_per_replica" and found != round(found):
            raise InputError(f"{flag} = {value} must be a whole number of chips")
        return found
    if isinstance(spec, Text) and spec.allowed and value not in spec.allowed:
        hint = configs.nearest(value, spec.allowed)
        raise InputError(f"{flag} = '{configs.shown(value)}' must be one of {', '.join(spec.allowed)}{hint}")
    if not value.strip():
        raise InputError(f"{flag} is empty")
    return value


def _example(spec: Number) -> str:
    if spec.unit.startswith(("tokens", "parameters")):
        return "1e12 or 1T"
    return f"{min(max(10.0, spec.low), spec.high):g}"


def parse(command: str, form: type, words: Sequence[str], specs: Mapping[str, Field] = _SPECS) -> dict[str, Any]:
    """Return the flags in ``words`` as values by field name of the dataclass ``form``, checked against ``specs``.

    Raises:
        InputError: an unknown, repeated or valueless flag, a stray word, or a bad value.
    """
    names = {f.name for f in fields(form)}
    flags = {flag_of(n): n for n in names if n != "kind"}
    out: dict[str, Any] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--"):
            if "kind" in names and "kind" not in out and not word.startswith("-"):
                out["kind"] = word
                continue
            where = f"{command} takes flags, see 'llm-planner {command} --help'"
            raise InputError(f"'{configs.shown(word)}' does not belong here: {where}")
        flag, eq, value = word.partition("=")
        flag = flag.replace("_", "-")
        if flag not in flags:
            hint = _elsewhere(flag) + ("" if flag == "--" else configs.nearest(flag, flags))
            hint = hint or f"; see 'llm-planner {command} --help'"
            raise InputError(f"unknown flag '{configs.shown(flag)}'{hint}")
        name = flags[flag]
        if name in out:
            raise InputError(f"{flag} is given twice")
        if name in _SWITCHES:
            if eq:
                raise InputError(f"{flag} takes no value")
            out[name] = True
            continue
        if not eq:
            if not left or left[0].startswith("--"):
                raise InputError(f"{flag} needs a value")
            value = left.pop(0)
        plain = name in _PLAIN or (name == "chips" and specs is _SPECS)
        out[name] = value if plain else check(name, value, specs)
        if isinstance(out[name], str) and not out[name].strip():
            raise InputError(f"{flag} is empty")
    return out


def _elsewhere(flag: str) -> str:
    """Return whose flag one is that a command does not know; nothing where it is nobody's."""
    owners = [command for command, specs in _ASKED.items() if flag in map(flag_of, specs)]
    return f": it belongs to {', '.join(owners)}" if owners else ""


def settings(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scenario settings among parsed flags, over those of ``--scenario``.

    Raises:
        ConfigError: no such scenario, or it breaks the layout.
        InputError: an empty entry in ``--chips``.
    """
    base = configs.load_scenario(asked["scenario"]).settings if "scenario" in asked else {}
    given = {k: v for k, v in asked.items() if k in configs.SETTINGS}
    for key in ("chips", "train_on", "laws"):
        if key in given:
            names = [name.strip() for name in given[key].split(",")]
            if not all(names):
                text = configs.shown(given[key])
                raise InputError(f"{flag_of(key)} = '{text}' must be ids separated by single commas")
            given[key] = names
    if any(q in given for q in QUALITIES):
        base = {k: v for k, v in base.items() if k not in QUALITIES}
    return {**base, **given}


def over_file(given: Mapping[str, Any], known: Mapping[str, Any], either: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return settings ``given`` over those ``known`` from a file; of names that are either or, one given drops all."""
    for names in either:
        if any(name in given for name in names):
            known = {k: v for k, v in known.items() if k not in names}
    return {**known, **given}


def check_model_and_chip(out: Mapping[str, Any], example: str) -> None:
    """Raise unless settings name a model, or its size, and a chip; ``example`` is the id of a model.

    Raises:
        InputError: one of them is missing, or sizes go with no model.
    """
    if "active_params" in out and "params" not in out:
        raise InputError("--active-params goes with --params: a model of --model has its own count")
    if "model" not in out and "params" not in out:
        raise InputError(f"--model is missing: give one of 'llm-planner list models', for instance {example}")
    if "chip" not in out:
        raise InputError("--chip is missing: give one of 'llm-planner list chips', for instance h100-sxm")


def check_usd(out: Mapping[str, Any]) -> None:
    """Raise unless the chip has a price: its own or a given one.

    Raises:
        InputError: it has none.
    """
    chip = configs.load_chip(out["chip"])
    if chip.usd_per_hour is None and "chip_usd_per_hour" not in out:
        raise InputError(f"--chip-usd-per-hour is missing: no rental price of {chip.id} is known")
