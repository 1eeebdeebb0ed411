"""The dollar problem written a second time, from its formulas: as a geometric program and as a dense grid.

Nothing of the package is used but its readers of facts (`configs`). ``serve`` is plain arithmetic that
takes NumPy arrays (the grid) and cvxpy expressions (the geometric program) alike.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from operator import add
from statistics import median
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

import configs

CHIPS = {name: configs.load_chip(name) for name in configs.ids("chips")}
SIZES = (1, 2, 4, 8, 16, 32, 64)
# Of a weight and of a KV element.
BYTES = {"bf16": (2.0, 2.0), "fp8": (1.0, 1.0), "int8": (1.0, 1.0), "fp4": (0.5625, 1.0)}
ENGINE = configs.load_engine("tensorrt-llm").efficiency
SHAPE = configs.load_shape("dense-gqa").fit
MOST_TOKENS = 1e18  # a choice counts as feasible if it is with this many, as the planner documents


@cache
def mfu_of(name: str) -> float:
    """Return a chip's bf16 training MFU if 5 runs stand behind it, else its vendor's median, else everybody's."""
    rows = {i: (c.vendor, c.tables.get("training_mfu", {}).get("bf16", {"rows": 0})) for i, c in CHIPS.items()}
    good = {i: (vendor, row["value"]) for i, (vendor, row) in rows.items() if row["rows"] >= 5}
    if name in good:
        return good[name][1]
    kin = [value for vendor, value in good.values() if vendor == CHIPS[name].vendor]
    return median(kin or [value for _, value in good.values()])


@dataclass(frozen=True)
class Ask:
    """A scenario's numbers, read from settings that leave nothing to defaults."""

    lifetime_tokens: float
    prompt: float
    answer: float
    cached: float
    peak_to_mean: float
    lifetime_s: float
    tpot_s: float
    ttft_s: float
    A: float
    B: float
    alpha: float
    beta: float
    reducible: float  # what the target loss leaves above E

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "Ask":
        law = configs.load_law(settings["law"]).coefficients
        A, B, alpha, beta = (law[name] for name in ("A", "B", "alpha", "beta"))
        like = settings["quality_like"]
        data = (beta * B / (alpha * A) * like**alpha) ** (1 / beta)
        return cls(
            settings["lifetime_tokens"],
            settings["input_tokens"],
            settings["output_tokens"],
            settings["cached_fraction"],
            settings["peak_to_mean"],
            settings["lifetime_days"] * 86400,
            settings["tpot_ms"] / 1e3,
            settings["ttft_ms"] / 1e3,
            A,
            B,
            alpha,
            beta,
            A * like**-alpha + B * data**-beta,
        )

    def smallest(self, tokens: float = MOST_TOKENS) -> float:
        """Return the parameters that reach the loss with this much data, or infinity if none do."""
        left = self.reducible - self.B * tokens**-self.beta
        return (self.A / left) ** (1 / self.alpha) if left > 0 else np.inf

    def tokens(self, N):
        """Return the training tokens that reach the loss with N parameters; infinite where none do."""
        left = self.reducible - self.A * N**-self.alpha
        return np.where(left > 0, self.B / np.where(left > 0, left, 1.0), np.inf) ** (1 / self.beta)


@dataclass(frozen=True)
class Choice:
    """A chip, how many of them hold one replica, and the number format."""

    chip: configs.ChipFacts
    n: int
    precision: str
    usd_per_hour: float

    def training_usd(self, N, D):
        """Return the dollars of the training run, 6 N D FLOPs at the chip's bf16 MFU."""
        return self.usd_per_hour / 3600 * 6 / (self.chip.peak_flops_per_s["bf16"] * mfu_of(self.chip.id)) * N * D

    def replica_usd(self, ask: Ask) -> float:
        """Return the dollars of one replica for the whole life."""
        return self.usd_per_hour / 3600 * self.n * ask.lifetime_s


def choices(settings: dict[str, Any]) -> list[Choice]:
    """Return all choices in the planner's order: by chip, by size, bf16 before fp8."""
    asked = [settings["precision"]] if "precision" in settings else ["bf16", "fp8"]
    chips = [configs.load_chip(name) for name in settings["chips"]]
    return [
        Choice(chip, n, form, settings.get("chip_usd_per_hour") or chip.usd_per_hour)
        for chip in chips
        for n in SIZES
        for form in asked
        if form in chip.peak_flops_per_s
    ]


