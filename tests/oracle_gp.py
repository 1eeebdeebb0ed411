"""The dollar problem written a second time, from its formulas: as a geometric program and as a dense grid.

Nothing of the package is used but its readers of facts (`configs`). ``serve`` is plain arithmetic that
takes NumPy arrays (the grid) and cvxpy expressions (the geometric program) alike. The residuals that complete
the times are given: three monomials of (N, B), as the planner ended with.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np

import configs

CHIPS = {name: configs.load_chip(name) for name in configs.ids("chips")}
SIZES = (1, 2, 4, 8, 16, 32, 64)
# Of a weight and of a KV element.
BYTES = {"bf16": (2.0, 2.0), "fp8": (1.0, 1.0), "int8": (1.0, 1.0), "fp4": (0.5625, 1.0)}
P, SHARE = 8.0, 0.6  # of the p-norm of compute and memory, and of rooflines that the search counts
VOCABULARY = 128256.0
Left = dict[str, dict[str, float]]
SHAPE = configs.load_shape("dense-gqa").fit
MOST_TOKENS = 1e18  # a choice counts as feasible if it is with this many, as the planner documents


_engine = cache(configs.load_engine)


def engine_on(chip: configs.ChipFacts) -> dict[str, Any]:
    """Return the profile, the limits and the KV format of the software that usually serves on a chip."""
    name = {"NVIDIA": "tensorrt-llm", "AMD": "vllm-rocm", "Google": "vllm-tpu"}.get(chip.vendor, "vllm")
    facts = _engine(name)
    return {**facts.profile, **facts.limits, "kv": facts.kernels["kv"]}


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
    training: Mapping[str, float] | None = None  # the run's form, which the planner matched to trained layouts

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

    def training_usd(self, N, D):
        """Return the dollars of the training run: chip-seconds as a monomial, at the price of the chip it runs on."""
        form = self.training
        assert form is not None
        sizes = (N * 1e-10) ** form["params_exponent"] * (D * 1e-12) ** form["tokens_exponent"]
        return form["usd_per_s"] * np.exp(form["log"]) * sizes

    def tokens(self, N):
        """Return the training tokens that reach the loss with N parameters; infinite where none do."""
        left = self.reducible - self.A * N**-self.alpha
        return np.where(left > 0, self.B / np.where(left > 0, left, 1.0), np.inf) ** (1 / self.beta)


@dataclass(frozen=True)
class Choice:
    """A chip, how many of them hold one replica, in how many stages of a pipeline, and the number format."""

    chip: configs.ChipFacts
    n: int
    stages: int
    precision: str
    usd_per_hour: float

    def replica_usd(self, ask: Ask) -> float:
        """Return the dollars of one replica for the whole life."""
        return self.usd_per_hour / 3600 * self.n * ask.lifetime_s


def choices(settings: dict[str, Any]) -> list[Choice]:
    """Return all choices in the planner's order: by chip, by size, bf16 before fp8, by stages."""
    asked = [settings["precision"]] if "precision" in settings else ["bf16", "fp8"]
    chips = [configs.load_chip(name) for name in settings["chips"]]
    return [
        Choice(chip, n, stages, form, settings.get("chip_usd_per_hour") or chip.usd_per_hour)
        for chip in chips
        for n in SIZES
        for form in asked
        if form in chip.peak_flops_per_s
        for stages in stages_of(n, chip)
    ]


def stages_of(n: int, chip: configs.ChipFacts) -> list[int]:
    """Return the pipelines tried: at most 8 chips side by side, or all of them where a domain holds so many."""
    found = {stages for stages in (1, 2, 4, 8) if n % stages == 0 and n / stages <= 8}
    return sorted(found | ({1} if n <= chip.domain_chips else set()))


class Service(NamedTuple):
    """Seconds, and the shares of memory and of the engine's sequences in use at some (N, B)."""

    request_s: Any
    tpot_s: Any
    ttft_s: Any
    memory: Any
    slots: Any


def _roof(x, y):
    return cp.pnorm(cp.hstack([x, y]), P) if isinstance(x, cp.Expression) else (x**P + y**P) ** (1 / P)


def _shape(name: str, N):
    return SHAPE[f"{name}_at_1b"] * (N * 1e-9) ** SHAPE[f"{name}_exponent"]


