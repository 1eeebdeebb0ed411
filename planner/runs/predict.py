"""Predicts measured runs, many at once: those of one structure in one compiled call."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import configs

from ..model.numbers import decoder_numbers
from ..serving.curve import instance_of
from ..serving.engine import Engine, Tally
from ..serving.numbers import device_numbers, engine_numbers, recipe_of
from ..serving.steady import Lengths, batch_at, blend, first_token_s
from .constants import kernels
from .run import Run
from .together import together

ENDLESS = 1e12  # stands for a number of requests or of sequences that is not limited
_POINTS = 24  # batches at which a curve of throughput is evaluated to find the one at a request rate
TAIL = 0.3  # of half a wave of requests: what the last, unfilled wave of a finite run costs


class Kept(eqx.Module):
    """What a run's prediction needs of its kernels, whatever the engine adds: times along a curve of batches.

    The last batch is the one of a closed loop: all that fit, or the concurrency. ``waves`` is how often that many
    requests follow each other, ``rate`` the tokens asked for per second, zero in a closed loop. ``fits`` are the
    sequences that memory holds, ``together`` the prompts of a mixed pass. ``requests`` is how many there were,
    ``burst`` how many of them arrive at once (zero: one by one), ``chunks`` the passes that a burst's prompts take;
    ``lockstep`` is 1 where one burst follows another.
    """

    batches: Array
    tally: Tally
    together: Array
    share: Array
    tokens_per_step: Array
    waves: Array
    rate: Array
    fits: Array
    requests: Array
    output_tokens: Array
    burst: Array
    chunks: Array
    lockstep: Array


class Predicted(NamedTuple):
    """Predicted quantities of runs, one entry per run, the batch behind them, and the sequences that memory holds.

    A time to first token is infinite where requests queue without end: more of them than are served, for ever.
    """

    batch: np.ndarray
    output_tokens_per_s: np.ndarray
    tpot_s: np.ndarray
    ttft_s: np.ndarray
    fits: np.ndarray


def engines_of(runs: Iterable[Run]) -> dict[str, configs.EngineFacts]:
    """Return the engine profiles of ``runs`` by id, each loaded once.

    Raises:
        configs.ConfigError: no such profile, or a file that breaks the layout.
    """
    return {name: configs.load_engine(name) for name in dict.fromkeys(run.engine for run in runs)}


def numbers(run: Run, engine: configs.EngineFacts) -> dict[str, Any]:
    """Return a run as the nested dict that compiled programs take."""
    how = recipe_of(run.model, run.precision)
    if run.kv is not None:
        how = how._replace(kv=run.kv)
    elif engine.kernels["kv"] == "bf16":
        how = how._replace(kv="bf16")
    limits = {} if run.max_batch is None else {"max_batch": run.max_batch}
    out = {
        "model": decoder_numbers(run.model),
        "layout": {"tp": run.tp, "pp": run.pp, "dp": run.dp, "ep": run.ep},
        "device": device_numbers(run.chip, kernels(run.chip, engine), engine, how, closed=False),
        "engine": {**engine_numbers(engine), **limits},
        "hbm_bytes": run.chip.visible_bytes,
        "lengths": [run.input_tokens, run.cached_tokens, run.output_tokens],
        "in_flight": run.concurrency or ENDLESS,
        "requests": run.requests or ENDLESS,
        "rate": (run.request_rate or 0.0) * run.output_tokens,
        "at_once": float(run.lockstep or run.saturated),
        "lockstep": float(run.lockstep),
    }
    if run.drafts:
        out["speculation"] = {"drafts": run.drafts, "tokens_per_step": run.tokens_per_step}
    return out


def keep(given: Mapping[str, Any]) -> Kept:
    """Return the kernels' times of one run; ``given`` as `numbers` makes it."""
    instance = instance_of(given)
    lengths = Lengths(*given["lengths"])
    memory = instance.memory(lengths.full())
    cap = instance.max_batch(lengths.full(), lengths.new_tokens() / lengths.output_tokens)
    cap = jnp.maximum(jnp.minimum(jnp.minimum(cap, given["in_flight"]), given["requests"]), 1.0)
    batches = jnp.exp(jnp.linspace(0.0, 1.0, _POINTS) * jnp.log(cap))
    speculation = given.get("speculation", {"drafts": None, "tokens_per_step": 1.0})
    curve = blend(instance, lengths, batches, speculation["drafts"], speculation["tokens_per_step"])
    burst = cap * given["at_once"]
    return Kept(
        batches=batches,
        tally=curve.tally,
        together=curve.together,
        share=curve.share,
        tokens_per_step=jnp.asarray(curve.tokens_per_step, float),
        waves=jnp.maximum(given["requests"] / cap, 1.0),
        rate=jnp.asarray(given["rate"], float),
        fits=given["layout"]["dp"] * memory.kv_room_bytes / memory.sequence_bytes,
        requests=jnp.asarray(given["requests"], float),
        output_tokens=jnp.asarray(lengths.output_tokens, float),
        burst=burst,
        chunks=jnp.maximum(burst * lengths.new_tokens() / (instance.engine.max_tokens * given["layout"]["dp"]), 1.0),
        lockstep=jnp.asarray(given["lockstep"], float),
    )


