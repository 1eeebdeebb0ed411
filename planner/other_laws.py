"""What other laws would choose in a plan's place: on its choice, with its times and its training run's form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import configs

from . import compiled
from .scenario import Scenario
from .trees import repeated

_PROGRAM = "planner.optimize.many:solve_many"
_FORM = "chinchilla"  # laws of the commonest form share one program
_LAWS = 16  # at most so many at a time


@dataclass(frozen=True)
class OtherPlan:
    """What one law would have: ``params`` on ``tokens`` at ``cost``, in the objective's unit."""

    law: configs.LawFacts
    params: float
    tokens: float
    cost: float


def comparable(scenario: Scenario) -> list[configs.LawFacts]:
    """Return the shipped laws that can be asked the same question: those of the commonest form but for the scenario's
    own; none where a loss or a budget is asked for, for each law measures loss on data of its own."""
    if scenario.quality != "quality_like" or scenario.settings["objective"] == "flops":
        return []
    own = scenario.law.coefficients
    every = map(configs.load_law, configs.ids("laws"))
    return [law for law in every if law.form == _FORM and law.coefficients != own][:_LAWS]


def arguments(given: Mapping[str, Any], choice: Any, residuals: Any, laws: list[configs.LawFacts]) -> tuple[Any, ...]:
    """Return what the compiled program takes: the same question under each of ``laws``, padded to `_LAWS`."""
    padded = [*laws, *[laws[-1]] * (_LAWS - len(laws))]
    names = laws[0].coefficients
    coefficients = {name: np.array([law.coefficients[name] for law in padded]) for name in names}
    return (
        repeated({**given, "law": 0.0}, _LAWS) | {"law": coefficients},
        repeated(choice, _LAWS),
        repeated(residuals, _LAWS),
    )


def program(given: Mapping[str, Any], choice: Any, residuals: Any, laws: list[configs.LawFacts]) -> compiled.Program:
    """Return the program behind `others`, to be prepared beside more."""
    return compiled.program(_PROGRAM, *arguments(given, choice, residuals, laws))


def others(given: Mapping[str, Any], choice: Any, residuals: Any, laws: list[configs.LawFacts]) -> list[OtherPlan]:
    """Return what each of ``laws`` would choose, those that have a plan, smallest model first."""
    asked = arguments(given, choice, residuals, laws)
    told = compiled.program(_PROGRAM, *asked)(*asked)
    found = [
        OtherPlan(law, float(np.exp(told["log_N"][i])), float(np.exp(told["log_D"][i])), float(told["objective"][i]))
        for i, law in enumerate(laws)
        if told["ok"][i] > 0
    ]
    return sorted(found, key=lambda one: one.params)
