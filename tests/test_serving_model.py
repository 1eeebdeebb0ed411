"""The serving model's parts: work counted against independent sums, limits, layouts, gradients, and its two forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import configs
from planner.estimate.layouts import Split, layouts
from planner.model.decoder import Decoder
from planner.model.generic import generic_model
from planner.model.numbers import decoder_numbers
from planner.serving.curve import instance_of
from planner.serving.numbers import device_numbers, energy_numbers, engine_numbers, recipe_of
from planner.serving.ops import ExpertLayer, Load, Matmul, Message
from planner.serving.steady import Lengths, batch_at, blend
from planner.serving.work import Pass

DENSE, EXPERTS, LATENT = "llama-3.3-70b", "qwen3-235b-a22b", "deepseek-v3"


def numbers(model=DENSE, chip="h100-sxm", precision="fp8", split=None, closed=False):
    split = split or Split(8, 1, 1, 1)
    facts, hardware = configs.load_model(model), configs.load_chip(chip)
    profile = configs.load_engine("tensorrt-llm")
    how = recipe_of(facts, precision)
    return {
        "model": decoder_numbers(facts),
        "layout": {k: float(v) for k, v in split._asdict().items()},
        "device": device_numbers(hardware, configs.kernels_of(hardware), profile, how, closed),
        "engine": engine_numbers(profile),
        "hbm_bytes": hardware.visible_bytes,
        "lengths": [1024.0, 0.0, 1024.0],
        "energy": energy_numbers(hardware, how),
    }


def load(decoding=64.0, prompts=0.0, context=1536.0, new=1024.0, cached=0.0):
    return Load(decoding, context, prompts, new, cached)


@pytest.mark.parametrize("name", configs.ids("models"))
def test_products_with_weights_multiply_by_every_active_parameter(name):
    """2 FLOPs per active parameter and token: what `configs.count` counts, found again in the list of work."""
    facts = configs.load_model(name)
    model = Decoder.of(decoder_numbers(facts))
    layout = instance_of(numbers()).layout
    one = jax.tree.map(lambda x: 1.0, layout)
    tokens = 8.0
    flops = 0.0
    for op in Pass(model, one, Load(tokens, 100.0, 0.0, 1.0, 0.0)).work():
        if isinstance(op, Matmul):
            flops += float(2.0 * op.count * op.rows * op.n * op.k)
        if isinstance(op, ExpertLayer):
            each = op.block.matrices * op.hidden * op.block.width
            flops += float(2.0 * op.count * op.tokens * op.block.topk * each)
    active = configs.count(facts)[1]
    table = facts.vocab * facts.d_model  # one embedding is looked up, not multiplied
    expected = 2.0 * tokens * (active - (0.0 if facts.tied_embeddings else table))
    assert flops == pytest.approx(expected, rel=0.01), "the work list and the count of parameters differ"


@pytest.mark.parametrize("name", [DENSE, EXPERTS, LATENT, "gpt-oss-120b", "llama-4-maverick"])
def test_weights_of_a_chip_add_up_to_the_model(name):
    facts = configs.load_model(name)
    whole = instance_of(numbers(name, precision="bf16", split=Split(1, 1, 1, 1)))
    # Everything in bf16 weighs 2 bytes a parameter.
    assert float(whole.weight_bytes()) == pytest.approx(2.0 * configs.count(facts)[0], rel=0.01)


@pytest.mark.parametrize("split", [Split(8, 1, 1, 1), Split(4, 2, 1, 1), Split(2, 4, 1, 1), Split(1, 8, 1, 1)])
def test_layouts_of_a_dense_model_share_its_weights(split):
    whole = float(instance_of(numbers(split=Split(1, 1, 1, 1))).weight_bytes())
    part = float(instance_of(numbers(split=split)).weight_bytes())
    # A pipeline's first and last stage hold one embedding each whatever their share: up to 2 GB in bf16.
    assert whole / 8 <= part * 1.001
    assert part <= whole / 8 + 2.0 * 128256 * 8192 * 2.0 / split.tp


def test_kv_heads_are_copied_beyond_their_number():
    at = {tp: float(instance_of(numbers(split=Split(tp, 1, 1, 1))).sequence_bytes(1000.0)) for tp in (1, 4, 8, 16, 64)}
    assert at[1] == 1000.0 * configs.kv_elements_per_token(configs.load_model(DENSE))  # fp8: a byte each
    assert at[4] == at[1] / 4
    assert at[8] == at[16] == at[64] == at[1] / 8  # 8 KV heads


def test_latents_are_copied_to_every_chip_and_spread_by_attention_copies():
    tensor = instance_of(numbers(LATENT, "b200-sxm", split=Split(8, 1, 1, 8)))
    copies = instance_of(numbers(LATENT, "b200-sxm", split=Split(1, 1, 8, 8)))
    assert float(tensor.sequence_bytes(1000.0)) == float(copies.sequence_bytes(1000.0))
    few, many = (float(x.limits(2048.0, 1.0)["memory"]) for x in (tensor, copies))
    assert many > 4.0 * few, "eight copies of attention hold eight times the sequences, less their extra weights"


def test_windows_bound_what_is_cached():
    model = instance_of(numbers("gpt-oss-120b", "h100-sxm", "mxfp4", split=Split(1, 1, 1, 1)))
    facts = configs.load_model("gpt-oss-120b")
    for tokens in (64.0, 128.0, 4096.0):
        expected = 2.0 * configs.kv_elements(facts, tokens)  # bf16 cache
        assert float(model.sequence_bytes(tokens)) == pytest.approx(expected, rel=1e-12)


def test_a_share_of_the_experts_is_read():
    """Experts touched by B tokens: 1 - (1 - k/E)^B of them; a step's expert bytes saturate at all."""
    device = instance_of(numbers(EXPERTS, "h200-sxm", split=Split(1, 1, 8, 8)))
    block = configs.load_model(EXPERTS).layers[0].feedforward
    for batch in (1.0, 32.0, 4096.0):
        step = device.step(load(batch))
        one = block.matrices * 4096.0 * block.width
        touched = 1.0 - (1.0 - block.topk / block.experts) ** batch
        moved = sum(float(t.hbm_bytes) for t in step.times["experts"])
        assert moved == pytest.approx(94.0 * touched * block.experts * one / 8.0, rel=1e-6)


