"""One optimiser step: its parts against hand counts, its limits, and gradients against differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs
from planner.model.decoder import Decoder
from planner.model.numbers import decoder_numbers
from planner.runs.constants import kernels
from planner.serving.formats import Recipe
from planner.serving.numbers import device_numbers
from planner.serving.ops import Matmul
from planner.training.layout import TrainingLayout
from planner.training.states import Activations, Held
from planner.training.step import Trainer, tally
from planner.training.work import converted_elements, expert_rows, micro_batch

LLAMA = configs.load_model("llama-3.1-8b")
DEEPSEEK = configs.load_model("deepseek-v3")


def layout(**changes):
    plain = {"tp": 1.0, "pp": 1.0, "vp": 1.0, "cp": 1.0, "ep": 1.0, "dp": 8.0, "micro_batch": 1.0, "sharded": 0.0}
    return TrainingLayout(**{**plain, **changes})


def device(chip="h100-sxm", form="bf16"):
    facts, engine = configs.load_chip(chip), configs.load_engine("tensorrt-llm")
    how = Recipe(attention=form, dense=form, experts=form, kv="bf16")
    return device_numbers(facts, kernels(facts, engine), engine, how, closed=False)


def trainer(**changes):
    return Trainer(**{**configs.load_trainer("megatron").profile, **changes})


def given(model=LLAMA, chip="h100-sxm", tokens=8192.0, recomputed=0.0, form="bf16", **changes):
    plain = {
        "decoder": Decoder.of(decoder_numbers(model)),
        "params": model.params,
        "device": device(chip, form),
        "hbm_bytes": configs.load_chip(chip).visible_bytes,
        "sequence_tokens": tokens,
        "narrow": float(form != "bf16"),
        "older": 0.0,
        "recomputed": recomputed,
        "expert_load": 1.0,
        "reversible": 0.0,
        "overlapped": 0.0,
    }
    return {**plain, **changes}


def step(model=LLAMA, chip="h100-sxm", tokens=8192.0, sequences=128.0, recomputed=0.0, form="bf16", **changes):
    return tally(given(model, chip, tokens, recomputed, form), layout(**changes), sequences)[0]


def kept(model, split, tokens, many, reversible=0.0):
    decoder = Decoder.of(decoder_numbers(model))
    work = [op for op in micro_batch(decoder, split, tokens).forward if op.name != "head"]
    return Activations.of(decoder, work, split, tokens, many, reversible)


def flops_of(work):
    return sum(float(2.0 * op.count * op.rows * op.n * op.k) for op in work if isinstance(op, Matmul))


@pytest.mark.parametrize(
    ("model", "split"),
    [(LLAMA, {}), (LLAMA, {"tp": 4.0, "pp": 2.0}), (LLAMA, {"cp": 2.0}), (LLAMA, {"micro_batch": 4.0})],
)
def test_products_are_six_flops_per_parameter_and_token(model, split):
    """2 N forward, 4 N backward: all parameters but the table that tokens are looked up in."""
    one = layout(**split)
    work = micro_batch(Decoder.of(decoder_numbers(model)), one, 4096.0)
    tokens = float(one.micro_batch) * 4096.0 / float(one.cp)
    used = model.params - model.vocab * model.d_model
    expected = 2.0 * used * tokens / float(one.tp * one.pp)
    # Norms hold 0.003 % of the parameters and multiply nothing.
    assert flops_of(work.forward) == pytest.approx(expected, rel=1e-3)
    assert flops_of(work.gradients) == pytest.approx(2.0 * flops_of(work.forward), rel=1e-12)


def test_experts_see_each_token_top_k_times():
    work = micro_batch(Decoder.of(decoder_numbers(DEEPSEEK)), layout(ep=64.0, dp=64.0), 4096.0)
    layers = sum(x.count for x in DEEPSEEK.layers if isinstance(x.feedforward, configs.ExpertsFacts))
    assert float(expert_rows(work.experts)) == pytest.approx(layers * 4096.0 * 8.0, rel=1e-9)
    assert float(converted_elements(work.forward)) > 4096.0 * DEEPSEEK.d_model


def test_held_parameters_add_up():
    decoder = Decoder.of(decoder_numbers(DEEPSEEK))
    one = Held.of(decoder, DEEPSEEK.params, layout(pp=16.0, ep=64.0, dp=128.0))
    # All stages together: non-experts once per stage, experts once per 64 chips.
    assert float(16.0 * (one.shared + 64.0 * one.experts)) == pytest.approx(DEEPSEEK.params, rel=1e-9)
    plain = Held.of(decoder, DEEPSEEK.params, layout(dp=1.0))
    # bf16 weights, float32 gradients, master weights and two moments: 18 bytes a parameter on one chip.
    assert float(plain.states(layout(dp=1.0)).total()) == pytest.approx(18.0 * DEEPSEEK.params, rel=1e-9)


def test_sharding_divides_all_states_and_stage_one_only_the_optimiser():
    decoder = Decoder.of(decoder_numbers(LLAMA))
    held = Held.of(decoder, LLAMA.params, layout())
    assert float(held.states(layout(sharded=1.0)).total()) == pytest.approx(18.0 * LLAMA.params / 8.0)
    assert float(held.states(layout()).total()) == pytest.approx(6.0 * LLAMA.params + 12.0 * LLAMA.params / 8.0)


def test_stage_two_holds_whole_weights_and_shares_of_all_else():
    """2 bytes a parameter whole, 4 + 12 over the copies: Rajbhandari et al. 2020, figure 1, P_os+g."""
    held = Held.of(Decoder.of(decoder_numbers(LLAMA)), LLAMA.params, layout())
    state = held.states(layout(sharded_gradients=1.0))
    assert float(state.weights) == pytest.approx(2.0 * LLAMA.params)
    assert float(state.gradients) == pytest.approx(4.0 * LLAMA.params / 8.0)
    assert float(state.optimiser) == pytest.approx(12.0 * LLAMA.params / 8.0)
    whole = held.states(layout(sharded=1.0, sharded_gradients=1.0))
    assert float(whole.total()) == pytest.approx(18.0 * LLAMA.params / 8.0)


def test_stage_two_sums_gradients_after_every_micro_batch_and_gathers_weights_once():
    one = trainer(overlap_fraction=0.0)
    splits = {"states": {}, "gradients": {"sharded_gradients": 1.0}, "weights": {"sharded": 1.0}}
    told = {name: step(sequences=64.0, dp=8.0, **split) for name, split in splits.items()}
    exposed = {name: float(one.parts(each)["exposed"]) for name, each in told.items()}
    gather, scatter = float(told["states"].gather_s), float(told["states"].scatter_s)
    assert exposed["states"] == pytest.approx(gather + 2.0 * scatter, rel=1e-9)
    assert exposed["gradients"] == pytest.approx(gather + 8.0 * scatter, rel=1e-9)
    assert exposed["weights"] == pytest.approx(16.0 * gather + 8.0 * scatter, rel=1e-9)


def test_activations_of_a_plain_layer_are_korthikantis():
    """34 s b h bytes per layer less 2 of dropout masks, cut over tp with sequence parallelism (equation 2)."""
    model = configs.load_model("gpt-3-175b")
    layers, tokens = sum(layer.count for layer in model.layers), 2048.0
    for tp in (1.0, 8.0):
        one = kept(model, layout(tp=tp, dp=1.0), tokens, 1.0)
        assert float(one.bytes(0.0)) == pytest.approx(32.0 * tokens * model.d_model * layers / tp, rel=0.01)
    inputs = 2.0 * tokens * model.d_model / 8.0
    assert float(one.bytes(1.0)) == pytest.approx(inputs * layers + float(one.kept) / layers, rel=1e-6)
    # Reversible layers keep what goes into one of them.
    backwards = kept(model, layout(tp=8.0, dp=1.0), tokens, 1.0, reversible=1.0)
    assert float(backwards.bytes(1.0)) == pytest.approx(inputs + float(one.kept) / layers, rel=1e-6)


def test_the_first_stage_keeps_a_micro_batch_per_stage():
    found = [float(kept(LLAMA, layout(pp=pp), 2048.0, many).bytes(0.0)) for pp, many in ((1, 16), (4, 16), (4, 2))]
    # A quarter of the layers, four micro-batches: as much as without a pipeline; two are in flight where there are two.
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert found[2] == pytest.approx(0.5 * found[1], rel=1e-9)


def test_no_more_is_computed_again_than_memory_takes():
    """The least whole number of layers: with it activations fit, with one less they do not."""
    one = kept(LLAMA, layout(pp=2.0), 8192.0, 16.0)
    layers = float(one.layers)
    everything, nothing = float(one.bytes(1.0)), float(one.bytes(0.0))
    assert float(one.least_recomputed(nothing)) == 0.0
    assert float(one.least_recomputed(0.5 * everything)) == 1.0
    for room in np.linspace(everything, nothing, 7)[1:-1]:
        share = float(one.least_recomputed(room))
        assert share * layers == pytest.approx(round(share * layers), abs=1e-6)
        assert float(one.bytes(share)) <= room
        assert float(one.bytes(share - 1.0 / layers)) > room or share * layers < 1.5


def test_zero_bubble_schedules_fill_it_with_gradients_of_weights():
    """(p - 1) (F + B - 2 W) instead of (p - 1) (F + B): DeepSeek-V3 report, table 2."""
    one = trainer()
    plain, filled = (one.parts(step(sequences=32.0, pp=4.0, dp=2.0, zero_bubble=flag)) for flag in (0.0, 1.0))
    weights = float(one.weight_gradient_s(step(sequences=32.0, pp=4.0, dp=2.0)))
    assert float(plain["bubble"] - filled["bubble"]) == pytest.approx(3.0 * 2.0 * weights, rel=1e-9)
    assert 0.0 < float(filled["bubble"]) < float(plain["bubble"])


def test_loaded_experts_take_longer_in_proportion():
    split = layout(ep=64.0, dp=64.0)
    even, loaded = (tally(given(DEEPSEEK, tokens=4096.0, expert_load=load), split, 1024.0)[0] for load in (1.0, 1.25))
    assert float(loaded.expert_rows / even.expert_rows) == pytest.approx(1.25, rel=1e-9)
    assert float(loaded.expert_s / even.expert_s) == pytest.approx(1.25, rel=0.1)  # in tiles
    assert float(loaded.gemm_s) == float(even.gemm_s)


def test_the_bubble_is_narayanans():
    """(p - 1) / (v m) of the busy time; 4 stages, 16 micro-batches of dp 2: 3 / 16, halved by two chunks."""
    one = trainer(overlap_fraction=1.0)
    for chunks, share in ((1.0, 3.0 / 16.0), (2.0, 3.0 / 32.0)):
        parts = one.parts(step(sequences=32.0, pp=4.0, vp=chunks, dp=2.0))
        busy = float(parts["forward"] + parts["backward"] + parts["recomputed"])
        assert float(parts["bubble"]) == pytest.approx(share * busy, rel=1e-9)


def test_parts_add_up_and_recomputing_costs_a_forward_pass():
    one = trainer()
    parts, again = one.parts(step()), one.parts(step(recomputed=1.0))
    assert float(one.step_s_of(step())) == pytest.approx(sum(float(x) for x in parts.values()), rel=1e-12)
    assert float(again["recomputed"]) == pytest.approx(float(parts["forward"]), rel=1e-12)
    assert 1.9 < float(parts["backward"] / parts["forward"]) < 3.0


def test_a_step_is_no_faster_than_the_chips_peak():
    for chip in ("a100-sxm", "h100-sxm", "b200-sxm", "tpu-v5p"):
        name = "maxtext-tpu" if chip.startswith("tpu") else "megatron"
        rate = float(Trainer(**configs.load_trainer(name).profile).tokens_per_s_per_chip(step(chip=chip)))
        mfu = 6.0 * LLAMA.params * rate / configs.load_chip(chip).peak_flops_per_s["bf16"]
        assert 0.2 < mfu < 0.8, (chip, mfu)


def test_small_batches_wait_for_gradients():
    """With one micro-batch per copy nothing hides what copies exchange; with many it vanishes."""
    alone, many = (
        trainer(overlap_fraction=0.0).parts(step(sequences=n, dp=512.0, tokens=1024.0)) for n in (512.0, 512.0 * 64)
    )
    share = [float(x["exposed"]) / sum(float(y) for y in x.values()) for x in (alone, many)]
    assert share[0] > 10.0 * share[1] > 0.0


def test_narrow_formats_help_products_and_cost_conversions():
    wide, narrow = step(), step(form="fp8")
    assert float(wide.narrow_gemm_s) == 0.0
    assert 0.0 < float(narrow.gemm_s) < 0.2 * float(wide.gemm_s)  # the head stays as it is
    assert float(narrow.gemm_s + narrow.narrow_gemm_s) < 0.7 * float(wide.gemm_s)
    assert float(narrow.converted_s) > 0.0 == float(wide.converted_s)


def test_gradients_equal_differences():
    """In every rate of the chip, and every parameter of the trainer; tiles are counted, so shapes stay put."""
    base = device()
    rates = ("bf16_flops_per_s", "hbm_bytes_per_s", "link_bytes_per_s", "scale_out_bytes_per_s")
    profile = configs.load_trainer("megatron").profile

    def seconds(theta):
        chip = {**base, **{name: base[name] * jnp.exp(theta[name]) for name in rates}}
        one = Trainer(**{name: value * jnp.exp(theta[name]) for name, value in profile.items()})
        split = layout(tp=4.0, pp=2.0, dp=32.0)
        return jnp.log(one.step_s_of(tally(given(device=chip), split, 512.0)[0]))

    with jax.enable_x64(True):
        zero = {name: jnp.zeros(()) for name in (*rates, *profile)}
        value = jax.jit(seconds)
        slopes = jax.jit(jax.grad(seconds))(zero)
        h = 1e-5
        for name in zero:
            up, down = (value({**zero, name: jnp.asarray(sign * h)}) for sign in (1.0, -1.0))
            # Differences of a value of order one in double precision are good to 1e-11 / h.
            assert float(slopes[name]) == pytest.approx(float((up - down) / (2 * h)), abs=1e-5), name


def test_fields_of_a_profile_are_the_trainers():
    assert set(configs.load_trainer("megatron").profile) == {f.name for f in dataclasses.fields(Trainer)}
    assert np.isfinite(list(configs.load_trainer("maxtext-tpu").profile.values())).all()
