"""The compiled programs for one scenario and its choices: search, description, slopes."""

import math
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from . import compiled
from .choices import Choice, stack
from .condensed import Condensed, missed
from .infeasible import CAPS, TOLERANCE
from .other_laws import OtherPlan, comparable, others
from .other_laws import program as other_program
from .scenario import Scenario
from .schooling import Schools
from .serving.residuals import WINDOW
from .slopes import beyond
from .trees import gathered, picked

_MODULE = "planner.optimize.answer"
_TRIES = 8  # of a batch that should be within the limits
_EQUAL = 1e-9  # relative: FLOPs of two choices under one law
_CLOSE = 1.005  # to the largest
_MARGIN = 1.0 - 1e-4  # on one that was just not
NO_LIMITS = np.zeros(len(CAPS) + 2)  # multipliers of the caps, of the least batch, and of a lone replica's demand


def case_at(point: Sequence[float] | np.ndarray, residuals: Any, **flags: bool) -> dict[str, Any]:
    """Return a case for `tell`: ``point`` is (ln N, ln D, ln B), ``flags`` say what to derive or round."""
    log_N, log_D, log_B = (float(p) for p in point)
    named = {
        "baseline": 0.0,
        "derive_tokens": 0.0,
        "derive_batch": 0.0,
        "build": 0.0,
        **{k: float(v) for k, v in flags.items()},
    }
    return {"log_N": log_N, "log_D": log_D, "log_B": log_B, "residuals": residuals, **named}


