"""Price cards: what ships equals its source, and files that contradict themselves are refused in one sentence."""

import csv
import json
import re
from math import inf

import pytest

import configs
from configs import ConfigError, load_card

CARDS = configs.ids("cards")
COLUMNS = {
    "input": "usd_per_mtok_input",
    "cached_input": "usd_per_mtok_cached_input",
    "cache_write_5m": "usd_per_mtok_cache_write_5m",
    "cache_write_1h": "usd_per_mtok_cache_write_1h",
    "output": "usd_per_mtok_output",
}
PROVIDERS = {"Anthropic": "anthropic", "OpenAI": "openai", "Google": "gemini", "DeepSeek": "deepseek"}


def item(source):
    """Return the provider's name of a model, which a source quotes."""
    return source.split("'")[-2]


def test_four_providers_and_every_tier_ship():
    cards = [load_card(name) for name in CARDS]
    assert len(cards) >= 25
    assert {card.provider for card in cards} == set(PROVIDERS)
    assert {price.tier for card in cards for price in card.prices} == set(configs.PRICE_TIERS)
    assert len({card.name for card in cards}) == len(cards)


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_sourced_and_plausible(name):
    card = load_card(name)
    assert card.id == name
    for row in [*card.tables["prices"], *card.tables.get("speeds", [])]:
        fact = row if "source" in row else card.tables["document"]
        assert fact["source"]
        assert fact["date"]
    for price in card.prices:
        assert 1.4 <= price.output / price.input <= 9
        assert price.cached_input is None or 0.005 <= price.cached_input / price.input <= 0.6
        assert price.cache_write_5m is None or price.cache_write_5m == pytest.approx(1.25 * price.input)
        assert price.cache_write_1h is None or price.cache_write_1h == pytest.approx(2 * price.input)
    base = card.prices[0]
    for price in card.prices[1:]:  # a longer context or a faster tier never costs less, batch never more
        cheaper = price.tier in ("batch", "flex", "off-peak")
        assert price.min_context_tokens or (price.input <= base.input if cheaper else price.input >= base.input)
    assert all(20 < speed < 400 for speed in card.output_tokens_per_s.values())


def test_cards_equal_the_rows_they_were_taken_from(data):
    with (data / "serving" / "prices.csv").open(newline="") as file:
        table = [row for row in csv.DictReader(file) if row["split"] == "dev"]
    priced, timed = 0, 0
    for card in map(load_card, CARDS):
        for row in card.tables["prices"]:
            source = row.get("source") or card.tables["document"]["source"]
            low = row.get("min_context_tokens", 0.0)
            rows = [
                one
                for one in table
                if one["row_type"] == "api_price"
                and (one["provider"], one["item"]) == (PROVIDERS[card.provider], item(source))
                and one["source"].split()[:2] == source.split()[:2]
                and (one["tier"], float(one["ctx_min_tokens"] or 0)) == (row["tier"], low)
            ]
            assert len(rows) == 1, (card.id, row)
            for kind, column in COLUMNS.items():
                said = rows[0][column]
                if kind in row:
                    assert row[kind] == float(said), (card.id, kind)
                else:  # what is left out could not be right
                    assert said in ("", "0.0", "6.0", "1.0"), (card.id, kind)
                priced += kind in row
            if "max_context_tokens" in row:
                assert row["max_context_tokens"] == float(rows[0]["ctx_max_tokens"])
        for row in card.tables.get("speeds", []):
            if row["note"].startswith("promised"):
                said = {one["sla_or_claim"] for one in table if one["item"] == item(row["source"])}
                assert any(re.search(rf"> {row['output_tokens_per_s']:g} tok/s", one) for one in said)
            elif row["note"].startswith("derived"):
                claim = {one["sla_or_claim"] for one in table if one["item"] == item(row["source"])}
                assert "<=2.5x output tok/s" in claim
                assert row["output_tokens_per_s"] == 2.5 * card.output_tokens_per_s["standard"]
            else:
                said = {
                    one["observed_out_tok_s"]
                    for one in table
                    if one["row_type"] == "api_speed" and one["item"] == item(row["source"])
                }
                assert said == {f"{row['output_tokens_per_s']:g}"}
            timed += 1
    assert priced > 500
    assert timed >= 12


def test_prices_come_in_order_and_open_ended_where_no_end_is_known():
    card = load_card("claude-sonnet-4.5")
    told = [(p.tier, p.min_context_tokens, p.max_context_tokens, p.input, p.output) for p in card.prices]
    assert told == [
        ("standard", 0.0, 200_000.0, 3.0, 15.0),
        ("standard", 200_000.0, inf, 6.0, 22.5),
        ("batch", 0.0, 200_000.0, 1.5, 7.5),
    ]
    assert load_card("gpt-5.4-mini").output_tokens_per_s == {"standard": 218.0, "priority": 100.0}


