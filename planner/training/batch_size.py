"""How many tokens a step can use, and what a larger batch costs in tokens and saves in steps.

McCandlish et al. 2018, arXiv:1812.06162, eq. 2.11: runs to one loss in S steps of E tokens in all satisfy
(S / S_min - 1) (E / E_min - 1) = 1. With B = E / S and the critical batch B_crit = E_min / S_min that is
E = E_min (1 + B / B_crit) and S = S_min (1 + B_crit / B).
"""

import equinox as eqx

import configs
from hw import Scalar


class BatchLaw(eqx.Module):
    """Batch in tokens = ``coefficient`` * variable ^ ``exponent``; the variable is nats, tokens or FLOPs by the law."""

    coefficient: Scalar
    exponent: Scalar

    def batch_tokens(self, variable: Scalar) -> Scalar:
        """Return the law's batch in tokens: the best one of an optimal law, or where a critical law draws its line."""
        return self.coefficient * variable**self.exponent

    @classmethod
    def of(cls, facts: configs.BatchLawFacts) -> "BatchLaw":
        """Return the law that ``facts`` state, of either kind."""
        return cls(facts.coefficient, facts.exponent)


class CriticalBatchLaw(BatchLaw):
    """A law whose batch needs ``extra_tokens_fraction`` more tokens than small batches."""

    extra_tokens_fraction: Scalar

    def critical_tokens(self, variable: Scalar) -> Scalar:
        """Return B_crit, where tokens and steps are both twice their least, wherever the law draws its own line."""
        return self.batch_tokens(variable) / self.extra_tokens_fraction

    @classmethod
    def of(cls, facts: configs.BatchLawFacts) -> "CriticalBatchLaw":
        """Return the critical law that ``facts`` state.

        Raises:
            ConfigError: the law is of the optimal kind, which says nothing of the price of other batches.
        """
        if facts.extra_tokens_fraction is None:
            known = map(configs.load_batch_law, configs.ids("batch_laws"))
            critical = ", ".join(law.id for law in known if law.kind == "critical")
            raise configs.ConfigError(
                f"batch law '{facts.id}' is of the best batch and has no critical one: the critical laws are {critical}"
            )
        return cls(facts.coefficient, facts.exponent, facts.extra_tokens_fraction)


def extra_tokens_fraction(batch_tokens: Scalar, critical_tokens: Scalar) -> Scalar:
    """Return by which fraction a batch needs more tokens to the same loss than small batches: B / B_crit."""
    return batch_tokens / critical_tokens


def extra_steps_fraction(batch_tokens: Scalar, critical_tokens: Scalar) -> Scalar:
    """Return by which fraction a batch takes more steps to the same loss than endless batches: B_crit / B."""
    return critical_tokens / batch_tokens


def tokens_needed(least_tokens: Scalar, batch_tokens: Scalar, critical_tokens: Scalar) -> Scalar:
    """Return tokens to the loss that small batches reach with ``least_tokens``: E_min (1 + B / B_crit)."""
    return least_tokens * (1.0 + extra_tokens_fraction(batch_tokens, critical_tokens))


def steps_needed(least_tokens: Scalar, batch_tokens: Scalar, critical_tokens: Scalar) -> Scalar:
    """Return steps to the loss that small batches reach with ``least_tokens``: S_min (1 + B_crit / B)."""
    return tokens_needed(least_tokens, batch_tokens, critical_tokens) / batch_tokens


def least_tokens(tokens: Scalar, batch_tokens: Scalar, critical_tokens: Scalar) -> Scalar:
    """Return what small batches need for the loss that ``tokens`` reach at this batch: E / (1 + B / B_crit)."""
    return tokens / (1.0 + extra_tokens_fraction(batch_tokens, critical_tokens))


def largest_batch_tokens(extra: Scalar, critical_tokens: Scalar) -> Scalar:
    """Return the batch that needs the fraction ``extra`` more tokens than small batches, such as 0.1."""
    return extra * critical_tokens


def largest_data_parallel(batch_tokens: Scalar, sequence_tokens: Scalar, micro_batch: Scalar) -> Scalar:
    """Return over how many copies of the model a batch can be spread if each takes ``micro_batch`` sequences a step.

    A fraction until it is rounded down; below 1 the batch is smaller than one micro-batch.
    """
    return batch_tokens / (sequence_tokens * micro_batch)
