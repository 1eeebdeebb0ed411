"""The lecture, sections B to D: experts on racks, pipelines across them, the memory wall. Claims 18 to 31."""

import json

import pytest
from lecture import BOARD, CHIP, ROOT, SEEN, W, ask, context, decode_s, estimate, ops, run, short

import configs

DEEPSEEK = "--model deepseek-v3"
RACK = f"{DEEPSEEK} --dp 64 --ep 64"  # one chip, four experts
PER_CHIP = 300  # sequences that each chip decodes
SEQUENCES = f"--batch {64 * PER_CHIP} {context(4050)}"


def test_18_256_experts_over_64_chips_are_4_each():
    layout = estimate(f"{RACK} {SEQUENCES}")["layout"]
    assert layout["experts_per_chip"] == 4.0
    assert estimate(f"--params 100B --batch 1 {short()}")["layout"]["experts_per_chip"] is None
    code, _, error = run(f"estimate {BOARD} {DEEPSEEK} --dp 72 --ep 72")  # eight of a rack's 72 are spare
    assert code == 2
    assert "--ep = 72 must divide" in error
    # Two all-to-alls per layer, to the experts and back: 58 layers, 2 and 1 bytes per element each way.
    seen = ops(estimate(f"{RACK} {SEQUENCES}", SEEN))
    reached = 64 * (1 - (1 - 1 / 64) ** 8)  # chips, of which some hold two of a token's eight experts
    each = 58 * PER_CHIP * 7168 * reached * 63 / 64
    assert [seen[name]["bytes"] / each for name in ("dispatch", "combine")] == pytest.approx([1.0, 2.0], rel=0.02)


def test_20_experts_on_two_racks_wait_for_the_slow_network():
    """About half of what is sent then crosses it, at an eighth of the rate: four times as long, and as long as before
    beside it."""
    one, two = (
        ops(estimate(f"{DEEPSEEK} --dp {n} --ep {n} --batch {n * PER_CHIP} {context(4050)}", SEEN)) for n in (64, 128)
    )
    times = [rows["dispatch"]["seconds"] + rows["combine"]["seconds"] for rows in (one, two)]
    assert times[1] / times[0] == pytest.approx(5.0, rel=0.15)
    sent = [rows["dispatch"]["bytes"] + rows["combine"]["bytes"] for rows in (one, two)]
    assert sent[1] / sent[0] == pytest.approx(1.0, abs=0.05)


def test_21_scale_up_went_from_8_to_72():
    """Rubin's 500 or so are announced, not shipped: none of the chips."""
    chips = {row["id"]: row for row in ask("list chips")["items"]}
    assert [chips[name]["domain_chips"] for name in ("a100-sxm", "h100-sxm", "gb200")] == [8, 8, 72]


def test_22_total_parameters_are_bounded_by_the_scale_up_domain():
    chips = {row["id"]: row for row in ask("list chips")["items"]}
    box, rack = (chips[name]["hbm_bytes"] * chips[name]["domain_chips"] for name in ("h100-sxm", "gb200"))
    assert box == pytest.approx(640e9)
    assert 10e12 < rack < 20e12
    model = "--params 5T --active-params 100B --precision fp8"
    fits = ask(f"estimate {model} --chip gb200 --dp 64 --ep 64 --engine ideal")["memory_bytes"]
    assert fits["weights"] < 0.6 * fits["total"]  # the rest is for caches
    code, out, _ = run(f"estimate {model} --chip h100-sxm --chips 8 --json")
    assert (code, json.loads(out)["binding_limit"]) == (3, "memory")


def hop_ratio(stages):
    batch = f"--batch {stages * 64 * PER_CHIP} {context(4050)}"
    seen = ops(estimate(f"{RACK} --pp {stages} {batch}", SEEN))
    inside = [seen["dispatch"][key] + seen["combine"][key] for key in ("seconds", "bytes")]
    return [value / seen["pipeline"][key] for value, key in zip(inside, ("seconds", "bytes"), strict=True)]


def test_23_a_hop_between_racks_takes_less_than_the_layers_inside():
    """(1 / 8) x 8 experts x layers per stage x 2, where tokens travel in two bytes each way.

    They go to the experts in fp8 and once to each chip: three quarters and 94 % of that. Three of 61 layers are dense.
    """
    for stages in (2, 61):
        _, sent = hop_ratio(stages)
        assert sent == pytest.approx(8 * 58 / stages * 2 * 0.75 * 0.94, rel=0.02)
    assert hop_ratio(2)[0] > 20
    # Eight stages of eight chips stay in the rack: the same hop at the rate inside.
    near = ops(estimate(f"{DEEPSEEK} --dp 8 --ep 8 --pp 8 --batch 4800 {context(4050)}", SEEN))["pipeline"]
    assert near["seconds"] == pytest.approx(near["bytes"] / 1.8e12)
    # "Even one layer per rack works": by bytes it does; a start of 10 us per hop makes the two about even.
    assert hop_ratio(61)[1] / 8 > 1.0
    assert 0.8 < hop_ratio(61)[0] < 1.0


def test_24_tensor_parallelism_does_not_pay_inside_small_experts():
    """Of all layouts of 64 chips those that cut by expert and layer are first; eight ways cost half of the speed."""
    layouts = estimate(f"{DEEPSEEK} --chips 64 {SEQUENCES}", SEEN)["layouts"]
    assert all(row["tp"] == 1 and row["ep"] == row["dp"] for row in layouts[:3])
    cut = estimate(f"{DEEPSEEK} --tp 8 --dp 8 --ep 8 --batch 6400 {context(4050)}", SEEN)
    whole = estimate(f"{RACK} --batch 6400 {context(4050)}", SEEN)
    assert cut["tpot_s"] > 1.5 * whole["tpot_s"]