class Planner:
    """The compiled programs for one scenario and its choices, loaded or compiled side by side.

    Choices share one number of ``experts``: for any one the program is convex.
    """

    def __init__(self, scenario: Scenario, choices: list[Choice]):
        self.scenario, self.choices = scenario, choices
        self.experts = choices[0].experts
        self.schools = Schools(scenario, experts=self.experts)
        # Where the run of the plan, and of the baseline, is trained. Every ``given`` of this planner shares the forms:
        # settling moves them.
        self.school = self.baseline_school = self.schools.rough()
        self.training = {"plan": dict(self.school.form), "baseline": dict(self.school.form)}
        self.training_off = 0.0
        self.given = self.numbers()
        self.stacked, self.valid = stack(choices)
        self.condensed = Condensed(scenario, choices, self.stacked, len(self.valid))
        self.budget = scenario.settings.get("budget_usd")
        self.unsettled = 0
        none = self.condensed.none(1)
        nothing = self.condensed.one(none, 0)
        case = case_at(np.zeros(3), nothing)
        programs = [
            self._program(
                "solve", self.given, self.stacked, self._question(self.condensed.none(3), np.zeros(len(self.valid)))
            ),
            *self.condensed.programs(self.given),
            *self.schools.programs(),
            self._program("differentiate", self.given, self._one(0), plan_at(0.0, np.zeros(3), NO_LIMITS, nothing)),
            self._program("tell", self.given, picked(self.stacked, [0] * 3), gathered([case] * 3)),
        ]
        if self.budget is not None:
            programs.append(
                self._program(
                    "best_loss",
                    self.given,
                    self.stacked,
                    self._purse(self.condensed.none(2), np.zeros(len(self.valid))),
                )
            )
        self.laws = comparable(scenario) if self.experts == 1.0 else []  # they are laws of dense models
        if self.laws:
            programs.append(other_program(self.given, self._one(0), nothing, self.laws))
        compiled.prepare(programs)

    def rows(self, index: Sequence[int] | np.ndarray) -> dict[str, Any]:
        """Return the numbers of the choices ``index``, an entry each."""
        return picked(self.stacked, index)

    def kinds(self) -> list[int]:
        """Return a choice of each kind that a law can tell apart: of each precision and number of experts."""
        found: dict[Any, int] = {}
        for i, choice in enumerate(self.choices):
            numbers = choice.numbers()
            found.setdefault((choice.precision, numbers["experts"], numbers["sparsity"]), i)
        return list(found.values())

    def others(self, given: Mapping[str, Any], index: int, residuals: Any) -> list[OtherPlan]:
        """Return what other laws would choose on one choice, with its residuals."""
        return others(given, self._one(index), residuals, self.laws) if self.laws else []

    def with_experts(self, experts: float) -> "Planner":
        """Return a planner of models with another number of ``experts``, some as these, that starts where this one is:
        with its residuals and its training run's forms, both of which say what a few more experts do.
        """
        out = copy(self)
        out.experts = experts
        out.choices = [replace(choice, experts=experts) for choice in self.choices]
        told = out.choices[0].numbers()
        moved = {name: np.full(len(self.valid), told[name]) for name in ("experts", "sparsity")}
        out.stacked = {**self.stacked, **moved}
        out.condensed = copy(self.condensed)
        out.condensed.choices, out.condensed.stacked = out.choices, out.stacked
        out.condensed.residuals = deepcopy(self.condensed.residuals)
        out.schools = copy(self.schools)
        out.schools.experts, out.schools.keys = experts, dict(self.schools.keys)
        out.training = deepcopy(self.training)
        out.given = out.numbers()
        return out

    def curve(self, target_loss: float | None, index: int, split: float, **changed: Any) -> dict[str, Any]:
        """Return ``log_N`` and ``log_D`` at ``split`` of the curve of a loss, or of the one asked for, on one choice;
        and the splits where that is compute-optimal and where it ends. ``changed`` numbers replace the scenario's."""
        given = {**self.scenario.numbers(target_loss), **changed}
        names = ("law", "train_bits", "repetition", "quality_like", "target_loss", "by_likeness")
        asked = {name: given[name] for name in names if name in given} | {"split": split}
        return self._run("curve", asked, self._one(index))

    def numbers(self, target_loss: float | None = None) -> dict[str, Any]:
        """Return the scenario's numbers with the training run's forms; ``target_loss`` replaces the quality asked."""
        return {**self.scenario.numbers(target_loss), "training": self.training}

    @staticmethod
    def _program(name: str, *arguments: Any) -> compiled.Program:
        return compiled.program(f"{_MODULE}:{name}", *arguments)

    def _run(self, name: str, *arguments: Any) -> dict[str, Any]:
        return self._program(name, *arguments)(*arguments)

    def _one(self, index: int) -> Any:
        return picked(self.stacked, index)

    def _question(self, residuals: Any, lone: np.ndarray, split: float | None = None) -> dict[str, Any]:
        at = {"free": float(split is None), "split": 0.0 if split is None else split}
        return {"valid": self.valid, "lone": lone, "residuals": residuals, **at}

    def _purse(self, residuals: Any, lone: np.ndarray) -> dict[str, Any]:
        return {"valid": self.valid, "lone": lone, "budget": self.budget, "residuals": residuals}

    def solve(
        self, given: Mapping[str, Any], split: float | None = None, bought: Mapping[str, Any] | None = None,
        start: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the best plan over all choices, times as calibrated; ``split`` holds model size and tokens.

        ``start`` are residuals to begin with. ``bought`` is what a budget bought: residuals stay those with which it
        was spent, on choices it sufficed for.
        """
        held = None
        if bought is not None:
            held = self.condensed.residuals
            self.valid = self.valid * (bought["ok"] > 0)

        def once(residuals: Any, lone: np.ndarray) -> dict[str, Any]:
            told = self._run("solve", given, self.stacked, self._question(residuals, lone, split))
            return {**told, "forms": deepcopy(self.training), "schools": (self.school, self.baseline_school)}

        def rematch(solved: dict[str, Any], move: bool) -> float:
            return self._rematch(given, solved, move, bought is None)

        solved = self.condensed.settle(given, once, 3, held, rematch, start)
        self._restore(solved)
        self.training_off = rematch(solved, False) if solved["found"] else 0.0
        if solved["found"] and int(solved["lane"]) != int(solved["best"]):
            self._narrow(given, solved)
        return {**solved, "experts": self.experts}

    def again(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the best plan with residuals and forms as they are."""
        question = self._question(self.condensed.residuals, self.condensed.lone)
        told = self._run("solve", given, self.stacked, question)
        return {**told, "forms": deepcopy(self.training), "schools": (self.school, self.baseline_school)}

    def held(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return `again`, with what it is off by where the plan lies."""
        solved = self.again(given)
        self.condensed.measure(given, solved)
        self.training_off = self._rematch(given, solved, False, True)
        if int(solved["lane"]) != int(solved["best"]):
            self._narrow(given, solved)
        return {**solved, "experts": self.experts}

    def _rematch(self, given: Mapping[str, Any], solved: Mapping[str, Any], move: bool, free: bool) -> float:
        """Return by what share of the objective the training run's form is off where the plan lies; ``move`` it there.

        Nothing is off where flops are asked for, or where a budget is spent (not ``free``): then the form is the one
        that it was spent with, and only the baseline's moves.
        """
        off = 0.0
        if free and solved["found"] and not given["by_flops"]:
            log_N, log_D = (float(x) for x in solved["points"][0][:2])
            off = self._moved("plan", log_N, log_D, move) * self._share(given, solved)
        if move and solved["baseline_found"]:
            self._moved("baseline", float(solved["points"][1][0]), float(solved["points"][1][1]), move)
        return off

    def _restore(self, solved: Mapping[str, Any]) -> None:
        """Put the training run's forms back to those that an answer was found with."""
        for name, form in solved["forms"].items():
            self.training[name].update(form)
        self.school, self.baseline_school = solved["schools"]

    def _share(self, given: Mapping[str, Any], solved: Mapping[str, Any]) -> float:
        """Return the training run's share of the objective, roughly: at the form's own prices."""
        form, (log_N, log_D) = self.training["plan"], solved["points"][0][:2]
        rate = form["power_w" if given["by_joules"] else "usd_per_s"]
        return rate * math.exp(self.schools.log_chip_seconds(form, log_N, log_D) - float(solved["log_objective"]))

    def _moved(self, name: str, log_N: float, log_D: float, move: bool) -> float:
        """Return what the form called ``name`` is off by at a size and tokens, relatively; ``move`` it there."""
        found = self.schools.match(log_N, log_D)
        if found is None:  # `planner.capped` says so, once the search has ended
            return 0.0
        held = self.training[name]
        own, form = (self.schools.log_chip_seconds(one, log_N, log_D) for one in (found.form, held))
        off = math.expm1(own - form)
        if move:
            held.update(found.form)
            if name == "plan":
                self.school = found
            else:
                self.baseline_school = found
        return off

    def _narrow(self, given: Mapping[str, Any], solved: dict[str, Any]) -> None:
        """Move a lone replica, whose cost is flat in the batch, to the least batch that meets the peak."""
        best, lane = int(solved["best"]), int(solved["lane"])
        solved["points"] = np.array(solved["points"])  # of its own: what programs return is read-only
        point = solved["points"][0]
        flags = {"derive_tokens": False, "derive_batch": True}
        left = self._matched(given, best, point, flags, self.condensed.of(lane))
        told = self.describe(given, [best], [case_at(point, left, **flags)])
        over = max(float(told[f"log_{name}_use"][0]) for name in CAPS)
        if over <= TOLERANCE and told["busy_replicas"][0] <= 1.0 + TOLERANCE:  # else it has no room to move
            self.condensed.put(lane, left)
            point[2] = math.log(float(told["batch"][0]))
            solved["lanes"]["log_B"] = np.array(solved["lanes"]["log_B"])
            solved["lanes"]["log_B"][lane] = point[2]

    def _matched(
        self, given: Mapping[str, Any], index: int, point: Sequence[float], flags: Mapping[str, bool], left: Any
    ) -> dict[str, Any]:
        """Return residuals that match at ``point``, or with ``derive_batch`` at the batch derived there."""
        for _ in range(4 if flags["derive_batch"] else 1):
            log_B = float(point[2]) if left is None else self._batch_at(given, index, point, flags, left)
            where = {"log_N": np.array([point[0]]), "log_B": np.array([log_B])}
            left = self.condensed.one(self.condensed.match(given, np.array([index]), where), 0)
        return left

    def hardware(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``given`` with hardware to be picked by dollars, or by joules where no choice has a price.

        Choices without a price drop out where others have one: they would look free.
        """
        priced = np.array([choice.usd_per_hour is not None for choice in self.choices])
        if priced.any():
            self.valid = self.valid * np.pad(priced, (0, len(self.valid) - len(priced))).astype(float)
        return {**given, "by_flops": 0.0, "by_joules": float(not priced.any())}

    def keep(self, solved: Mapping[str, Any]) -> None:
        """Leave only choices that reach the best objective, where laws tell choices apart and chips do not."""
        best = math.exp(float(solved["log_objective"]))
        self.valid = self.valid * (np.asarray(solved["objective"]) <= best * (1.0 + _EQUAL)).astype(float)

    def tell(self, given: Mapping[str, Any], index: Sequence[int], cases: Sequence[Mapping[str, Any]]) -> Any:
        """Describe three cases on the choices ``index``."""
        return self._run("tell", given, picked(self.stacked, index), gathered(cases))

    def describe(self, given: Mapping[str, Any], index: Sequence[int], cases: Sequence[Mapping[str, Any]]) -> Any:
        """Describe any number of cases on the choices ``index``, as `tell` does three."""
        told = []
        for first in range(0, len(cases), 3):
            three = [min(i, len(cases) - 1) for i in range(first, first + 3)]
            told.append(self.tell(given, [index[i] for i in three], [cases[i] for i in three]))
        return {name: np.concatenate([one[name] for one in told])[: len(cases)] for name in told[0]}

    def appraising(
        self, given: Mapping[str, Any], solved: Mapping[str, Any], index: int, point: Sequence[float], flags: Any
    ) -> dict[str, Any]:
        """Return the residuals to judge a given plan by: those that match the kernels at the plan.

        Near the best plan of the same choice they are the ones that `solve` judged that one by. So they are where the
        kernels would put the plan below the optimum: by no more than the edges of tiles, which a search does not chase.
        ``solved`` may be of another number of experts, the best.
        """
        lane = int(solved["own_lanes"][index])
        if not solved["lanes_ok"][lane]:
            return self._matched(given, index, point, flags, None)
        held = self.condensed.of(lane)
        log_B = self._batch_at(given, index, point, flags, held)
        away = point[0] - solved["lanes"]["log_N"][lane], log_B - solved["lanes"]["log_B"][lane]
        away = *away, math.log(self.experts / solved["experts"])
        if all(abs(off) <= most for off, most in zip(away, WINDOW, strict=True)):
            return held
        own = self._matched(given, index, point, flags, held)
        told = self.describe(given, [index], [case_at(point, own, **flags)])
        inside = max(float(told[f"log_{name}_use"][0]) for name in CAPS) <= TOLERANCE
        cost = float(told["total_joules" if given["by_joules"] else "total_usd"][0])
        # What another number of experts is best for may be another choice: there only the best of all is a bound.
        least = solved["objective"][index] if self.experts == 1.0 else np.exp(solved["log_objective"])
        return held if inside and cost < float(least) else own

    def largest_batch(
        self, given: Mapping[str, Any], solved: Mapping[str, Any], index: int, point: Sequence[float], flags: Any
    ) -> float:
        """Return about the largest batch that a given plan may have, judged as with that batch; at least 1."""
        largest, log_B = 1.0, float(point[2])
        for _ in range(_TRIES):
            at = (point[0], point[1], log_B)
            left = self.appraising(given, solved, index, at, flags)
            told = self.describe(given, [index], [case_at(at, left, **flags)])
            useful = float(told["useful_batch"][0])
            if max(float(told[f"log_{name}_use"][0]) for name in CAPS) <= TOLERANCE:
                largest = max(largest, math.exp(log_B))
                if useful < _CLOSE * largest:
                    break
            log_B = max(math.log(useful * _MARGIN), 0.0)
        return largest

    def _batch_at(
        self, given: Mapping[str, Any], index: int, point: Sequence[float], flags: Mapping[str, bool], left: Any
    ) -> float:
        """Return ln of a plan's batch: its own, or with ``derive_batch`` the one derived with residuals ``left``."""
        if not flags["derive_batch"]:
            return float(point[2])
        return math.log(float(self.describe(given, [index], [case_at(point, left, **flags)])["batch"][0]))

    def off_at(self, given: Mapping[str, Any], index: int, point: Sequence[float], residuals: Any) -> float:
        """Return the largest of (calibrated - condensed) / calibrated seconds at ``point``, in size."""
        where = {"log_N": np.array([point[0]]), "log_B": np.array([point[2]])}
        told = self.condensed.told(given, np.array([index]), where)
        seconds = {key: {name: values[0] for name, values in of.items()} for key, of in told["seconds"].items()}
        at = point[0], point[2], math.log(self.experts)
        return max(abs(off) for _, off in missed(residuals, seconds, *at).values())

    def differentiate(self, given: Mapping[str, Any], index: int, plan: Mapping[str, Any]) -> Any:
        """Return the slopes of ln(objective) in every input of one choice."""
        return self._run("differentiate", given, self._one(index), plan)

    def slopes(self, given: Mapping[str, Any], index: int, plan: Mapping[str, Any]) -> Any:
        """Return those of `differentiate`, and as ``calibrated`` what inputs do to the residuals of the plan."""
        told = self.differentiate(given, index, plan)
        if given["by_flops"]:
            return {**told, "calibrated": {}}
        point = np.array([plan["log_N"], plan["log_D"], plan["log_B"]])
        return {**told, "calibrated": beyond(self.condensed, given, index, point)}

    def certainty(self, slopes: Mapping[str, Any]) -> dict[str, float]:
        """Return how far the search's form is from the calibrated kernels at the plan, after how many rounds.

        ``times_gap`` is the largest share by which a time is off, ``condensation_gap`` what those make of the
        objective, or how far the last round moved it where that is more.
        """
        off = self.condensed.off
        gap = sum(float(slopes["residuals"][name]["log"]) * off[name] for name in off)
        if np.isfinite(self.condensed.change):
            gap = max(abs(gap), self.condensed.change)
        gap = abs(gap) + abs(self.training_off)
        return {
            "rounds": self.condensed.rounds,
            "condensation_gap": abs(gap),
            "times_gap": max(map(abs, self.condensed.times_off.values())),
        }

    def best_loss(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the least loss that the budget buys on each choice, times as calibrated."""

        def once(residuals: Any, lone: np.ndarray) -> dict[str, Any]:
            told = self._run("best_loss", given, self.stacked, self._purse(residuals, lone))
            return {**told, "forms": deepcopy(self.training), "schools": (self.school, self.baseline_school)}

        def rematch(found: dict[str, Any], move: bool) -> float:
            lane, of = int(found["lane"]), found["lanes"]
            bought = bool(found["lanes_ok"][lane])
            return self._moved("plan", float(of["log_N"][lane]), float(of["log_D"][lane]), move) if bought else 0.0

        found = self.condensed.settle(given, once, 2, rematch=rematch)
        self._restore(found)
        return found


def plan_at(
    split: float, point: Sequence[float] | np.ndarray, multipliers: np.ndarray, residuals: Any, **flags: bool
) -> dict[str, Any]:
    """Return a plan for `differentiate`: ``point`` is (ln N, ln D, ln B), ``flags`` appraise and derive_tokens."""
    named = {"appraise": 0.0, "derive_tokens": 0.0} | {k: float(v) for k, v in flags.items()}
    log_N, log_D, log_B = (float(p) for p in point)
    where = {"split": split, "log_N": log_N, "log_D": log_D, "log_B": log_B}
    return {**where, "multipliers": multipliers, "residuals": residuals, **named}
