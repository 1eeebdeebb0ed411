"""Asks the compiled planner a scenario's question and gathers what it says into an `Outcome`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import configs
from scaling import range_warnings

from .budget import afford, least_loss, spent
from .capped import capped, tightest, untrainable
from .choices import EXPERT_FORMS, Choice, enumerate_choices, expansions
from .expansion import Found, scanned
from .infeasible import (
    CAPS,
    TOLERANCE,
    Infeasible,
    appraisal,
    is_unreachable,
    over_caps,
    too_sparse,
    unreachable,
)
from .repetition import exhausted, starved
from .scenario import Scenario
from .schooling import School
from .search import NO_LIMITS, Planner, case_at, plan_at

_LATENCIES = ("tpot_ms", "ttft_ms")
_TRIES = 8  # of limits that should be feasible
_MARGIN = 1.0005  # on those found too tight
_NEAR = 1.04  # a limit is called the nearest feasible one if it is none after division by this
_NEAR_SCHOOL = math.log(4.0 / 3.0)  # of size or tokens: the window that a training form is matched in
_SCANNED: dict[str, list[Found]] = {}  # the last question's, for given plans that are judged one after the other
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
    planner: Planner | None = field(default=None, repr=False, compare=False)

    def value(self, name: str, row: int = PLAN) -> float:
        """Return one described number of a case."""
        return float(self.told[name][row])

    @property
    def choice(self) -> Choice:
        """Return the plan's chip, replica size and precision."""
        return self.choices[self.picked[PLAN]]


def optimize(scenario: Scenario, tick: Callable[[str], None] | None = None) -> Outcome:
    """Return the cheapest plan for the scenario, or why there is none.

    ``tick`` is told what is searched where numbers of experts are scanned.

    Raises:
        ConfigError: the choices that the scenario names do not go together.
    """
    return _confirmed(scenario, partial(_optimize, tick=tick))


def _confirmed(scenario: Scenario, ask: Callable[[Scenario, Mapping[str, float]], Outcome]) -> Outcome:
    """Return the answer; latencies that it calls the nearest feasible ones are tried, until they are: and near.

    Caps are told where a choice is most lenient, with the residuals of that place. The plan lies elsewhere.
    """
    outcome = ask(scenario, {})
    known = {k: v for k, v in outcome.infeasible.nearest.items() if k in _LATENCIES} if outcome.infeasible else {}
    if not known:
        return outcome

    def found(limits: Mapping[str, float]) -> Mapping[str, float]:
        again = ask(Scenario({**scenario.settings, **limits}), {}).infeasible
        return {k: v for k, v in again.nearest.items() if k in _LATENCIES} if again else {}

    for _ in range(_TRIES):
        short = found(known)
        if not short:
            break
        known = known | {name: value * _MARGIN for name, value in short.items()}
    while len(known) == 1 and outcome.infeasible is not None and len(outcome.infeasible.nearest) == 1:
        tighter = {name: value / _NEAR for name, value in known.items()}
        if any(value <= scenario.settings[name] for name, value in tighter.items()) or found(tighter):
            break
        known = tighter
    return ask(scenario, known)


