"""Tokens of reinforcement learning, and how training, reinforcement learning and inference share a model's cost."""

import equinox as eqx

from hw import Scalar


class Rollouts(eqx.Module):
    """Reinforcement learning on ``tokens`` generated, as chip-seconds; a token's prompt belongs to its generation.

    Generation takes ``generation_chip_s`` per token, as the serving model says, over the ``busy_fraction`` of the
    generating chips' time: the rest waits for the longest answers and for new weights. Every token is then read
    ``scoring_passes`` times (reward and reference models, probabilities under the old policy), and ``trained_fraction``
    of them is trained on, at ``train_flops_per_chip_s`` (peak times utilisation). ``active_params`` of the policy, and
    of what reads along.
    """

    tokens: Scalar
    active_params: Scalar
    generation_chip_s: Scalar
    busy_fraction: Scalar
    scoring_passes: Scalar
    trained_fraction: Scalar
    train_flops_per_chip_s: Scalar

    def generation(self) -> Scalar:
        """Return chip-seconds of generating, waiting included."""
        return self.tokens * self.generation_chip_s / self.busy_fraction

    def scoring(self) -> Scalar:
        """Return chip-seconds of forward passes over finished rollouts: 2 N per token and pass."""
        return self._chip_seconds(2.0 * self.scoring_passes)

    def training(self) -> Scalar:
        """Return chip-seconds of training on rollouts: 6 N per token trained on."""
        return self._chip_seconds(6.0 * self.trained_fraction)

    def chip_seconds(self) -> Scalar:
        """Return chip-seconds of all three."""
        return self.generation() + self.scoring() + self.training()

    def per_token(self) -> Scalar:
        """Return chip-seconds per token generated: what `TokenCosts` takes."""
        return self.chip_seconds() / self.tokens

    def _chip_seconds(self, flops_per_param: Scalar) -> Scalar:
        return flops_per_param * self.active_params * self.tokens / self.train_flops_per_chip_s


class TokenCosts(eqx.Module):
    """What a token costs in pre-training, in reinforcement learning and in inference, in one unit of any kind.

    Competing costs that fall and rise as powers of a choice add up to nearly their least where they are equal; so the
    three token counts of a model that is spent evenly are as the inverses of these costs.
    """

    pretraining: Scalar
    rollout: Scalar
    inference: Scalar

    def alpha(self) -> Scalar:
        """Return pre-training tokens for one of reinforcement learning at equal cost."""
        return self.rollout / self.pretraining

    def beta(self) -> Scalar:
        """Return pre-training tokens for one of inference at equal cost."""
        return self.inference / self.pretraining

    def tokens_beside(self, inference_tokens: Scalar, used_probability: Scalar = 1.0) -> "Tokens":
        """Return the tokens whose costs equal that of the inference expected.

        ``inference_tokens`` are those of a model in use; ``used_probability`` is the chance that it comes into use.
        """
        expected = inference_tokens * used_probability
        return Tokens(self.beta() * expected, self.beta() / self.alpha() * expected, expected)


class Tokens(eqx.Module):
    """Tokens of a model's life, by what they are for."""

    pretraining: Scalar
    rollout: Scalar
    inference: Scalar
