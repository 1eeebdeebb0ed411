"""The question as asked: settings resolved against the shipped facts, and turned into plain numbers."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import configs

PRECISION_CHOICES = ("bf16", "fp8")  # what is tried when no precision is asked for
DEFAULTS: dict[str, Any] = {
    "quality_like": 70e9,
    "law": "epoch-2024",
    "objective": "usd",
    "chips": ["a100-sxm", "h100-sxm", "h200-sxm", "b200-sxm"],
    "workload": "chat",
    "tpot_ms": 40.0,
    "ttft_ms": 450.0,
    "lifetime_days": 730.0,
    "peak_to_mean": 1.226,
    "max_sparsity": 1.0,
    "train_precision": "bf16",
}
DEFAULT_SOURCES = {
    "chips": "rented by the hour by several clouds; serving speed measured on each or on its sibling (H200: H100)",
    "workload": "Azure conversation service, November 2023; means recalled from the published trace",
    "tpot_ms": "MLPerf Inference v5.0, Llama 2 70B interactive: 40 ms, a percentile there, applied to the mean here",
    "ttft_ms": "MLPerf Inference v5.0, Llama 2 70B interactive: 450 ms, a percentile there, applied to the mean here",
    "lifetime_days": "two years of service, an assumption: it matters only where one replica could serve everything",
    "train_days": "90 where a layout is as quick, an assumption: Llama 3 405B and DeepSeek-V3 took about two months",
    "peak_to_mean": "DeepSeek open-infra-index day 6, 2025-02-28: peak 278 nodes over a mean of 226.75",
}
TRAIN_DAYS = 90.0  # of a run that is told no deadline
QUALITIES = ("quality_like", "target_loss", "budget_usd")
SHAPE = "dense-gqa"
REPETITION = "muennighoff-2023"  # whose decay of repeated tokens is taken where a law has none of its own
TRAIN_BITS = {"bf16": 16.0, "fp8": 8.0, "int8": 8.0, "fp4": 4.0}


@cache
def _engine(name: str) -> configs.EngineFacts:
    return configs.load_engine(name)


@dataclass(frozen=True)
class Scenario:
    """A complete question. ``settings`` holds every flag in its own unit, defaults filled in.

    Exactly one of `QUALITIES` is set. Facts are loaded once, when first used.
    """

    settings: dict[str, Any]

    @classmethod
    def of(cls, asked: dict[str, Any]) -> "Scenario":
        """Fill in defaults and check what no single setting can: required, exclusive, and known ids.

        Raises:
            ConfigError: one sentence that names the setting, its value and what is allowed.
        """
        asked = {k: v for k, v in asked.items() if v is not None}
        if "lifetime_tokens" not in asked:
            raise configs.ConfigError(
                "--lifetime-tokens is missing: give it, for instance 1e15 (all prompt and answer tokens "
                "the model will ever serve)"
            )
        given = [q for q in QUALITIES if q in asked]
        if len(given) > 1:
            flags = " and ".join("--" + q.replace("_", "-") for q in given)
            raise configs.ConfigError(f"{flags} exclude each other: state the quality one way")
        defaults = {k: v for k, v in DEFAULTS.items() if k != "quality_like" or not given}
        scenario = cls({**defaults, **asked})
        scenario._check()
        return scenario

    def _check(self) -> None:
        objective = self.settings["objective"]
        if self.settings["lifetime_tokens"] < 1 and objective != "flops":
            raise configs.ConfigError(
                f"--lifetime-tokens = {self.settings['lifetime_tokens']:g} must be at least 1 with --objective "
                f"{objective} (0 is allowed with --objective flops: training alone)"
            )
        most = self.settings.get("train_chips", 1.0)
        if most != round(most):
            raise configs.ConfigError(f"--train-chips = {most:g} must be a whole number of chips")
        draws = self.settings.get("draws", 10.0)
        if draws != round(draws):
            raise configs.ConfigError(f"--draws = {draws:g} must be a whole number of draws")
        if "budget_usd" in self.settings and objective != "usd":
            raise configs.ConfigError(f"--budget-usd needs --objective usd, not {objective}")
        _ = [configs.load_law(name) for name in self.settings.get("laws", ())]
        _ = self.law, self.workload, self.shape, self.training_chips, [self.engine_on(chip) for chip in self.chips]

    @cached_property
    def law(self) -> configs.LawFacts:
        """Return the scaling law."""
        return configs.load_law(self.settings["law"])

    @cached_property
    def workload(self) -> configs.WorkloadFacts:
        """Return the request mix that settings may override."""
        return configs.load_workload(self.settings["workload"])

    def engine_on(self, chip: configs.ChipFacts) -> configs.EngineFacts:
        """Return the profile of the serving engine asked for, or of the usual one on ``chip``."""
        return _engine(self.settings.get("engine") or configs.usual_engine(chip.vendor))

    @cached_property
    def shape(self) -> configs.ShapeFacts:
        """Return how shape follows from size."""
        return configs.load_shape(SHAPE)

    @cached_property
    def chips(self) -> list[configs.ChipFacts]:
        """Return the chips to choose among, in the order asked; ``all`` means all that the question can use."""
        s = self.settings
        if s["chips"] != ["all"]:
            found = list({chip.id: chip for chip in map(configs.load_chip, s["chips"])}.values())
            if s["chips"] is not DEFAULTS["chips"]:
                return found
            return [c for c in found if s.get("precision", "bf16") in c.peak_flops_per_s]
        return self._every(s.get("precision", "bf16"))

    @cached_property
    def training_chips(self) -> list[configs.ChipFacts]:
        """Return the chips to train on: those asked for, else of those to serve on the ones with the precision.

        Raises:
            ConfigError: a chip without a price where dollars are asked for, or none with the precision.
        """
        s, precision = self.settings, self.settings["train_precision"]
        named = s.get("train_on", ())
        if named == ["all"]:
            return self._every(precision)
        found = list({chip.id: chip for chip in map(configs.load_chip, named)}.values())
        free = [chip.id for chip in found if not self._affordable(chip)]
        if free:
            raise configs.ConfigError(
                f"chip '{free[0]}' of --train-on has no rental price: give --chip-usd-per-hour, or leave it out"
            )
        asked = found or self.chips
        able = [chip for chip in asked if precision in chip.peak_flops_per_s]
        if not able:
            ids = ", ".join(chip.id for chip in asked)
            raise configs.ConfigError(f"--train-precision '{precision}' has no matrix units on {ids}")
        # Where flops are asked for, chips without a price are ranked by nothing.
        return [chip for chip in able if chip.usd_per_hour is not None] or able if s["objective"] == "flops" else able

    def _every(self, precision: str) -> list[configs.ChipFacts]:
        """Return every chip that the question can use: with units for ``precision``, and a price if that counts."""
        every = map(configs.load_chip, configs.ids("chips"))
        return [chip for chip in every if precision in chip.peak_flops_per_s and self._affordable(chip)]

    def _affordable(self, chip: configs.ChipFacts) -> bool:
        """Say whether a chip has a price, or needs none."""
        free = self.settings["objective"] != "usd" or "chip_usd_per_hour" in self.settings
        return free or chip.usd_per_hour is not None

    @property
    def quality(self) -> str:
        """Return which of `QUALITIES` is set."""
        return next(q for q in QUALITIES if q in self.settings)

    def requests(self) -> dict[str, float]:
        """Return mean request lengths and cached fraction: the workload's, unless set."""
        names = ("input_tokens", "output_tokens", "cached_fraction")
        found = {name: self.settings.get(name, getattr(self.workload, name)) for name in names}
        if "input_tokens" in self.settings and "cached_fraction" not in self.settings:
            found["cached_fraction"] = 0.0  # a prompt of one's own does not inherit another's cache hits
        return found

    def numbers(self, target_loss: float | None = None) -> dict[str, Any]:
        """Return the scenario in SI units as the nested dict that the compiled planner takes.

        ``target_loss`` replaces the quality asked for (used where a budget was asked).
        """
        s = self.settings
        by_likeness = target_loss is None and "quality_like" in s
        return {
            "lifetime_tokens": max(s["lifetime_tokens"], 1e-30),
            "quality_like": s.get("quality_like", 1e9) if by_likeness else 1e9,
            "target_loss": target_loss or s.get("target_loss", 10.0),
            "by_likeness": float(by_likeness),
            "by_joules": float(s["objective"] == "joules"),
            "by_flops": float(s["objective"] == "flops"),
            **self.requests(),
            "lifetime_s": s["lifetime_days"] * 86400.0,
            "peak_to_mean": s["peak_to_mean"],
            "tpot_s": s["tpot_ms"] / 1e3,
            "ttft_s": s["ttft_ms"] / 1e3,
            "train_bits": TRAIN_BITS[s["train_precision"]],
            "law": dict(self.law.coefficients),
            "shape": dict(self.shape.fit),
            **self._repetition(),
        }

    def _repetition(self) -> dict[str, dict[str, float]]:
        """Return what a limit on new tokens adds: that limit, and how fast repeated ones lose their worth."""
        if "unique_tokens" not in self.settings:
            return {}
        own = self.law.coefficients
        decay = own if "R_D" in own else configs.load_law(REPETITION).coefficients
        return {
            "repetition": {"unique_tokens": self.settings["unique_tokens"], "R_D": decay["R_D"], "R_N": decay["R_N"]}
        }
