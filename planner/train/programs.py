"""One training run in traced functions: every layout of a grid, some layouts in full, and slopes of the bill.

Inputs and outputs are plain nested dicts of arrays, so that the compiled programs can be kept on disk.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

import configs
from hw import Scalar

from ..economics.training_bill import RunBill
from ..model.decoder import Decoder
from ..model.transformer import ShapeLaw
from ..training.batch_size import BatchLaw
from ..training.costed import Costed, costed
from ..training.goodput import Checkpoint, Goodput
from ..training.layout import TrainingLayout
from ..training.names import TYPICAL_MFU
from ..training.states import RESERVED_FRACTION

CHECKPOINT_BYTES = 14.0  # a parameter: 16-bit weights, 32-bit master weights and two moments


def search(given: Mapping[str, Any], shapes: Mapping[str, Any], spreads: Mapping[str, Any]) -> dict[str, Any]:
    """Return speed, memory and days of every layout of a grid, by entry of ``shapes`` and of ``spreads``.

    ``given`` is what `planner.train.question.Question.numbers` returns. ``shapes`` hold tp, cp, ep and micro_batch,
    which decide what every kernel is given; ``spreads`` pp, vp, sharded, zero_bubble and chips, which decide how often.
    Kernels are so timed once per shape. Data parallelism takes the chips that the others leave, a fraction where they
    do not divide them.
    """

    def one(shape: Mapping[str, Any], spread: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: spread[name] for name in ("pp", "vp", "sharded", "zero_bubble")}
        dp = spread["chips"] / (shape["tp"] * shape["cp"] * spread["pp"])
        found = costed(_run(given), TrainingLayout(**shape, **rest, dp=dp))
        return {
            "tokens_per_s_per_chip": found.tokens_per_s_per_chip(),
            "used_bytes": found.used_bytes(),
            "sequences": found.sequences,
            "days": bill(given, found, spread["chips"]).days(spread["chips"]),
        }

    return jax.vmap(lambda shape: jax.vmap(lambda spread: one(shape, spread))(spreads))(shapes)


def tell(given: Mapping[str, Any], layouts: Mapping[str, Any]) -> dict[str, Any]:
    """Return n layouts in full: what a step's seconds, a chip's bytes and the bill are made of."""

    def one(layout: Mapping[str, Any]) -> dict[str, Any]:
        split = TrainingLayout(**layout)
        found, chips = costed(_run(given), split), split.chips()
        paid = bill(given, found, chips)
        return {
            "step_s": found.trainer.step_s_of(found.tally),
            "tokens_per_s_per_chip": found.tokens_per_s_per_chip(),
            "sequences": found.sequences,
            "micro_batches": found.tally.micro_batches,
            "recomputed": found.tally.recomputed_fraction(),
            "layers_per_stage": found.activations.layers,
            "parts": found.trainer.parts(found.tally),
            "kernels": found.trainer.kernels(found.tally),
            "bytes": {
                "weights": found.state.weights,
                "gradients": found.state.gradients,
                "optimiser": found.state.optimiser,
                "activations": found.activations.bytes(found.tally.recomputed_fraction()),
            },
            "used_bytes": found.used_bytes(),
            "useful_chip_s": paid.useful_chip_seconds,
            "goodput": paid.goodput.fraction(chips),
            "checkpoint_interval_s": paid.goodput.interval_s(chips),
            "checkpoint_s": paid.goodput.checkpoint.write_s(),
            "mtbf_s": paid.goodput.mtbf_s(chips),
            "wall_s": paid.wall_s(chips),
            "chip_s": paid.chip_seconds(chips),
            "usd": paid.usd(chips),
            "joules": paid.joules(chips),
        }

    return jax.vmap(one)(layouts)


def differentiate(given: Mapping[str, Any], layout: Mapping[str, Any]) -> dict[str, Any]:
    """Return d ln(chip-seconds) / d(input) for every number of ``given``, the layout held."""
    leaves, tree = jax.tree.flatten(given)
    split = TrainingLayout(**layout)

    def value(theta):
        asked = jax.tree.unflatten(tree, [theta[i] for i in range(len(leaves))])
        return jnp.log(bill(asked, costed(_run(asked), split), split.chips()).chip_seconds(split.chips()))

    slopes = jax.jacfwd(value)(jnp.stack([jnp.asarray(leaf, float) for leaf in leaves]))
    return {"given": jax.tree.unflatten(tree, list(slopes))}


def bill(given: Mapping[str, Any], run: Costed, chips: Scalar) -> RunBill:
    """Return the bill of a run of ``given["tokens"]``; checkpoints go to a store that grows with the chips."""
    asked = given["bill"]
    useful = given["tokens"] / run.tokens_per_s_per_chip()
    return RunBill(useful, _goodput(given, chips), asked["usd_per_chip_s"], asked["power_w"], asked["pue"])


def _goodput(given: Mapping[str, Any], chips: Scalar) -> Goodput:
    asked = given["bill"]
    store = Checkpoint(CHECKPOINT_BYTES * given["params"], asked["store_bytes_per_s_per_chip"] * chips)
    return Goodput(asked["chip_mtbf_s"], asked["restart_s"], store, asked["planned_s"])


def _run(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` with the chip's rates put where its kernels meet them."""
    chip = given["chip"]
    wide, narrow = chip["wide_flops_per_s"], chip["narrow_flops_per_s"]
    kernels = given["device"]
    formats = {
        role: {**one, "flops_per_s": narrow if role in ("attention", "dense") else wide}
        for role, one in kernels["formats"].items()
    }
    rates = {name: value for name, value in chip.items() if name in kernels}
    device = {**kernels, **rates, "formats": formats, "bf16_flops_per_s": wide, "expert_flops_per_s": narrow}
    decoder = given.get("decoder") or Decoder.of(given["model"])
    return {**given, "decoder": decoder, "device": device, "hbm_bytes": chip["hbm_bytes"]}


