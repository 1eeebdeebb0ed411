"""What sources call chips, engines, models and number formats, and which of ours they mean."""

import re
from functools import cache

import configs
from configs import shown

from ..model.generic import generic_model
from .run import Unusable

_PRECISIONS = {
    "fp16": "bf16", "bf16": "bf16", "float16": "bf16", "bfloat16": "bf16", "fp8": "fp8", "nvfp4": "fp4", "fp4": "fp4",
    "mxfp4": "fp4", "int8": "int8", "int8 weights": "int8", "w8a8": "int8", "int4": "int4", "awq": "int4",
    "gptq": "int4", "fp8 (attention core bf16)": "fp8", "fp8 attention, nvfp4 moe": "fp4",
    "bf16 attention, fp8 moe": "fp8",
}  # fmt: skip
_KV = {"fp8": "fp8", "int8": "fp8", "bf16": "bf16", "fp16": "bf16"}
_IN_NAMES = ("nvfp4", "mxfp4", "fp8", "int8", "w8a8", "int4", "awq", "gptq", "fp4")  # of checkpoints


def chip_of(name: str) -> configs.ChipFacts:
    """Return the chip that a source calls ``name``: an id, a name or an alias, case and marks ignored.

    Raises:
        Unusable: none of ours.
    """
    found = configs.chip_named(name)
    if found is None:
        raise Unusable(f"chip '{shown(name)}' is not known" if name else "the chip is not stated")
    return _chip(found)


@cache
def _chip(known: str) -> configs.ChipFacts:
    return configs.load_chip(known)


def model_of(name: str, params: float | None, active_params: float | None) -> tuple[configs.ModelFacts, str]:
    """Return the model that a source calls ``name``, and what was guessed of it.

    A model that is not known is a typical transformer of its total and active parameters.

    Raises:
        Unusable: not known, and its parameters are not given or make no transformer.
    """
    if not name:
        raise Unusable("the model is not stated")
    found = configs.model_named(name)
    if found is not None:
        return found, ""
    if params is None:
        raise Unusable(f"model '{shown(name)}' is not known and its parameters are not given")
    try:
        return generic_model(name, params, active_params or params), "shape of the model"
    except (configs.ConfigError, ArithmeticError) as error:
        raise Unusable(f"model '{shown(name)}' is not known: {error}") from None


def precision_of(text: str, chip: configs.ChipFacts) -> tuple[str, str]:
    """Return the precision that a source calls ``text``, and what was guessed: the chip's fp8, or bf16 without it."""
    found = _PRECISIONS.get(text.strip().lower()) or precision_in(text)
    if found is not None:
        return found, ""
    assumed = "fp8" if "fp8" in chip.peak_flops_per_s else "bf16"
    return assumed, f"precision {assumed}"


def precision_in(name: str) -> str | None:
    """Return the precision that a name holds, such as fp8 in meta-llama/Llama-3.1-405B-FP8."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((_PRECISIONS[word] for word in _IN_NAMES if word in words), None)


def kv_of(text: str) -> str | None:
    """Return the number format of the KV cache that a source calls ``text``, None where it does not say."""
    return _KV.get(text.strip().lower())


def engine_of(framework: str, chip: configs.ChipFacts, version: str) -> tuple[str, str]:
    """Return the engine profile for runs of ``framework`` on ``chip``, and what was guessed: one made for that chip,
    else for its vendor's, else for any.

    Raises:
        Unusable: no profile of that framework.
    """
    words = framework.lower().strip()
    if not words or words.startswith("("):
        raise Unusable("the serving software is not stated")
    fitting = []
    for facts, vendors in _profiles():
        named = name_length(facts, words)
        if named and facts.knows_version(version):
            known = (chip.vendor in vendors, chip.id in facts.chips, named, bool(facts.versions), -len(facts.id))
            fitting.append((known, facts.id))
    if not fitting:
        raise Unusable(f"no engine profile for '{shown(framework)}'")
    best, name = max(fitting)
    return name, "" if best[0] else "engine profile, made for another vendor's chips"


def name_length(facts: configs.EngineFacts, framework: str) -> int:
    """Return the letters of the longest of the profile's names that ``framework`` begins with, 0 if none."""
    words = framework.lower().strip()
    return max((len(one) for one in facts.frameworks if words.startswith(one.lower())), default=0)


@cache
def _profiles() -> tuple[tuple[configs.EngineFacts, frozenset[str]], ...]:
    facts = [configs.load_engine(name) for name in configs.ids("engines")]
    return tuple((one, frozenset(configs.load_chip(chip).vendor for chip in one.chips)) for one in facts)
