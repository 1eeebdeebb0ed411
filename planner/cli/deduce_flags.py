"""The flags of deduce, as a dataclass that tyro turns into help."""

from dataclasses import dataclass
from typing import Annotated, Literal

from .flags import Output, _flag

EXAMPLES = (
    "deduce --card gemini-3.1-pro",
    "deduce --card claude-opus-4.6 --chip h100-sxm,h200-sxm,b200-sxm",
    "deduce --input 2 --output 12 --context-step 200k --long-input 4 --long-output 18 --active-params 100B",
    "deduce --card card.json --json",
)


@dataclass(frozen=True)
class Deduce(Output):
    """Read a price card backwards: KV bytes per token, active parameters, MFU, sparsity, cache tiers, each with a 90 %
    interval, and what the card cannot tell.

    The flag --card, or --input and --output, is required. Chips, requests and formats that a card saved by price
    states are taken from it.
    """

    card: Annotated[
        str | None, _flag("Price card: an id of `list cards`, a TOML file, or what `price --save` wrote.", "ID")
    ] = None
    input: Annotated[float | None, _flag("Instead: price of input, US dollars per million tokens.", "USD")] = None
    cached_input: Annotated[float | None, _flag("Likewise, of input found in the cache.", "USD")] = None
    cache_write_5m: Annotated[float | None, _flag("Likewise, of input kept for five minutes.", "USD")] = None
    cache_write_1h: Annotated[float | None, _flag("Likewise, of input kept for an hour.", "USD")] = None
    output: Annotated[float | None, _flag("Likewise, of output.", "USD")] = None
    context_step: Annotated[float | None, _flag("Context from which other prices hold.", "TOKENS")] = None
    long_input: Annotated[float | None, _flag("Price of input beyond it.", "USD")] = None
    long_output: Annotated[float | None, _flag("Price of output beyond it.", "USD")] = None
    tokens_per_s: Annotated[float | None, _flag("Observed speed, output tokens per second and user.", "PER SECOND")] = (
        None
    )
    chip: Annotated[
        str | None,
        _flag("Chips thought possible, comma-separated (default h100-sxm,h200-sxm,b200-sxm).", "ID,ID,..."),
    ] = None
    chips: Annotated[float | None, _flag("Known: chips of a replica.", "CHIPS")] = None
    active_params: Annotated[float | None, _flag("Known: parameters used per token.", "PARAMS")] = None
    sparsity: Annotated[float | None, _flag("Known: total over active parameters, 1 for dense.", "RATIO")] = None
    kv_bytes_per_token: Annotated[float | None, _flag("Known: KV bytes per token.", "BYTES")] = None
    margin: Annotated[
        float | None, _flag("Known: share of the price that is not cost (default: 0 to 0.8 or so).", "SHARE")
    ] = None
    input_tokens: Annotated[float | None, _flag("Mean prompt length behind the prices (default 1024).", "TOKENS")] = (
        None
    )
    output_tokens: Annotated[float | None, _flag("Mean answer length (default 1024).", "TOKENS")] = None
    precision: Annotated[
        Literal["bf16", "fp8", "int8", "fp4", "int4"] | None,
        _flag("Weights and arithmetic (default: fp8 where the chip has it, else bf16).", "{bf16,fp8,int8,fp4,int4}"),
    ] = None
    kv_precision: Annotated[
        Literal["bf16", "fp8"] | None, _flag("KV cache (default: as the engine keeps it).", "{bf16,fp8}")
    ] = None
    engine: Annotated[str | None, _flag("Serving software: an id of `list engines` or a TOML file.", "ID")] = None
    peak_to_mean: Annotated[float | None, _flag("Peak over mean demand (default 1.226).", "RATIO")] = None
    pricing_noise: Annotated[
        float | None,
        _flag("How far each price strays from its cost by policy (default 0.3; 0 for a card of price).", "LOG"),
    ] = None
    chip_usd_per_hour: Annotated[float | None, _flag("Rental price instead of each chip's own.", "USD")] = None
    scenario: Annotated[str | None, _flag("Take flags from a TOML file; flags given here win.", "FILE")] = None
