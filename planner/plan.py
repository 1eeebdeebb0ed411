"""Asks the compiled planner a scenario's question and gathers what it says into an `Outcome`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import configs

from . import compiled
from .choices import Choice, enumerate_choices, stack
from .scenario import Scenario

_MODULE = "planner.optimize.answer"
PLAN, BASELINE, BUILDABLE = 0, 1, 2
TOLERANCE = 1e-8  # of ln(use / limit): what rounding leaves of a limit that binds


@dataclass(frozen=True)
class Infeasible:
    """Why no plan exists: the limit that binds first, and what would be feasible.

    ``excess_fraction`` is how far the limit is exceeded where it is exceeded least; ``nearest`` maps
    settings to the nearest values with which a plan exists.
    """

    status: str
    limit: str
    message: str
    excess_fraction: float
    nearest: dict[str, float] = field(default_factory=dict)


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


def _case(point: Sequence[float], **flags: bool) -> dict[str, float]:
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
    def _point(split: float, point: Sequence[float], multipliers: np.ndarray, **flags: bool) -> dict[str, Any]:
        named = {"appraise": 0.0, "derive_tokens": 0.0} | {k: float(v) for k, v in flags.items()}
        log_N, log_D, log_B = (float(p) for p in point)
        return {"split": split, "log_N": log_N, "log_D": log_D, "log_B": log_B, "multipliers": multipliers, **named}

    def solve(self, given: Mapping[str, Any], split: float | None = None) -> dict[str, Any]:
        """Return the best plan over all choices; ``split`` holds model size and tokens."""
        return self._run("solve", given, self.stacked, self._question(split))

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


def _unreachable(scenario: Scenario) -> Infeasible | None:
    target, floor = scenario.settings.get("target_loss"), scenario.law.coefficients["E"]
    if target is None or target > floor:
        return None
    return Infeasible(
        "target-loss-unreachable",
        "target_loss",
        f"the target loss {target:g} is not above the irreducible loss {floor:.5g} of {scenario.law.id}: "
        "raise --target-loss or choose another --law",
        floor / target - 1.0,
        {"target_loss": floor * (1.0 + 1e-3)},
    )


def _over_caps(scenario: Scenario, choices: list[Choice], caps: np.ndarray, whose: str) -> Infeasible:
    """Explain caps that no choice satisfies; ``caps`` are ln(use / limit) of memory, TPOT and TTFT by choice."""
    over = caps[:, : len(choices)]
    least = int(np.argmin(over.max(axis=0)))
    limit = int(np.argmax(over[:, least]))
    choice, excess = choices[least], math.expm1(over[limit, least])
    nearest = {}
    for i, name in ((1, "tpot_ms"), (2, "ttft_ms")):
        if over[i, least] >= 0:
            nearest[name] = scenario.settings[name] * math.exp(over[i, least]) * (1.0 + 1e-6)
    where = f"{choice.n_chips} x {choice.chip.id} in {choice.precision}"
    if limit == 0:
        have = choice.chip.hbm_bytes * choice.n_chips
        nearest["hbm_bytes"] = have * math.exp(over[0, least])
        message = (
            f"{whose} and one request's KV cache need {nearest['hbm_bytes'] / 1e9:.4g} GB and the largest replica "
            f"allowed, {where}, has {have / 1e9:.4g} GB: allow chips with more memory (--chips), a smaller "
            "--precision, or shorter --input-tokens"
        )
    else:
        name, flag = (("tpot_ms", "--tpot-ms"), ("ttft_ms", "--ttft-ms"))[limit - 1]
        message = (
            f"{whose} serves one request alone at {nearest[name]:.4g} ms on {where}, the nearest of the choices, "
            f"against {flag} {scenario.settings[name]:g}: raise {flag} to {nearest[name]:.4g}, or allow "
            "faster chips (--chips), a smaller --precision, or a lower quality"
        )
    return Infeasible("infeasible", ("hbm", "tpot", "ttft")[limit], message, excess, nearest)


def optimize(scenario: Scenario) -> Outcome:
    """Return the cheapest plan for the scenario, or why there is none.

    Raises:
        ConfigError: the choices that the scenario names do not go together.
    """
    choices = enumerate_choices(scenario)
    unreachable = _unreachable(scenario)
    if unreachable:
        return Outcome(scenario, choices, infeasible=unreachable)
    planner = Planner(scenario, choices)
    given = planner.given
    if planner.budget is not None:
        found = _afford(planner)
        if isinstance(found, Infeasible):
            return Outcome(scenario, choices, infeasible=found)
        given = scenario.numbers(target_loss=found)
    solved = planner.solve(given)
    if not solved["found"]:
        whose = "even the smallest model that reaches this quality"
        return Outcome(scenario, choices, infeasible=_over_caps(scenario, choices, solved["caps"], whose))
    split = float(solved["split"])
    plan = planner._point(split, solved["points"][0], solved["multipliers"])
    slopes = planner.differentiate(given, int(solved["best"]), plan)
    hardware = solved
    if given["by_flops"]:
        given = {**given, "by_flops": 0.0}
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
    )  # fmt: skip


def _afford(planner: Planner) -> float | Infeasible:
    """Return the best loss that the budget buys over all choices, or why it buys none."""
    found = planner.best_loss(planner.given)
    loss = np.where(found["ok"] > 0, found["loss_nats"], np.inf)[: len(planner.choices)]
    if np.isfinite(loss).any():
        return float(loss.min())
    servable = found["caps"].max(axis=0)[: len(planner.choices)] < 0
    if not servable.any():
        return _over_caps(planner.scenario, planner.choices, found["caps"], "even a model of a million parameters")
    floor = np.where(servable, found["floor"][: len(planner.choices)], np.inf)
    least, budget = int(np.argmin(floor)), planner.scenario.settings["budget_usd"]
    choice, needed = planner.choices[least], budget * math.exp(max(floor[least], 0.0)) * 1.05
    return Infeasible(
        "budget-too-small",
        "budget_usd",
        f"keeping one replica of {choice.n_chips} x {choice.chip.id} for {planner.scenario.settings['lifetime_days']:g} "
        f"days to serve this demand already costs about ${needed:,.0f}, over the budget of ${budget:,.0f}: raise "
        "--budget-usd, allow cheaper --chips, or shorten --lifetime-days",
        needed / budget - 1.0,
        {"budget_usd": needed},
    )


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
    unreachable = _unreachable(scenario)
    if unreachable:
        return Outcome(scenario, choices, infeasible=unreachable, appraised=True)
    sizes = sorted({c.n_chips for c in choices})
    lanes = [i for i, c in enumerate(choices) if c.n_chips == n_chips]
    if not lanes:
        raise configs.ConfigError(f"chips_per_replica = {n_chips} must be one of {', '.join(map(str, sizes))}")
    planner = Planner(scenario, choices)
    given, money = planner.given, {**planner.given, "by_flops": 0.0}
    solved = planner.solve(money)
    base = int(solved["baseline_best"])
    point = (math.log(params), math.log(tokens or 1.0), math.log(batch or 1.0))
    flags = {"derive_tokens": tokens is None, "derive_batch": batch is None}
    cases = [_case(point, **flags), _case(solved["points"][1], derive_batch=True), _case(point, **flags)]
    told = planner.tell(money, [lanes[0], base, lanes[-1]], cases)
    cost = told["total_joules" if given["by_joules"] else "total_usd"]
    excess = np.max([told[f"log_{name}_use"] for name in ("hbm", "tpot", "ttft")], axis=0)
    other = (excess[2] <= TOLERANCE, -cost[2]) > (excess[0] <= TOLERANCE, -cost[0])
    lane = lanes[-1] if other else lanes[0]
    if other:
        told = {name: rows[[2, 1, 0]] for name, rows in told.items()}
    infeasible = _appraisal(scenario, planner, solved, told, tokens, lane)
    slopes = {}
    if math.isfinite(told["tokens"][PLAN]):
        here = (point[0], math.log(told["tokens"][PLAN]), math.log(told["batch"][PLAN]))
        flags = {"appraise": True, "derive_tokens": tokens is None}
        slopes = planner.differentiate(given, lane, planner._point(0.0, here, np.zeros(5), **flags))
    return Outcome(
        scenario, choices, solved, told, (lane, base), slopes, infeasible,
        appraised=True, has_baseline=bool(solved["baseline_found"]),
    )  # fmt: skip


def _appraisal(
    scenario: Scenario, planner: Planner, solved: Mapping[str, Any], told: Any, tokens: float | None, lane: int
) -> Infeasible | None:
    """Return what is wrong with a given plan, if anything."""
    target = float(told["target_loss"][PLAN])
    floor = float(told["params_floor"][PLAN])
    if tokens is None and not math.isfinite(told["tokens"][PLAN]):
        return Infeasible(
            "below-law-floor",
            "params",
            f"{told['params'][PLAN]:.4g} parameters cannot reach the target loss {target:.5g} with any amount of data "
            f"under {scenario.law.id}: --params must be above {floor:.5g}",
            floor / float(told["params"][PLAN]) - 1.0,
            {"params": floor * 1.001},
        )
    if tokens is not None and told["loss_nats"][PLAN] > target * (1.0 + 1e-9):
        needed = float(told["tokens_for_target"][PLAN])
        nearest = {"train_tokens": needed} if math.isfinite(needed) else {"params": floor * 1.001}
        remedy = f"--train-tokens to {needed:.6g}" if math.isfinite(needed) else f"--params above {floor:.5g}"
        return Infeasible(
            "quality-missed",
            "target_loss",
            f"the plan reaches {told['loss_nats'][PLAN]:.5g} nats, short of the target {target:.5g}: raise {remedy}, "
            "or judge it at its own quality with --target-loss",
            float(told["loss_nats"][PLAN]) / target - 1.0,
            nearest,
        )
    over = np.array([[told[f"log_{name}_use"][PLAN]] for name in ("hbm", "tpot", "ttft")])
    if over.max() <= TOLERANCE:
        return None
    choice = planner.choices[lane]
    worst = int(np.argmax(over[:, 0]))
    batch, best = told["batch"][PLAN], told["useful_batch"][PLAN]
    alone = _over_caps(scenario, [choice], over, "this plan") if best <= 1.0 else None
    if alone:
        return alone
    name = ("memory", "--tpot-ms", "--ttft-ms")[worst]
    return Infeasible(
        "infeasible",
        ("hbm", "tpot", "ttft")[worst],
        f"a batch of {batch:g} exceeds the limit on {name} by {100 * math.expm1(over[worst, 0]):.3g} %: the largest "
        f"batch within all limits is {best:.6g}",
        math.expm1(over[worst, 0]),
        {"batch": float(best)},
    )