# Refusals

GOOD = """
name = "A model"
provider = "A provider"
[document]
source = "its page"
date = "2026-11"
[[prices]]
tier = "standard"
max_context_tokens = 200_000
input = 2
cached_input = 0.2
output = 10
[[prices]]
tier = "standard"
min_context_tokens = 200_000
input = 4
output = 15
[[speeds]]
tier = "standard"
output_tokens_per_s = 60
source = "its page"
date = "2026-11"
"""
SPEED = GOOD[GOOD.index("[[speeds]]") :]
PRICES = GOOD[GOOD.index("[[prices]]") : GOOD.index("[[speeds]]")]
LONG = "min_context_tokens = 200_000\n"
# What is written in place of what, and what is said of it.
BAD = {
    "unknown key": ("cached_input", "cached_inputs", "cached_inputs is not a known key; did you mean"),
    "negative price": ("output = 10", "output = -10", "prices.1.output = -10 is outside 0.0001 to 10000"),
    "free": ("cached_input = 0.2", "cached_input = 0", "prices.1.cached_input = 0 is outside"),
    "per token": ("input = 4", "input = 4e-6", "give it in US dollars per million tokens"),
    "not a number": ("output = 10", "output = nan", "is outside"),
    "huge": ("output = 10", "output = 1" + "0" * 400, "is outside 0.0001 to 10000"),
    "too long to read": ("output = 10", "output = 1" + "0" * 5000, "not valid TOML"),
    "words": ("output = 10", 'output = "10"', "must be a number in US dollars per million tokens"),
    "no output": ("output = 10\n", "", "prices.1.output is missing"),
    "no input": ("\ninput = 4", "", "prices.2.input is missing"),
    "no tier": ('tier = "standard"\nmin', "min", "prices.2.tier is missing"),
    "unknown tier": ('"standard"\nmax', '"standart"\nmax', "did you mean 'standard'"),
    "no prices": (PRICES, "", "prices is missing"),
    "not a list": (PRICES, "[prices]\ninput = 1\n", "prices must be a list of tables"),
    "overlap": (
        LONG,
        "min_context_tokens = 100_000\n",
        "a range starts at 100000 tokens, inside one that ends at 200000",
    ),
    "twice": (LONG, "", "prices of tier 'standard' overlap"),
    "endless": ("max_context_tokens = 200_000\n", "", "inside one without an end"),
    "gap": (LONG, "min_context_tokens = 300_000\n", "say nothing of contexts from 200000 to 300000 tokens"),
    "no beginning": (
        "max_context_tokens = 200_000",
        LONG + "max_context_tokens = 300_000",
        "of contexts from 0 to 200000",
    ),
    "empty range": (LONG, LONG + "max_context_tokens = 200_000\n", "from 200000 to 200000 tokens, which is empty"),
    "dear hits": ("cached_input = 0.2", "cached_input = 2.5", "cached_input = 2.5 above input = 2"),
    "no source": (
        '[document]\nsource = "its page"\ndate = "2026-11"\n',
        "",
        "prices.1 needs a source and a date of its",
    ),
    "undated document": ('date = "2026-11"\n[[prices', "[[prices", "document needs a 'retrieved' or 'date'"),
    "undated row": ("input = 4", 'input = 4\nsource = "a blog"', "prices.2 needs a source and a date"),
    "a date and no source": ("input = 4", 'input = 4\ndate = "2026"', "prices.2 needs a source and a date"),
    "no date": ("input = 4", 'input = 4\nsource = "a blog"\ndate = "May"', "must be a date"),
    "no name": ('name = "A model"', 'name = " "', "name = ' ' must be a non-empty string"),
    "speed without a source": (SPEED, SPEED.replace('source = "its page"\n', ""), "speeds.1.source is missing"),
    "speed without a price": (SPEED, SPEED.replace("standard", "fast"), "tier 'fast', which has no price"),
    "two speeds": (SPEED, SPEED + SPEED, "speeds.2.tier = 'standard' has its speed above already"),
    "no speed": ("output_tokens_per_s = 60", "output_tokens_per_s = 0", "outside 0.1 to"),
}


