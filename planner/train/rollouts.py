"""Reinforcement learning beside a training run: its bill, and the tokens of each kind that cost the same.

Work is counted as a run's is: model FLOPs of whole sequences, prompt and answer, per token generated.
"""

from collections.abc import Mapping
from typing import Any

import configs

from ..estimate.question import Question as Served
from ..runs.trained import token_flops
from ..training.rollouts import Rollouts, TokenCosts
from .asked import Asked
from .generation import Generation

_PARTS = ("generation", "scoring", "training")
_LONG_PROMPT = 0.25  # of the answer: from here on it matters that answers to one question share their prompt


def forward_flops(model: configs.ModelFacts, asked: Asked) -> float:
    """Return model FLOPs of one pass over prompt and answer, per token of the answer: 2 N where prompts are short."""
    whole = asked.input_tokens + asked.output_tokens
    return token_flops(model, whole) / 3.0 * whole / asked.output_tokens


def documents(
    asked: Asked, model: configs.ModelFacts, generation: Generation, run: Mapping[str, Any]
) -> dict[str, dict[str, Any] | None]:
    """Return ``reinforcement``, None unless its tokens were asked, and ``equal_cost``.

    ``run`` is the answer of `planner.train.answer.train`. Scoring and training reach the model FLOP/s per chip of that
    very run, failures included; generation what the replica does over the busy share of its time.
    """
    flops = forward_flops(model, asked)
    replica = generation.document(flops)
    efficiency = replica["model_flops_per_s_per_chip"] / run["model_flops_per_s_per_chip"]
    rollouts = Rollouts(
        tokens=1.0 if asked.rollout_tokens is None else asked.rollout_tokens,
        active_params=flops / 2.0,
        generation_chip_s=1.0 / generation.tokens_per_s_per_chip,
        busy_fraction=asked.busy_fraction,
        scoring_passes=asked.scoring_passes,
        trained_fraction=asked.trained_fraction,
        train_flops_per_chip_s=run["model_flops_per_s_per_chip"] * run["goodput"]["fraction"],
    )
    costs = TokenCosts(
        pretraining=run["chip_hours"] * configs.HOUR_S / run["tokens"],
        rollout=rollouts.per_token(),
        inference=rollouts.generation_chip_s,
    )
    found = {"decode_efficiency": efficiency, "replica": replica}
    return {
        "reinforcement": None if asked.rollout_tokens is None else _bill(asked, rollouts, run) | found,
        "equal_cost": _equal(asked, costs, run["tokens"]) | found,
    }


def _bill(asked: Asked, rollouts: Rollouts, run: Mapping[str, Any]) -> dict[str, Any]:
    hours = {name: float(getattr(rollouts, name)()) / configs.HOUR_S for name in _PARTS}
    hours["total"] = sum(hours.values())
    joules_per_hour, usd_per_hour = run["joules"] / run["chip_hours"], run["usd_per_hour"]
    return {
        "tokens": asked.rollout_tokens,
        "requests": {"input_tokens": asked.input_tokens, "output_tokens": asked.output_tokens},
        "trained_fraction": asked.trained_fraction,
        "scoring_passes": asked.scoring_passes,
        "busy_fraction": asked.busy_fraction,
        **{
            name: {
                "chip_hours": value,
                "usd": None if usd_per_hour is None else value * usd_per_hour,
                "joules": value * joules_per_hour,
            }
            for name, value in hours.items()
        },
        "of_pretraining": hours["total"] / run["chip_hours"],
    }


def _equal(asked: Asked, costs: TokenCosts, tokens: float) -> dict[str, Any]:
    alpha, beta, served_tokens = float(costs.alpha()), float(costs.beta()), asked.inference_tokens
    beside = None
    if served_tokens is not None:
        found = costs.tokens_beside(served_tokens, asked.used_probability)
        beside = {
            "inference_tokens": served_tokens,
            "used_probability": asked.used_probability,
            **{name: float(getattr(found, name)) for name in ("pretraining", "rollout", "inference")},
        }
    names = ("pretraining", "rollout", "inference")
    return {
        "chip_seconds_per_token": {name: float(getattr(costs, name)) for name in names},
        "alpha": alpha,
        "beta": beta,
        "beside_pretraining": {"pretraining": tokens, "rollout": tokens / alpha, "inference": tokens / beta},
        "beside_inference": beside,
    }


def refuse(asked: Asked, question: Served, most_chips: int) -> dict[str, Any]:
    """Return ``limit``, a sentence and no ``nearest``: no replica generates even one sequence."""
    lengths = f"a prompt of {asked.input_tokens:,.0f} and an answer of {asked.output_tokens:,.0f} tokens"
    said = f"no replica of up to {most_chips:,} x {question.chip.id} holds {question.model.name} in "
    said += f"{question.precision} and one sequence ({lengths}): rollouts cannot be generated on this chip"
    return {"limit": "memory", "message": said, "nearest": {}}


def warnings(asked: Asked, generation: Generation) -> list[str]:
    """Return sentences on what is assumed of rollouts and of tokens served."""
    out = []
    given = asked.given
    if "busy_fraction" not in given:
        out.append(
            f"generating chips are taken to be of use {100 * asked.busy_fraction:.0f} % of the time, what waiting for "
            "the longest answers left in APRIL's measurements (arXiv:2509.18521): see --busy-fraction."
        )
    if not {"rollout_input_tokens", "rollout_output_tokens"} <= given:
        out.append(
            f"rollouts are taken to be {asked.input_tokens:,.0f} tokens in and {asked.output_tokens:,.0f} out: the "
            "answers of Qwen3 235B under GRPO (NeMo RL 0.4), the prompt assumed; see --rollout-output-tokens."
        )
    if "scoring_passes" not in given:
        out.append(
            "every rollout is read once more, for a reference or the old policy: with reward model and critic it is "
            "four times (--scoring-passes)."
        )
    if asked.input_tokens > _LONG_PROMPT * asked.output_tokens:
        out.append("prompts are read anew for every answer: groups of answers to one question share theirs.")
    if asked.inference_tokens is not None:
        out.append(
            "tokens served cost what generating rollouts does, its chips kept busy: same lengths, no limit on the "
            "time per token."
        )
    # 4,939 tokens per second and chip reckoned against 1,562 on 16 H100 with Llama 3.1 8B, 1,159 against 540 on 32
    # with Qwen3 32B, 4,708 against 925 with Qwen3 30B-A3B, 703 against 46 with Qwen3 235B, 584 against 11 with
    # DeepSeek-V3: docs/about/performance-summary.md of NeMo RL 0.4.
    out.append(
        "replicas are taken to be full, trainers never idle and weights moved at no cost: of the runs that NeMo RL 0.4 "
        "published on H100, dense ones took 2 to 3.2 times as long as this reckons, mixtures of experts 5 to 50 times."
    )
    return out + generation.warnings()