@pytest.mark.parametrize("split", [Split(8, 1, 1, 1), Split(2, 2, 2, 4), Split(1, 1, 8, 8)])
@pytest.mark.parametrize("prompts", [0.0, 3.0])
def test_the_tally_is_the_sum_over_ops(split, prompts):
    model = instance_of(numbers(EXPERTS, "h100-sxm", split=split))
    step = model.step(load(128.0, prompts))
    by_op = float(sum(step.seconds(model.engine).values()))
    assert float(model.engine.total(step.tally())) == pytest.approx(by_op, rel=1e-12)


def test_one_chip_sends_nothing_and_one_stage_hands_nothing_on():
    step = instance_of(numbers(split=Split(1, 1, 1, 1))).step(load())
    assert float(sum(t.seconds for t in step.times["all-reduce"])) == 0.0
    assert float(sum(t.seconds for t in step.times["pipeline"])) == 0.0
    work = Pass(Decoder.of(decoder_numbers(configs.load_model(DENSE))), instance_of(numbers()).layout, load()).work()
    reduces = sum(float(op.count) for op in work if isinstance(op, Message) and op.kind == "all_reduce")
    assert reduces == 2.0 * 80.0  # after attention and after the feed-forward block of each layer


def test_parallel_blocks_reduce_once_per_layer():
    facts = configs.load_model("palm-540b")
    work = Pass(Decoder.of(decoder_numbers(facts)), instance_of(numbers()).layout, load()).work()
    assert sum(float(op.count) for op in work if isinstance(op, Message) and op.kind == "all_reduce") == 118.0


def test_a_batch_costs_more_and_each_token_less():
    model = instance_of(numbers())
    lengths = Lengths(1024.0, 0.0, 1024.0)
    batches = np.geomspace(1.0, 2048.0, 40)
    state = blend(model, lengths, batches)
    step = np.asarray(state.step_s(model.engine))
    # Tiles and waves make single steps of the sharp form fall by some per cent as rows fill up.
    assert (np.diff(step) > -0.05 * step[:-1]).all()
    assert (np.diff(batches / step) > 0).mean() > 0.9
    assert step[-1] < 2048.0 * step[0] / 100.0, "sharing the weights must pay"


@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 4000.0), st.floats(100.0, 20000.0), st.floats(1.0, 4000.0))
def test_steady_state_conserves_requests(batch, input_tokens, output_tokens):
    """Over the passes of one request each sequence's prompt enters once, whatever the lengths."""
    model = instance_of(numbers())
    state = blend(model, Lengths(input_tokens, 0.0, output_tokens), batch)
    entering = float(state.share * state.together)  # prompts per pass
    assert entering * output_tokens == pytest.approx(batch, rel=1e-9)
    assert 0.0 < float(state.share) <= 1.0
    assert float(state.ttft_s(model.engine)) > 0.0