def refusal(path):
    with pytest.raises(ConfigError) as caught:
        load_card(str(path))
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_a_card_of_ones_own(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(GOOD)
    assert [price.output for price in load_card(str(path)).prices] == [10.0, 15.0]


@pytest.mark.parametrize("case", BAD)
def test_bad_cards_are_refused_in_one_sentence(case, tmp_path):
    old, new, says = BAD[case]
    assert old in GOOD
    path = tmp_path / "card.toml"
    path.write_text(GOOD.replace(old, new, 1))
    assert says in refusal(path)


def test_an_unknown_card_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown price card 'claude-opus-4-6'; did you mean 'claude-opus-4.6'\?"):
        load_card("claude-opus-4-6")
    with pytest.raises(ConfigError, match=r"no such file"):
        load_card("absent.toml")


# Cards that `price --save` wrote


def usd(price, **more):
    return {"input": price, "cached_input": price / 10, "cache_write_5m": None, "output": 5 * price, **more}


SAVED = {
    "schema": "price/1",
    "status": "ok",
    "usd_per_mtok": usd(2.0, cache_write_1h=4.0),
    "context_steps": [{"min_context_tokens": 200e3, "max_context_tokens": None, "usd_per_mtok": usd(3.0)}],
    "tiers": [
        {"name": "standard", "speedup": 1.0, "tokens_per_s_per_user": 50.0, "usd_per_mtok": usd(2.0)},
        {"name": "fast", "speedup": 2.0, "tokens_per_s_per_user": 100.0, "usd_per_mtok": usd(9.0)},
    ],
    "tokens_per_s_per_user": 50.0,
}
STEPS = SAVED["context_steps"]


def saved(tmp_path, document):
    path = tmp_path / "mine.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_saved_cards_read_like_published_ones(tmp_path):
    card = load_card(str(saved(tmp_path, SAVED)))
    told = [(p.tier, p.min_context_tokens, p.max_context_tokens, p.input, p.cache_write_1h) for p in card.prices]
    assert told == [
        ("standard", 0.0, 200e3, 2.0, 4.0),
        ("standard", 200e3, inf, 3.0, None),
        ("fast", 0.0, inf, 9.0, None),
    ]
    assert card.output_tokens_per_s == {"standard": 50.0, "fast": 100.0}
    assert card.name == "mine"


def test_steps_that_start_at_nothing_are_the_whole_card(tmp_path):
    first = {"min_context_tokens": 0, "max_context_tokens": 200e3, "usd_per_mtok": usd(1.0)}
    card = load_card(str(saved(tmp_path, {**SAVED, "context_steps": [first, *STEPS], "tiers": []})))
    assert [price.input for price in card.prices] == [1.0, 3.0]
    plain = load_card(str(saved(tmp_path, {"schema": "price/1", "usd_per_mtok": usd(1.0)})))
    assert [(price.input, price.max_context_tokens) for price in plain.prices] == [(1.0, inf)]
    assert plain.output_tokens_per_s == {}


BAD_SAVED = {
    "another answer": ({**SAVED, "schema": "estimate/1"}, 'schema must be "price/1"'),
    "infeasible": ({"schema": "price/1", "status": "infeasible", "usd_per_mtok": None}, "this answer holds no prices"),
    "no output": ({**SAVED, "usd_per_mtok": usd(1.0, output=None)}, "usd_per_mtok.output is missing"),
    "negative": ({**SAVED, "usd_per_mtok": usd(-1.0)}, "usd_per_mtok.input = -1.0 must be a number from 1e-08"),
    "not a number": ({**SAVED, "usd_per_mtok": usd(1.0, output="5")}, 'usd_per_mtok.output = "5" must be a number'),
    "infinite": (json.dumps(SAVED).replace("50.0", "1e999"), "must be a number from 0.1 to"),
    "huge": (json.dumps(SAVED).replace("50.0", "1" + "0" * 400), "must be a number from 0.1 to"),
    "a word for a number": (json.dumps(SAVED).replace("50.0", "NaN"), "not valid JSON"),
    "tiers no list": ({**SAVED, "tiers": {"fast": usd(1.0)}}, "tiers = "),
    "unknown tier": ({**SAVED, "tiers": [{**SAVED["tiers"][1], "name": "fats"}]}, "did you mean 'fast'"),
    "nameless tier": ({**SAVED, "tiers": [{**SAVED["tiers"][1], "name": 3}]}, "tiers.1.name must be one of standard"),
    "tier without a price": ({**SAVED, "tiers": [{"name": "fast"}]}, "tiers.1.usd_per_mtok.input is missing"),
    "tier twice": ({**SAVED, "tiers": [SAVED["tiers"][1]] * 2}, "prices of tier 'fast' overlap"),
    "overlapping steps": ({**SAVED, "context_steps": STEPS * 2}, "prices of tier 'standard' overlap"),
    "empty step": ({**SAVED, "context_steps": [{**STEPS[0], "max_context_tokens": 1e5}]}, "which is empty"),
    "a list": ("[]", "must hold one JSON object"),
    "cut off": (json.dumps(SAVED)[:50], "not valid JSON"),
}


@pytest.mark.parametrize("case", BAD_SAVED)
def test_bad_saved_cards_are_refused_in_one_sentence(case, tmp_path):
    document, says = BAD_SAVED[case]
    assert says in refusal(saved(tmp_path, document))


def test_a_saved_card_must_be_a_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.json")
    (tmp_path / "folder.json").mkdir()
    assert "is a folder, not a saved price card" in refusal(tmp_path / "folder.json")