class Service(NamedTuple):
    """Seconds and the share of memory in use at some (N, B)."""

    request_s: Any
    tpot_s: Any
    ttft_s: Any
    memory: Any


def _roof(x, y):
    p = ENGINE["overlap_exponent"]
    return cp.pnorm(cp.hstack([x, y]), p) if isinstance(x, cp.Expression) else (x**p + y**p) ** (1 / p)


def _shape(name: str, N):
    return SHAPE[f"{name}_at_1b"] * (N * 1e-9) ** SHAPE[f"{name}_exponent"]


def serve(ask: Ask, choice: Choice, N, B) -> Service:
    """Return what serving N parameters with B sequences at a time takes, for arrays or cvxpy expressions."""
    chip, n, I, O = choice.chip, choice.n, ask.prompt, ask.answer  # noqa: E741
    w, b = BYTES[choice.precision]
    ec, em, el = ENGINE["matmul_fraction"], ENGINE["hbm_fraction"], ENGINE["link_fraction"]
    F, F16 = (chip.peak_flops_per_s[precision] * ec for precision in (choice.precision, "bf16"))
    F *= ENGINE["fp4_matmul_ratio"] if choice.precision == "fp4" else 1.0
    W = chip.hbm_bytes_per_s * em
    new, shards = I * (1 - ask.cached), min(n, SHAPE["kv_heads"])
    layers, width, kv_width = (_shape(name, N) for name in ("layers", "d_model", "kv_width"))
    kv = 2 * b * layers * kv_width  # bytes per cached token
    inside = min(n, chip.domain_chips)
    domains = n / inside
    hop = ENGINE["hop_latency_s"] * ((inside > 1) + (domains > 1))
    wire = 2 * (inside - 1) / inside / (chip.link_bytes_per_s * el)
    wire += 2 * (domains - 1) / domains / inside / (chip.scale_out_bytes_per_s * el)

    def forward(m, flops, kv_bytes):
        """Return a pass over m tokens, less what each sequence adds."""
        terms = [
            _roof(2 / (n * F) * N * m, w / (n * W) * N),
            _roof(flops / (n * F16), kv_bytes / W),
            (2 * hop + ENGINE["layer_overhead_s"]) * layers,
        ]
        if n > 1:  # a term of exactly zero has no logarithm
            terms.append(2 * wire * 2 * layers * width * m)
        return reduce(add, terms)

    def prefill(q):
        flops = 4 * q * new * (I - new / 2) * layers * width
        return forward(q * new, flops, q * (new + I) / shards * kv)

    context = I + O / 2
    step = forward(B, 4 * context * layers * width * B, context / shards * kv * B)
    step = step + ENGINE["sequence_overhead_s"] * B
    q = max(ENGINE["prefill_chunk_tokens"] / new, 1.0)
    request = prefill(q) * (1 / q) + O * step / B
    room = ENGINE["kv_memory_fraction"] * chip.hbm_bytes
    memory = w / (n * chip.hbm_bytes) * N + (I + O) / (shards * room) * kv * B
    return Service(request, request * B / O, step + prefill(1.0), memory)


def peak_rate(ask: Ask) -> float:
    """Return requests per second at the busiest time."""
    return ask.peak_to_mean * ask.lifetime_tokens / (ask.prompt + ask.answer) / ask.lifetime_s


def cost(ask: Ask, choice: Choice, N, D, B):
    """Return the dollars of a plan, and ln(use / limit) of its tightest limit."""
    at = serve(ask, choice, N, B)
    fleet = np.maximum(peak_rate(ask) * at.request_s, 1.0) * choice.replica_usd(ask)
    over = np.log(np.maximum.reduce([at.tpot_s / ask.tpot_s, at.ttft_s / ask.ttft_s, at.memory]))
    return choice.training_usd(N, D) + fleet, over


def slack(ask: Ask, choice: Choice) -> float:
    """Return -ln(use / limit) of the tightest limit where it is loosest: positive exactly if a plan exists.

    Every limit tightens as N or B grows, so it is loosest at the smallest model and a batch of one.
    """
    least = ask.smallest()
    return -float(cost(ask, choice, least, MOST_TOKENS, 1.0)[1]) if np.isfinite(least) else -np.inf


class Plan(NamedTuple):
    """The optimum of one choice: dollars, parameters, training tokens, batch."""

    usd: float
    N: float
    D: float
    B: float


