"""The lecture, section A: batch size, latency and cost. Claims 1 to 17."""

import json

import pytest
from lecture import BOARD, F, W, ask, context, decode_s, estimate, frontier, ops, run, short

import configs
from scaling import Conditions, law_of

DENSE = "--params 100B"
SPARSE = "--params 148B --active-params 18.5B"  # total over active 8, as the lecture counts DeepSeek's experts
KV = 174080.0  # bytes per token of the typical 100B


def test_01_fast_modes_are_smaller_batches():
    """2.5 times the speed for 6 times the price is what batch size alone gives, where standard is near 2.7 floors."""
    asked = frontier(f"{DENSE} --chips 1 --tpot-ms 13.4 {context(1050)}")
    fast, standard, batch = asked["tiers"]
    assert standard["tpot_s"] / asked["limits"]["latency_floor_s"] == pytest.approx(2.6, abs=0.1)
    assert fast["speedup"] == pytest.approx(2.5, rel=0.01)
    assert fast["price_multiple"] == pytest.approx(6.0, rel=0.05)  # the curve is steep here: 10.7 at 13 ms, 3.9 at 14
    # Should a hundred times the price buy more? It buys one sequence at a time, and that is the floor.
    alone = asked["points"][0]
    assert alone["usd_per_mtok_output"] / standard["usd_per_mtok_output"] > 100.0
    assert alone["tpot_s"] == pytest.approx(asked["limits"]["latency_floor_s"], rel=0.01)
    # A slow mode saves little: with a train every 13 ms the batch is beyond the knee.
    assert batch["price_multiple"] > 0.95


def test_01_speculation_is_a_second_effect():
    one = estimate(f"{DENSE} --batch 16 --draft-tokens 2 --accept-tokens 2 {short()}")["speculation"]
    assert 1.8 < one["speedup"] < 2.0  # two tokens a step, less drafting


@pytest.mark.parametrize("batch", [1, 30, 100, 300, 1000, 2500])
def test_02_a_step_is_the_longer_of_arithmetic_and_memory(batch):
    roof = max(batch * 2 * 100e9 / F, 100e9 / W)
    # At the knee the soft maximum of the products and their activations add; else attention and the head, in bf16.
    slack = 0.35 if batch == 300 else 0.08
    assert roof <= decode_s(f"{DENSE} --batch {batch} {short()}") < (1.0 + slack) * roof


def test_03_arithmetic_is_two_flops_per_active_parameter():
    """The lecture's operation is a multiplication and an addition; attention's own are left out."""
    for model, active in ((DENSE, 100e9), (SPARSE, 18.5e9)):
        rows = ops(estimate(f"{model} --batch 300 {context(1050)}"))
        flops = sum(row["flops"] for name, row in rows.items() if not name.endswith(" attention"))
        assert flops == pytest.approx(300 * 2 * active, rel=0.05)  # the embedding is looked up, not multiplied


def test_04_memory_is_the_weights_once_and_every_cache():
    answer = estimate(f"{DENSE} --batch 300 {context(1050)}")
    assert answer["model"]["kv_bytes_per_token"] == KV
    rows = ops(answer)
    assert rows["decode attention"]["bytes"] == pytest.approx(300 * 1050 * KV, rel=1e-6)
    weights = sum(row["bytes"] for row in ops(estimate(f"{DENSE} --batch 1 {short()}")).values())
    assert weights == pytest.approx(100e9, rel=0.01)
    # So does the time: the cache's line comes on top of the products.
    both, products = (decode_s(f"{DENSE} --batch 30 {lengths}") for lengths in (context(1050), short()))
    assert both - products == pytest.approx(30 * (1050 - 51) * KV / W, rel=0.01)


@pytest.mark.parametrize("model", [DENSE, SPARSE, "--model deepseek-v3 --tp 8 --ep 8"])
def test_05_a_token_costs_hundreds_of_times_more_without_batching(model):
    """Up to a thousand. By roofline 300: one sequence reads only the experts it uses, which the lecture leaves out."""
    curve = estimate(f"{model} --batch 1 {short()}")["curve"]
    assert 250 < curve[0]["usd_per_mtok_output"] / curve[-1]["usd_per_mtok_output"] < 1000


def test_06_deepseek_v3():
    model = estimate("--model deepseek-v3 --tp 8 --ep 8")["model"]
    assert model["active_params"] == pytest.approx(37e9, rel=0.02)
    assert model["params"] == pytest.approx(671e9, rel=0.005)  # "about 700"


