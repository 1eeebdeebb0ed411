"""Checks the planner against single published facts: those that ship, so that no measured data is needed."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jax
import numpy as np

import configs
from hw import Scalar
from hw.kernels import DecodeShape, Rates
from hw.kernels.latent import PUBLISHED

from ..model.numbers import decoder_numbers
from ..serving.curve import instance_of
from ..serving.numbers import device_numbers, engine_numbers, recipe_of
from ..serving.work import Load

_MOST_CHIPS = 2.0**20
_ALONE = ("drain", "latent_bytes_per_s", "latent_flops_per_s")


def checked(names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return every anchor with what the planner says of it; ``names`` restricts to some files of anchors.

    Keys: name, source, published, predicted and unit, error (predicted over published, less one) and tolerance (what
    |error| may be). Arithmetic of a book is matched to its rounding; the tolerance of a measurement is what was found.
    """
    out = []
    for anchor in anchors(names):
        predicted = predict(anchor)
        out.append(
            {
                "name": anchor.name,
                "source": anchor.source,
                "published": anchor.published,
                "predicted": predicted,
                "unit": anchor.unit,
                "error": predicted / anchor.published - 1.0,
                "tolerance": anchor.tolerance,
            }
        )
    return out


def anchors(names: Sequence[str] | None = None) -> list[configs.AnchorFacts]:
    """Return the anchors of the files ``names``, of all that ship where None.

    Raises:
        configs.ConfigError: an unknown file of anchors.
    """
    chosen = configs.ids("anchors") if names is None else names
    return [anchor for name in chosen for anchor in configs.load_anchors(name)]


def predict(anchor: configs.AnchorFacts) -> float:
    """Return what the planner says of one anchor, in the anchor's unit."""
    if anchor.quantity in _ALONE:
        return _alone(anchor)
    if anchor.quantity == "fewest_chips":
        return _fewest_chips(anchor)
    told = measured(anchor)
    step, batch = told["step_s"], anchor.load.get("batch", 0.0)
    chips = told["chips"]
    match anchor.quantity:
        case "step" | "prefill":
            return step
        case "output_tokens_per_s":
            return batch / step
        case "output_tokens_per_s_per_chip":
            return batch / step / chips
        case "requests_per_s_per_chip":
            return batch / step / anchor.load["output_tokens"] / chips
        case "max_batch":
            return told["max_batch"]
        case "kv_bytes_per_token":
            return told["sequence_bytes"] / anchor.load.get("context_tokens", 1.0)
    raise ValueError(f"no such quantity: {anchor.quantity}")


def measured(anchor: configs.AnchorFacts, **layout: float) -> dict[str, float]:
    """Return the seconds of the anchor's pass and the memory of its busiest chip; ``layout`` replaces some of its own.

    Keys: step_s, chips, weights_bytes, kv_room_bytes, sequence_bytes, max_batch.
    """
    given = _numbers(anchor, {**anchor.layout, **layout})
    with jax.enable_x64(True):
        told = _measure(given)
    return {key: float(value) for key, value in told.items()}


def _numbers(anchor: configs.AnchorFacts, layout: Mapping[str, float]) -> dict[str, Any]:
    model, chip = configs.load_model(anchor.model), _chip(anchor.chip)
    engine = configs.load_engine(anchor.engine)
    how = recipe_of(model, anchor.precision)
    kv = anchor.kv or ("bf16" if engine.kernels["kv"] == "bf16" else how.kv)
    split = {**dict.fromkeys(("tp", "pp", "dp", "ep"), 1.0), **layout}
    load = anchor.load
    given = {
        "model": decoder_numbers(model),
        "layout": split | ({"shares_batch": 1.0} if anchor.shares_batch else {}),
        "device": device_numbers(chip, _kernels(anchor.chip), engine, how._replace(kv=kv), closed=False),
        "engine": {**engine_numbers(engine), **anchor.profile},
        "hbm_bytes": chip.visible_bytes,
        "load": {
            "decoding": load.get("batch", 0.0),
            "context_tokens": load.get("context_tokens", 1.0),
            "prompts": load.get("prompts", 0.0),
            "prompt_tokens": load.get("prompt_tokens", 1.0),
            "prefix_tokens": 0.0,
        },
    }
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), given)


@cache
def _chip(name: str) -> configs.ChipFacts:
    return configs.load_chip(name)


@cache
def _kernels(chip: str) -> configs.KernelFacts:
    return configs.kernels_of(_chip(chip))


@jax.jit
def _measure(given: Any) -> dict[str, Scalar]:
    instance, load = instance_of(given), Load(**given["load"])
    memory = instance.memory(load.context_tokens)
    return {
        "step_s": sum(instance.step(load).seconds(instance.engine).values()),
        "chips": instance.layout.chips(),
        "weights_bytes": memory.weights_bytes,
        "kv_room_bytes": memory.kv_room_bytes,
        "sequence_bytes": memory.sequence_bytes,
        "max_batch": instance.max_batch(load.context_tokens, 0.0),
    }


def _fewest_chips(anchor: configs.AnchorFacts) -> float:
    """Return the least power of two of chips that weights leave room on for KV, split by tensor parallelism."""
    chips = 1.0
    while chips <= _MOST_CHIPS and measured(anchor, tp=chips)["kv_room_bytes"] <= 0.0:
        chips *= 2.0
    return chips


def _alone(anchor: configs.AnchorFacts) -> float:
    """Return a figure of a chip by itself."""
    chip, load = _chip(anchor.chip), anchor.load
    if anchor.quantity == "drain":
        return chip.hbm_bytes / chip.hbm_bytes_per_s
    rates = Rates(
        chip.peak_flops_per_s["bf16"], chip.hbm_bytes_per_s, chip.cores, chip.cache_bytes, chip.link_bytes_per_s
    )
    batch, tokens, heads = load["batch"], load["context_tokens"], load["heads"]
    shape = DecodeShape.latent(batch, heads, tokens, 2.0)
    seconds = float(PUBLISHED.seconds(rates, shape))
    if anchor.quantity == "latent_bytes_per_s":
        return float(batch * tokens * shape.kv_bytes_per_token / seconds)
    return float(2.0 * batch * tokens * heads * (shape.key_dim + shape.value_dim) / seconds)