# Clarabel's answers stop changing in the tenth digit at 1e-10, a ten-thousandth of what the tests allow.
# Optima of a lone replica are flat in B and it does not always get there: 1e-9 is still a thousandth. Which
# of the two scalings gets further depends on the scenario.
_ATTEMPTS = [
    dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)
    | {"equilibrate_enable": scale, "max_iter": 500, "min_switch_step_length": 1e-4}
    for tolerance in (1e-10, 1e-9, 1e-8)
    for scale in (False, True)
]


def solve(ask: Ask, choice: Choice) -> Plan | None:
    """Return the cheapest plan of one choice by cvxpy's geometric programming, or None if there is none.

    Variables are in units near their size and dollars in those of one replica, so that logarithms are small.
    ``R`` is the epigraph of max(1, busy replicas). cvxpy takes the exponents as given here (its rational
    approximation of powers is for other cones).
    """
    giga, tera, B, R = (cp.Variable(pos=True, name=name) for name in ("N", "D", "B", "R"))
    at = serve(ask, choice, 1e9 * giga, B)
    unit = choice.replica_usd(ask)
    limits = [
        ask.A / ask.reducible * 1e9**-ask.alpha * giga**-ask.alpha
        + ask.B / ask.reducible * 1e12**-ask.beta * tera**-ask.beta
        <= 1,
        at.memory <= 1,
        at.tpot_s / ask.tpot_s <= 1,
        at.ttft_s / ask.ttft_s <= 1,
        B >= 1,
        R >= 1,
        peak_rate(ask) * at.request_s <= R,
    ]
    if slack(ask, choice) <= 0:  # the planner's bound says whether there is a plan, and holds no optimum back
        limits.append(tera <= MOST_TOKENS / 1e12)
    program = cp.Problem(cp.Minimize(choice.training_usd(1e9, 1e12) / unit * giga * tera + R), limits)
    for settings in _ATTEMPTS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an answer may be inaccurate: it is not used then
            try:
                program.solve(gp=True, solver=cp.CLARABEL, **settings)
            except cp.SolverError:
                continue
        if program.status == cp.INFEASIBLE:
            return None
        if program.status == cp.OPTIMAL:
            found = (program.value * unit, giga.value * 1e9, tera.value * 1e12, B.value)
            return Plan(*(float(x) for x in found))
    raise ArithmeticError(f"Clarabel ended with {program.status}")


def _largest(inside: Callable[[np.ndarray], np.ndarray], low, high) -> np.ndarray:
    """Return the largest values between ``low`` and ``high`` at which the falling condition holds."""
    for _ in range(60):
        middle = np.sqrt(low * high)
        held = inside(middle)
        low, high = np.where(held, middle, low), np.where(held, high, middle)
    return low


def grid(ask: Ask, choice: Choice, sizes: int = 900, batches: int = 110, zooms: int = 4) -> Plan | None:
    """Return the cheapest point of a dense grid over (N, B), looked at again more closely around it.

    N runs evenly in logarithm from the smallest that can reach the loss (with 1e24 tokens) to the largest
    that a batch of one serves within the limits; B runs likewise from 1 to the largest that each N allows.
    D is what reaches the loss.
    """
    if slack(ask, choice) <= 0:
        return None

    def allowed(N, B):
        return cost(ask, choice, N, 1.0, B)[1] <= 0

    least = ask.smallest(1e24)
    first, last = np.log(least), np.log(_largest(lambda N: allowed(N, 1.0), least, 1e16))
    low, high = 0.0, 1.0
    best = None
    for _ in range(1 + zooms):
        N = np.exp(np.linspace(first, last, sizes))
        widest = _largest(lambda B, N=N: allowed(N, B), np.ones(sizes), np.full(sizes, 1e9))
        share = np.linspace(low, high, batches)
        B = widest[:, None] ** share
        usd = cost(ask, choice, N[:, None], ask.tokens(N)[:, None], B)[0]
        i, j = np.unravel_index(np.argmin(usd), usd.shape)
        found = Plan(float(usd[i, j]), float(N[i]), float(ask.tokens(N[i])), float(B[i, j]))
        best = found if best is None or found.usd < best.usd else best
        first, last = np.log(N[max(i - 5, 0)]), np.log(N[min(i + 5, sizes - 1)])
        low, high = share[max(j - 5, 0)], share[min(j + 5, batches - 1)]
    return best
