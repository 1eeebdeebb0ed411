"""Everything an estimate needs of one instance, in one traced function of plain numbers.

Inputs and outputs are nested dicts, so that the compiled program can be kept on disk and run without its source.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hw import Energy, Joules, Scalar

from ..model.decoder import Decoder
from .device import Device, Timed
from .engine import Engine
from .instance import Instance, Step
from .layout import Layout
from .steady import Lengths, between_tokens_s, blend, entering, first_token_s, loads

BATCHES = 49  # along a curve: from 1 to 65,536 in steps of a third of an octave
_TOP = 65536.0
# Of the cache's traffic beyond what HBM delivers: bytes per FLOP of a product tiled 128 x 256 in bf16.
_TILE_BYTES_PER_FLOP = 0.012


def instance_of(given: Mapping[str, Any], convex: bool = False) -> Instance:
    """Return what ``model``, ``layout``, ``device``, ``engine`` and ``hbm_bytes`` in ``given`` describe."""
    return instance_of_model(Decoder.of(given["model"]), given, convex)


def instance_of_model(model: Decoder, machine: Mapping[str, Any], convex: bool = False) -> Instance:
    """Return ``model`` on what ``layout``, ``device``, ``engine`` and ``hbm_bytes`` in ``machine`` describe."""
    device = Device.of(machine["device"], convex)
    engine = Engine(**machine["engine"])
    layout = Layout(**machine["layout"])
    return Instance(model, layout, device, engine, machine["hbm_bytes"], device.expert_bytes)


def curve(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return times, work and energy of passes along a curve of batches, and the memory budget.

    ``given`` holds ``lengths`` (input, cached, output tokens), ``batches`` to evaluate besides the fixed curve, and
    optionally ``speculation`` (drafts per step, tokens accepted per step). Leading axis of what comes back: the asked
    batches, then the curve. "plain" passes decode only, "mixed" ones carry prompts too; "prompt" has two entries
    without any decoding, one prompt and as many as a pass takes. Joules go by the causes of `hw.energy.Joules`, and
    ``powered_s`` is the least time in which the boards can take what they spend on a pass.
    """
    instance, lengths = instance_of(given), Lengths(*given["lengths"])
    engine, layout = instance.engine, instance.layout
    drafts, per_step = _speculation(given)
    batches = jnp.concatenate([jnp.atleast_1d(given["batches"]), jnp.geomspace(1.0, _TOP, BATCHES)])
    together, share = entering(batches / layout.pp, lengths, per_step, layout.dp * engine.max_tokens)
    full = jnp.maximum(engine.max_tokens * layout.dp / lengths.new_tokens(), 1.0)
    micro = batches / layout.pp
    alone = jnp.stack([jnp.ones_like(full), full])
    none = jnp.zeros_like(micro)
    decoding = jnp.concatenate([micro, micro, jnp.zeros(2)])
    prompts = jnp.concatenate([none, together, alone])
    passes = instance.step(loads(lengths, decoding, prompts, drafts))
    seconds, count = passes.seconds(engine), len(batches)
    plain, mixed, prompt = slice(0, count), slice(count, 2 * count), slice(2 * count, None)

    def pick(values: Mapping[str, Scalar], part: slice) -> dict[str, Scalar]:
        shape = decoding.shape
        return {name: jnp.broadcast_to(value, shape)[part] for name, value in values.items()}

    out: dict[str, Any] = {"batches": batches, "share": share, "together": together, "prompts_alone": alone}
    total = jnp.broadcast_to(sum(seconds.values(), none[0]), decoding.shape)
    out["step_s"] = (1.0 - share) * total[plain] + share * total[mixed]
    out["tpot_s"] = between_tokens_s(total[plain], total[mixed], share, batches) / per_step
    out["ttft_s"] = first_token_s(total[plain], total[mixed], share, together, batches)
    out["output_tokens_per_s"] = batches / out["step_s"] * per_step
    joules, powered_s = _joules(given, instance, passes, total)
    for name, part in (("plain", plain), ("mixed", mixed), ("prompt", prompt)):
        flops = {k: layout.pp * sum(t.flops for t in v) for k, v in passes.times.items()}
        moved = {k: layout.pp * sum(t.hbm_bytes + t.link_bytes for t in v) for k, v in passes.times.items()}
        out[name] = {
            "seconds": pick(seconds, part),
            "flops": pick(flops, part),
            "bytes": pick(moved, part),
            "joules": pick(vars(joules), part),
            "powered_s": jnp.broadcast_to(powered_s, decoding.shape)[part],
        }
    memory = instance.memory(lengths.full())
    out["memory"] = {
        "weights_bytes": memory.weights_bytes,
        "sequence_bytes": memory.sequence_bytes,
        "kv_room_bytes": memory.kv_room_bytes,
        "reserve_bytes": memory.reserve_bytes,
        "prompt_bytes": instance.sequence_bytes(lengths.input_tokens),
    }
    ratio = lengths.new_tokens() / lengths.output_tokens
    out["limits"] = instance.limits(lengths.full(), ratio)
    return out


