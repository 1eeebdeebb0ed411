"""How sure a plan is: solved again under draws of the law and of errors of the times, and the size that is best on all.

What is decided is the chip, the replica, the precision and the size N. Tokens then follow the loss as training shows
it, and batches the times as they are measured: under each draw the plan reaches the quality that was asked for, at
what that costs there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

import configs

from . import compiled
from .choices import Choice
from .draws import draws_of
from .model.generic import generic_model
from .plan import BASELINE, PLAN, Outcome, optimize
from .runs.interval import interval
from .runs.training_interval import bounds
from .scenario import Scenario
from .schooling import log_chip_seconds

DRAWS = 1000
COVERAGE = 0.9
_NORMAL_90 = 1.6449  # half-width of the 90 % interval of a standard normal
_RIVALS, _NEAR = 6, 1.6  # choices that are carried along: so many, of costs up to so many times the best's
_SIZES = 48  # of N tried on each choice
_BASELINES = 5  # sizes of compute-optimal training at which its serving is costed
_AROUND = 2.2  # times the largest N that a law picks, and under the smallest: what sizes span
_ERRORS = np.linspace(-3.5, 3.5, 15)  # standard errors of times at which serving is costed; lines between
_CHUNK, _LANES = 256, 1024  # draws of the law, and fleets, in one call
_PROGRAM = "planner.optimize.doubt"
SURE = 0.9  # a plan that is cheaper in fewer draws than this is a tie
SAME = 0.01  # relative: expected costs closer than this are a tie


@dataclass(frozen=True)
class Draws:
    """Draws of everything uncertain: ``laws`` by law (n of each coefficient), one after the other in every other array.

    ``training`` is ln of chip-seconds over the predicted ones, ``serving`` standard errors of times by chip.
    """

    laws: Sequence[tuple[configs.LawFacts, Mapping[str, Float[np.ndarray, " m"]]]]
    training: Float[np.ndarray, " n"]
    serving: Mapping[str, Float[np.ndarray, " n"]]

    def __len__(self) -> int:
        return len(self.training)


@dataclass(frozen=True)
class Size:
    """A choice and a size: what is decided before anything is known, with its cost and tokens in every draw."""

    rival: int
    params: float
    cost: Float[np.ndarray, " n"]
    tokens: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Study:
    """An outcome under draws: what would have been best in each, and what the plan and the robust size cost there.

    ``best`` has params, tokens, cost and saving of the best plan of each draw, and which of ``rivals`` it is on.
    Costs are in the objective's unit. ``robust`` minimises the mean cost, or with ``tail`` the mean of so large a share
    of the worst draws; None unless asked for. ``by_law`` are the plans of the laws by themselves.
    """

    outcome: Outcome
    draws: Draws
    rivals: list[Choice]
    best: Mapping[str, Float[np.ndarray, " n"]]
    point: Size
    cheapest: Float[np.ndarray, "r n"]
    tail: float | None
    robust: Size | None
    by_law: list[Outcome]

    def regret(self, size: Size) -> Float[np.ndarray, " n"]:
        """Return by how much more than the best plan of each draw a size costs there, as a fraction."""
        return size.cost / self.best["cost"] - 1.0

    def risk(self, size: Size) -> float:
        """Return what `robust` minimises: the mean cost, or that of the worst draws; inf where a draw has none."""
        return risk(size.cost, self.tail)


def study(outcome: Outcome, count: int = DRAWS, laws: Sequence[str] = (), robust: bool = False,
          tail: float | None = None, seed: int = 0) -> Study:  # fmt: skip
    """Return a feasible outcome of `optimize` under ``count`` draws, of several ``laws`` in equal parts if named.

    Raises:
        ConfigError: a law that cannot be asked the same question, or a question that draws say nothing of.
    """
    scenario = outcome.scenario
    if "budget_usd" in scenario.settings:
        raise configs.ConfigError("--uncertainty needs --quality-like or --target-loss: a budget fixes the cost")
    named = list(dict.fromkeys(laws)) or [scenario.settings["law"]]
    if len(named) > 1 and "target_loss" in scenario.settings:
        raise configs.ConfigError("--laws needs --quality-like: each law measures loss on data of its own")
    by_law = [outcome if name == scenario.settings["law"] else _asked_of(scenario, name) for name in named]
    work = _Work(outcome, by_law, count, seed)
    sizes = work.sizes()
    costs, tokens = work.costs(sizes)
    best = work.best(sizes, costs, tokens)
    here = math.log(outcome.value("params"))
    chosen = [(0, here)]
    if robust:
        risks = np.array([[risk(costs[:, r, g], tail) for g in range(_SIZES)] for r in range(len(work.rivals))])
        if np.isfinite(risks).any():
            rival = int(np.argmin(risks.min(axis=1)))
            chosen.append((rival, float(_vertex(sizes[rival], risks[rival])[0])))
    nodes = np.stack([sizes[:, 0]] * _SIZES, axis=1)
    for g, (rival, log_N) in enumerate(chosen):
        nodes[rival, g] = log_N
    exact, needed = work.costs(nodes)
    held = [
        Size(rival, math.exp(log_N), exact[:, rival, g], np.exp(needed[:, rival, g]))
        for g, (rival, log_N) in enumerate(chosen)
    ]
    point = held[0]
    picked = min(held, key=lambda size: risk(size.cost, tail)) if robust else None
    cheapest = np.nanmin(np.where(np.isfinite(costs), costs, np.nan), axis=2, initial=np.inf).T
    return Study(outcome, work.draws, work.rivals, best, point, cheapest, tail, picked, by_law)


def risk(cost: Float[np.ndarray, " n"], tail: float | None) -> float:
    """Return the mean, or that of the worst share ``tail``: value at risk, conditional (Rockafellar, Uryasev 2000)."""
    if tail is None:
        return float(np.mean(cost))
    worst = max(round(tail * len(cost)), 1)
    return float(np.mean(np.sort(cost)[-worst:]))


def _asked_of(scenario: Scenario, law: str) -> Outcome:
    """Return the plan of another law for the same question.

    Raises:
        ConfigError: it has none.
    """
    outcome = optimize(Scenario({**scenario.settings, "law": law}))
    if outcome.infeasible:
        raise configs.ConfigError(f"--laws: under {law} there is no plan: {outcome.infeasible.message}")
    return outcome


class _Work:
    """The arrays behind a study: draws, rivals, and costs by draw, rival and size."""

    def __init__(self, outcome: Outcome, by_law: Sequence[Outcome], count: int, seed: int):
        assert outcome.planner is not None
        self.outcome, self.by_law, self.planner = outcome, by_law, outcome.planner
        self.flops = outcome.scenario.settings["objective"] == "flops"
        self.joules = outcome.scenario.settings["objective"] == "joules"
        cost = np.where(np.asarray(outcome.solved["ok"]) > 0, outcome.solved["objective"], np.inf)
        order = np.argsort(cost, kind="stable")[:_RIVALS]
        picked = outcome.picked[PLAN]
        near = [int(i) for i in order if cost[i] <= _NEAR * cost[picked] and i != picked]
        self.index = [picked] if self.flops else [picked, *near][:_RIVALS]
        self.rivals = [outcome.choices[i] for i in self.index]
        # The baseline's choice comes last, where its tokens are looked up.
        pad = [picked] * (_RIVALS - len(self.index))
        self.stacked = self.planner.rows([*self.index, *pad, outcome.picked[BASELINE]])
        self.draws = self._draw(count, np.random.default_rng(seed))

    def _draw(self, count: int, random: np.random.Generator) -> Draws:
        parts = np.diff(np.linspace(0, count, len(self.by_law) + 1).round().astype(int))
        facts = [one.scenario.law for one in self.by_law]
        laws = [(law, draws_of(law, int(many), random)) for law, many in zip(facts, parts, strict=True)]
        base = self.outcome.choices[self.outcome.picked[BASELINE]]
        chips = dict.fromkeys(choice.chip.id for choice in (*self.rivals, base))
        serving = {chip: random.standard_normal(count) for chip in chips}
        low, high = self._training_bounds()
        normal = random.standard_normal(count)
        # Bounds are of throughput: what is slower takes longer.
        training = normal * np.where(normal > 0, -low, high) / _NORMAL_90
        return Draws(laws, np.zeros(count) if self.flops else training, serving)

    def _training_bounds(self) -> tuple[float, float]:
        school = self.outcome.solved["school"]
        question = school.question
        if school.layout is None:
            return 0.0, 0.0
        return bounds(question.trainer, question.chip, question.model, experts=False)

    def _spread(self, index: int) -> tuple[float, float]:
        """Return the standard errors of ln(time) towards shorter and longer times on one choice."""
        choice = self.outcome.choices[index]
        params, lengths = self.outcome.value("params"), self.outcome.scenario.requests()
        model = generic_model("plan", max(params, 1e6), max(params, 1e6))
        found = interval(
            choice.engine, choice.chip, model, "output_tokens_per_s",
            lengths["input_tokens"], lengths["output_tokens"], self.outcome.value("batch"),
        )  # fmt: skip
        return math.log(found.high) / _NORMAL_90, -math.log(found.low) / _NORMAL_90

    def sizes(self) -> Float[np.ndarray, "r g"]:
        """Return ln of the sizes to try, about those that the laws pick: the plan's own is one of them."""
        logs = [math.log(one.value("params")) for one in self.by_law]
        low, high = min(logs) - math.log(_AROUND), max(logs) + math.log(_AROUND)
        step = (high - low) / (_SIZES - 1)
        here = math.log(self.outcome.value("params"))
        low = here - step * round((here - low) / step)
        return np.tile(low + step * np.arange(_SIZES), (len(self.rivals), 1))

    def costs(self, log_N: Float[np.ndarray, "r g"]) -> tuple[Float[np.ndarray, "n r g"], Float[np.ndarray, "n r g"]]:
        """Return cost (inf where a draw has no plan) and ln of the tokens, by draw, rival and size."""
        log_D = np.concatenate([self._tokens(draws, log_N)["log_D"] for _, draws in self.draws.laws])
        if self.flops:
            served = 2.0 * np.exp(log_N) * self.outcome.scenario.settings["lifetime_tokens"]
            total = 6.0 * np.exp(log_N + log_D) + served
        else:
            total = self._training(np.broadcast_to(log_N, log_D.shape), log_D) + self._serving(log_N)
        return np.where(np.isfinite(total), total, np.inf), log_D

    def _training(self, log_N: Any, log_D: Any, name: str = "plan") -> Any:
        """Return what training costs; inf where it takes more chips than there may be."""
        out, first = [], 0
        for one, (_, draws) in zip(self.by_law, self.draws.laws, strict=True):
            assert one.planner is not None
            here = slice(first, first + len(next(iter(draws.values()))))
            form, schools = one.planner.training[name], one.planner.schools
            slow = self.draws.training[here].reshape(-1, *[1] * (log_D.ndim - 1))
            seconds = np.exp(log_chip_seconds(form, log_N[here], log_D[here]) + slow)
            if schools.firm:
                seconds = np.where(seconds <= schools.most * schools.days * configs.DAY_S, seconds, np.inf)
            out.append(form["power_w" if self.joules else "usd_per_s"] * seconds)
            first = here.stop
        return np.concatenate(out)

    def _tokens(self, draws: Mapping[str, np.ndarray], log_N: Float[np.ndarray, "r g"]) -> dict[str, Any]:
        """Return what `planner.optimize.doubt.tokens` tells of draws of one law."""
        many = len(next(iter(draws.values())))
        padded = np.concatenate([log_N, np.tile(log_N[:1], (_RIVALS + 1 - len(log_N), 1))])
        out: list[dict[str, Any]] = []
        for first in range(0, many, _CHUNK):
            index = np.minimum(np.arange(first, first + _CHUNK), many - 1)
            laws = {name: values[index] for name, values in draws.items()}
            arguments = self.planner.given, self.stacked, laws, {"log_N": padded}
            told = compiled.program(f"{_PROGRAM}:tokens", *arguments)(*arguments)
            out.append({name: values[: many - first] for name, values in told.items()})
        joined = {name: np.concatenate([one[name] for one in out]) for name in out[0]}
        return joined | {"log_D": joined["log_D"][:, : len(log_N)]}

    def _serving(self, log_N: Float[np.ndarray, "r g"]) -> Float[np.ndarray, "n r g"]:
        """Return what serving costs by draw, rival and size: on a grid of errors of the times, and lines between."""
        logs = self._log_served(self.index, log_N)
        return np.stack([self._served(i, logs[r]) for r, i in enumerate(self.index)], axis=1)

    def _served(self, index: int, logs: Float[np.ndarray, "g e"]) -> Float[np.ndarray, "n g"]:
        """Return what serving on one choice costs by draw and size, from ln of chip-seconds by size and error."""
        choice = self.outcome.choices[index]
        z = np.clip(self.draws.serving[choice.chip.id], _ERRORS[0], _ERRORS[-1])
        right = np.clip(np.searchsorted(_ERRORS, z), 1, len(_ERRORS) - 1)
        share = ((z - _ERRORS[right - 1]) / (_ERRORS[right] - _ERRORS[right - 1]))[:, None]
        rate = choice.chip.power_w if self.joules else (choice.usd_per_hour or 0.0) / configs.HOUR_S
        return rate * np.exp((1.0 - share) * logs[:, right - 1].T + share * logs[:, right].T)

    def _log_served(self, choices: Sequence[int], log_N: Float[np.ndarray, "r g"]) -> Float[np.ndarray, "r g e"]:
        """Return ln of chip-seconds of serving, times as the calibrated kernels have them at each size."""
        shape = log_N.shape
        index = np.repeat(choices, shape[1])
        flat = log_N.ravel()
        lane = np.asarray(self.outcome.solved["own_lanes"]).astype(int)[index]
        left = {t: {p: v[lane] for p, v in of.items()} for t, of in self.planner.condensed.residuals.items()}
        for _ in range(2):
            log_B = self._fleets(index, left, flat, np.zeros(len(flat)))["log_B"]
            left = self.planner.condensed.match(self.planner.given, index, {"log_N": flat, "log_B": log_B})
        slow = np.stack([np.where(_ERRORS > 0, up, down) * _ERRORS for down, up in map(self._spread, choices)])
        many = len(_ERRORS)
        every = {t: {p: np.repeat(v, many) for p, v in of.items()} for t, of in left.items()}
        slow = np.repeat(slow[:, None], shape[1], axis=1).ravel()
        told = self._fleets(np.repeat(index, many), every, np.repeat(flat, many), slow)
        return np.log(told["chip_s"]).reshape(*shape, many)

    def _fleets(self, index: np.ndarray, left: Any, log_N: np.ndarray, log_slow: np.ndarray) -> dict[str, np.ndarray]:
        out: list[dict[str, np.ndarray]] = []
        for first in range(0, len(index), _LANES):
            here = np.minimum(np.arange(first, first + _LANES), len(index) - 1)
            residuals = {t: {p: v[here] for p, v in of.items()} for t, of in left.items()}
            points = {"log_N": log_N[here], "log_slow": log_slow[here]}
            arguments = self.planner.given, self.planner.rows(index[here]), residuals, points
            told = compiled.program(f"{_PROGRAM}:serving", *arguments)(*arguments)
            out.append({name: values[: len(index) - first] for name, values in told.items()})
        return {name: np.concatenate([one[name] for one in out]) for name in out[0]}

    def best(self, log_N: np.ndarray, costs: np.ndarray, log_D: np.ndarray) -> dict[str, np.ndarray]:
        """Return the best plan of each draw, and what it saves against compute-optimal training served as the plan's
        baseline is; NaN where a draw has none."""
        flat = costs.reshape(len(costs), -1)
        rival, g = np.unravel_index(np.argmin(flat, axis=1), costs.shape[1:])
        rows = np.arange(len(costs))
        middle = np.clip(g, 1, _SIZES - 2)
        three = [(rows, rival, middle + off) for off in (-1, 0, 1)]
        y = np.log(np.stack([costs[at] for at in three]))
        edge = (g != middle) | ~np.isfinite(y).all(axis=0)
        with np.errstate(invalid="ignore"):
            bend, slope = y[0] - 2.0 * y[1] + y[2], 0.5 * (y[2] - y[0])
            off = np.where(edge | ~(bend > 0), 0.0, np.clip(-slope / bend, -1.0, 1.0))
        d = np.stack([log_D[at] for at in three])
        here = log_D[rows, rival, g]
        bent = d[1] + off * 0.5 * (d[2] - d[0]) + 0.5 * off**2 * (d[0] - 2.0 * d[1] + d[2])
        step = log_N[0, 1] - log_N[0, 0]
        cost = np.where(edge, flat.min(axis=1), np.exp(np.where(edge, 0.0, y[1] + 0.5 * slope * off)))
        return {
            "params": np.exp(log_N[rival, g] + np.where(edge, 0.0, off * step)),
            "tokens": np.exp(np.where(edge, here, bent)),
            "cost": cost,
            "saving": 1.0 - cost / self._baseline(),
            "rival": rival,
        }

    def _baseline(self) -> Float[np.ndarray, " n"]:
        """Return the cost of compute-optimal training of the quality by draw; NaN where it cannot be served."""
        outcome, index = self.outcome, self.outcome.picked[BASELINE]
        told = [self._tokens(draws, np.zeros((1, _SIZES))) for _, draws in self.draws.laws]
        log_N, log_D = (np.concatenate([one[f"base_log_{x}"][:, -1] for one in told]) for x in "ND")
        if self.flops:
            return np.exp(log_N) * (6.0 * np.exp(log_D) + 2.0 * outcome.scenario.settings["lifetime_tokens"])
        if not outcome.has_baseline:
            return np.full(len(log_N), np.nan)
        span = np.linspace(log_N.min() - 1e-6, log_N.max() + 1e-6, _BASELINES)
        served = self._served(index, self._log_served([index], span[None])[0])
        logs = [np.interp(x, span, row) for x, row in zip(log_N, np.log(served), strict=True)]
        return self._training(log_N, log_D, "baseline") + np.exp(logs)


def _vertex(x: Float[np.ndarray, " g"], cost: Float[np.ndarray, " g"]) -> tuple[float, float]:
    """Return where the parabola through the least of evenly spaced costs and its neighbours is least."""
    g = int(np.argmin(cost))
    if g in (0, len(cost) - 1) or not np.isfinite(cost[g - 1 : g + 2]).all():
        return float(x[g]), float(cost[g])
    left, here, right = cost[g - 1 : g + 2]
    bend, slope = left - 2.0 * here + right, 0.5 * (right - left)
    off = -slope / bend if bend > 0 else 0.0
    return float(x[g] + off * (x[1] - x[0])), float(here + 0.5 * slope * off)
