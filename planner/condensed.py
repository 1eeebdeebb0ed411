"""Repeats the search with residuals that match the calibrated kernels where the last one ended, until it stays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from . import compiled
from .choices import Choice
from .scenario import Scenario
from .serving.residuals import NONE, PARTS, TIMES, log_residual
from .trees import gathered, picked, repeated

_PROGRAM = "planner.optimize.condense:residuals"
_CHUNK = 32  # lanes matched in one call
# Rounds of searching and matching. Most questions settle in three to five; where the edges of tiles keep bending the
# times, more rounds go to and fro by what the certificate states, below 1 % of the objective.
_ROUNDS = 5
_MOST_ROUNDS = 12  # where times are still off by `_NEARLY`: at the edge of what is feasible
_ALL = 2  # rounds in which every lane is matched; then those that may still win
_RIVALS = 1.25  # times the best objective: what may still win
_SETTLED = 3e-4  # relative change of the best objective from one round to the next
_MATCHED = 2e-3  # calibrated less condensed seconds of the best plan, over the calibrated
_NEARLY = 0.03  # likewise, of a plan that is kept where the next round leaves none
_CALM = 3  # rounds after which residuals move half the way: at the edges of tiles they go to and fro
_NEAR_LONE = 0.1  # ln of busy replicas of a fleet below which a lone replica is tried beside it
_WITH_BASELINE = 3  # copies of the choices: fleets, lone replicas, baselines


class Condensed:
    """Residuals of every lane of a search, some lanes per choice (fleets, lone replicas, baselines).

    After `settle`, ``rounds`` says how often it searched, ``off`` is what is left of the mismatch, calibrated minus
    condensed seconds of the best plan over its residual's, by time, and ``times_off`` over the whole time's. ``change``
    is how much the best objective moved in the last round.
    """

    def __init__(self, scenario: Scenario, choices: Sequence[Choice], stacked: Mapping[str, Any], width: int):
        self.scenario, self.choices, self.stacked, self.width = scenario, choices, stacked, width
        devices: dict[tuple[str, str], Any] = {}
        machines = []
        for one in choices:
            name = one.chip.id, one.precision
            machines.append(one.machine(device=devices.get(name)))
            devices[name] = machines[-1]["device"]
        machines += [machines[-1]] * (width - len(machines))
        self.groups = [(members, gathered([machines[i] for i in members])) for members in _structures(machines)]
        self.residuals: dict[str, dict[str, np.ndarray]] = {}
        self.off: dict[str, float] = {}
        self.times_off: dict[str, float] = {}
        self.change = 0.0
        self.rounds = 0

    def none(self, copies: int) -> dict[str, dict[str, np.ndarray]]:
        """Return residuals of zero seconds for ``copies`` lanes per choice."""
        lanes = copies * self.width
        return {name: {part: np.full(lanes, NONE[name][part]) for part in PARTS} for name in TIMES}

    @staticmethod
    def one(residuals: Mapping[str, Mapping[str, np.ndarray]], lane: int) -> dict[str, dict[str, float]]:
        """Return the entries of one lane."""
        return {name: {part: float(values[lane]) for part, values in of.items()} for name, of in residuals.items()}

    def of(self, lane: int) -> dict[str, dict[str, float]]:
        """Return the residuals of one lane."""
        return self.one(self.residuals, lane)

    def log_experts(self, lane: int) -> float:
        """Return ln of the experts of the choice behind a lane."""
        return float(np.log(self.stacked["experts"][lane % self.width]))

    def put(self, lane: int, residuals: Mapping[str, Mapping[str, float]]) -> None:
        """Set the residuals of one lane."""
        for name in TIMES:
            for part in PARTS:
                self.residuals[name][part][lane] = residuals[name][part]

    def programs(self, given: Mapping[str, Any]) -> list[compiled.Program]:
        """Return the programs behind `match`, to be prepared beside others."""
        zero = np.zeros(_CHUNK, dtype=int)
        points = {"log_N": np.zeros(_CHUNK), "log_B": np.zeros(_CHUNK)}
        rows = repeated(given, _CHUNK), picked(self.stacked, zero)
        return [compiled.program(_PROGRAM, *rows, picked(machines, zero), points) for _, machines in self.groups]

    def settle(
        self,
        given: Mapping[str, Any],
        solve: Callable[[Any, np.ndarray], dict[str, Any]],
        copies: int,
        held: Any = None,
        rematch: Callable[[dict[str, Any], bool], float] = lambda solved, move: 0.0,
        start: Any = None,
    ) -> dict[str, Any]:
        """Return what ``solve`` answers with residuals that belong to its own lanes' ends.

        ``solve`` takes residuals, and which choices to try as a lone replica too (of a fleet that the peak keeps busier
        than one replica none can do the work). It returns ``lanes``, ``lanes_ok``, ``busy`` and its objective. Lanes
        that have no plan keep the residuals they had. ``held`` are residuals of fleets and lone replicas that stay.
        ``rematch`` is told each answer and whether to move the training run's form for the next; it returns by what
        share of the objective the form was off. ``start`` are the residuals to begin with, none unless told.
        """
        free = np.ones(copies * self.width, bool)
        self.residuals = self.none(copies) if start is None else deepcopy(start)
        if held is not None:
            free[: 2 * self.width] = False
            for name in TIMES:
                for part in PARTS:
                    self.residuals[name][part][: 2 * self.width] = held[name][part]
        fleets, lones = np.arange(self.width), self.width + np.arange(self.width)
        lone, followers = np.zeros(self.width, bool), np.zeros(self.width, bool)
        self.lone = lone.astype(float)
        last, solved = np.inf, {}
        kept, best = None, np.inf
        for self.rounds in range(1, _MOST_ROUNDS + 1):
            self.lone = lone.astype(float)
            solved = solve(self.residuals, self.lone)
            values, lane = _objectives(solved), int(solved["lane"])
            best = float(np.min(values, initial=np.inf))
            ends, tried = self._ends(solved, copies)
            rivals = np.resize(values <= _RIVALS * best, copies * self.width)
            if copies == _WITH_BASELINE:
                rivals[2 * self.width :] = False
                rivals[int(solved["baseline_lane"])] = True
            lanes = tried & free & (rivals | (self.rounds <= _ALL))
            lanes[lane] = True
            new, seconds = self._new(given, ends, np.flatnonzero(lanes))
            self.off, self.times_off = self._off(seconds, ends, lane)
            # In the first round times are too short, and so is the fleet.
            short = _NEAR_LONE if self.rounds > 1 else -1.0
            near = (np.asarray(solved["ok"]) > 0) & (np.asarray(solved["busy"]) < short)
            self.change = abs(best / last - 1.0) if np.isfinite(best) and np.isfinite(last) else np.inf
            matched = held is not None or max(map(abs, self.times_off.values())) < _MATCHED
            quiet = self.change < _SETTLED and matched and abs(rematch(solved, False)) < _MATCHED
            near_enough = np.isfinite(best) and max(map(abs, self.times_off.values())) < _NEARLY
            if near_enough:
                kept = solved, deepcopy(self.residuals), self.off, self.times_off, self.change
            hopeless = not np.isfinite(best) and kept is None and self.rounds > _ALL
            last_one = self.rounds == _MOST_ROUNDS or (self.rounds >= _ROUNDS and near_enough)
            if last_one or hopeless or (quiet and not (near & ~lone).any()):
                break
            # A fleet that the peak does not keep busy is a lone replica's plan, as long as both have the same times:
            # a lone replica starts with its fleet's, and goes back to them where its own leave it no plan.
            followers |= lone & ~(np.asarray(solved["lanes_ok"])[lones] > 0)
            follow = followers | (near & ~lone)
            for name in TIMES:
                for part in PARTS:
                    values, told = self.residuals[name][part], new[name][part]
                    told = 0.5 * (values + told) if self.rounds > _CALM else told
                    values[free] = np.where(np.isfinite(told), told, values)[free]
                    if held is None:
                        values[lones[follow]] = values[fleets[follow]]
            rematch(solved, True)
            lone, last = near, best
        if kept is not None and not np.isfinite(best):
            # At the edge of what is feasible times matched anew may leave no plan where the last ones left one: that
            # plan is told, with what its times are off by.
            solved, self.residuals, self.off, self.times_off, self.change = kept
        return solved

    def measure(self, given: Mapping[str, Any], solved: Mapping[str, Any]) -> None:
        """Set ``off`` and ``times_off`` to those of a plan that was found with residuals as they are."""
        ends = {name: np.asarray(solved["lanes"][name]) for name in ("log_N", "log_B")}
        lane = int(solved["lane"])
        _, seconds = self._new(given, ends, np.array([lane]))
        self.off, self.times_off = self._off(seconds, ends, lane)

    def _ends(self, solved: Mapping[str, Any], copies: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return where to match each lane, and which to match: where it ended, or if it has no plan where it came
        closest to one, at the smallest model and a batch of one. Lone replicas without a plan stay as they are."""
        ok = np.asarray(solved["lanes_ok"]) > 0
        least = np.asarray(solved["least_log_N"])
        ends = {
            "log_N": np.where(ok, solved["lanes"]["log_N"], least),
            "log_B": np.where(ok, solved["lanes"]["log_B"], 0.0),
        }
        real = np.resize(np.arange(self.width) < len(self.choices), copies * self.width)
        real[self.width : 2 * self.width] = False
        return ends, ok | (real & np.isfinite(ends["log_N"]))

    def _new(self, given: Mapping[str, Any], ends: Mapping[str, np.ndarray], lanes: np.ndarray) -> tuple[Any, Any]:
        """Return what residuals would match the calibrated kernels where ``lanes`` ended, and the seconds there of the
        kernels and of the search's form without residuals, all NaN for other lanes."""
        told = self.told(given, lanes % self.width, picked(ends, lanes))
        return tuple(spread(told[key], lanes, len(ends["log_N"])) for key in ("residuals", "seconds"))

    def _off(
        self, seconds: Any, ends: Mapping[str, np.ndarray], lane: int
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return calibrated minus condensed seconds at the end of ``lane`` over the residual's, and over the whole."""
        at = float(ends["log_N"][lane]), float(ends["log_B"][lane]), self.log_experts(lane)
        missing = missed(self.of(lane), {k: {n: v[lane] for n, v in of.items()} for k, of in seconds.items()}, *at)
        return {name: off for name, (off, _) in missing.items()}, {name: off for name, (_, off) in missing.items()}

    def match(self, given: Mapping[str, Any], index: np.ndarray, points: Mapping[str, np.ndarray]) -> Any:
        """Return residuals of the choices ``index`` at ``points`` (log_N and log_B, an entry each)."""
        return self.told(given, index, points)["residuals"]

    def told(self, given: Mapping[str, Any], index: np.ndarray, points: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return ``residuals`` of the choices ``index`` at ``points``, and ``seconds`` there: "calibrated", "bare"."""
        found = list(self._told(given, index, points))
        where = np.concatenate([rows for rows, _ in found])
        joined = _joined([told for _, told in found], len(where))
        seconds = {"calibrated": joined["calibrated_s"], "bare": joined["bare_s"]}
        both = {"residuals": joined["residuals"], "seconds": seconds}
        return {key: spread(tree, where, len(index)) for key, tree in both.items()}

    def step_parts(self, given: Mapping[str, Any], index: int, log_N: float, log_B: float) -> dict[str, float]:
        """Return the seconds of a decode step of the choice ``index`` by what takes them."""
        points = {"log_N": np.array([log_N]), "log_B": np.array([log_B])}
        _, told = next(self._told(given, np.array([index]), points))
        return {name: float(seconds[0]) for name, seconds in told["step_parts"].items()}

    def _told(
        self, given: Mapping[str, Any], index: np.ndarray, points: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[np.ndarray, Any]]:
        for members, machines in self.groups:
            where = np.flatnonzero(np.isin(index, members))
            if len(where):
                rows = picked(machines, np.searchsorted(members, index[where]))
                yield where, in_chunks(given, picked(self.stacked, index[where]), rows, picked(points, where))


def in_chunks(given: Mapping[str, Any], choices: Any, machines: Any, points: Mapping[str, np.ndarray]) -> Any:
    """Return what `residuals` tells of any number of rows, `_CHUNK` at a time; ``given`` is one, or has one per row."""
    count = len(points["log_N"])
    rows = repeated(given, count)
    out: list[Any] = []
    for first in range(0, count, _CHUNK):
        index = np.minimum(np.arange(first, first + _CHUNK), count - 1)
        arguments = tuple(picked(tree, index) for tree in (rows, choices, machines, points))
        out.append(compiled.program(_PROGRAM, *arguments)(*arguments))
    return _joined(out, count)


def missed(
    residuals: Any, seconds: Any, log_N: float, log_B: float, log_E: float = 0.0
) -> dict[str, tuple[float, float]]:
    """Return by time what calibrated seconds exceed condensed ones by: over the residual's seconds, over the whole."""
    out = {}
    for name in TIMES:
        left = float(np.exp(log_residual(residuals[name], log_N, log_B, log_E)))
        gap = float(seconds["calibrated"][name]) - float(seconds["bare"][name]) - left
        out[name] = gap / left, gap / float(seconds["calibrated"][name])
    return out


def spread(tree: Any, where: np.ndarray, count: int) -> Any:
    """Return leaves of ``count`` entries that hold those of ``tree`` at ``where`` and NaN elsewhere."""
    if isinstance(tree, Mapping):
        return {key: spread(value, where, count) for key, value in tree.items()}
    out = np.full(count, np.nan)
    out[where] = tree
    return out


def _joined(trees: Sequence[Any], count: int) -> Any:
    if isinstance(trees[0], Mapping):
        return {key: _joined([tree[key] for tree in trees], count) for key in trees[0]}
    return np.concatenate(trees)[:count]


def _objectives(solved: Mapping[str, Any]) -> np.ndarray:
    """Return what each choice reaches, infinite where it has no plan."""
    name = "loss_nats" if "loss_nats" in solved else "objective"
    return np.where(np.asarray(solved["ok"]) > 0, solved[name], np.inf)


def _structures(machines: Sequence[Any]) -> list[np.ndarray]:
    """Return the indices of machines of one structure each: those that can share a compiled program."""
    groups: dict[Any, list[int]] = {}
    for i, one in enumerate(machines):
        groups.setdefault(_structure(one), []).append(i)
    return [np.array(members) for members in groups.values()]


def _structure(tree: Any) -> Any:
    return tuple((key, _structure(value)) for key, value in sorted(tree.items())) if isinstance(tree, Mapping) else None