def test_07_decode_attention_waits_for_memory():
    row = ops(estimate(f"--model llama-3-70b --batch 64 {context(8050)}"))["decode attention"]
    assert row["bound"] == "memory"
    # Eight query heads share a KV head: 16 FLOPs per byte of fp8 against the chip's 300 in bf16, at any length.
    assert row["flops"] / row["bytes"] == pytest.approx(16.0)
    # Not so where 128 heads share one latent (MLA): there attention is the arithmetic of a large product.
    latent = ops(estimate(f"--model deepseek-v3 --dp 64 --ep 64 --batch 6400 {context(8050)}"))["decode attention"]
    assert latent["flops"] / latent["bytes"] > 300


def test_08_latency_has_a_floor_and_then_rises():
    answer = estimate(f"{DENSE} --batch 1 {short()}")
    assert answer["latency_floor_s"] == pytest.approx(100e9 / W, rel=0.01)
    times = [row["tpot_s"] for row in answer["curve"]]
    assert times == sorted(times)
    assert times[0] == pytest.approx(answer["latency_floor_s"], rel=0.01)
    assert times[-1] / times[-2] == pytest.approx(2.0, rel=0.01)  # a line through the origin


def test_09_beyond_the_balanced_context_utilisation_halves_with_its_double():
    balanced = frontier(f"{DENSE} --chips 1 {context(1050)}")["limits"]["balanced_context_tokens"]
    assert balanced == pytest.approx(100e9 / 300 / KV, rel=0.05)

    def mfu(tokens):
        rate = estimate(f"{DENSE} --batch 1 {context(tokens)}")["curve"][-1]["output_tokens_per_s"]
        return rate * 2 * 100e9 / F

    assert mfu(200_000) / mfu(100_000) == pytest.approx(0.5, rel=0.02)
    # Attention follows the products here instead of running beside them: L* / (L* + L), not min(1, L* / L).
    assert mfu(200_000) == pytest.approx(balanced / (balanced + 200_000), rel=0.05)


def test_09_sparse_attention_reads_less_but_not_by_a_root():
    """DeepSeek's reads 2,048 tokens at any length and an index of all: a line too, of 128 bytes for 576 a token."""
    whole, sparse = (
        [decode_s(f"--model {model} --tp 8 --ep 8 --batch 32 {context(n)}") for n in (50_000, 100_000)]
        for model in ("deepseek-v3", "deepseek-v3.2")
    )
    assert (sparse[1] - sparse[0]) / (whole[1] - whole[0]) == pytest.approx(128 / 576, rel=0.2)
    assert sparse[1] < whole[1]


def test_10_weights_are_amortised_and_arithmetic_and_caches_are_not():
    per_token = 1e6 * 2.0 / 3600  # two dollars per chip-hour
    rows = estimate(f"{DENSE} --batch 1 {context(1050)}")["curve"]
    cost = [row["usd_per_mtok_output"] for row in rows]
    assert cost == sorted(cost, reverse=True)
    for row in rows[:6]:  # the hyperbola
        least = per_token * (100e9 / W / row["batch"] + 1050 * KV / W)
        assert row["usd_per_mtok_output"] == pytest.approx(least, rel=0.02)
    # The lecture's limit is the larger of the two, as if they overlapped; one after the other they add up.
    limits = frontier(f"{DENSE} --chips 1 {context(1050)}")["limits"]
    expected = per_token * (2 * 100e9 / F + 1050 * KV / W)
    assert limits["slow_usd_per_mtok_output"] == pytest.approx(expected, rel=0.02)
    assert cost[-1] == pytest.approx(limits["slow_usd_per_mtok_output"], rel=0.01)


@pytest.mark.parametrize(
    ("chip", "precision", "ratio"),
    [("a100-sxm", "bf16", 153), ("h100-sxm", "bf16", 295), ("h100-sxm", "fp8", 295), ("b200-sxm", "bf16", 292),
     ("b200-sxm", "fp8", 292), ("b200-sxm", "fp4", 292 * 4.5 / 4)],
)  # fmt: skip
def test_11_the_balanced_batch_is_300(chip, precision, ratio):
    """Stable from H100 to B200 in every format, but for the scales read with FP4; A100 has half of it."""
    asked = ask(f"frontier --params 8B --chip {chip} --precision {precision} --engine ideal --chips 1")
    ideal = asked["limits"]["ideal_batch"]
    assert ideal["blackboard"] == pytest.approx(ratio, rel=0.01)
    # Op by op it is more: activations move too, and heads and embeddings stay in bf16.
    assert 1.0 < ideal["datasheet"] / ratio < (1.3 if precision == "fp4" else 1.2)


