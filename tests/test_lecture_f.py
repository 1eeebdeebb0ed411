"""The lecture, section F: what API prices reveal. Claims 37 to 44."""

import pytest
from lecture import BOARD, F, W, ask, context, decode_s, estimate, ops, short

KV = 174080.0  # bytes per token of the typical 100B
SECOND = 2.0 / 3600  # dollars of a chip


WORK = "--params 100B --chips 8 --tpot-ms 20 --input-tokens 8k --output-tokens 1k"


def price(words=WORK):
    return ask(f"price {BOARD} --peak-to-mean 1 {words}")


def standard(card):
    """Return the rows of a public card's standard tier, by context."""
    rows = next(row for row in ask("list cards")["items"] if row["id"] == card)["prices"]
    return [row for row in rows if row["tier"] == "standard"]


def test_37_a_price_in_two_tiers_stays_above_a_cost_with_a_kink():
    """Gemini 3.1: from 200k on output is +50 %, as the lecture has it, and input +100 %, which it leaves out."""
    below, above = standard("gemini-3.1-pro")
    assert above["min_context_tokens"] == below["max_context_tokens"] == 200_000
    assert [above[k] / below[k] for k in ("output", "input")] == [1.5, 2.0]
    # Arithmetic per token is flat and reading the cache a line. Here they add up, so cost doubles at L* where the
    # lecture's larger of the two only begins to rise: two prices cover either.
    balanced = price()["balanced_context_tokens"]

    def cost(tokens):
        return estimate(f"--params 100B --batch 1 {context(tokens)}")["curve"][-1]["usd_per_mtok_output"]

    flat = estimate(f"--params 100B --batch 1 {short()}")["curve"][-1]["usd_per_mtok_output"]
    assert cost(balanced) / flat == pytest.approx(2.0, rel=0.05)
    assert cost(3 * balanced) / flat == pytest.approx(4.0, rel=0.05)


def test_38_a_price_step_at_200k_reads_as_2_kilobytes_per_token():
    """1,667 by hand, if the step is where cost has its kink; other prices of the same card say it is not."""
    read = ask(f"deduce {BOARD} --card gemini-3.1-pro --active-params 100B --sparsity 1")
    assert read["blackboard"]["step_tokens"] == 200_000
    assert read["blackboard"]["kv_bytes_per_token"] == pytest.approx(1667, rel=0.05)
    assert not read["blackboard"]["refined_agrees"]
    # As much as one layer of 8 KV heads of 128: where all others share it.
    llama = estimate(f"--model llama-3.1-8b {short()}")["model"]["kv_bytes_per_token"]
    assert llama / 32 == 2048


def test_39_prices_near_cost_leak_the_architecture(tmp_path):
    """A card made from costs, read backwards: what it was made from lies within the intervals."""
    card = tmp_path / "card.json"
    made = price(f"{WORK} --save {card}")
    read = ask(f"deduce --card {card} --engine ideal --peak-to-mean 1 --sparsity 1")["parameters"]
    for name, truth in (("kv_bytes_per_token", made["kv_bytes_per_token"]), ("active_params", 100e9)):
        assert read[name]["identified"] == "yes"
        assert read[name]["low"] < truth < read[name]["high"]
    assert read["decode_mfu"]["value"] == pytest.approx(1 / 5, rel=0.25)


def test_40_output_costs_five_times_input_at_a_fifth_of_compute_peak():
    card = price()
    ratio = card["ratios"]["output_to_input"]
    assert 3 <= ratio <= 5.1
    assert ratio == pytest.approx(5.0, rel=0.02)
    # Both read off the same roofline: a prompt runs at the peak, decoding at a fifth of it.
    replica = card["replica"]
    step = decode_s(f"--params 100B --tp 8 --batch {replica['batch']:g} --input-tokens 8k --output-tokens 1k")
    peak = replica["batch"] * 2 * 100e9 / F / 8 / step
    assert peak == pytest.approx(1 / 5, rel=0.15)  # attention's own FLOPs make prompts of 8k 10 % dearer
    # Public cards charge six times in the median.
    assert 4 < card["market"]["output_to_input"]["median"] < 8


def test_40_memory_per_token_falls_with_the_tokens_of_a_pass():
    """A prompt's tokens share one read of the weights: of 300 on, arithmetic takes as long."""
    alone = [estimate(f"--params 100B --batch 1 --input-tokens {n} --output-tokens 100") for n in (1, 30, 3000)]
    each = [
        sum(row["seconds"] for row in ops(one, "prefill_breakdown").values()) / n
        for one, n in zip(alone, (1, 30, 3000), strict=True)
    ]
    assert each[0] / each[1] == pytest.approx(30, rel=0.02)
    assert each[2] == pytest.approx(2 * 100e9 / F, rel=0.1)