PIPED = "--model llama-3-70b --tp 1 --pp"


def piped(stages):
    return estimate(f"{PIPED} {stages} --batch {200 * stages} --disaggregated {context(4050)}")


def test_25_a_pipeline_saves_weights_and_neither_time_nor_throughput():
    one, four = piped(1), piped(4)
    assert four["disaggregated"]["tpot_s"] == pytest.approx(one["disaggregated"]["tpot_s"], rel=0.01)  # but for hops
    assert four["output_tokens_per_s_per_chip"] == pytest.approx(one["output_tokens_per_s_per_chip"], rel=0.01)
    assert four["memory_bytes"]["weights"] / one["memory_bytes"]["weights"] == pytest.approx(0.25, rel=0.1)
    # A rack of 20 TB holds a model of 1 TB twenty times over: rarely needed.
    rack = estimate("--params 1T --active-params 32B --dp 64 --ep 64")["memory_bytes"]
    assert rack["weights"] < 0.2 * rack["total"]


def test_26_training_a_pipeline_has_a_bubble():
    """Of p stages and m micro-batches, (p - 1) / m of the work under 1F1B; zero-bubble schedules fill part of it."""

    def bubble(micro_batches, schedule="1f1b"):
        split = f"--tp 8 --pp 8 --vp 1 --micro-batch 1 --batch-tokens {8192 * micro_batches} --schedule {schedule}"
        passes = ask(f"train --params 100B --chip {CHIP} --chips 64 --tokens 1T {split}")["passes_s"]
        return passes["bubble"] / (passes["forward"] + passes["backward"])

    for micro_batches in (8, 64):  # ML wants the smaller batch, systems the larger
        assert bubble(micro_batches) == pytest.approx(7 / micro_batches, rel=0.01)
        assert bubble(micro_batches, "zero-bubble") < 0.8 * bubble(micro_batches)


def test_28_a_pipeline_divides_weights_and_not_caches():
    """c = N / (E P) + b L kv / E, with P micro-batches of b on their way."""
    per_sequence = 4100 * configs.kv_elements_per_token(configs.load_model("llama-3-70b"))
    for stages in (1, 2, 4):
        memory = piped(stages)["memory_bytes"]
        assert memory["kv_cache"] == pytest.approx(200 * per_sequence, rel=1e-3)
        assert memory["weights"] == pytest.approx(70e9 / stages, rel=0.15)  # the embeddings are not cut by stages
    # On the racks of the lecture, E = 64 and P = 4, weights are small and caches are the rest.
    memory = estimate(f"{RACK} --pp 4 --batch {4 * 64 * 1900} {context(4050)}")["memory_bytes"]
    assert memory["kv_cache"] > 10 * memory["weights"]


def test_29_expert_parallelism_up_to_the_scale_up_domain_needs_no_pipeline():
    """DeepSeek's practice is within 1 % of the best of 64 chips, which has two stages."""
    rows = estimate(f"{DEEPSEEK} --chips 64 {SEQUENCES}", SEEN)["layouts"]
    practice = next(row for row in rows if row["ep"] == 64 and row["pp"] == 1 and row["tp"] == 1)
    assert practice["tpot_s"] == pytest.approx(rows[0]["tpot_s"], rel=0.01)
    assert rows[0]["pp"] <= 2


def test_30_hops_of_milliseconds_would_add_10_ms_per_token(tmp_path):
    """As an engine's time per pass and stage: 2.5 ms of it. A hop itself takes 10 us where it was measured (DeepEP)."""
    slow = tmp_path / "hops.toml"
    text = (ROOT / "tests/blackboard/links.toml").read_text(encoding="utf-8")
    slow.write_text(text.replace("\nstep_s = 0.0", "\nstep_s = 2.5e-3"), encoding="utf-8")
    words = f"{RACK} --pp 4 --batch {4 * 64 * 600} --disaggregated {context(4050)}"
    quick, late = (
        estimate(words, SEEN.replace("tests/blackboard/links.toml", str(path)))["disaggregated"]["tpot_s"]
        for path in ("tests/blackboard/links.toml", slow)
    )
    assert quick == pytest.approx(0.020, rel=0.1)
    assert late - quick == pytest.approx(0.010, rel=1e-6)


def test_31_scale_up_divides_the_time_to_read_the_weights():
    floors = {n: estimate(f"--params 100B --tp {n} --batch 1 {short()}")["latency_floor_s"] for n in (1, 8)}
    assert floors[1] == pytest.approx(100e9 / W, rel=0.01)
    assert floors[8] == pytest.approx(floors[1] / 8, rel=0.01)
    # A pipeline does not: each stage reads its own weights, one after the other.
    assert decode_s(f"--params 100B --pp 8 --batch 8 {short()}") == pytest.approx(floors[1], rel=0.02)
    # Bandwidth per chip grew 1.6 and 2.3 times per generation, the domain 9 times at once.
    chips = {row["id"]: row for row in ask("list chips")["items"]}
    rates = [chips[name]["hbm_bytes_per_s"] for name in ("a100-sxm", "h100-sxm", "b200-sxm")]
    assert [rates[1] / rates[0], rates[2] / rates[1]] == pytest.approx([1.6, 2.3], abs=0.05)
    assert chips["gb200"]["domain_chips"] / chips["h100-sxm"]["domain_chips"] == 9
