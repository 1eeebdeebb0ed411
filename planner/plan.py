"""Asks the compiled planner a scenario's question and gathers what it says into an `Outcome`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import configs

from . import compiled
from .choices import Choice, enumerate_choices, stack
from .infeasible import CAPS, TOLERANCE, Infeasible, appraisal, is_unreachable, over_caps, unaffordable, unreachable
from .scenario import Scenario

_ENDLESS_USD = 1e12  # what bounds the least loss that a refusal offers
_MODULE = "planner.optimize.answer"
PLAN, BASELINE, BUILDABLE = 0, 1, 2


@dataclass(frozen=True)
class Outcome:
    """A scenario's answer as numbers: solver output, described cases, slopes of ln(objective).

    ``told`` has the plan, its baseline and its buildable rounding in rows `PLAN`, `BASELINE`,
    `BUILDABLE`; ``picked`` are the choices of the first two. ``appraised`` plans were given, not chosen.
    """

    scenario: Scenario
    choices: list[Choice]
    solved: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, np.ndarray] = field(default_factory=dict)
    picked: tuple[int, int] = (0, 0)
    slopes: Mapping[str, Any] = field(default_factory=dict)
    infeasible: Infeasible | None = None
    appraised: bool = False
    has_baseline: bool = True
    has_hardware: bool = True
    ranked_by: str = "usd"

    def value(self, name: str, row: int = PLAN) -> float:
        """Return one described number of a case."""
        return float(self.told[name][row])

    @property
    def choice(self) -> Choice:
        """Return the plan's chip, replica size and precision."""
        return self.choices[self.picked[PLAN]]


def _rows(tree: Any, index: Sequence[int]) -> Any:
    if isinstance(tree, dict):
        return {key: _rows(value, index) for key, value in tree.items()}
    return tree[list(index)]


def _case(point: Sequence[float] | np.ndarray, **flags: bool) -> dict[str, float]:
    log_N, log_D, log_B = (float(p) for p in point)
    named = {"derive_tokens": 0.0, "derive_batch": 0.0, "build": 0.0}
    return {"log_N": log_N, "log_D": log_D, "log_B": log_B, **named, **{k: float(v) for k, v in flags.items()}}