def _optimize(scenario: Scenario, known: Mapping[str, float], tick: Callable[[str], None] | None = None) -> Outcome:
    if is_unreachable(scenario):
        choices = enumerate_choices(scenario)
        return Outcome(scenario, choices, infeasible=unreachable(scenario, least_loss(scenario, choices)))
    best = min(_scanned(scenario, known, tick), key=lambda found: found.score)
    planner, given, solved, choices = best.planner, best.given, best.solved, best.planner.choices
    if best.refusal is not None:
        return Outcome(scenario, choices, infeasible=best.refusal)
    split = float(solved["split"])
    own = planner.condensed.of(int(solved["lane"]))
    plan = plan_at(split, solved["points"][0], solved["multipliers"], own)
    slopes = planner.slopes(given, int(solved["best"]), plan)
    solved |= planner.certainty(slopes)
    mismatch = abs(float(slopes["log_objective"]) - float(solved["log_objective"]))
    if solved["least_exponent"] < -1e-9 or mismatch > 1e-6:
        raise ArithmeticError("the solver's monomials are not the model's: no certificate can be given")
    hardware = solved
    if given["by_flops"]:
        given = planner.hardware(given)
        planner.keep(solved)
        hardware = planner.solve(given, split)
    picked = (int(hardware["best"]), int(hardware["baseline_best"]))
    points = hardware["points"]
    own, other = (planner.condensed.of(int(hardware[name])) for name in ("lane", "baseline_lane"))
    cases = [
        case_at(points[0], own, derive_batch=True),
        case_at(points[1], other, derive_batch=True, baseline=True),
        case_at(points[0], own, build=True),
    ]
    told = planner.tell(given, [picked[0], picked[1], picked[0]], cases)
    solved["step_parts"] = planner.condensed.step_parts(given, picked[0], float(points[0][0]), float(points[0][2]))
    schooled = _schooled(planner, given, solved, told)
    size, tokens = float(told["params"][PLAN]), float(told["tokens"][PLAN])
    if range_warnings(scenario.law.id, scenario.law.valid, size, tokens):
        solved["others"] = planner.others(given, picked[0], planner.condensed.of(int(solved["lane"])))
    ranked = {"hardware_objective": hardware["objective"], "hardware_ok": hardware["ok"]}
    return Outcome(
        scenario, choices, {**solved, **schooled, **ranked},
        told, picked, slopes, has_baseline=bool(hardware["baseline_found"]), has_hardware=bool(hardware["found"]),
        ranked_by="joules" if given["by_joules"] else "usd", planner=planner,
    )  # fmt: skip


def _scanned(scenario: Scenario, known: Mapping[str, float], tick: Callable[[str], None] | None = None) -> list[Found]:
    """Return the best dense plan, and the best with experts where the scenario allows some."""
    return scanned(expansions(scenario), lambda experts: _searched(scenario, known, experts), tick)


def _searched(scenario: Scenario, known: Mapping[str, float], experts: float) -> Found:
    """Return the best plan with a number of experts, or why there is none."""
    choices = enumerate_choices(scenario, experts=experts)
    planner = Planner(scenario, choices)
    if (starving := starved(planner)) is not None:
        return Found(planner, planner.given, {}, starving)
    given, bought = planner.given, None
    if planner.budget is not None:
        found, bought = afford(planner, known)
        if isinstance(found, Infeasible):
            return Found(planner, given, {}, found)
        given = planner.numbers(target_loss=found)
    solved = planner.solve(given, bought=bought)
    if bought is not None and not solved["found"] and "repetition" in given:
        return Found(planner, given, solved, exhausted(planner))
    solved["unsettled"] = solved["unsettled"] + planner.unsettled
    if not solved["found"]:
        whose = "even the smallest model that reaches this quality"
        if planner.schools.firm:
            whose = "even the smallest model that is trained to this quality in time"
        caps = solved["caps"] if given["by_flops"] else tightest(planner, given, solved)
        return Found(planner, given, solved, over_caps(scenario, choices, caps, whose, known))
    if not given["by_flops"]:
        within = capped(planner, given, solved) if bought is None else spent(planner, given, solved)
        if isinstance(within, Infeasible):
            return Found(planner, given, solved, within)
        if not within["found"]:
            whose = "even the smallest model that is trained to this quality in time"
            return Found(planner, given, within, over_caps(scenario, choices, within["caps"], whose, known))
        solved = within
    return Found(planner, given, solved)


