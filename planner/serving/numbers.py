"""From facts to the numbers that compiled programs take: nested dicts whose keys carry the structure."""

from typing import Any

import configs
from configs.architectures import LatentFacts
from configs.formats import FORMATS

from .formats import KV_BYTES, Recipe, recipe

_GEMM = {False: "gemm", True: "gemm_closed"}
_COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
SCALE_OUT_LATENCY_S = 10e-6  # one message between hosts, launch included: DeepEP, README, 2025-02 (low-latency kernels)

PCIE_BYTES_PER_S = 32e9  # PCIe 4.0 x16, one direction: what joins bridged pairs inside a server


def is_bus(chip: configs.ChipFacts) -> bool:
    """Say whether the chip reaches its neighbours over the host's PCIe alone."""
    return chip.tables["scale_up"]["kind"].startswith("PCIe")


def recipe_of(model: configs.ModelFacts, precision: str) -> Recipe:
    """Return the formats that ``model`` is served in at ``precision``."""
    return recipe(precision, model.weights, any(isinstance(x.mixer, LatentFacts) for x in model.layers))


def device_numbers(
    chip: configs.ChipFacts, kernels: configs.KernelFacts, engine: configs.EngineFacts, how: Recipe, closed: bool
) -> dict[str, Any]:
    """Return the kernels of ``chip`` for the formats ``how`` as ``engine`` runs them; ``closed`` for convex forms."""
    constants = engine.kernels.get("constants")
    sets = kernels.sets if constants is None else _constants(chip, constants).sets

    def peak(name: str) -> float:
        return chip.peak_flops_per_s.get(FORMATS[name].peak, chip.peak_flops_per_s["bf16"])

    def product(name: str) -> dict[str, Any]:
        found = sets[_GEMM[closed]].get(name) or sets[_GEMM[closed]]["bf16"]
        separate = FORMATS[name].quantised and engine.quantises_apart
        kernel = "quantised" if separate else "plain"
        return {kernel: found.value, "flops_per_s": peak(name), "element_bytes": FORMATS[name].element_bytes}

    plain = product("bf16")
    attention = borrowed_name(how.kv, engine.kernels["attention"])
    return {
        "formats": {
            "attention": product(how.attention),
            "dense": product(how.dense),
            "head": plain,
            "router": plain,
            "absorbed": plain,
        },
        "decode": sets["attention_decode"][attention].value,
        "prefill": sets["attention_prefill"][attention].value,
        "moe": (sets["moe"].get(borrowed_name(how.experts, engine.kernels["experts"])) or sets["moe"]["bf16"]).value,
        "expert_flops_per_s": peak(how.experts),
        "expert_bytes": FORMATS[how.experts].element_bytes,
        "collectives": {name: sets["allreduce"][name].value for name in _COLLECTIVES},
        "kv_bytes": KV_BYTES[how.kv],
        "bf16_flops_per_s": chip.peak_flops_per_s["bf16"],
        "hbm_bytes_per_s": chip.hbm_bytes_per_s,
        "cores": chip.cores,
        "cache_bytes": chip.cache_bytes,
        "link_bytes_per_s": chip.link_bytes_per_s,
        "domain_chips": chip.domain_chips,
        "ring_chips": chip.ring_chips,
        "scale_out_bytes_per_s": PCIE_BYTES_PER_S if chip.domain_chips == 2 else chip.scale_out_bytes_per_s,
        "scale_out_latency_s": SCALE_OUT_LATENCY_S,
        "shared_bus": float(is_bus(chip)),
        "unfused": float(engine.kernels.get("activations") != "fused"),
    }


def _constants(chip: configs.ChipFacts, name: str) -> configs.KernelFacts:
    return configs.kernels_of(chip, name)


def borrowed_name(name: str, whose: str) -> str:
    """Return the kernel set of format ``name``, or bf16's where the engine's kernels are as efficient as those."""
    return name if whose == "own" else "bf16"


def engine_numbers(engine: configs.EngineFacts) -> dict[str, float]:
    """Return an engine profile's parameters as `planner.serving.engine.Engine` takes them."""
    limits = {k: engine.limits[k] for k in ("kv_fraction", "reserve_bytes", "max_batch", "max_tokens")}
    return {**engine.profile, **limits}


def energy_numbers(chip: configs.ChipFacts, how: Recipe) -> dict[str, Any]:
    """Return the chip's energy constants, its board power, and which precision each op multiplies in.

    ``use`` gives shares of the FLOPs by precision, by op; "other" stands for every op not named.
    """

    def of(precision: str) -> dict[str, float]:
        return {p: float(p == precision) for p in configs.PRECISIONS}

    linear, experts = of(FORMATS[how.dense].peak), of(FORMATS[how.experts].peak)
    attention, plain = of(FORMATS[how.attention].peak), of("bf16")
    use = {"other": plain, "experts": experts}
    use |= dict.fromkeys(("query, key, value", "attention out", "latents", "queries"), attention)
    use |= dict.fromkeys(
        (
            "feed-forward up",
            "feed-forward down",
            "shared experts up",
            "shared experts down",
            "into latent",
            "out of latent",
        ),
        linear,
    )
    constants = configs.load_energy(chip.energy).constants
    if chip.domain_chips == 2:  # bridged pairs reach each other inside a server, over PCIe
        constants = constants | {"joules_per_scale_out_byte": constants["joules_per_link_byte"]}
    return {"constants": constants, "power_w": chip.power_w, "use": use}