class Planner:
    """The compiled programs for one scenario and its choices, loaded or compiled side by side."""

    def __init__(self, scenario: Scenario, choices: list[Choice]):
        self.scenario, self.choices = scenario, choices
        self.given = scenario.numbers()
        self.stacked, self.valid = stack(choices)
        self.budget = scenario.settings.get("budget_usd")
        self.unsettled = 0
        programs = [
            self._program("solve", self.given, self.stacked, self._question()),
            self._program("differentiate", self.given, self._one(0), self._point(0.0, np.zeros(3), np.zeros(5))),
            self._program("tell", self.given, _rows(self.stacked, [0] * 3), self._columns([_case(np.zeros(3))] * 3)),
        ]
        if self.budget is not None:
            programs.append(self._program("best_loss", self.given, self.stacked, self.valid, self.budget))
        compiled.prepare(programs)

    @staticmethod
    def _program(name: str, *arguments: Any) -> compiled.Program:
        return compiled.program(f"{_MODULE}:{name}", *arguments)

    def _run(self, name: str, *arguments: Any) -> dict[str, Any]:
        return self._program(name, *arguments)(*arguments)

    def _one(self, index: int) -> Any:
        tree = _rows(self.stacked, [index])
        return _squeeze(tree)

    @staticmethod
    def _columns(cases: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
        return {key: np.array([case[key] for case in cases]) for key in cases[0]}

    def _question(self, split: float | None = None) -> dict[str, Any]:
        return {"valid": self.valid, "free": float(split is None), "split": 0.0 if split is None else split}

    @staticmethod
    def _point(
        split: float, point: Sequence[float] | np.ndarray, multipliers: np.ndarray, **flags: bool
    ) -> dict[str, Any]:
        named = {"appraise": 0.0, "derive_tokens": 0.0} | {k: float(v) for k, v in flags.items()}
        log_N, log_D, log_B = (float(p) for p in point)
        return {"split": split, "log_N": log_N, "log_D": log_D, "log_B": log_B, "multipliers": multipliers, **named}

    def solve(self, given: Mapping[str, Any], split: float | None = None) -> dict[str, Any]:
        """Return the best plan over all choices; ``split`` holds model size and tokens."""
        return self._run("solve", given, self.stacked, self._question(split))

    def hardware(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``given`` with hardware to be picked by dollars, or by joules where no choice has a price.

        Choices without a price drop out where others have one: they would look free.
        """
        priced = np.array([choice.usd_per_hour is not None for choice in self.choices])
        if priced.any():
            self.valid = self.valid * np.pad(priced, (0, len(self.valid) - len(priced))).astype(float)
        return {**given, "by_flops": 0.0, "by_joules": float(not priced.any())}

    def tell(self, given: Mapping[str, Any], index: Sequence[int], cases: Sequence[Mapping[str, float]]) -> Any:
        """Describe three cases on the choices ``index``."""
        return self._run("tell", given, _rows(self.stacked, index), self._columns(cases))

    def differentiate(self, given: Mapping[str, Any], index: int, plan: Mapping[str, Any]) -> Any:
        """Return the slopes of ln(objective) in every input of one choice."""
        return self._run("differentiate", given, self._one(index), plan)

    def best_loss(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the least loss that the budget buys on each choice."""
        return self._run("best_loss", given, self.stacked, self.valid, self.budget)


def _squeeze(tree: Any) -> Any:
    return {k: _squeeze(v) for k, v in tree.items()} if isinstance(tree, dict) else tree[0]


def optimize(scenario: Scenario) -> Outcome:
    """Return the cheapest plan for the scenario, or why there is none.

    Raises:
        ConfigError: the choices that the scenario names do not go together.
    """
    choices = enumerate_choices(scenario)
    if is_unreachable(scenario):
        return Outcome(scenario, choices, infeasible=unreachable(scenario, _least_loss(scenario, choices)))
    planner = Planner(scenario, choices)
    given = planner.given
    if planner.budget is not None:
        found = _afford(planner)
        if isinstance(found, Infeasible):
            return Outcome(scenario, choices, infeasible=found)
        given = scenario.numbers(target_loss=found)
    solved = planner.solve(given)
    solved["unsettled"] = solved["unsettled"] + planner.unsettled
    if not solved["found"]:
        whose = "even the smallest model that reaches this quality"
        return Outcome(scenario, choices, infeasible=over_caps(scenario, choices, solved["caps"], whose))
    split = float(solved["split"])
    plan = planner._point(split, solved["points"][0], solved["multipliers"])
    slopes = planner.differentiate(given, int(solved["best"]), plan)
    mismatch = abs(float(slopes["log_objective"]) - float(solved["log_objective"]))
    if solved["least_exponent"] < -1e-9 or mismatch > 1e-6:
        raise ArithmeticError("the solver's monomials are not the model's: no certificate can be given")
    hardware = solved
    if given["by_flops"]:
        given = planner.hardware(given)
        hardware = planner.solve(given, split)
    picked = (int(hardware["best"]), int(hardware["baseline_best"]))
    points = hardware["points"]
    cases = [
        _case(points[0], derive_batch=True),
        _case(points[1], derive_batch=True),
        _case(points[0], build=True),
    ]
    told = planner.tell(given, [picked[0], picked[1], picked[0]], cases)
    return Outcome(
        scenario, choices, {**solved, "hardware_objective": hardware["objective"], "hardware_ok": hardware["ok"]},
        told, picked, slopes, has_baseline=bool(hardware["baseline_found"]), has_hardware=bool(hardware["found"]),
        ranked_by="joules" if given["by_joules"] else "usd",
    )  # fmt: skip


def _least_loss(scenario: Scenario, choices: list[Choice]) -> float | None:
    """Return about the least target loss that has a plan: what `_ENDLESS_USD` buy within the limits."""
    settings = {k: v for k, v in scenario.settings.items() if k != "target_loss"}
    if settings["objective"] == "flops":
        return scenario.law.coefficients["E"] * (1.0 + 1e-3)
    if any(c.usd_per_hour is None for c in choices):
        return None
    found = _afford(Planner(Scenario({**settings, "objective": "usd", "budget_usd": _ENDLESS_USD}), choices))
    return found * (1.0 + 1e-4) if isinstance(found, float) else None


def _afford(planner: Planner) -> float | Infeasible:
    """Return the best loss that the budget buys over all choices, or why it buys none."""
    found = planner.best_loss(planner.given)
    n = len(planner.choices)
    loss = np.where(found["ok"] > 0, found["loss_nats"], np.inf)[:n]
    if np.isfinite(loss).any():
        planner.unsettled = int(found["unsettled"])
        return float(loss.min())
    caps = found["caps"][:, :n]
    if not (caps.max(axis=0) < 0).any():
        return over_caps(planner.scenario, planner.choices, caps, "even a model of a million parameters")
    return unaffordable(planner.scenario, planner.choices, caps, found["floor"][:n])


def evaluate(
    scenario: Scenario, params: float, n_chips: int, batch: float | None = None, tokens: float | None = None
) -> Outcome:
    """Return the cost of a given plan on the scenario's one chip, beside the baseline and the optimum there.

    ``batch`` defaults to the best within the limits, ``tokens`` to those that reach the quality.

    Raises:
        ConfigError: more than one chip, a replica size out of the menu, or a budget in place of a quality.
    """
    if len(scenario.chips) != 1:
        raise configs.ConfigError(f"evaluate needs exactly one --chip, not {len(scenario.chips)}")
    if scenario.quality == "budget_usd":
        raise configs.ConfigError("evaluate needs --quality-like or --target-loss: --budget-usd is for optimize")
    choices = enumerate_choices(scenario)
    if is_unreachable(scenario):
        refusal = unreachable(scenario, _least_loss(scenario, choices))
        return Outcome(scenario, choices, infeasible=refusal, appraised=True)
    sizes = sorted({c.n_chips for c in choices})
    lanes = [i for i, c in enumerate(choices) if c.n_chips == n_chips]
    if not lanes:
        raise configs.ConfigError(f"--chips-per-replica = {n_chips} must be one of {', '.join(map(str, sizes))}")
    planner = Planner(scenario, choices)
    given = planner.given
    money = planner.hardware(given) if given["by_flops"] else given
    solved = planner.solve(money)
    base = int(solved["baseline_best"])
    point = (math.log(params), math.log(tokens or 1.0), math.log(batch or 1.0))
    flags = {"derive_tokens": tokens is None, "derive_batch": batch is None}
    cases = [_case(point, **flags), _case(solved["points"][1], derive_batch=True), _case(point, **flags)]
    told = planner.tell(money, [lanes[0], base, lanes[-1]], cases)
    cost = told["total_joules" if money["by_joules"] else "total_usd"]
    excess = np.max([told[f"log_{name}_use"] for name in CAPS], axis=0)
    other = (excess[2] <= TOLERANCE, -cost[2]) > (excess[0] <= TOLERANCE, -cost[0])
    lane = lanes[-1] if other else lanes[0]
    if other:
        told = {name: rows[[2, 1, 0]] for name, rows in told.items()}
    at = {name: float(rows[PLAN]) for name, rows in told.items()}
    infeasible = appraisal(scenario, choices[lane], at, tokens is not None)
    slopes = {}
    if math.isfinite(told["tokens"][PLAN]):
        here = (point[0], math.log(told["tokens"][PLAN]), math.log(told["batch"][PLAN]))
        flags = {"appraise": True, "derive_tokens": tokens is None}
        slopes = planner.differentiate(given, lane, planner._point(0.0, here, np.zeros(5), **flags))
    return Outcome(
        scenario, choices, solved, told, (lane, base), slopes, infeasible,
        appraised=True, has_baseline=bool(solved["baseline_found"]),
    )  # fmt: skip