def _own_school(
    planner: Planner, money: Mapping[str, Any], solved: Mapping[str, Any], lanes: list[int], cases: list[Any],
    rows: Mapping[str, np.ndarray],
) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray], School]:  # fmt: skip
    """Return a given plan with the training run's form matched round it, and its descriptions with that.

    Near the best plan the form is the one that `solve` judged that one by; so it is where its own would put the plan
    below the optimum, by what a plane through the edges of tiles is off.
    """
    sizes = math.log(rows["params"][0]), math.log(rows["tokens"][0]) if rows["tokens"][0] > 0 else math.inf
    held = planner.school
    if not math.isfinite(sizes[1]):
        return money, rows, held
    best = solved["points"][0][:2] if solved["found"] else (math.inf, math.inf)
    away = sizes[0] - best[0], sizes[1] - best[1], math.log(planner.experts / solved["experts"])
    own = planner.schools.match(*sizes) or planner.schools.match(*sizes, most=math.inf)
    if own is None or max(map(abs, away)) <= _NEAR_SCHOOL:
        return money, rows, held
    moved = {**money, "training": {**planner.training, "plan": own.form}}
    again = planner.describe(moved, lanes, cases)
    name = "total_joules" if money["by_joules"] else "total_usd"
    if solved["found"] and float(again[name].min()) < float(solved["objective"][int(solved["best"])]):
        return money, rows, held
    return moved, again, own


def _schooled(planner: Planner, given: Mapping[str, Any], solved: Mapping[str, Any], told: Any) -> dict[str, Any]:
    """Return where the plan is trained, and what inputs do to its chip-seconds."""
    sizes = math.log(float(told["params"][PLAN])), math.log(float(told["tokens"][PLAN]))
    school = planner.school
    if given["by_flops"] or school.layout is None:
        school = planner.schools.match(*sizes) or school
    return _school_told(planner, school, *sizes)


def _school_told(planner: Planner, school: School, log_N: float, log_D: float) -> dict[str, Any]:
    slopes = {} if school.layout is None else planner.schools.slopes(school, log_N, log_D)
    return {"school": school, "school_slopes": slopes}


def evaluate(
    scenario: Scenario, params: float, n_chips: int, batch: float | None = None, tokens: float | None = None,
    experts: float = 1.0,
) -> Outcome:  # fmt: skip
    """Return the cost of a given plan on the scenario's one chip, beside the baseline and the optimum there.

    ``batch`` defaults to the best within the limits, ``tokens`` to those that reach the quality. ``params`` are active;
    ``experts`` is total over active parameters of the feed-forward blocks.

    Raises:
        ConfigError: more than one chip, a replica size out of the menu, a budget in place of a quality, or experts
            under a law of dense models.
    """
    if experts > 1.0 and scenario.law.form not in EXPERT_FORMS:
        raise configs.ConfigError(
            f"a model with experts needs a --law that says what they are worth, of form {' or '.join(EXPERT_FORMS)}: "
            f"{scenario.law.id} is a law of dense models"
        )
    given = (params, n_chips, batch, tokens, experts)
    return _confirmed(scenario, lambda asked, known: _evaluate(asked, known, *given))


def _judged(scenario: Scenario, choices: list[Choice]) -> tuple[Planner, dict[str, Any], Planner]:
    """Return the planner of ``choices``, the best plan to judge a given one by, and the planner that found that: with
    any experts that the scenario allows where the given one has some, but under limits on the training run."""
    experts = choices[0].experts
    free = scenario.settings["objective"] != "flops" and "train_days" not in scenario.settings
    if experts > 1.0 and free and len(expansions(scenario)) > 1:
        key = repr(sorted(scenario.settings.items()))
        if key not in _SCANNED:
            _SCANNED.clear()
            _SCANNED[key] = _scanned(scenario, {})
        best = _SCANNED[key][-1]
        if best.refusal is None and best.planner.experts > 1.0:
            return best.planner.with_experts(experts), dict(best.solved), best.planner
    planner = Planner(scenario, choices)
    given, split = planner.given, None
    if given["by_flops"]:
        split = float(planner.solve(given)["split"])
        given = planner.hardware(given)
    return planner, planner.solve(given, split), planner


