"""The flags of price, as a dataclass that tyro turns into help."""

from dataclasses import dataclass
from typing import Annotated

from .flags import _flag
from .frontier_flags import Tiered

EXAMPLES = (
    "price --model llama-3.3-70b --chip h100-sxm",
    "price --model deepseek-v3 --chip h200-sxm --input-tokens 4k --output-tokens 1k --margin 0.5 --save card.json",
    "price --params 100B --chip b200-sxm --tpot-ms 20 --context-steps 128k,512k",
    "price --model qwen3-30b-a3b --chip h100-sxm --storage ddr5,nvme --json",
)


@dataclass(frozen=True)
class Price(Tiered):
    """Make the price card that costs imply: input, cached input, cache writes, output, long contexts and tiers, each
    traced to memory, compute, network, overheads, idle time, storage and margin.

    The flags --chip and one of --model and --params are required. --save writes a card that deduce and assign read.
    """

    margin: Annotated[float | None, _flag("Share of the price that is not cost (default 0).", "SHARE")] = None
    context_steps: Annotated[
        str | None,
        _flag(
            "Lengths of context from which other prices hold, comma-separated, or none (default 200k, where requests "
            "are shorter).",
            "TOKENS,...",
        ),
    ] = None
    storage: Annotated[
        str | None,
        _flag(
            "Where caches may be kept below HBM: ids of `list storage` or TOML files, or none "
            "(default ddr5,nvme,disk,object-store).",
            "ID,ID,...",
        ),
    ] = None
