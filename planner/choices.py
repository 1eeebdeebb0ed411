"""The discrete part of a plan: chip, chips per replica, precision and experts, enumerated and stacked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import configs

from .model.generic import experts_at, sparsity_of
from .scenario import PRECISION_CHOICES, Scenario
from .serving.formats import recipe
from .serving.numbers import device_numbers, engine_numbers
from .trees import gathered

REPLICA_SIZES = (1, 2, 4, 8, 16, 32, 64)
MOST_TENSOR_CHIPS = 8  # tensor parallelism within a server; more only without a pipeline, where a domain is larger
MOST_STAGES = 8
EXPERT_FORMS = ("moe", "sparsity")  # of laws that say what experts are worth
_APART = 1.1  # by how much a power of two is below the most experts to be tried beside it
LANES = (128, 640)  # choices are padded to one of these, so that one compiled program serves most questions

# Bytes of a weight and of a KV element. FP4 is NVFP4: 4 bits and an 8-bit scale per 16 weights
# (NVIDIA, "Introducing NVFP4", 2025-06); its engines keep KV in FP8, as FP8 and INT8 ones do here.
BITS = {"bf16": 16.0, "fp8": 8.0, "int8": 8.0, "fp4": 4.0}  # of a weight, for laws that say what few of them cost
BYTES = {"bf16": (2.0, 2.0), "fp8": (1.0, 1.0), "int8": (1.0, 1.0), "fp4": (0.5625, 1.0)}


@cache
def _kernels(chip: str, constants: str | None) -> configs.KernelFacts:
    return configs.kernels_of(configs.load_chip(chip), constants)


@dataclass(frozen=True)
class Choice:
    """One chip, replica size, pipeline stages, precision and engine, and how many experts the model has.

    Of ``n_chips`` chips, each of ``stages`` has n_chips / stages, split by tensor parallelism. ``experts`` is total
    over active parameters of the feed-forward blocks, 1 where they are dense.
    """

    chip: configs.ChipFacts
    n_chips: int
    stages: int
    precision: str
    engine: configs.EngineFacts
    usd_per_hour: float | None
    experts: float = 1.0

    @property
    def sparsity(self) -> float:
        """Total over active parameters."""
        return float(sparsity_of(self.experts))

    def numbers(self) -> dict[str, Any]:
        """Return the choice in SI units as the nested dict that the compiled planner takes."""
        chip = self.chip
        weight, kv = BYTES[self.precision]
        if self.engine.kernels["kv"] == "bf16":
            kv = 2.0
        return {
            "chip": {
                "peak_flops_per_s": {p: chip.peak_flops_per_s.get(p, 1.0) for p in configs.PRECISIONS},
                "hbm_bytes": chip.visible_bytes,
                "hbm_bytes_per_s": chip.hbm_bytes_per_s,
                "power_w": chip.power_w,
                "usd_per_s": (self.usd_per_hour or 0.0) / 3600.0,
            },
            "engine": engine_numbers(self.engine),
            "experts": self.experts,
            "sparsity": self.sparsity,
            "n_chips": float(self.n_chips),
            "stages": float(self.stages),
            "precision": {
                "weight_bytes": weight,
                "kv_bytes": kv,
                "weight_bits": BITS[self.precision],
                "use": {p: float(p == self.precision) for p in configs.PRECISIONS},
            },
        }

    def machine(self, chip: configs.ChipFacts | None = None, device: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what times the choice's passes: kernels, layout and engine; and that there are experts, if so.

        Experts are split like all else by tensor parallelism, as vLLM, SGLang and TensorRT-LLM do unless told to spread
        whole ones. ``chip`` stands in for the choice's own facts; ``device`` is that of another size of the same chip
        and precision.
        """
        chip = chip or self.chip
        sparse = {"experts": 1.0} if self.experts > 1.0 else {}
        return sparse | {
            "layout": {"tp": self.n_chips / self.stages, "pp": float(self.stages), "dp": 1.0, "ep": 1.0},
            "device": device or self._device(chip),
            "engine": engine_numbers(self.engine),
            "hbm_bytes": chip.visible_bytes,
        }

    def _device(self, chip: configs.ChipFacts) -> dict[str, Any]:
        engine = self.engine
        kernels = _kernels(chip.id, engine.kernels.get("constants"))
        how = recipe(self.precision, None, latent=False)
        if engine.kernels["kv"] == "bf16":
            how = how._replace(kv="bf16")
        return device_numbers(chip, kernels, engine, how, closed=False)


def expansions(scenario: Scenario) -> list[float]:
    """Return the numbers of experts to try: 1, and where the law says what experts are worth powers of two up to the
    number at which total over active parameters is the most allowed, and that one."""
    most = scenario.settings["max_sparsity"]
    if most <= 1.0 or scenario.law.form not in EXPERT_FORMS:
        return [1.0]
    top = float(experts_at(most))
    powers = [2.0**k for k in range(int(np.log2(top)) + 1) if 2.0**k < top / _APART]
    return [1.0, *powers[1:], top]


def enumerate_choices(scenario: Scenario, sizes: Sequence[int] = REPLICA_SIZES, experts: float = 1.0) -> list[Choice]:
    """Return every combination that the scenario allows, of models with so many ``experts``.

    Raises:
        ConfigError: a chip without a price where dollars are asked for, or without the precision asked for.
    """
    wanted = scenario.settings.get("precision")
    override = scenario.settings.get("chip_usd_per_hour")
    out = []
    for chip in scenario.chips:
        price = override or chip.usd_per_hour
        if price is None and scenario.settings["objective"] == "usd":
            raise configs.ConfigError(
                f"chip '{chip.id}' has no rental price: give --chip-usd-per-hour, or leave it out of --chips"
            )
        native = tuple(chip.peak_flops_per_s)
        if wanted and wanted not in native:
            raise configs.ConfigError(
                f"--precision '{wanted}' has no matrix units on chip '{chip.id}', which has {', '.join(native)}"
            )
        engine = scenario.engine_on(chip)
        for size in sizes:
            for precision in (wanted,) if wanted else PRECISION_CHOICES:
                if precision in native:
                    out += [Choice(chip, size, n, precision, engine, price, experts) for n in stages_of(size, chip)]
    return out


def stages_of(size: int, chip: configs.ChipFacts) -> list[int]:
    """Return how many pipeline stages ``size`` chips may form: tensor parallelism stays within a server of 8."""
    able = [n for n in (1, 2, 4, MOST_STAGES) if size % n == 0 and size // n <= MOST_TENSOR_CHIPS]
    return able if 1 in able or chip.domain_chips < size else [1, *able]


def stack(choices: Sequence[Choice]) -> tuple[dict[str, Any], np.ndarray]:
    """Return the choices' numbers as arrays of a padded length, and the mask of the real ones."""
    lanes = next((n for n in LANES if n >= len(choices)), -(-len(choices) // LANES[-1]) * LANES[-1])
    rows = [c.numbers() for c in choices]
    rows += [rows[-1]] * (lanes - len(rows))
    return gathered(rows), (np.arange(lanes) < len(choices)).astype(float)
