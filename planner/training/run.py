"""The training run as chip-seconds."""

import equinox as eqx

from hw import Chip, Scalar

from ..model.transformer import Transformer

TRAINING_PRECISION = "bf16"


class TrainingRun(eqx.Module):
    """A run of 6 N D FLOPs (Kaplan et al. 2020, arXiv:2001.08361, section 2.1) at a model FLOPs utilisation.

    ``mfu`` is relative to the chip's dense bf16 peak. Four in five published runs lie within 18 % of
    their chip's median; failures and restarts are not included.
    """

    transformer: Transformer
    tokens: Scalar
    chip: Chip
    mfu: Scalar

    def flops(self) -> Scalar:
        """Return model FLOPs: 2 N forward and 4 N backward per token."""
        return 6.0 * self.transformer.params * self.tokens

    def chip_seconds(self) -> Scalar:
        """Return chips times seconds of the whole run."""
        return self.flops() / (self.chip.peak_flops_per_s[TRAINING_PRECISION] * self.mfu)
