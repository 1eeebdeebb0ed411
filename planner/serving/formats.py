"""Number formats of a served model: which role runs in which format, and what an element weighs."""

from typing import NamedTuple

# Products in a narrow format, attention and the rest in bf16 (Micikevicius et al. 2022, arXiv:2209.05433).
_TRAINED = {"bf16": "bf16", "fp8": "fp8", "int8": "int8", "fp4": "nvfp4"}


class Recipe(NamedTuple):
    """Formats by role: projections of attention, dense feed-forward blocks, routed experts, KV cache."""

    attention: str
    dense: str
    experts: str
    kv: str


# Embeddings, heads and routers stay in bf16 in every published checkpoint that was read (NVIDIA ModelOpt, DeepSeek,
# OpenAI); so does the attention of latent (MLA) models quantised to fp4 (nvidia/DeepSeek-R1-FP4 model card).
RECIPES = {
    "bf16": Recipe("bf16", "bf16", "bf16", "bf16"),
    "fp8": Recipe("fp8", "fp8", "fp8", "fp8"),
    "fp8_block": Recipe("fp8_block", "fp8_block", "fp8_block", "fp8"),
    "int8": Recipe("int8", "int8", "int8", "fp8"),
    "fp4": Recipe("nvfp4", "nvfp4", "nvfp4", "fp8"),
    "int8_wo": Recipe("int8_wo", "int8_wo", "int8_wo", "bf16"),
    "int4": Recipe("int4_wo", "int4_wo", "int4_wo", "bf16"),
    "mxfp4": Recipe("bf16", "bf16", "w4a16_mxfp4", "bf16"),
}
KV_BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0}


def recipe(precision: str, weights: str | None, latent: bool) -> Recipe:
    """Return the formats of ``precision`` for a model published in ``weights`` (None: bf16), with latents or without.

    DeepSeek publishes FP8 in blocks of 128 x 128; gpt-oss has MXFP4 experts and the rest in bf16, whichever of
    "mxfp4" and "fp4" is asked for.
    """
    if precision == "fp8" and weights == "fp8":
        return RECIPES["fp8_block"]
    if precision == "fp4" and weights == "mxfp4":
        return RECIPES["mxfp4"]
    found = RECIPES[precision]
    return found._replace(attention="bf16") if precision == "fp4" and latent else found


def training_recipe(precision: str) -> Recipe:
    """Return the formats of training in ``precision``: of the products; all else is bf16."""
    name = _TRAINED[precision]
    return Recipe(attention=name, dense=name, experts=name, kv="bf16")
