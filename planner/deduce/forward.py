"""A price card as a differentiable function of what it hides: sizes, replica, batches and markup."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from configs.architectures import AttentionFacts, DenseFacts, ExpertsFacts, LayerFacts
from hw import Scalar

from ..estimate.parts import multiplies
from ..model.decoder import Decoder
from ..model.generic import EXPERTS, FIXED_SHARE, HEAD_DIM, TOPK, VOCABULARY
from ..serving.curve import instance_of_model
from ..serving.instance import Instance
from ..serving.ops import Load
from ..serving.steady import Lengths, between_tokens_s, entering
from .names import DERIVED, SLOTS

_GRID = 25  # batches, 1 to 4,096 in half octaves, along which the balanced one is sought
_SHARP = 8.0  # of the soft minimum: a batch whose passes are a tenth dearer counts a fifth
# Below a quarter of a typical cache, 2 KV heads where there are 8, fewer layers attend: models err as little with it as
# without, on the cards of `planner.deduce.seen`, and smaller caches can be told. The corner is rounded by 8 %.
_FEWER, _ROUND = 4.0, 8.0
_FASTER = 1.5  # ln of the balanced batch over a fast tier's, roughly: 2.5 times the speed takes 4 to 6 times fewer


def residuals(given: Mapping[str, Any], x: Float[Array, " 9"], told: Mapping[str, Array]) -> Float[Array, " 21"]:
    """Return how far ``told``, the card of ``x``, is from the one seen, and ``x`` from what is known before, in
    standard errors.

    ``x`` holds natural logarithms of `UNKNOWNS` and of the batch in each of `SLOTS`. ``given`` has ``machine``
    (device, engine, HBM), ``shape`` (how depth, width and KV width grow, `configs.shapes`), ``rent`` in dollars per
    chip-second, ``spare`` by slot, ``lengths`` (input and output tokens by slot), ``seen`` and ``weight`` [4, 3]
    (logarithms and inverse standard errors by slot and line, weight 0 where nothing is seen), ``centre`` and
    ``width`` of the unknowns (of KV bytes over a typical model's where ``typical`` is 1), and ``experts`` where the
    model has some.
    """
    data = (told["lines"] - given["seen"]) * given["weight"]
    n = x[0]
    typical = jnp.log(_typical_kv(given["shape"], jnp.exp(n)) * given["machine"]["device"]["kv_bytes"])
    centre = jnp.asarray(given["centre"]).at[2].add(given["typical"] * typical)
    before = (x[:5] - centre) / jnp.asarray(given["width"])
    batches = (x[5:] - told["expected_batch"]) / jnp.asarray(given["batch_width"])
    return jnp.concatenate([jnp.ravel(data), before, batches])


def linearised(given: Mapping[str, Any], x: Float[Array, " 9"]) -> dict[str, Array]:
    """Return `residuals` "r", logarithms of what follows from ``x`` ("derived", `DERIVED`), their Jacobians, and the
    "lines" of `card`."""

    def told(y: Array) -> tuple[tuple[Array, Array], dict[str, Array]]:
        one = card(given, y)
        out = residuals(given, y, one), jnp.log(jnp.stack([one[name] for name in DERIVED]))
        return out, {"r": out[0], "derived": out[1], "lines": one["lines"]}

    slopes, values = jax.jacfwd(told, has_aux=True)(x)
    return {**values, "J": slopes[0], "derived_J": slopes[1]}


def card(given: Mapping[str, Any], x: Float[Array, " 9"]) -> dict[str, Array]:
    """Return logarithms of dollars per token and of tokens per second ("lines", [4, 3]), the batch to expect in each
    slot, and MFU of decoding and of prompts in the standard slot.

    To expect is the batch at which sequences share as much as each takes for itself (see `planner.frontier.tiers`),
    or all that fit if fewer; fewer in the fast slot; all that fit in that of batch work.
    """
    n, sparsity, kv, chips, markup = jnp.exp(x[:5])
    batch = jnp.exp(x[5:])
    lengths = Lengths(given["lengths"]["input"], jnp.zeros(len(SLOTS)), given["lengths"]["output"])
    instance = _instance(given, n, sparsity, kv, chips)
    grid = jnp.broadcast_to(jnp.geomspace(1.0, 4096.0, _GRID)[:, None], (_GRID, len(SLOTS)))
    together, share = entering(batch, lengths, 1.0, instance.layout.dp * instance.engine.max_tokens)
    decoding = jnp.concatenate([grid, batch[None], batch[None]])
    prompts = jnp.concatenate([0.0 * grid, 0.0 * batch[None], together[None]])
    new = jnp.asarray(lengths.new_tokens())
    passes = instance.step(Load(decoding, lengths.mean_context(), prompts, new, 0.0))
    seconds = jnp.asarray(sum(passes.seconds(instance.engine).values(), jnp.zeros(decoding.shape)))
    along, plain, mixed = seconds[:_GRID], seconds[_GRID], seconds[_GRID + 1]
    usd = markup * given["rent"] * given["spare"] * chips
    output = usd * plain / batch
    prompt = (mixed - plain) / together
    speed = 1.0 / between_tokens_s(plain, mixed, share, batch)
    balanced = jax.nn.softmax(-_SHARP * (2.0 * jnp.log(along) - jnp.log(grid)), axis=0)
    knee = jnp.sum(balanced * jnp.log(grid), axis=0)
    limits = {k: jnp.asarray(v) for k, v in instance.limits(lengths.full(), new / lengths.output_tokens).items()}
    fit = jnp.log(jnp.maximum(jnp.minimum(limits["memory"], limits["slots"]), 0.5))
    least = -jax.nn.logsumexp(jnp.stack([-4.0 * knee, -4.0 * fit]), axis=0) / 4.0
    peak = instance.device.formats["dense"].flops_per_s * chips
    return {
        "lines": jnp.log(jnp.stack([usd * prompt / new, output, speed], axis=1)),
        "expected_batch": jnp.stack([least[0], least[1], least[2] - _FASTER, fit[3]]),
        "decode_mfu": 2.0 * n * batch[0] / plain[0] / peak,
        "prefill_mfu": 2.0 * n * new[0] / prompt[0] / peak,
        "balanced_context": _balanced_context(given, instance, lengths),
    }


def _balanced_context(given: Mapping[str, Any], instance: Instance, lengths: Lengths) -> Array:
    """Return the context at which reading the cache takes as long as arithmetic, as they grow with full passes,
    thousands of sequences on every copy."""
    context = jnp.asarray(lengths.mean_context())[0]
    rows = jnp.asarray([8192.0, 16384.0]) * instance.layout.dp
    passes = instance.step(Load(rows, context, 0.0 * rows, 1.0, 0.0))
    seconds = {name: jnp.asarray(value) for name, value in passes.seconds(instance.engine).items()}
    multiplied = sum((value for name, value in seconds.items() if multiplies(name)), jnp.zeros(2))
    read = seconds["decode attention"]
    return context * (multiplied[1] - multiplied[0]) / (read[1] - read[0])


def _instance(given: Mapping[str, Any], n: Scalar, sparsity: Scalar, kv: Scalar, chips: Scalar) -> Instance:
    """Return a typical model of these sizes on ``chips`` chips, tensor parallel or, with experts, all else copied."""
    one = jnp.ones(())
    layout: dict[str, Scalar]
    if "experts" in given:
        layout = {"tp": one, "pp": one, "dp": chips, "ep": chips}
    else:
        layout = {"tp": chips, "pp": one, "dp": one, "ep": one}
    model = decoder(given, n, sparsity, kv)
    return instance_of_model(model, {**given["machine"], "layout": layout}, convex=True)


def decoder(given: Mapping[str, Any], n: Scalar, sparsity: Scalar, kv: Scalar) -> Decoder:
    """Return a decoder of ``n`` active parameters and ``kv`` bytes per token: `generic_model` without rounding.

    Caches of other sizes have more or fewer KV heads, and far smaller ones fewer layers that attend, as where layers
    share a cache or see a window of it alone: every chip holds at least one head, so that fewer would save nothing.
    """
    layers, d_model, kv_width = _shape(given["shape"], n)
    heads = d_model / HEAD_DIM
    over = kv / (_typical_kv(given["shape"], n) * given["machine"]["device"]["kv_bytes"])
    attending = layers * (1.0 + (_FEWER * over) ** -_ROUND) ** (-1.0 / _ROUND)
    kv_heads = kv_width / HEAD_DIM * over * layers / attending
    vocab = jnp.minimum(VOCABULARY, 0.1 * n / d_model)
    fixed = d_model * (2.0 * vocab + 2.0 * HEAD_DIM * attending * (heads + kv_heads))
    rest = (n - jnp.minimum(fixed, FIXED_SHARE * n)) / (3.0 * layers * d_model)
    attention: Any = {"heads": heads, "kv_heads": kv_heads, "key_dim": HEAD_DIM, "value_dim": HEAD_DIM}
    block: Any = {"width": rest}
    if "experts" in given:
        idle = jnp.maximum(sparsity - 1.0, 1e-3) * n / (3.0 * layers * d_model)
        width = jnp.minimum(idle / (EXPERTS - TOPK), 0.9 * rest / TOPK)
        shared = jnp.maximum(rest - TOPK * width, 1.0)
        block = {"experts": TOPK + idle / width, "topk": TOPK, "width": width, "shared_width": shared}
    kind: Any = ExpertsFacts if "experts" in given else DenseFacts
    halves: Any = (attending, AttentionFacts(**attention), None), (layers, None, kind(**block))
    return Decoder(d_model, vocab, 2.0, tuple(LayerFacts(*half) for half in halves))


def _shape(shape: Mapping[str, Scalar], n: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    billions = n / 1e9
    layers, d_model, kv_width = (
        shape[f"{x}_at_1b"] * billions ** shape[f"{x}_exponent"] for x in ("layers", "d_model", "kv_width")
    )
    return layers, d_model, kv_width


def _typical_kv(shape: Mapping[str, Scalar], n: Scalar) -> Scalar:
    """Return the numbers that a typical dense model of ``n`` parameters caches per token."""
    layers, _, kv_width = _shape(shape, n)
    return 2.0 * layers * kv_width
