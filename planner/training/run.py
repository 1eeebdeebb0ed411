"""The training run as the search sees it: chip-seconds as a monomial in parameters, tokens and experts."""

import equinox as eqx
import jax.numpy as jnp

from hw import Scalar

from ..model.transformer import Transformer
from .names import REFERENCE

TRAINING_PRECISION = "bf16"


class TrainingForm(eqx.Module):
    """Chip-seconds = exp(log) (N / 1e10)^params_exponent (D / 1e12)^tokens_exponent experts^experts_exponent, failures
    included; N active parameters.

    `planner.schooling` matches it, in value and slopes, to the best layout on the best chip round a plan.
    """

    log: Scalar
    params_exponent: Scalar
    tokens_exponent: Scalar
    experts_exponent: Scalar = 0.0

    def log_chip_seconds(self, params: Scalar, tokens: Scalar, experts: Scalar = 1.0) -> Scalar:
        """Return ln(chips times seconds) of the whole run."""
        sizes = jnp.log(params / REFERENCE[0]), jnp.log(tokens / REFERENCE[1])
        plain = self.log + self.params_exponent * sizes[0] + self.tokens_exponent * sizes[1]
        return plain + self.experts_exponent * jnp.log(experts)


class TrainingRun(eqx.Module):
    """A run of ``transformer`` on ``tokens`` that takes what ``form`` says."""

    transformer: Transformer
    tokens: Scalar
    form: TrainingForm

    def flops(self) -> Scalar:
        """Return model FLOPs: 2 N forward and 4 N backward per token (Kaplan et al. 2020, arXiv:2001.08361, 2.1)."""
        return 6.0 * self.transformer.params * self.tokens

    def chip_seconds(self) -> Scalar:
        """Return chips times seconds of the whole run."""
        model = self.transformer
        return jnp.exp(self.form.log_chip_seconds(model.params, self.tokens, model.experts))
