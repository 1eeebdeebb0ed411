"""Steady state of continuous batching: prompts and decoded tokens share passes, request after request."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from hw import Scalar

from .engine import Engine, Tally
from .instance import Instance, Step
from .ops import Load

_BUSIEST = 0.95  # share of the time spent on prompts beyond which a mean wait is no longer a steady state


class Lengths(eqx.Module):
    """Mean tokens of a request: of its prompt, of those found in the prefix cache, and of its answer."""

    input_tokens: Scalar
    cached_tokens: Scalar
    output_tokens: Scalar

    def new_tokens(self) -> Scalar:
        """Return prompt tokens that a pass must compute, at least the last one."""
        return jnp.maximum(self.input_tokens - self.cached_tokens, 1.0)

    def mean_context(self) -> Scalar:
        """Return the cached tokens that a decoded token sees on average."""
        return self.input_tokens + 0.5 * self.output_tokens

    def full(self) -> Scalar:
        """Return the tokens in cache when the last one is decoded."""
        return self.input_tokens + self.output_tokens


class Blend(eqx.Module):
    """A replica that keeps ``batch`` sequences in flight.

    ``share`` of the passes carry ``together`` prompts beside the decoding sequences, the rest decode only: ``passes``
    and their ``tally`` hold both kinds on their first axis, decoding alone first. Each pass leads B / pp sequences
    through the pipeline and yields ``tokens_per_step`` tokens of each.
    """

    batch: Array
    passes: Step
    tally: Tally
    together: Array
    share: Array
    tokens_per_step: Scalar

    def plain_s(self, engine: Engine) -> Array:
        """Return the seconds of a pass without prompts."""
        return engine.total(self.tally)[0]

    def mixed_s(self, engine: Engine) -> Array:
        """Return the seconds of a pass with prompts."""
        return engine.total(self.tally)[1]

    def step_s(self, engine: Engine) -> Array:
        """Return the mean seconds of a pass."""
        both = engine.total(self.tally)
        return (1.0 - self.share) * both[0] + self.share * both[1]

    def tpot_s(self, engine: Engine) -> Array:
        """Return the mean seconds between two tokens of one sequence, which waits for the others' prompts only."""
        plain, mixed = engine.total(self.tally)
        return between_tokens_s(plain, mixed, self.share, self.batch) / self.tokens_per_step

    def output_tokens_per_s(self, engine: Engine) -> Array:
        """Return tokens decoded per second by the whole replica."""
        return self.batch / self.step_s(engine) * self.tokens_per_step

    def ttft_s(self, engine: Engine) -> Array:
        """Return the mean seconds from a request's arrival to its first token."""
        plain, mixed = engine.total(self.tally)
        return first_token_s(plain, mixed, self.share, self.together, self.batch)

    def prefill_s(self, engine: Engine) -> Array:
        """Return what one prompt adds to the passes that it shares."""
        plain, mixed = engine.total(self.tally)
        return (mixed - plain) / self.together


def first_token_s(plain: Array, mixed: Array, share: Array, together: Array, batch: Array) -> Array:
    """Return the mean seconds to the first token, given those of a pass without prompts and of one with ``together``.

    A request waits for half a pass, then behind the prompts before it (M/D/1: busy / (1 - busy) / 2 services, Poisson
    arrivals at the rate at which requests are finished; never for more prompts than there are other sequences), then
    for its own pass, or for one per chunk of it.
    """
    step = (1.0 - share) * plain + share * mixed
    own = (mixed - plain) / together
    busy = jnp.minimum(share * (mixed - plain) / step, _BUSIEST)
    ahead = jnp.minimum(0.5 * busy / (1.0 - busy), jnp.maximum(batch - 1.0, 0.0))
    return 0.5 * step + ahead * own + plain * jnp.maximum(1.0 / together, 1.0) + own


def between_tokens_s(plain: Array, mixed: Array, share: Array, batch: Array) -> Array:
    """Return the mean seconds of a pass as one of ``batch`` sequences meets it: its own prompt came before."""
    others = jnp.maximum(batch - 1.0, 0.0) / jnp.maximum(batch, 1.0)
    return plain + share * others * (mixed - plain)


def entering(micro: Array, lengths: Lengths, tokens_per_step: Scalar, most_tokens: Scalar) -> tuple[Array, Array]:
    """Return how many prompts a mixed pass of ``micro`` sequences carries, and the share of the passes that are mixed.

    A request takes output_tokens / tokens_per_step passes; so per pass of a stage micro / that many prompts enter,
    several together or one in some of the passes. Where a prompt is longer than what ``most_tokens`` leave beside the
    decoding sequences it comes in chunks: a pass then carries a part of one (Agrawal et al. 2024, arXiv:2403.02310).
    """
    per_pass = micro * tokens_per_step / lengths.output_tokens
    room = jnp.maximum(most_tokens - micro, 0.0) / lengths.new_tokens()
    together = jnp.maximum(jnp.minimum(jnp.maximum(per_pass, 1.0), room), per_pass)
    return together, per_pass / together


def loads(lengths: Lengths, decoding: Array, prompts: Array, drafts: Scalar | None = None) -> Load:
    """Return passes of ``decoding`` sequences and ``prompts`` prompts, ``drafts`` verified with each sequence."""
    context, new = lengths.mean_context(), lengths.new_tokens()
    queries = 1.0 if drafts is None else 1.0 + drafts
    return Load(decoding, context, prompts, new, lengths.cached_tokens, queries, drafts)


def blend(
    instance: Instance, lengths: Lengths, batch: Scalar, drafts: Scalar | None = None, tokens_per_step: Scalar = 1.0
) -> Blend:
    """Return the steady state with ``batch`` sequences in flight, each followed at once by another.

    ``drafts`` tokens are guessed per step where speculation is on (None: off) and ``tokens_per_step`` come of it.
    """
    micro = jnp.asarray(batch, float) / instance.layout.pp
    most = instance.layout.dp * instance.engine.max_tokens
    together, share = entering(micro, lengths, tokens_per_step, most)
    prompts = jnp.stack([jnp.zeros_like(together), together])
    passes = instance.step(loads(lengths, jnp.stack([micro, micro]), prompts, drafts))
    return Blend(jnp.asarray(batch, float), passes, passes.tally(), together, share, tokens_per_step)


def batch_at(output_tokens_per_s: Scalar, batches: Array, rates: Array) -> Array:
    """Return the sequences in flight at which a replica decodes ``output_tokens_per_s``, capped by the last of them.

    ``rates`` are what it decodes with ``batches`` in flight, both ascending; between them logarithms are interpolated.
    """
    rising = jax.lax.cummax(rates)
    asked = jnp.minimum(output_tokens_per_s, rising[-1])
    return jnp.exp(jnp.interp(jnp.log(asked), jnp.log(rising), jnp.log(batches)))
