"""The flags of train, as a dataclass that tyro turns into help."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from .flags import OneModel, _flag

EXAMPLES = (
    "train --model llama-3.1-405b --chip h100-sxm --chips 16384 --tokens 15.6T",
    "train --model deepseek-v3 --chip h800 --tokens 14.8T --precision fp8 --days 60",
    "train --model llama-3.1-8b --chip h200-sxm --chips 512 --tokens 15T --rollout-tokens 1T",
    "train --params 30B --active-params 3B --chip tpu-v6e --chips 1024 --tokens 10T --json",
    "train --model llama-3.1-8b --chip b200-sxm --chips 64 --tokens 1T --tp 1 --pp 1 --export torchtitan",
)


@dataclass(frozen=True)
class Train(OneModel):
    """Cost one training run: the best layout on some chips, its step time, MFU, days, dollars and memory, and how sure.

    The flags --chip, --tokens, one of --model and --params, and one of --chips and --days are required.
    """

    chips: Annotated[float | None, _flag("Chips of the run.", "CHIPS")] = None
    days: Annotated[
        float | None, _flag("Instead of --chips: the fewest that are done in so many days; with it: a limit.", "DAYS")
    ] = None
    tokens: Annotated[float | None, _flag("Training tokens, such as 15T.", "TOKENS")] = None
    sequence_tokens: Annotated[float | None, _flag("Length of a training sequence (default 8192).", "TOKENS")] = None
    batch_tokens: Annotated[float | None, _flag("Global batch (default: that of --batch-law).", "TOKENS")] = None
    batch_law: Annotated[
        str | None, _flag("Law of the global batch: an id of `list batch-laws` (default step-law-2025).", "ID")
    ] = None
    precision: Annotated[
        Literal["bf16", "fp8", "int8", "fp4"] | None,
        _flag("Matrix products (default bf16); all else is bf16 with 32-bit sums.", "{bf16,fp8,int8,fp4}"),
    ] = None
    trainer: Annotated[
        str | None,
        _flag("Software: an id of `list trainers` or a TOML file (default: usual on the chip).", "ID"),
    ] = None
    auto: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, _flag("Search every layout: the default for what no flag below gives.")
    ] = False
    tp: Annotated[float | None, _flag("Tensor parallelism.", "CHIPS")] = None
    pp: Annotated[float | None, _flag("Pipeline stages.", "CHIPS")] = None
    vp: Annotated[float | None, _flag("Chunks of a stage that take turns (interleaved 1F1B).", "CHUNKS")] = None
    cp: Annotated[float | None, _flag("Context parallelism: chips that share a sequence.", "CHIPS")] = None
    ep: Annotated[float | None, _flag("Expert parallelism: chips that share the experts.", "CHIPS")] = None
    micro_batch: Annotated[float | None, _flag("Sequences of a micro-batch.", "SEQUENCES")] = None
    sharding: Annotated[
        Literal["states", "weights"] | None,
        _flag("What copies share out: optimiser states (ZeRO-1), or weights too (FSDP, ZeRO-3).", "{states,weights}"),
    ] = None
    schedule: Annotated[
        Literal["1f1b", "zero-bubble"] | None,
        _flag("Pipeline schedule (default 1f1b, interleaved where that is faster).", "{1f1b,zero-bubble}"),
    ] = None
    overlap: Annotated[
        bool,
        tyro.conf.FlagCreatePairsOff,
        _flag("Run collectives of layers beside other micro-batches' kernels, as DeepSeek-V3's DualPipe does."),
    ] = False
    recompute: Annotated[
        float | None, _flag("Share of layers computed again backwards (default: the least that fits).", "FRACTION")
    ] = None
    reversible: Annotated[
        bool,
        tyro.conf.FlagCreatePairsOff,
        _flag("Layers can be inverted: activations are not kept but recomputed."),
    ] = False
    expert_load: Annotated[
        float | None,
        _flag(
            "Rows of the busiest chip's experts over the mean: imbalance, or a capacity factor (default 1).", "RATIO"
        ),
    ] = None
    price_mode: Annotated[
        Literal["on-demand", "reserved", "spot", "list"] | None,
        _flag("Price of a chip-hour (default: the one its file puts first).", "{on-demand,reserved,spot,list}"),
    ] = None
    chip_usd_per_hour: Annotated[float | None, _flag("Rental price instead of the chip's own.", "USD")] = None
    failures: Annotated[
        str | None, _flag("How often chips fail: an id of `list failures` or a TOML file (default llama-3).", "ID")
    ] = None
    pue: Annotated[
        float | None, _flag("Power of the building over that of its servers (default 1.15; 1: boards alone).", "RATIO")
    ] = None
    rollout_tokens: Annotated[
        float | None, _flag("Also cost reinforcement learning: tokens generated in it, such as 1T.", "TOKENS")
    ] = None
    trained_fraction: Annotated[
        float | None, _flag("Share of the rollouts that is trained on (default 1).", "FRACTION")
    ] = None
    scoring_passes: Annotated[
        float | None, _flag("Times that reward and reference models read each rollout (default 1).", "PASSES")
    ] = None
    busy_fraction: Annotated[
        float | None,
        _flag(
            "Useful share of the generating chips' time, the rest waits for long answers (default 0.82).", "FRACTION"
        ),
    ] = None
    rollout_input_tokens: Annotated[float | None, _flag("Prompt of a rollout (default 128).", "TOKENS")] = None
    rollout_output_tokens: Annotated[float | None, _flag("Answer of a rollout (default 5671).", "TOKENS")] = None
    inference_tokens: Annotated[
        float | None,
        _flag("Tokens the model will serve in its life: says how many of each kind would cost the same.", "TOKENS"),
    ] = None
    used_probability: Annotated[
        float | None, _flag("Chance that the model comes into use at all (default 1).", "FRACTION")
    ] = None
    export: Annotated[
        Literal["megatron", "maxtext", "torchtitan"] | None,
        _flag("Also print the settings that realise the layout in this software.", "{megatron,maxtext,torchtitan}"),
    ] = None
    scenario: Annotated[str | None, _flag("Take flags from a TOML file; flags given here win.", "FILE")] = None