def conclude(kept: Kept, engine: Engine) -> tuple[Array, Array, Array, Array]:
    """Return batch, output tokens/s, TPOT and mean TTFT of one run under ``engine``.

    At a request rate the batch is the one at which tokens leave as fast as they are asked for, or all that fit.
    Prompts that arrive at once wait for each other, half of the burst's time and half a pass on average; requests
    beyond what is served wait in the queue, which grows by their difference until the last has arrived.
    """
    batches, per_step = kept.batches, kept.tokens_per_step
    plain, mixed = engine.total(kept.tally)
    steps = (1.0 - kept.share) * plain + kept.share * mixed
    open_loop = kept.rate > 0
    asked = batch_at(jnp.maximum(kept.rate, 1e-9), batches, batches / steps * per_step)
    batch = jnp.where(open_loop, asked, batches[-1])

    def at(values: Array) -> Array:
        return jnp.exp(jnp.interp(jnp.log(batch), jnp.log(batches), jnp.log(jnp.maximum(values, 1e-30))))

    step = at(steps)
    tail = jnp.where(open_loop, 1.0, 1.0 + 0.5 * TAIL / kept.waves)
    served = batch / step * per_step / kept.output_tokens
    first = at(first_token_s(plain, mixed, kept.share, kept.together, batches))
    own = at((mixed - plain) / kept.together)
    burst = at(plain) + kept.burst * own * 0.5 * (1.0 + 1.0 / kept.chunks)
    # Requests that arrive faster than they are served fill the batch, prompt after prompt, and then queue.
    between = jnp.where(open_loop, kept.output_tokens / jnp.maximum(kept.rate, 1e-9), 0.0)
    finite = open_loop | ((kept.burst > 0) & (kept.lockstep == 0))
    queued = 0.5 * jnp.maximum(kept.requests * (1.0 / served - between) - batch / served, 0.0)
    filling = jnp.where(batch >= batches[-1], 0.5 * batch * jnp.maximum(own - between, 0.0), 0.0)
    queued = jnp.where(finite, queued, 0.0) + jnp.where(open_loop, filling, 0.0)
    here = jnp.where(kept.lockstep > 0, 1.0, jnp.minimum(kept.burst / kept.requests, 1.0))
    waits = jnp.where(kept.burst > 0, here * burst + (1.0 - here) * first, first) + queued
    return batch, batch / step * per_step / tail, step / per_step, waits


@jax.jit
def _keep_all(given: Any) -> Any:
    return jax.vmap(keep)(given)


def kept_of(runs: Sequence[Run]) -> Kept:
    """Return the kernels' times of ``runs``, one run per entry of the first axis."""
    engines = engines_of(runs)
    return together(_keep_all, [numbers(run, engines[run.engine]) for run in runs])


@jax.jit
def _conclude_all(kept: Any, engine: Any) -> Any:
    return jax.vmap(conclude)(kept, engine)


def predict(runs: Sequence[Run], kept: Kept | None = None) -> Predicted:
    """Return what the model says of ``runs``, each under its engine's profile; ``kept`` where it is known already."""
    facts = engines_of(runs)
    engines = [Engine(**engine_numbers(facts[run.engine])) for run in runs]
    stacked = jax.tree.map(lambda *leaves: np.asarray(leaves, float), *engines)
    return _concluded(kept_of(runs) if kept is None else kept, stacked)


def conclude_with(kept: Kept, engine: Mapping[str, float]) -> Predicted:
    """Return what the model says of runs whose kernels' times are ``kept``, all under the one engine given."""
    count = len(np.asarray(kept.rate))
    values: dict[str, Any] = {name: np.full(count, value) for name, value in engine.items()}
    return _concluded(kept, Engine(**values))


def _concluded(kept: Kept, engines: Engine) -> Predicted:
    with jax.enable_x64(True):
        batch, throughput, tpot, ttft = map(np.asarray, _conclude_all(kept, engines))
    # A queue that only grows, or a number of requests that nobody stated: no mean can be told.
    ttft = np.where(ttft > 1e-3 * ENDLESS, np.inf, ttft)
    return Predicted(batch, throughput, tpot, ttft, np.asarray(kept.fits))
