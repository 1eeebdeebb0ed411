"""The training run of a plan: on which chip, on how many, and the form that stands for it in the search."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import configs

from . import compiled
from .scenario import TRAIN_DAYS, Scenario
from .train.question import Question
from .training.names import REFERENCE, TYPICAL_MFU

_PROGRAM = "planner.train.programs:plan"
# Points round a plan, as factors of size and tokens: a plane through their logarithms has value and slopes.
_FACTORS = (0.75, 1.0, 4.0 / 3.0)
_CHIPS = (0.4, 0.6, 0.85, 1.2, 1.7, 2.5, 4.0)  # of those at a typical utilisation: it lies between 0.1 and 1
_HOPELESS = 1e-6  # useful share of the time below which failures leave nothing
_STEP = 0.05  # relative, of slopes: wide enough that the edge of a tile within it does not pass for one
_FAILURES = ("chip_mtbf_s", "restart_s", "store_bytes_per_s_per_chip")
# Exponents of size and of tokens: near 1, but for the edges of what fits, which a plane does not follow.
_SLOPES = (0.7, 1.5)
_SHAPES = [(tp, cp, 1, micro) for tp, cp, micro in product((1, 2, 4, 8), (1, 2), (1, 2, 4))]
# Of models with experts: those spread over more chips than one, within a server and beyond it, or split with all else.
_SPARSE_SHAPES = [(tp, 1, ep, micro) for tp, ep, micro in product((1, 2, 4, 8), (1, 8, 16, 32, 64), (1, 2, 4))]
_SPREADS = [(1, 1, 0, 0), (1, 1, 1, 0), *((pp, vp, 0, 0) for pp, vp in product((2, 4, 8, 16), (1, 2, 4, 8)))]
_KNOWN: dict[tuple[str, *tuple[float, ...]], "School | None"] = {}
_MOST_KNOWN = 4096


@dataclass(frozen=True)
class School:
    """A chip to train on and the run's form round a plan: ``form`` holds the numbers of
    `planner.training.run.TrainingForm`, and what a chip-second costs (``usd_per_s``) and draws (``power_w``).

    At the plan it takes ``chips``, a fraction while planning, for ``days``, each at ``rate`` tokens a second in the
    best of the layouts tried, ``layout``; ``goodput`` is the useful share of its time.
    """

    question: Question
    form: dict[str, float]
    chips: float = 0.0
    days: float = 0.0
    rate: float = 0.0
    goodput: float = 1.0
    layout: Mapping[str, int] | None = None

    @property
    def chip(self) -> configs.ChipFacts:
        """The chip to train on."""
        return self.question.chip


class Schools:
    """The chips that a scenario may train on, and how long that may take.

    ``firm`` says that days were asked for (or ``days`` given): a run that is not done in them is none. Otherwise runs
    take `TRAIN_DAYS` where some layout is as quick, or as long as the quickest, or as the chips that there are take.
    ``experts`` are those of the models trained, total over active parameters of feed-forward blocks.
    """

    def __init__(self, scenario: Scenario, days: float | None = None, experts: float = 1.0):
        self.scenario, self.experts = scenario, experts
        asked = days or scenario.settings.get("train_days")
        self.firm = asked is not None
        self.days: float = asked or TRAIN_DAYS
        self.most: float = scenario.settings.get("train_chips", np.inf)
        self.questions = [self._question(chip) for chip in scenario.training_chips]
        self.keys: dict[str, str] = {}
        self.joules = scenario.settings["objective"] == "joules"

    def _question(self, chip: configs.ChipFacts) -> Question:
        price = self.scenario.settings.get("chip_usd_per_hour")
        asked = {"params": 1e10, "tokens": 1e12, "chip": chip.id, "days": self.days}
        asked |= {"precision": self.scenario.settings["train_precision"]}
        return Question.of(asked | ({} if price is None else {"chip_usd_per_hour": price}))

    def rough(self) -> School:
        """Return the cheapest chip at the utilisation of published runs, to begin with: 6 N D and no failures."""
        found = []
        for question in self.questions:
            peak = question.chip.peak_flops_per_s[question.precision]
            log = float(np.log(6.0 * REFERENCE[0] * REFERENCE[1] / (peak * TYPICAL_MFU)))
            form = {"log": log, "params_exponent": 1.0, "tokens_exponent": 1.0, **self._by_experts(0.0)}
            form |= self._prices(question)
            found.append(School(question, form))
        return min(found, key=lambda one: self._cost(one, float(np.log(REFERENCE[0])), float(np.log(REFERENCE[1]))))

    def match(self, log_N: float, log_D: float, most: float | None = None) -> School | None:
        """Return the best chip with its form round a plan, None where no layout does; where days are firm on at most so
        many chips, those of the scenario unless told."""
        found = [self._known(question, log_N, log_D) for question in self.questions]
        cap = (self.most if most is None else most) if self.firm else np.inf
        able = [one for one in found if one is not None and one.chips <= cap]
        return min(able, key=lambda one: self._cost(one, log_N, log_D)) if able else None

    def days_for(self, log_N: float, log_D: float, most: float, longest: float) -> float | None:
        """Return about the fewest days, at most 2 % over them, in which at most so many chips train a plan; None where
        ``longest`` do not do."""
        late, enough = self.days, self.days
        while Schools(self.scenario, enough, self.experts).match(log_N, log_D, most) is None:
            late, enough = enough, 1.5 * enough
            if enough > longest:
                return None
        while enough > 1.02 * late:
            middle = float(np.sqrt(late * enough))
            met = Schools(self.scenario, middle, self.experts).match(log_N, log_D, most) is not None
            late, enough = (late, middle) if met else (middle, enough)
        return enough

    def _cost(self, one: School, log_N: float, log_D: float) -> float:
        """Return ln of what the run costs by the objective; dollars where flops are asked for, for the bill."""
        rate = one.form["power_w" if self.joules else "usd_per_s"]
        return self.log_chip_seconds(one.form, log_N, log_D) + float(np.log(max(rate, 1e-30)))

    def _known(self, question: Question, log_N: float, log_D: float) -> School | None:
        """Return `_matched`, remembered: a question that is asked again with other limits meets the same plans."""
        key = self._key(question), self.days, 0.0 if self.firm else self.most, log_N, log_D, self.experts
        if key not in _KNOWN:
            if len(_KNOWN) >= _MOST_KNOWN:
                _KNOWN.clear()
            _KNOWN[key] = self._matched(question, log_N, log_D)
        return _KNOWN[key]

    def _key(self, question: Question) -> str:
        if question.chip.id not in self.keys:
            given, law = question.numbers(), question.batch_law
            self.keys[question.chip.id] = repr((given, law.coefficient, law.exponent, self.scenario.shape.fit))
        return self.keys[question.chip.id]

    def _matched(
        self, question: Question, log_N: float, log_D: float, given: Any = None, days: float | None = None
    ) -> School | None:
        days = days or self.days
        steps = _around(self.experts)
        told = self.told(question, log_N + steps[:, 0], log_D + steps[:, 1], given, days, steps[:, 2])
        found = [_within(told, i, days, float(np.exp(log_D + step[1])), self.firm) for i, step in enumerate(steps)]
        known = [i for i, one in enumerate(found) if one is not None]
        middle = len(_FACTORS) ** 2 // 2
        centre = found[middle]
        if centre is None:
            return None
        if not self.firm and days == self.days and centre.chips > self.most:
            return self._matched(question, log_N, log_D, given, days * centre.chips / self.most)
        plane = np.column_stack([np.ones(len(known)), steps[known]])
        logs = np.array([one.log_chip_s for one in found if one is not None])
        value, by_size, by_tokens, by_experts = (float(x) for x in np.linalg.lstsq(plane, logs, rcond=None)[0])
        size, tokens = (float(np.clip(slope, *_SLOPES)) for slope in (by_size, by_tokens))
        log = value - size * (log_N - float(np.log(REFERENCE[0]))) - tokens * (log_D - float(np.log(REFERENCE[1])))
        form = {"log": log - by_experts * float(np.log(self.experts)), "params_exponent": size}
        form |= {"tokens_exponent": tokens, **self._by_experts(by_experts), **self._prices(question)}
        chip_days = float(np.exp(value)) / configs.DAY_S
        chips = chip_days / days if self.firm else min(centre.chips, self.most)
        goodput = float(told["goodput"][middle][centre.nearest])
        return School(
            question=question,
            form=form,
            chips=chips,
            days=chip_days / chips,
            rate=float(np.exp(log_D - value)) / goodput,
            goodput=goodput,
            layout=self._layout(question, int(told["layout"][middle][centre.nearest])),
        )

    def slopes(self, school: School, log_N: float, log_D: float) -> dict[str, float]:
        """Return d ln(chip-seconds) / d ln(input) of a plan's run by input, layouts adapting: by differences."""
        given = school.question.numbers()
        out = {}
        for name in (*(f"chip.{key}" for key in given["chip"]), *(f"bill.{key}" for key in _FAILURES)):
            head, key = name.split(".")
            logs = []
            for factor in (1.0 - _STEP, 1.0 + _STEP):
                moved = {**given, head: {**given[head], key: given[head][key] * factor}}
                one = self._matched(school.question, log_N, log_D, moved)
                logs.append(np.nan if one is None else self.log_chip_seconds(one.form, log_N, log_D))
            slope = (logs[1] - logs[0]) / (np.log(1.0 + _STEP) - np.log(1.0 - _STEP))
            out[name] = float(slope) if np.isfinite(slope) else 0.0
        return out

    def told(
        self, question: Question, log_N: np.ndarray, log_D: np.ndarray, given: Any = None, days: float | None = None,
        more: np.ndarray | float = 0.0,
    ) -> Any:  # fmt: skip
        """Return rates and goodput of runs of these sizes on some numbers of a question's chips: about those that are
        done in ``days``. ``more`` is ln of how many times the experts they have."""
        arguments = self.arguments(question, log_N, log_D, given, days, more)
        return compiled.program(_PROGRAM, *arguments)(*arguments)

    def arguments(
        self, question: Question, log_N: np.ndarray, log_D: np.ndarray, given: Any = None, days: float | None = None,
        more: np.ndarray | float = 0.0,
    ) -> tuple[Any, Any, Any]:  # fmt: skip
        """Return what the compiled program takes; ``given`` stands in for the question's own numbers."""
        given = given or question.numbers()
        law = question.batch_law
        run = ("sequence_tokens", "expert_load", "recomputed", "reversible", "overlapped", "narrow")
        asked = {
            "shape": dict(self.scenario.shape.fit),
            "batch": {"coefficient": law.coefficient, "exponent": law.exponent},
            "days": days or self.days,
            "run": {name: given[name] for name in run},
        }
        points = {"log_N": log_N, "log_D": log_D}
        if self.experts > 1.0:
            points["log_E"] = np.log(self.experts) + more + 0.0 * log_N
        machine = {name: given[name] for name in ("device", "chip", "trainer", "older", "bill")}
        grid = {
            "points": points,
            "shapes": _columns(("tp", "cp", "ep", "micro_batch"), self._shapes()),
            "spreads": _columns(("pp", "vp", "sharded", "zero_bubble"), _spreads(question)),
            "chips": np.array(_CHIPS),
        }
        return asked, machine, grid

    def programs(self) -> list[compiled.Program]:
        """Return the programs behind `match`, to be prepared beside others."""
        zero = np.zeros(len(_around(self.experts)))
        every = [compiled.program(_PROGRAM, *self.arguments(q, zero, zero)) for q in self.questions]
        return list({id(one): one for one in every}.values())

    def log_chip_seconds(self, form: Mapping[str, float], log_N: Any, log_D: Any) -> Any:
        """Return ln of the chip-seconds that a form gives runs of a model with `experts`."""
        return log_chip_seconds(form, log_N, log_D, math.log(self.experts))

    def _shapes(self) -> list[tuple[int, ...]]:
        return _SPARSE_SHAPES if self.experts > 1.0 else _SHAPES

    def _by_experts(self, slope: float) -> dict[str, float]:
        """Return a form's slope in experts, nothing where there are none: dense questions have no such number."""
        return {"experts_exponent": slope} if self.experts > 1.0 else {}

    def _layout(self, question: Question, number: int) -> dict[str, int]:
        """Return the layout that the compiled program calls ``number``; data parallelism takes the other chips."""
        spreads = _spreads(question)
        shape, spread = self._shapes()[number // len(spreads)], spreads[number % len(spreads)]
        names = ("tp", "cp", "ep", "micro_batch", "pp", "vp", "sharded", "zero_bubble")
        return dict(zip(names, (*shape, *spread), strict=True))

    def _prices(self, question: Question) -> dict[str, float]:
        usd = 0.0 if question.usd_per_hour is None else question.usd_per_hour / configs.HOUR_S
        return {"usd_per_s": usd, "power_w": question.chip.power_w}


def _around(experts: float) -> np.ndarray:
    """Return the points round a plan as ln of factors of size, tokens and experts: of those only where there are some,
    with size and tokens as they are."""
    flat = [(size, tokens, 0.0) for size, tokens in product(np.log(_FACTORS), np.log(_FACTORS))]
    return np.array(flat + ([(0.0, 0.0, more) for more in np.log(_FACTORS[::2])] if experts > 1.0 else []))


def log_chip_seconds(form: Mapping[str, float], log_N: Any, log_D: Any, log_E: float = 0.0) -> Any:
    """Return ln of the chip-seconds that a form gives runs, as `planner.training.run.TrainingForm` does."""
    sizes = log_N - math.log(REFERENCE[0]), log_D - math.log(REFERENCE[1])
    plain = form["log"] + form["params_exponent"] * sizes[0] + form["tokens_exponent"] * sizes[1]
    return plain + form.get("experts_exponent", 0.0) * log_E


def _spreads(question: Question) -> list[tuple[int, ...]]:
    """Return the spreads tried, with weights cut over copies where the trainer always does."""
    return [(pp, vp, 1, zero) for pp, vp, _, zero in _SPREADS] if question.trainer.sharded else _SPREADS


class _Run(NamedTuple):
    """A run between the numbers of chips tried: ln of its chip-seconds, its chips, and which number is nearest."""

    log_chip_s: float
    chips: float
    nearest: int


def _within(told: Mapping[str, Any], i: int, days: float, tokens: float, firm: bool) -> _Run | None:
    """Return the run that takes ``days``; None where no number of chips does, or unless ``firm`` the quickest. Where
    fewer chips than the fewest would do, those are taken."""
    rates, goodput, chips = (np.asarray(told[name][i]) for name in ("rates", "goodput", "chips"))
    fits = np.flatnonzero((rates > 0) & (goodput > _HOPELESS))
    if not len(fits):
        return None
    chip_s, counts = np.log(tokens / (rates[fits] * goodput[fits])), np.log(chips[fits])
    late = chip_s - counts - np.log(days * configs.DAY_S)  # ln of days over those asked: falls with chips
    if late[-1] > 0.0 and firm:
        return None
    where = float(np.interp(0.0, -late, counts))
    nearest = int(fits[np.argmin(np.abs(counts - where))])
    return _Run(float(np.interp(where, counts, chip_s)), float(np.exp(where)), nearest)


def _columns(names: Sequence[str], rows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    table = np.array(rows, dtype=float)
    return {name: table[:, i] for i, name in enumerate(names)}