def test_41_every_way_to_keep_a_cache_costs_to_fetch_and_to_hold():
    card = price()
    ways = {row["tier"]: row for row in card["cache_tiers"]}
    assert ways["compute"]["retrieve_usd_per_mtok"] == card["usd_per_mtok"]["input"]
    assert ways["compute"]["retrieve_usd_per_mtok"] == pytest.approx(1e6 * 2 * 100e9 / F * SECOND, rel=0.15)
    assert ways["compute"]["hold_usd_per_mtok_per_hour"] == ways["hbm"]["retrieve_usd_per_mtok"] == 0.0
    assert ways["hbm"]["hold_usd_per_mtok_per_hour"] == pytest.approx(1e6 * KV / 288e9 * 2.0)
    storage = {row["id"]: row for row in ask("list storage")["items"]}
    for name in ("ddr5", "nvme", "disk"):
        tier, way = storage[name], ways[name]
        assert way["retrieve_usd_per_mtok"] == pytest.approx(
            1e6 * KV / tier["bytes_per_s"] * tier["usd_per_hour"] / 3600
        )
        assert way["hold_usd_per_mtok_per_hour"] == pytest.approx(1e6 * KV / tier["bytes"] * tier["usd_per_hour"])
    down = [ways[name] for name in ("hbm", "ddr5", "nvme", "disk")]
    fetch, hold = ([way[k] for way in down] for k in ("retrieve_usd_per_mtok", "hold_usd_per_mtok_per_hour"))
    assert (fetch, hold) == (sorted(fetch), sorted(hold, reverse=True))
    # The least of the sums: HBM for seconds, then DDR, then flash, and at last computing it anew.
    reign = sorted((w["cheapest_from_s"], w["tier"]) for w in ways.values() if w["cheapest_from_s"] is not None)
    assert [tier for _, tier in reign] == ["hbm", "ddr5", "nvme", "compute"]
    # A hit for a tenth of a miss is where prompts are short; attending to what was cached makes long ones dearer.
    short_prompts = price("--params 100B --chips 1 --tpot-ms 20")["ratios"]["cached_to_input"]
    assert 0.1 < short_prompts < card["ratios"]["cached_to_input"] < 0.3


def test_42_a_write_costs_a_quarter_more_for_five_minutes_and_twice_as_much_for_an_hour():
    (published,) = standard("claude-opus-4.5")
    kinds = ("input", "cache_write_5m", "cache_write_1h", "cached_input")
    assert [published[kind] for kind in kinds] == [5.0, 6.25, 10.0, 0.5]
    # So does a card made from costs, with storage at list prices.
    ratios = price()["ratios"]
    assert ratios["cache_write_5m_to_input"] == pytest.approx(1.25, rel=0.1)
    assert ratios["cache_write_1h_to_input"] == pytest.approx(2.0, rel=0.1)


def test_43_a_tier_suits_what_is_held_for_its_drain_time():
    """Five minutes are flash's. An hour is flash's too, or computed anew: the drains of the lecture are from memory.

    20 ms, 1 to 10 s, a minute and an hour there; 14 ms, 5.5 s, 9 minutes and 28 hours of those that are for sale.
    """
    ways = {row["tier"]: row for row in price()["cache_tiers"]}
    drains = [ways[name]["drain_s"] for name in ("hbm", "ddr5", "nvme", "disk")]
    assert drains == pytest.approx([0.0144, 5.5, 565, 100_000], rel=0.01)
    for name in ("ddr5", "nvme", "disk"):  # held for one drain, a token costs as much to hold as to fetch
        way = ways[name]
        assert way["hold_usd_per_mtok_per_hour"] * way["drain_s"] / 3600 == pytest.approx(way["retrieve_usd_per_mtok"])
    assert ways["nvme"]["cheapest_from_s"] < 300 < ways["nvme"]["cheapest_to_s"]
    assert ways["nvme"]["cheapest_to_s"] == pytest.approx(3600, rel=0.1)
    assert ways["disk"]["cheapest_from_s"] is None


def test_44_memory_limits_contexts_before_arithmetic_does():
    """Decoding never notices attention's arithmetic: reading the cache takes 17 times as long at any length.

    Prompts do, and not at millions of tokens: at 60k it takes as long as the weights', for a dense 100B.
    """
    rows = [ops(estimate(f"--params 100B --tp 8 --batch 1 {context(n)}"))["decode attention"] for n in (10_000, 1e6)]
    for row in rows:
        assert row["bytes"] / W / (row["flops"] / (F / 2)) == pytest.approx(
            300 / 18, rel=0.01
        )  # nine query heads share a KV head
    shares = {
        n: ops(estimate(f"--params 100B --tp 8 --batch 1 --input-tokens {n} --output-tokens 100"), "prefill_breakdown")[
            "prefill attention"
        ]["share"]
        for n in (2_000, 60_000, 1_000_000)
    }
    assert shares[2_000] < 0.04
    assert shares[60_000] == pytest.approx(0.5, abs=0.03)
    assert shares[1_000_000] > 0.9
