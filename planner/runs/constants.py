"""The kernel constants that a chip runs on under an engine, and whether timings stand behind them."""

from functools import cache

import configs

MAIN_KERNELS = (("gemm", "bf16"), ("attention_decode", "bf16"))  # what most of a pass is spent in


def kernels(chip: configs.ChipFacts, engine: configs.EngineFacts) -> configs.KernelFacts:
    """Return the kernel constants that ``chip`` runs on under ``engine``."""
    constants = engine.kernels.get("constants")
    return _shipped(chip.id, constants) if chip.id in configs.ids("chips") else configs.kernels_of(chip, constants)


def was_timed(found: configs.KernelSet | None) -> bool:
    """Say whether constants stand on timings of the chip or a sibling, not on the generic mix or datasheets."""
    return found is not None and found.timed and found.origin != configs.GENERIC


def is_timed(chip: configs.ChipFacts, engine: configs.EngineFacts) -> bool:
    """Say whether all of `MAIN_KERNELS` were timed on ``chip`` or a sibling."""
    sets = kernels(chip, engine).sets
    return all(was_timed(sets[family].get(name)) for family, name in MAIN_KERNELS)


@cache
def _shipped(chip: str, constants: str | None) -> configs.KernelFacts:
    return configs.kernels_of(configs.load_chip(chip), constants)
