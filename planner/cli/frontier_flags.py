"""The flags of frontier, as a dataclass that tyro turns into help."""

from dataclasses import dataclass
from typing import Annotated

from .estimate_flags import Served
from .flags import _flag

EXAMPLES = (
    "frontier --model llama-3.3-70b --chip h100-sxm",
    "frontier --model deepseek-v3 --chip h200-sxm --input-tokens 4k --output-tokens 1k --html curve.html",
    "frontier --params 100B --chip b200-sxm --tpot-ms 20 --fast-speedup 2.5 --batch-share 0.3",
    "frontier --model qwen3-30b-a3b --chip h100-sxm --chips 8 --json",
)


@dataclass(frozen=True)
class Tiered(Served):
    """Flags of commands about the tiers on a model's latency-cost curve."""

    fast_speedup: Annotated[
        float | None, _flag("Speed of the fast tier over the standard one's (default 2.5).", "RATIO")
    ] = None
    peak_to_mean: Annotated[
        float | None, _flag("Peak over mean demand of work that cannot wait (default 1.226).", "RATIO")
    ] = None


@dataclass(frozen=True)
class Frontier(Tiered):
    """Say what speed costs: the least price at every latency over batch, replica size and layout, its limits, and the
    fast, standard and batch tiers on it, each alone and sharing one fleet.

    The flags --chip and one of --model and --params are required. Without --chips or a layout, replicas of 1 to 64
    chips are considered.
    """

    fast_share: Annotated[
        float | None, _flag("Mix: share of fast in the tokens of work that cannot wait (default 0.1).", "SHARE")
    ] = None
    batch_share: Annotated[
        float | None, _flag("Mix: share of batch in all tokens (default: what the troughs of the day hold).", "SHARE")
    ] = None
    html: Annotated[str | None, _flag("Draw the curve and its tiers: a page of its own.", "FILE.html")] = None
