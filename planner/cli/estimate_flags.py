"""The flags of estimate, as a dataclass that tyro turns into help."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from .flags import OneModel, _flag

EXAMPLES = (
    "estimate --model llama-3.3-70b --chip h100-sxm --chips 8",
    "estimate --model qwen3-30b-a3b --chip b200-sxm --batch 64 --input-tokens 4k --output-tokens 500",
    "estimate --model deepseek-v3 --chip h200-sxm --chips 8 --tp 1 --dp 8 --ep 8 --concurrency 512 --json",
    "estimate --params 30B --active-params 3B --chip tpu-v6e --chips 4 --tpot-ms 20 --ttft-ms 500",
    "estimate --model llama-3.1-8b --chip l40s --request-rate 2 --plot roofline.png",
    "estimate --model llama-3.3-70b --chip b200-sxm --chips 2 --usd-per-kwh 0.06 --grid sweden",
)


@dataclass(frozen=True)
class Served(OneModel):
    """Flags of commands about one model served on one kind of chip."""

    chips: Annotated[float | None, _flag("Chips of one replica (default: tp x pp x dp, or 1).", "CHIPS")] = None
    tp: Annotated[float | None, _flag("Tensor parallelism (default: the best layout of all four).", "CHIPS")] = None
    pp: Annotated[float | None, _flag("Pipeline stages.", "CHIPS")] = None
    dp: Annotated[float | None, _flag("Copies of attention, each with its own sequences.", "CHIPS")] = None
    ep: Annotated[float | None, _flag("Groups that hold whole experts.", "CHIPS")] = None
    input_tokens: Annotated[float | None, _flag("Prompt length (default 1024).", "TOKENS")] = None
    output_tokens: Annotated[float | None, _flag("Answer length (default 1024).", "TOKENS")] = None
    cached_tokens: Annotated[
        float | None, _flag("Part of the prompt found in the prefix cache (default 0).", "TOKENS")
    ] = None
    precision: Annotated[
        Literal["bf16", "fp8", "int8", "fp4", "int4"] | None,
        _flag(
            "Weights and arithmetic (default: as published where that is narrower than bf16, else fp8 where the chip "
            "has it, else bf16).",
            "{bf16,fp8,int8,fp4,int4}",
        ),
    ] = None
    kv_precision: Annotated[
        Literal["bf16", "fp8"] | None,
        _flag("KV cache (default: what the engine keeps at this precision).", "{bf16,fp8}"),
    ] = None
    engine: Annotated[
        str | None,
        _flag(
            "Serving software: an id of `list engines` or a TOML file (default tensorrt-llm; vllm-rocm on AMD, "
            "vllm-tpu on TPUs).",
            "ID",
        ),
    ] = None
    tpot_ms: Annotated[float | None, _flag("Limit on time per output token: how much is served within it.", "MS")] = (
        None
    )
    ttft_ms: Annotated[float | None, _flag("Limit on time to first token, likewise.", "MS")] = None
    draft_tokens: Annotated[
        float | None, _flag("Speculation: tokens drafted per step and verified in the next pass.", "TOKENS")
    ] = None
    accept_tokens: Annotated[
        float | None, _flag("Speculation: tokens that a step yields on average, its own included.", "TOKENS")
    ] = None
    disaggregated: Annotated[
        bool, tyro.conf.FlagCreatePairsOff, _flag("Also say what prompts on chips of their own would do.")
    ] = False
    chip_usd_per_hour: Annotated[float | None, _flag("Rental price instead of the chip's own.", "USD")] = None
    scenario: Annotated[str | None, _flag("Take flags from a TOML file; flags given here win.", "FILE")] = None


@dataclass(frozen=True)
class Estimate(Served):
    """Say how fast one model runs on one slice of chips, how many it serves at once, what that costs, and how sure.

    The flags --chip and one of --model and --params are required.
    """

    batch: Annotated[
        float | None, _flag("Load: sequences decoded together (default: as many as fit).", "SEQUENCES")
    ] = None
    concurrency: Annotated[float | None, _flag("Load: requests in flight, each followed at once.", "REQUESTS")] = None
    request_rate: Annotated[float | None, _flag("Load: requests per second that arrive.", "PER SECOND")] = None
    pue: Annotated[float | None, _flag("Power of the building over that of its servers (default 1.15).", "RATIO")] = (
        None
    )
    server_ratio: Annotated[
        float | None, _flag("Power of a server over that of its chips' boards (default 1.43).", "RATIO")
    ] = None
    usd_per_kwh: Annotated[float | None, _flag("Price of electricity (default 0.0806, US industry).", "USD")] = None
    co2_g_per_kwh: Annotated[
        float | None, _flag("Grams of CO2 per kWh of electricity; none are told without it or --grid.", "GRAMS")
    ] = None
    grid: Annotated[
        str | None, _flag("Instead: the mean of a country's grid, such as france (list electricity).", "ID")
    ] = None
    plot: Annotated[str | None, _flag("Draw the roofline: a .png or .svg file.", "FILE")] = None