def _speculation(given: Mapping[str, Any]) -> tuple[Scalar | None, Scalar]:
    if "speculation" not in given:
        return None, 1.0
    return given["speculation"]["drafts"], given["speculation"]["tokens_per_step"]


def _joules(given: Mapping[str, Any], instance: Instance, passes: Step, seconds: Array) -> tuple[Joules, Scalar]:
    """Return joules of the whole replica per pass, and the least seconds in which its boards can draw them.

    Dynamic work is that of every chip, static power lasts as long as the pass. While a stage works on one micro-batch
    the other stages work on theirs, so a pass costs pp stages of chips, each for its own share of the time.
    """
    energy, power_w, layout = Energy(**given["energy"]["constants"]), given["energy"]["power_w"], instance.layout
    ops = [_op_joules(given, energy, name, one) for name, timed in passes.times.items() for one in timed]
    chips = layout.pp * layout.stage_chips()

    def every(*parts: Scalar) -> Scalar:
        return sum(parts, jnp.zeros(()))

    work = jax.tree.map(every, *ops)
    static = energy.joules({}, 0.0, 0.0, 0.0, seconds / layout.pp, power_w)
    whole = jax.tree.map(lambda *parts: chips * every(*parts), work, static)
    return whole, layout.pp * energy.least_seconds(work, power_w)


def _op_joules(given: Mapping[str, Any], energy: Energy, name: str, one: Timed) -> Joules:
    use = given["energy"]["use"].get(name, given["energy"]["use"]["other"])
    flops = {precision: one.flops * share for precision, share in use.items()}
    sram = one.hbm_bytes + _TILE_BYTES_PER_FLOP * one.flops
    inside = one.link_bytes - one.scale_out_bytes
    return energy.joules(flops, one.hbm_bytes, sram, inside, 0.0, 0.0, one.scale_out_bytes)


def scan(given: Mapping[str, Any], layouts: Mapping[str, Any]) -> dict[str, Any]:
    """Return, for every layout in arrays of ``layouts``, what a search ranks by, along the ``batches`` given.

    Output tokens per second, seconds per token and until the first one, of a pass without prompts, and what a prompt
    adds to passes, by layout and batch, and what limits the batch of each layout.
    """

    batches = given["batches"]

    def one(layout: Mapping[str, Any]) -> dict[str, Any]:
        instance, lengths = instance_of({**given, "layout": layout}), Lengths(*given["lengths"])
        drafts, per_step = _speculation(given)
        state = blend(instance, lengths, batches, drafts, per_step)
        tpot = state.tpot_s(instance.engine)
        limits = instance.limits(lengths.full(), lengths.new_tokens() / lengths.output_tokens)
        return {
            "tpot_s": tpot,
            "ttft_s": state.ttft_s(instance.engine),
            "output_tokens_per_s": state.output_tokens_per_s(instance.engine),
            "plain_s": state.plain_s(instance.engine),
            "prompt_s": state.prefill_s(instance.engine),
            **limits,
        }

    return jax.vmap(one)(dict(layouts))