@pytest.mark.parametrize("batch", [1.0, 2.0, 16.0])
def test_residence_obeys_littles_law(batch):
    """In a closed loop sequences in flight are requests per second times the time of a request: little is left out."""
    model, lengths = instance_of(numbers()), Lengths(4096.0, 0.0, 256.0)
    state = blend(model, lengths, batch)
    requests_per_s = float(state.output_tokens_per_s(model.engine)) / 256.0
    residence = float(state.ttft_s(model.engine) + 255.0 * state.tpot_s(model.engine))
    # A request also waits for the pass under way, and behind prompts that enter with it: the loop counts neither.
    assert requests_per_s * residence == pytest.approx(batch, rel=0.08)


def test_the_batch_at_a_rate_gives_that_rate():
    model = instance_of(numbers())
    lengths = Lengths(1024.0, 0.0, 256.0)
    batches = jnp.geomspace(1.0, 1024.0, 60)
    rates = blend(model, lengths, batches).output_tokens_per_s(model.engine)
    for wanted in (150.0, 1000.0, 5000.0):
        batch = batch_at(wanted, batches, rates)
        got = float(blend(model, lengths, batch).output_tokens_per_s(model.engine))
        assert got == pytest.approx(wanted, rel=0.02)  # interpolated between steps of 12 %


def test_gradients_equal_differences():
    """d ln(step) by every number that is not a tile's or a wave's: exact against central differences."""
    asked = numbers(closed=True)

    def seconds(scale, path):
        changed = jax.tree.map(lambda x: x, asked)
        *heads, last = path
        node = changed
        for head in heads:
            node = node[head]
        node[last] = node[last] * scale
        model = instance_of(changed, convex=True)
        return jnp.log(model.engine.total(model.step(load(100.0, 1.0)).tally()))

    with jax.enable_x64(True):
        for path in (
            ("device", "hbm_bytes_per_s"), ("device", "link_bytes_per_s"), ("device", "bf16_flops_per_s"),
            ("device", "kv_bytes"), ("engine", "decode_ratio"), ("engine", "sequence_s"), ("model", "d_model"),
        ):  # fmt: skip
            slope = float(jax.grad(lambda s, p=path: seconds(s, p))(1.0))
            h = 1e-5
            difference = float(seconds(1.0 + h, path) - seconds(1.0 - h, path)) / (2.0 * h)
            assert slope == pytest.approx(difference, rel=1e-5, abs=1e-8), path  # rounding of differences


@pytest.mark.parametrize("model", [DENSE, EXPERTS])
def test_the_convex_form_is_near_the_sharp_one(model):
    """The forms share constants; the convex one knows no tiles, no cache and no untouched expert."""
    sharp, closed = instance_of(numbers(model)), instance_of(numbers(model, closed=True), convex=True)
    for batch in (64.0, 512.0, 2048.0):
        ratio = float(
            closed.engine.total(closed.step(load(batch)).tally()) / sharp.engine.total(sharp.step(load(batch)).tally())
        )
        assert 0.8 < ratio < 1.35


def test_drafts_cost_a_layer_each_and_verification_rows():
    model = instance_of(numbers(LATENT, "b200-sxm", "fp4", split=Split(1, 1, 8, 8)))
    lengths = Lengths(1024.0, 0.0, 1024.0)
    plain = blend(model, lengths, 8.0)
    guessed = blend(model, lengths, 8.0, 3.0, 2.6)
    slower = float(guessed.step_s(model.engine) / plain.step_s(model.engine))
    assert 1.05 < slower < 2.6
    assert float(guessed.tpot_s(model.engine)) < float(plain.tpot_s(model.engine))


def test_every_layout_multiplies_to_the_chips_and_divides_the_model():
    chip, facts = configs.load_chip("h200-sxm"), configs.load_model(LATENT)
    found = layouts(facts, chip, 32)
    assert len(set(found)) == len(found) > 20
    for split in found:
        assert split.chips == 32
        assert 128 % split.tp == 0
        assert 256 % split.ep == 0
        assert (split.tp * split.dp) % split.ep == 0
    assert all(s.dp == 1 for s in layouts(configs.load_model(DENSE), chip, 8)), "copies of a whole model are replicas"


@settings(max_examples=60, deadline=None)
@given(st.floats(1e8, 5e12), st.floats(0.02, 1.0))
def test_generic_models_have_the_size_asked_for(params, share):
    facts = generic_model("x", params, max(params * share, 1e6))
    total, active = configs.count(facts)
    # Experts are whole; a router's d_model x experts come on top where nothing is left to take them from.
    assert total == pytest.approx(params, rel=0.02)
    assert active == pytest.approx(max(params * share, 1e6), rel=0.05 if params * share > 1e8 else 0.2)