def test_12_sparsity_multiplies_the_balanced_batch():
    ideal = frontier(f"{SPARSE} --chips 1")["limits"]["ideal_batch"]
    assert ideal["blackboard"] == pytest.approx(2400)
    assert ideal["datasheet"] == pytest.approx(2400, rel=0.1)
    assert ideal["with_kv"] is None or ideal["with_kv"] > ideal["datasheet"]  # caches push it up
    # DeepSeek routes to 8 of 256 and has one shared expert: 18 by parameters, not the 8 of "32 of 256".
    sized = frontier("--params 671B --active-params 37B --tp 8 --ep 8")["limits"]["ideal_batch"]
    assert sized["blackboard"] == pytest.approx(5440, abs=1)
    assert estimate("--model deepseek-v3 --tp 8 --ep 8")["ideal_batch"] == pytest.approx(5440, rel=0.1)


def test_13_the_balanced_batch_does_not_depend_on_size():
    found = [estimate(f"--params {size} --tp 8")["ideal_batch"] for size in ("70B", "100B", "405B")]
    assert max(found) / min(found) < 1.1
    found = [frontier(f"--params {size} --tp 8")["limits"]["ideal_batch"]["blackboard"] for size in ("70B", "405B")]
    assert found == pytest.approx([300.0, 300.0])


def test_14_a_train_leaves_every_20_ms_and_at_worst_takes_40():
    schedule = frontier(f"{DENSE} --chips 4 --tpot-ms 20")["schedule"]
    assert schedule["interval_s"] == pytest.approx(0.020, rel=0.01)
    assert schedule["worst_wait_s"] == schedule["interval_s"]
    assert schedule["worst_latency_s"] == pytest.approx(0.040, rel=0.01)


def test_15_the_interval_is_the_time_to_read_all_memory():
    limits = frontier(f"{DENSE} --chips 4 --tpot-ms 20")["limits"]
    assert limits["drain_s"] == pytest.approx(0.0144)  # "about 15 ms"
    # A full chip whose arithmetic is hidden takes just that: long contexts, few sequences.
    full = estimate(f"{DENSE} {context(20_050)}")
    memory = full["memory_bytes"]
    assert memory["free"] < 0.02 * memory["total"]
    assert full["tpot_s"] == pytest.approx(limits["drain_s"], rel=0.03)
    # "15 to 20 ms over several generations": 20 to 42 among those that ship.
    for chip in ("a100-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "b300-sxm", "tpu-v6e", "tpu-v7"):
        drain = ask(f"frontier --params 8B --chip {chip} --precision bf16 --engine ideal --chips 1")["limits"][
            "drain_s"
        ]
        assert 0.015 < drain < 0.045, chip


def test_16_the_smallest_efficient_instance():
    """A balanced batch per drain time: 2,000 per 1/64 s is 128k tokens per second."""
    full = estimate(f"{SPARSE} --disaggregated {context(650)}")
    assert full["batch"] == pytest.approx(2000, rel=0.1)
    assert full["disaggregated"]["tpot_s"] == pytest.approx(1 / 64, rel=0.1)
    assert full["output_tokens_per_s"] == pytest.approx(128_000, rel=0.1)
    assert full["output_tokens_per_s"] * 1000 > 100e6  # a thousandth of hundreds of millions
    # `frontier` says the same of the replica that it would build, at the tier that it would run.
    least = frontier(f"{SPARSE} --chips 1 --tpot-ms 17 {context(650)}")["smallest_efficient"]
    assert least["output_tokens_per_s"] == pytest.approx(128_000, rel=0.1)


def test_17_64_experts_are_worth_four_times_the_parameters():
    """370M with 64 experts like a dense 1.3B (Clark et al. 2022, at 130 B tokens); by Ludziejewski et al. 2025 1.6B."""
    form, tokens = configs.load_law("ludziejewski-2025").coefficients, 130e9
    sparse, dense = (law_of(form, Conditions(experts=experts)) for experts in (64.0, 1.0))
    same = float(dense.params_for_loss(tokens, sparse.loss(370e6, tokens)))
    assert same / 370e6 == pytest.approx(4.0, rel=0.1)
    assert same == pytest.approx(1.3e9, rel=0.25)


def test_17_more_sparsity_is_pure_win_until_users_or_memory_run_out():
    form, tokens = configs.load_law("ludziejewski-2025").coefficients, 130e9
    losses = [float(law_of(form, Conditions(experts=x)).loss(370e6, tokens)) for x in (1.0, 4.0, 16.0, 64.0, 256.0)]
    assert losses == sorted(losses, reverse=True)  # at the same arithmetic per token
    # (a) users: the batch that amortises all experts grows as fast; (b) memory.
    found = [estimate(f"--params {n} --active-params 37B --tp 8 --ep 8")["ideal_batch"] for n in ("296B", "592B")]
    assert found[1] / found[0] == pytest.approx(2.0, rel=0.15)
    code, out, _ = run(f"estimate {BOARD} --params 4T --active-params 37B --chips 8 --json")
    assert (code, json.loads(out)["binding_limit"]) == (3, "memory")
