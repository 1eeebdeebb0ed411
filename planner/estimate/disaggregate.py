"""Prefill and decode on separate replicas of one kind, joined by a transfer of the prompt's cache."""

from typing import Any

from .point import Point
from .question import Question


def disaggregated(question: Question, point: Point) -> dict[str, Any]:
    """Return what two pools of this replica do: the decode pool at the point's batch, prompts alone on the other.

    The cache of a prompt crosses the scale-out network, each chip sending the share it holds (DistServe, Zhong et al.
    2024, arXiv:2401.09670, section 3.3; Splitwise, Patel et al. 2024, arXiv:2311.18677). Decode passes carry no
    prompts, so a token waits for none. ``prefill_replicas`` is how many keep one decode replica busy.
    """
    told, split = point.told, point.split
    output_tokens = question.lengths[2]
    per_step = question.speculation[1] if question.speculation else 1.0
    decode_step = sum(float(values[0]) for values in told["plain"]["seconds"].values())
    requests_per_s = point.batch / decode_step * per_step / output_tokens
    alone = sum(float(values[0]) for values in told["prompt"]["seconds"].values())
    together = sum(float(values[1]) for values in told["prompt"]["seconds"].values())
    # Stages of a pipeline work on different prompts at once.
    prompts_per_s = float(told["prompts_alone"][1]) * split.pp / together
    moved = float(told["memory"]["prompt_bytes"])
    transfer = moved / question.chip.scale_out_bytes_per_s
    pools = 1.0 + requests_per_s / prompts_per_s
    return {
        "tpot_s": decode_step / per_step,
        "ttft_s": alone + transfer + decode_step,
        "transfer_s": transfer,
        "kv_bytes_per_chip": moved,
        "prefill_replicas": requests_per_s / prompts_per_s,
        "requests_per_s_per_decode_replica": requests_per_s,
        "output_tokens_per_s_per_chip": requests_per_s * output_tokens / (pools * split.chips),
        "together_output_tokens_per_s_per_chip": point.at("output_tokens_per_s") / split.chips,
    }