def _evaluate(
    scenario: Scenario, known: Mapping[str, float], params: float, n_chips: int, batch: float | None,
    tokens: float | None, experts: float,
) -> Outcome:  # fmt: skip
    if len(scenario.chips) != 1:
        raise configs.ConfigError(f"evaluate needs exactly one --chip, not {len(scenario.chips)}")
    if scenario.quality == "budget_usd":
        raise configs.ConfigError("evaluate needs --quality-like or --target-loss: --budget-usd is for optimize")
    choices = enumerate_choices(scenario, experts=experts)
    if is_unreachable(scenario):
        refusal = unreachable(scenario, least_loss(scenario, choices))
        return Outcome(scenario, choices, infeasible=refusal, appraised=True)
    sizes = sorted({c.n_chips for c in choices})
    lanes = [i for i, c in enumerate(choices) if c.n_chips == n_chips]
    if not lanes:
        raise configs.ConfigError(f"--chips-per-replica = {n_chips} must be one of {', '.join(map(str, sizes))}")
    planner, solved, other = _judged(scenario, choices)
    if (starving := starved(planner)) is not None:
        return Outcome(scenario, choices, infeasible=starving, appraised=True)
    given = planner.given
    money = planner.hardware(given) if given["by_flops"] else given
    base, planner.unsettled = int(solved["baseline_best"]), int(solved["unsettled"])
    point = (math.log(params), math.log(tokens or 1.0), math.log(batch or 1.0))
    flags = {"derive_tokens": tokens is None, "derive_batch": batch is None}
    left = [planner.appraising(money, solved, i, point, flags) for i in lanes]
    cases = [case_at(point, of, **flags) for of in left]
    rows = planner.describe(money, lanes, cases)
    money, rows, school = _own_school(planner, money, solved, lanes, cases, rows)
    its = other.condensed.of(int(solved["baseline_lane"]))
    case = case_at(solved["points"][1], its, derive_batch=True, baseline=True)
    baseline = other.describe({**money, "training": other.training}, [base], [case])
    cost = rows["total_joules" if money["by_joules"] else "total_usd"]
    inside = np.max([rows[f"log_{name}_use"] for name in CAPS], axis=0) <= TOLERANCE
    best = min(range(len(lanes)), key=lambda i: (not inside[i], float(cost[i])))
    lane = lanes[best]
    told = {name: np.array([rows[name][best], baseline[name][0], rows[name][best]]) for name in rows}
    at = {name: float(values[PLAN]) for name, values in told.items()}
    if batch is not None and not inside[best]:
        at["useful_batch"] = planner.largest_batch(money, solved, lane, point, flags)
    infeasible = appraisal(scenario, choices[lane], at, tokens is not None, known)
    infeasible = infeasible or too_sparse(scenario, choices[lane])
    slopes = {}
    if math.isfinite(told["tokens"][PLAN]):
        infeasible = infeasible or untrainable(planner, point[0], math.log(told["tokens"][PLAN]))
        solved |= _school_told(planner, school, point[0], math.log(told["tokens"][PLAN]))
        given = {**given, "training": money["training"]}
        here = (point[0], math.log(told["tokens"][PLAN]), math.log(told["batch"][PLAN]))
        flags = {"appraise": True, "derive_tokens": tokens is None}
        slopes = planner.slopes(given, lane, plan_at(0.0, here, NO_LIMITS, left[best], **flags))
        solved["step_parts"] = planner.condensed.step_parts(money, lane, here[0], here[2])
        solved |= {"rounds": planner.condensed.rounds, "times_gap": planner.off_at(money, lane, here, left[best])}
    return Outcome(
        scenario, choices, solved, told, (lane, base), slopes, infeasible,
        appraised=True, has_baseline=bool(solved["baseline_found"]),
    )  # fmt: skip