def plan(asked: Mapping[str, Any], machine: Mapping[str, Any], grid: Mapping[str, Any]) -> dict[str, Any]:
    """Return the best rate and goodput of runs of typical models, for n ``points`` and c numbers of chips.

    ``asked`` holds the law of shapes, the law of the batch and what the points share, ``machine`` a chip, its kernels,
    trainer and bill. ``grid`` has the ``points`` (ln of active parameters and of tokens, and of experts where
    models have some), ``shapes``, ``spreads`` and
    ``chips``, as multiples of those that would be done in ``asked["days"]`` at `TYPICAL_MFU`, one at least. Copies and
    micro-batches are fractions while planning; layouts that do not fit, or leave copies without a whole micro-batch, do
    not count: rates are 0 where none do. ``layout`` numbers the best, shape by shape.
    """
    law = ShapeLaw(**asked["shape"])

    def point(log_N: Scalar, log_D: Scalar, *log_E: Scalar) -> dict[str, Any]:
        model = law.transformer(jnp.exp(log_N), *map(jnp.exp, log_E))
        tokens = jnp.exp(log_D)
        batch = BatchLaw(**asked["batch"]).batch_tokens(tokens)
        given = {
            **machine,
            **asked["run"],
            "decoder": model.decoder(sparse=bool(log_E)),
            "params": model.total_params(),
            "tokens": tokens,
            "sequences": batch / asked["run"]["sequence_tokens"],
        }
        busy_s = 6.0 * model.params * tokens / machine["chip"]["narrow_flops_per_s"]
        typical = busy_s / (TYPICAL_MFU * asked["days"] * configs.DAY_S)

        def one(shape: Mapping[str, Any], spread: Mapping[str, Any], chips: Scalar) -> Scalar:
            dp = chips / (shape["tp"] * shape["cp"] * spread["pp"])
            layout = TrainingLayout(**shape, **spread, dp=dp)
            found = costed(_run(given), layout, whole=False)
            many = found.tally.micro_batches
            turns = (spread["vp"] <= 1) | (many >= spread["pp"])
            room = machine["chip"]["hbm_bytes"] * (1.0 - RESERVED_FRACTION)
            fits = (dp >= 1.0) & turns & (found.used_bytes() <= room) & (found.sequences <= given["sequences"] * 1.0001)
            fits = fits & (spread["pp"] <= model.layers) & (shape["ep"] <= shape["tp"] * shape["cp"] * dp)
            return jnp.where(fits, found.tokens_per_s_per_chip(), 0.0)

        counts = jnp.maximum(typical * grid["chips"], 1.0)
        rates = jax.vmap(
            lambda shape: jax.vmap(lambda spread: jax.vmap(lambda n: one(shape, spread, n))(counts))(grid["spreads"])
        )(grid["shapes"])
        flat = jnp.reshape(jnp.asarray(rates), (-1, counts.shape[0]))  # layouts by numbers of chips
        goodput = jax.vmap(lambda n: _goodput(given, n).fraction(n))(counts)
        return {"rates": flat.max(axis=0), "layout": flat.argmax(axis=0), "goodput": goodput, "chips": counts}

    points = grid["points"]
    return jax.vmap(point)(*(points[name] for name in ("log_N", "log_D", "log_E") if name in points))
