"""What sizes cost under every draw: a table of draws, choices and sizes, and the least of each draw."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

import configs

from .. import compiled
from ..plan import BASELINE, PLAN, Outcome
from .draws import draw, spread

SIZES = 48  # of N tried on each choice
_RIVALS, _NEAR = 6, 1.6  # choices that are carried along: so many, of costs up to so many times the best's
_BASELINES = 5  # sizes of compute-optimal training at which its serving is costed
_AROUND = 2.2  # times the largest N that a law picks, and under the smallest: what sizes span
_ERRORS = np.linspace(-3.5, 3.5, 15)  # standard errors of times at which serving is costed; lines between
_CHUNK, _LANES = 256, 1024  # draws of the law, and fleets, in one call
_PROGRAM = "planner.optimize.doubt"

Table = Float[np.ndarray, "n r g"]


class Costs:
    """Costs in the objective's unit, by draw, by choice and by size. The plan's own choice comes first.

    Serving is timed by the calibrated kernels at each size. The training run's form is that of each law's own plan.
    """

    def __init__(self, outcome: Outcome, by_law: Sequence[Outcome], count: int, seed: int):
        assert outcome.planner is not None
        self.outcome, self.by_law, self.planner = outcome, by_law, outcome.planner
        objective = outcome.scenario.settings["objective"]
        self.flops, self.joules = objective == "flops", objective == "joules"
        cost = np.where(np.asarray(outcome.solved["ok"]) > 0, outcome.solved["objective"], np.inf)
        picked, base = outcome.picked[PLAN], outcome.picked[BASELINE]
        order = np.argsort(cost, kind="stable")[:_RIVALS]
        near = [int(i) for i in order if cost[i] <= _NEAR * cost[picked] and i != picked]
        # What another law's plan is on may be a rival too, whatever it costs under this one.
        own = [i for i in map(self._index, by_law) if i is not None and i != picked]
        self.index = [picked] if self.flops else list(dict.fromkeys([picked, *own, *near]))[:_RIVALS]
        self.rivals = [outcome.choices[i] for i in self.index]
        # The baseline's choice comes last, where its tokens are looked up.
        self.stacked = self.planner.rows([*self.index, *[picked] * (_RIVALS - len(self.index)), base])
        chips = [choice.chip.id for choice in (*self.rivals, outcome.choices[base])]
        self.draws = draw(outcome, [one.scenario.law for one in by_law], chips, count, seed)

    def _index(self, other: Outcome) -> int | None:
        """Return which of the choices another law's plan is on, if any."""
        theirs = other.choice
        for i, ours in enumerate(self.outcome.choices):
            if (ours.chip.id, ours.n_chips, ours.stages, ours.precision) == (
                theirs.chip.id, theirs.n_chips, theirs.stages, theirs.precision,
            ):  # fmt: skip
                return i
        return None

    def sizes(self) -> Float[np.ndarray, "r g"]:
        """Return ln of the sizes to try, about those that the laws pick: the plan's own is one of them."""
        logs = [math.log(one.value("params")) for one in self.by_law]
        low, high = min(logs) - math.log(_AROUND), max(logs) + math.log(_AROUND)
        step = (high - low) / (SIZES - 1)
        here = math.log(self.outcome.value("params"))
        low = here - step * round((here - low) / step)
        return np.tile(low + step * np.arange(SIZES), (len(self.rivals), 1))

    def table(self, log_N: Float[np.ndarray, "r g"]) -> tuple[Table, Table, Table]:
        """Return what sizes cost (inf where a draw has no plan), what of it is serving, and ln of the tokens."""
        log_D = self._tokens(np.broadcast_to(log_N, (len(self.draws), *log_N.shape)))["log_D"]
        served = self._serving(log_N)
        return self._total(log_N, log_D, served), served, log_D

    def _total(self, log_N: Any, log_D: Any, served: Any) -> Any:
        total = self._training(np.broadcast_to(log_N, log_D.shape), log_D) + served
        return np.where(np.isfinite(total), total, np.inf)

    def _training(self, log_N: Any, log_D: Any, name: str = "plan") -> Any:
        """Return what training costs; inf where it takes more chips than there may be."""
        if self.flops:
            return 6.0 * np.exp(log_N + log_D)
        out = np.empty(log_D.shape)
        for one, here in zip(self.by_law, self.draws.rows(), strict=True):
            assert one.planner is not None
            form, schools = one.planner.training[name], one.planner.schools
            slow = self.draws.training[here].reshape(-1, *[1] * (log_D.ndim - 1))
            seconds = np.exp(schools.log_chip_seconds(form, log_N[here], log_D[here]) + slow)
            if schools.firm:
                seconds = np.where(seconds <= schools.most * schools.days * configs.DAY_S, seconds, np.inf)
            out[here] = form["power_w" if self.joules else "usd_per_s"] * seconds
        return out

    def _tokens(self, log_N: Table) -> dict[str, Any]:
        """Return what `planner.optimize.doubt.tokens` tells of every draw."""
        pad = np.repeat(log_N[:, :1], _RIVALS + 1 - log_N.shape[1], axis=1)
        padded = np.concatenate([log_N, pad], axis=1)
        out: list[dict[str, Any]] = []
        for (_, draws), here in zip(self.draws.laws, self.draws.rows(), strict=True):
            for first in range(here.start, here.stop, _CHUNK):
                index = np.minimum(np.arange(first, first + _CHUNK), here.stop - 1)
                laws = {name: values[index - here.start] for name, values in draws.items()}
                arguments = self.planner.given, self.stacked, laws, {"log_N": padded[index]}
                told = compiled.program(f"{_PROGRAM}:tokens", *arguments)(*arguments)
                out.append({name: values[: here.stop - first] for name, values in told.items()})
        joined = {name: np.concatenate([one[name] for one in out]) for name in out[0]}
        return joined | {"log_D": joined["log_D"][:, : log_N.shape[1]]}

    def _serving(self, log_N: Float[np.ndarray, "r g"]) -> Table:
        """Return what serving costs: on a grid of errors of the times, and lines between."""
        if self.flops:
            served = 2.0 * np.exp(log_N) * self.outcome.scenario.settings["lifetime_tokens"]
            return np.broadcast_to(served, (len(self.draws), *log_N.shape))
        own = np.asarray(self.outcome.solved["own_lanes"]).astype(int)
        logs = self._log_served(self.index, own[self.index], log_N)
        return np.stack([self._served(i, logs[r]) for r, i in enumerate(self.index)], axis=1)

    def _served(self, index: int, logs: Float[np.ndarray, "g e"]) -> Float[np.ndarray, "n g"]:
        """Return what serving on one choice costs by draw and size, from ln of chip-seconds by size and error."""
        choice = self.outcome.choices[index]
        z = np.clip(self.draws.serving[choice.chip.id], _ERRORS[0], _ERRORS[-1])
        right = np.clip(np.searchsorted(_ERRORS, z), 1, len(_ERRORS) - 1)
        share = ((z - _ERRORS[right - 1]) / (_ERRORS[right] - _ERRORS[right - 1]))[:, None]
        rate = choice.chip.power_w if self.joules else (choice.usd_per_hour or 0.0) / configs.HOUR_S
        return rate * np.exp((1.0 - share) * logs[:, right - 1].T + share * logs[:, right].T)

    def _log_served(
        self, choices: Sequence[int], lanes: Sequence[int] | np.ndarray, log_N: Float[np.ndarray, "r g"]
    ) -> Float[np.ndarray, "r g e"]:
        """Return ln of chip-seconds of serving, by the calibrated kernels at each size; ``lanes`` of the
        search say which residuals to begin with."""
        shape, condensed = log_N.shape, self.planner.condensed
        index, lane = np.repeat(choices, shape[1]), np.repeat(lanes, shape[1])
        flat = log_N.ravel()
        left: Mapping[str, Any] = {t: {p: v[lane] for p, v in of.items()} for t, of in condensed.residuals.items()}
        for _ in range(2):
            log_B = self._fleets(index, left, flat, np.zeros(len(flat)))["log_B"]
            left = condensed.match(self.planner.given, index, {"log_N": flat, "log_B": log_B})
        spreads = [spread(self.outcome, self.outcome.choices[i]) for i in choices]
        slow = np.stack([np.where(_ERRORS > 0, up, down) * _ERRORS for down, up in spreads])
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

    def best(self, log_N: Float[np.ndarray, "r g"], total: Table, served: Table) -> dict[str, Float[np.ndarray, " n"]]:
        """Return the best plan of each draw: params, tokens, cost, its choice (``rival``), and what it saves against
        compute-optimal training; NaN where that cannot be served.

        About the least of the table, costs are told anew at sizes fifty times as close: tokens by the law, serving by
        the parabola through its three costs there.
        """
        rows, step = np.arange(len(total)), log_N[0, 1] - log_N[0, 0]
        rival, g = np.unravel_index(np.argmin(total.reshape(len(total), -1), axis=1), total.shape[1:])
        g = np.clip(g, 1, SIZES - 2)
        t = np.linspace(-1.0, 1.0, SIZES)[None]
        with np.errstate(invalid="ignore"):  # where serving has no plan at all
            left, middle, right = (np.log(served[rows, rival, g + off])[:, None] for off in (-1, 0, 1))
            close = middle + 0.5 * t * (right - left) + 0.5 * t**2 * (left - 2.0 * middle + right)
        # An end of the table where serving is not possible has no parabola: what is told there is the table's.
        close = np.where(np.isfinite(close), close, np.where(t == 0.0, middle, np.inf))
        sizes = log_N[0, g][:, None] + step * t
        tokens = self._tokens(np.repeat(sizes[:, None], len(self.rivals), axis=1))["log_D"][rows, rival]
        costs = self._total(sizes, tokens, np.exp(close))
        least = np.argmin(costs, axis=1)
        cost = costs[rows, least]
        able = np.isfinite(cost)
        return {
            "params": np.where(able, np.exp(sizes[rows, least]), np.nan),
            "tokens": np.exp(tokens[rows, least]),
            "cost": cost,
            "saving": 1.0 - cost / self._baseline(),
            "rival": np.where(able, rival, -1),
        }

    def _baseline(self) -> Float[np.ndarray, " n"]:
        """Return the cost of compute-optimal training of the quality; NaN where it cannot be served."""
        outcome, index = self.outcome, self.outcome.picked[BASELINE]
        told = self._tokens(np.zeros((len(self.draws), 1, SIZES)))
        log_N, log_D = (told[f"base_log_{x}"][:, -1] for x in "ND")
        if self.flops:
            return np.exp(log_N) * (6.0 * np.exp(log_D) + 2.0 * outcome.scenario.settings["lifetime_tokens"])
        if not outcome.has_baseline:
            return np.full(len(log_N), np.nan)
        span = np.linspace(log_N.min() - 1e-6, log_N.max() + 1e-6, _BASELINES)
        served = self._served(index, self._log_served([index], [int(outcome.solved["baseline_lane"])], span[None])[0])
        logs = [np.interp(x, span, row) for x, row in zip(log_N, np.log(served), strict=True)]
        return self._training(log_N, log_D, "baseline") + np.exp(logs)