def serve(ask: Ask, choice: Choice, left: Left, N, B) -> Service:
    """Return what serving N parameters with B sequences at a time takes, for arrays or cvxpy expressions."""
    engine = engine_on(choice.chip)
    chip, n, s, I, O = choice.chip, choice.n, choice.stages, ask.prompt, ask.answer  # noqa: E741
    w, b = BYTES[choice.precision]
    b = 2.0 if engine["kv"] == "bf16" else b
    F, F16 = chip.peak_flops_per_s[choice.precision], chip.peak_flops_per_s["bf16"]
    W, H = chip.hbm_bytes_per_s, chip.visible_bytes
    new, shards = I * (1 - ask.cached), min(n // s, SHAPE["kv_heads"]) * s
    layers, width, kv_width = (_shape(name, N) for name in ("layers", "d_model", "kv_width"))
    kv = 2 * b * layers * kv_width  # bytes per cached token

    def residual(name):
        of = left[name]
        scale = np.exp(of["log"])
        return scale * (N * 1e-10) ** of["params_exponent"] * (B * (1 / 64)) ** of["batch_exponent"]

    def rooflines(m, moved, context, kv_tokens):
        linear = _roof(2 / (n * F) * N * m, moved / W)
        return SHARE * linear + SHARE * _roof(
            4 / (n * F16) * layers * width * m * context, kv_tokens / (shards * W) * kv
        )

    context = I + O / 2
    step = rooflines(B, w / n * s * N, context, B * context)
    step = step + layers * (engine["layer_s"] + (2 * engine["hop_s"] if n > s else 0.0)) + s * engine["step_s"]
    step = step + B * (engine["sequence_s"] + engine["boundary_sequence_s"] * (s - 1)) + residual("step")
    prompt = rooflines(new, 4 * new / n * width * layers, I - new / 2, new + I)
    prefill = prompt + residual("prefill")
    first = prompt + layers * engine["context_layer_s"] + residual("first")
    memory = w / (n * H) * N + engine["reserve_bytes"] / H + (I + O) / (shards * H * engine["kv_fraction"]) * kv * B
    if w < 2:
        memory = memory + 2 * VOCABULARY * (2 - w) / (n * H) * width
    slots = B * (1 / max(min(engine["max_batch"], s * engine["max_tokens"] / (1 + new / O)), 2.0))
    return Service(prefill + O * step / B, step + prefill * B * (1 / O), step + first, memory, slots)


def peak_rate(ask: Ask) -> float:
    """Return requests per second at the busiest time."""
    return ask.peak_to_mean * ask.lifetime_tokens / (ask.prompt + ask.answer) / ask.lifetime_s


def cost(ask: Ask, choice: Choice, left: Left, N, D, B):
    """Return the dollars of a plan, and ln(use / limit) of its tightest limit."""
    at = serve(ask, choice, left, N, B)
    fleet = np.maximum(peak_rate(ask) * at.request_s, 1.0) * choice.replica_usd(ask)
    over = np.log(np.maximum.reduce([at.tpot_s / ask.tpot_s, at.ttft_s / ask.ttft_s, at.memory, at.slots + 0.0 * N]))
    return ask.training_usd(N, D) + fleet, over


def slack(ask: Ask, choice: Choice, left: Left) -> float:
    """Return -ln(use / limit) of the tightest limit where it is loosest: positive exactly if a plan exists.

    Every limit tightens as N or B grows.
    """
    least = ask.smallest()
    return -float(cost(ask, choice, left, least, MOST_TOKENS, 1.0)[1]) if np.isfinite(least) else -np.inf


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
    for tolerance in (1e-10, 1e-9, 1e-8, 1e-7)
    for scale in (False, True)
]


def solve(ask: Ask, choice: Choice, left: Left, lone: bool) -> Plan | None:
    """Return the cheapest plan of one choice by cvxpy's geometric programming, or None if there is none.

    ``lone`` allows one replica only.

    Variables are in units near their size and dollars in those of one replica, so that logarithms are small.
    ``R`` is the epigraph of max(1, busy replicas). cvxpy takes the exponents as given here (its rational
    approximation of powers is for other cones).
    """
    giga, tera, B, R = (cp.Variable(pos=True, name=name) for name in ("N", "D", "B", "R"))
    at = serve(ask, choice, left, 1e9 * giga, B)
    unit = choice.replica_usd(ask)
    limits = [
        ask.A / ask.reducible * 1e9**-ask.alpha * giga**-ask.alpha
        + ask.B / ask.reducible * 1e12**-ask.beta * tera**-ask.beta
        <= 1,
        at.memory <= 1,
        at.tpot_s / ask.tpot_s <= 1,
        at.ttft_s / ask.ttft_s <= 1,
        at.slots <= 1,
        B >= 1,
        R >= 1,
        peak_rate(ask) * at.request_s <= R,
    ]
    if lone:
        limits.append(R <= 1)
    if slack(ask, choice, left) <= 0:  # the planner's bound says whether there is a plan, and holds no optimum back
        limits.append(tera <= MOST_TOKENS / 1e12)
    program = cp.Problem(cp.Minimize(ask.training_usd(1e9 * giga, 1e12 * tera) / unit + R), limits)
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


def grid(ask: Ask, choice: Choice, left: Left, sizes: int = 900, batches: int = 110, zooms: int = 4) -> Plan | None:
    """Return the cheapest point of a dense grid over (N, B), looked at again more closely around it.

    N runs evenly in logarithm from the smallest that can reach the loss (with 1e24 tokens) to the largest
    that a batch of one serves within the limits; B runs likewise from 1 to the largest that each N allows.
    D is what reaches the loss.
    """
    if slack(ask, choice, left) <= 0:
        return None

    def allowed(N, B):
        return cost(ask, choice, left, N, 1.0, B)[1] <= 0

    least = ask.smallest(1e24)
    first, last = np.log(least), np.log(_largest(lambda N: allowed(N, 1.0), least, 1e16))
    low, high = 0.0, 1.0
    best = None
    for _ in range(1 + zooms):
        N = np.exp(np.linspace(first, last, sizes))
        widest = _largest(lambda B, N=N: allowed(N, B), np.ones(sizes), np.full(sizes, 1e9))
        share = np.linspace(low, high, batches)
        B = widest[:, None] ** share
        usd = cost(ask, choice, left, N[:, None], ask.tokens(N)[:, None], B)[0]
        i, j = np.unravel_index(np.argmin(usd), usd.shape)
        found = Plan(float(usd[i, j]), float(N[i]), float(ask.tokens(N[i])), float(B[i, j]))
        best = found if best is None or found.usd < best.usd else best
        first, last = np.log(N[max(i - 5, 0)]), np.log(N[min(i + 5, sizes - 1)])
        low, high = share[max(j - 5, 0)], share[min(j + 5, batches - 1)]
    return best
