"""What is asked of reinforcement learning and of serving beside a training run; defaults with their sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import configs

from ..estimate.question import Question as Served

# DeepSeek-R1 (arXiv:2501.12948, appendix) reads rollouts once with its reference model, rewards being rules; verl's
# DAPO recipe (docs/advance/fully_async.md) once for the probabilities under the old policy. With a reward model, a
# critic and both of those it is four.
SCORING_PASSES = 1.0
# Carrying unfinished answers over, so that no chip waits for the longest, raised the throughput of rollouts by 22.5 %
# in the mean and 44 % at most (APRIL, Zhou et al. 2025, arXiv:2509.18521, abstract): what waiting had cost, at least.
BUSY_FRACTION = 1.0 / 1.225
# Mean sequence of Qwen3 235B under GRPO with a limit of 8,192 (NeMo RL 0.4, docs/about/performance-summary.md); the
# other models of that table stop sooner. Whether a prompt is counted in is not said: a question of a few lines.
OUTPUT_TOKENS, INPUT_TOKENS = 5671.0, 128.0
_EITHER = ("rollout_tokens", "inference_tokens")
# What goes with which flag: a value that nothing would read is a mistake of whoever gave it.
_GOES_WITH = {
    "trained_fraction": _EITHER,
    "scoring_passes": _EITHER,
    "busy_fraction": _EITHER,
    "rollout_input_tokens": _EITHER,
    "rollout_output_tokens": _EITHER,
    "used_probability": ("inference_tokens",),
}


@dataclass(frozen=True)
class Asked:
    """Tokens generated in reinforcement learning, tokens served, and how: either may be None, not both.

    ``trained_fraction`` of what is generated is trained on, all of it is read ``scoring_passes`` times;
    ``busy_fraction`` of the generating chips' time is of use. ``given`` names the settings that were not defaults.
    """

    rollout_tokens: float | None
    trained_fraction: float
    scoring_passes: float
    busy_fraction: float
    input_tokens: float
    output_tokens: float
    inference_tokens: float | None
    used_probability: float
    given: frozenset[str]

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> "Asked | None":
        """Return what settings of `train` ask, None where they ask nothing.

        Raises:
            configs.ConfigError: a setting without the one that it goes with.
        """
        for name, needs in _GOES_WITH.items():
            if name in asked and not any(need in asked for need in needs):
                raise configs.ConfigError(
                    f"{_flag(name)} = {asked[name]:g} goes with {' or '.join(map(_flag, needs))}, which is missing"
                )
        if not any(name in asked for name in _EITHER):
            return None
        return cls(
            rollout_tokens=asked.get("rollout_tokens"),
            trained_fraction=float(asked.get("trained_fraction", 1.0)),
            scoring_passes=float(asked.get("scoring_passes", SCORING_PASSES)),
            busy_fraction=float(asked.get("busy_fraction", BUSY_FRACTION)),
            input_tokens=float(asked.get("rollout_input_tokens", INPUT_TOKENS)),
            output_tokens=float(asked.get("rollout_output_tokens", OUTPUT_TOKENS)),
            inference_tokens=asked.get("inference_tokens"),
            used_probability=float(asked.get("used_probability", 1.0)),
            given=frozenset(name for name in _GOES_WITH if name in asked),
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def served(settings: Mapping[str, Any], chip: configs.ChipFacts, asked: Asked) -> Served:
    """Return the serving question of ``settings`` of `train`: the same model and chip, as many sequences as fit."""
    names = ("model", "params", "active_params", "chip")
    return Served.of({
        **{name: settings[name] for name in names if name in settings},
        "precision": "fp8" if "fp8" in chip.peak_flops_per_s else "bf16",  # what rollouts are generated in
        "input_tokens": asked.input_tokens,
        "output_tokens": asked.output_tokens,
    })  # fmt: skip
