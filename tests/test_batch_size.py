"""Laws of the batch: published examples, agreement between laws, the price of a batch, and bad files."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from planner.training import batch_size as b

LAWS = {name: configs.load_batch_law(name) for name in configs.ids("batch_laws")}
CRITICAL = sorted(name for name, law in LAWS.items() if law.kind == "critical")
tokens = st.floats(1e3, 1e9)


def critical(name, variable):
    return float(b.CriticalBatchLaw.of(LAWS[name]).critical_tokens(variable))


def best(name, variable):
    return float(b.BatchLaw.of(LAWS[name]).batch_tokens(variable))


def test_every_promised_law_ships():
    assert {"kaplan-2020", "zhang-2024", "bergsma-2025", "deepseek-2024", "step-law-2025"} <= set(LAWS)


def test_kaplan_doubles_for_13_percent_less_loss():
    """The paper's own words: about 1e6 tokens at 3 nats (2e8 / 3^(1/0.21)), and twice that for 13 % less loss."""
    assert critical("kaplan-2020", 3.0) == pytest.approx(2e8 / 3.0 ** (1 / 0.21), rel=1e-12)
    assert critical("kaplan-2020", 0.87 * 3.0) / critical("kaplan-2020", 3.0) == pytest.approx(2.0, rel=0.04)


@pytest.mark.parametrize(("params", "flops_per_token", "sequences"), [("7B", 4.23e10, 2304), ("67B", 4.19e11, 4608)])
def test_deepseek_law_gives_the_batches_that_deepseek_used(params, flops_per_token, sequences):
    """Both models saw 2e12 tokens in sequences of 4,096; the paper rounded the law's batch to its cluster."""
    assert best("deepseek-2024", flops_per_token * 2e12) == pytest.approx(sequences * 4096, rel=0.05)


def test_zhang_counts_millions_of_tokens_in_sequences_of_512():
    """The same paper's fits in parameters: 93.20 N^0.47 at 20 tokens per parameter, 621.341 N^0.087 at 3.072e9."""
    for millions in (85.0, 302.0, 1200.0):
        chinchilla = 512 * 93.20 * millions**0.47
        assert best("zhang-2024", 20e6 * millions) == pytest.approx(chinchilla, rel=0.01)
    for millions in (151.0, 302.0):
        assert best("zhang-2024", 3.072e9) == pytest.approx(512 * 621.341 * millions**0.087, rel=0.05)


def test_laws_in_tokens_agree_where_both_were_fitted():
    """Two groups, one batch of twice the tokens; two more, one best batch: within a third over their common range."""
    for D in np.geomspace(2.2e9, 24e9, 5):
        assert critical("bergsma-2025", D) == pytest.approx(critical("zhang-2024", D), rel=0.15)
    for D in np.geomspace(5e9, 100e9, 5):
        assert best("bergsma-2025-optimal", D) == pytest.approx(best("step-law-2025", D), rel=0.7)
        assert best("bergsma-2025-optimal", D) < critical("bergsma-2025", D)


def test_the_line_of_a_law_costs_what_it_says():
    law = b.CriticalBatchLaw.of(LAWS["zhang-2024"])
    at = law.batch_tokens(1e10)
    assert b.extra_tokens_fraction(at, law.critical_tokens(1e10)) == pytest.approx(0.2)


@given(tokens, tokens, st.floats(1e9, 1e14))
def test_the_price_of_a_batch_is_mccandlish_s_hyperbola(batch, crit, least):
    """(S / S_min - 1) (E / E_min - 1) = 1, with S_min = E_min / B_crit; and least_tokens is the way back."""
    E, S = b.tokens_needed(least, batch, crit), b.steps_needed(least, batch, crit)
    assert E / batch == pytest.approx(S)
    # The excess over the least loses digits where it is small.
    slack = 1e-13 * max(batch / crit, crit / batch) + 1e-9
    assert (S * crit / least - 1.0) * (E / least - 1.0) == pytest.approx(1.0, rel=slack)
    assert b.least_tokens(E, batch, crit) == pytest.approx(least)
    assert b.extra_steps_fraction(batch, crit) * b.extra_tokens_fraction(batch, crit) == pytest.approx(1.0)


@given(st.floats(0.01, 10.0), tokens)
def test_the_largest_batch_costs_its_extra(extra, crit):
    assert b.extra_tokens_fraction(b.largest_batch_tokens(extra, crit), crit) == pytest.approx(extra)


def test_data_parallelism_is_the_batch_in_micro_batches():
    """Llama 3 405B: 16M tokens a step in sequences of 8,192 on 128 copies leave 16 sequences to each."""
    assert b.largest_data_parallel(2048 * 8192.0, 8192.0, 16.0) == 128.0


@pytest.mark.parametrize("name", sorted(LAWS))
def test_gradients_against_differences(name):
    law, x = b.BatchLaw.of(LAWS[name]), LAWS[name].valid[0] * 1.5
    step = 1e-6 * x
    difference = (law.batch_tokens(x + step) - law.batch_tokens(x - step)) / (2 * step)
    assert jax.grad(law.batch_tokens)(x) == pytest.approx(float(difference), rel=1e-8)


def test_an_optimal_law_has_no_critical_batch():
    with pytest.raises(configs.ConfigError, match=r"'step-law-2025'.*the critical laws are bergsma-2025, kaplan-2020"):
        b.CriticalBatchLaw.of(LAWS["step-law-2025"])


def test_extrapolation_is_told():
    law = LAWS["kaplan-2020"]
    assert law.outside(4.0) == ""
    below = law.outside(1.9)
    assert "a loss of 1.9 nats is below the fitted range of batch law kaplan-2020 (3)" in below
    above = LAWS["step-law-2025"].outside(15e12)
    assert "1.5e+13 training tokens is above" in above


GOOD = (configs.catalog.ROOT / "batch_laws" / "zhang-2024.toml").read_text()
BAD = {
    "unknown key": (GOOD + "maximum = 3\n", "valid.maximum is not a known key"),
    "no source": (GOOD.replace('source = "Zhang', 'date = "2024" # "Zhang', 1), "is missing"),
    "unknown kind": (GOOD.replace('"critical"', '"critcal"'), "did you mean 'critical'"),
    "critical without a price": (GOOD.replace("extra_tokens_fraction = 0.2\n", ""), "extra_tokens_fraction is missing"),
    "optimal with a price": (GOOD.replace('"critical"', '"optimal"'), "extra_tokens_fraction = 0.2 must be left out"),
    "falls with tokens": (GOOD.replace("exponent = 0.47", "exponent = -0.47"), "above 0"),
    "grows with loss": (GOOD.replace('"tokens"', '"loss"'), "below 0"),
    "empty range": (GOOD.replace("max = 24e9", "max = 1e9"), "valid.min = 1.7e+09 must be below valid.max = 1e+09"),
    "text": (GOOD.replace("coefficient = 22.91", 'coefficient = "22.91"'), "must be a number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_sentence(case, tmp_path):
    text, says = BAD[case]
    path = tmp_path / "law.toml"
    path.write_text(text)
    with pytest.raises(configs.ConfigError) as caught:
        configs.load_batch_law(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_law_names_the_nearest():
    with pytest.raises(configs.ConfigError, match=r"unknown batch law 'zhang-2025'; did you mean 'zhang-2024'\?"):
        configs.load_batch_law("zhang-2025")
