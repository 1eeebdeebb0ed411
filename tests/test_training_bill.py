"""Days, dollars and joules of a run: closed forms, a published run, prices by mode and their errors."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from planner.economics.training_bill import RunBill, usd_per_chip_s
from planner.training.goodput import Checkpoint, Goodput

CHIPS = jax.jit(RunBill.chips)  # traced once for every bill
H100 = configs.load_chip("h100-sxm")


def made(useful=1e11, chip_mtbf_s=2e8, restart_s=600.0, pue=1.1):
    goodput = Goodput(chip_mtbf_s, restart_s, Checkpoint(5.7e12, 2e12))
    return RunBill(useful, goodput, usd_per_chip_s(H100), H100.power_w, pue)


def test_without_failures_it_is_multiplication():
    """One failure per chip in 3e10 years, a checkpoint of a second and a half: chips times days is all there is."""
    bill = RunBill(86400e4, Goodput(1e18, 1.0, Checkpoint(1.0, 1e6)), 2.0 / 3600, 700.0, 1.25)
    assert float(bill.days(1000.0)) == pytest.approx(10.0, rel=1e-5)
    assert float(bill.usd(1000.0)) == pytest.approx(1000 * 240 * 2.0, rel=1e-5)
    assert float(bill.joules(1000.0)) == pytest.approx(1000 * 864000 * 700.0 * 1.25, rel=1e-5)
    assert float(CHIPS(bill, 10.0)) == pytest.approx(1000.0, rel=1e-5)


def test_llama_3_405b():
    """6 N D at the middle of the published 38 to 43 % utilisation, restarts of 10 minutes: 30.84e6 H100-hours in the
    model card, which also cover what came after pre-training."""
    facts = configs.load_failures("llama-3")
    goodput = Goodput(facts.chip_mtbf_s, 600.0, Checkpoint(405e9 * 14, facts.storage_bytes_per_s), facts.planned_s)
    useful = 6 * 405e9 * 15.6e12 / (H100.peak_flops_per_s["bf16"] * 0.405)
    hours = float(RunBill(useful, goodput, usd_per_chip_s(H100), 700.0, 1.1).chip_seconds(16384.0)) / 3600
    assert hours == pytest.approx(30.84e6, rel=0.1)


@given(st.floats(10.0, 30e3), st.floats(1e9, 1e12))
def test_chips_and_days_are_inverse(chips, useful):
    """Up to 30,000 chips, well before the peak of chips times goodput."""
    bill = made(useful=useful)
    assert float(CHIPS(bill, bill.days(chips))) == pytest.approx(chips, rel=1e-8)


@given(st.floats(10.0, 30e3))
def test_more_chips_finish_sooner_and_cost_more(chips):
    bill = made()
    assert float(bill.days(1.5 * chips)) < float(bill.days(chips))
    assert float(bill.usd(1.5 * chips)) > float(bill.usd(chips))
    assert float(bill.joules(1.5 * chips)) > float(bill.joules(chips))


def test_no_number_of_chips_meets_a_deadline_of_an_hour():
    assert float(CHIPS(made(useful=1e12), 1 / 24)) == np.inf


def test_gradients_against_differences():
    bill = made()
    for of in (bill.days, bill.usd, bill.joules):
        difference = (of(8192.5) - of(8191.5)) / 1.0
        assert float(jax.grad(of)(8192.0)) == pytest.approx(float(difference), rel=1e-6)
    difference = (CHIPS(bill, 100.001) - CHIPS(bill, 99.999)) / 0.002
    assert float(jax.grad(lambda days: CHIPS(bill, days))(100.0)) == pytest.approx(float(difference), rel=1e-6)


def test_spot_pays_less_an_hour_for_more_hours():
    """Recalled once a day, 64 chips lose a third and more of their time; at 29 % of the price that is worth it."""
    chip = configs.load_chip("tpu-v4")
    goodput = Goodput(configs.load_failures("tpu-v4-superpod").chip_mtbf_s, 300.0, Checkpoint(1e11, 1e9))
    listed = RunBill(1e9, goodput, usd_per_chip_s(chip, "on-demand"), chip.power_w, 1.1)
    recalled = goodput.with_interruptions(86400.0)
    spot = RunBill(1e9, recalled, usd_per_chip_s(chip, "spot"), chip.power_w, 1.1)
    assert float(spot.days(64.0)) > 1.5 * float(listed.days(64.0))
    assert float(spot.usd(64.0)) < float(listed.usd(64.0))


# Prices


def test_prices_by_mode():
    assert configs.price_of(H100) == configs.price_of(H100, "on-demand") == 3.99
    tpu = configs.load_chip("tpu-v5e")
    assert configs.price_of(tpu) == configs.price_of(tpu, "list") == configs.price_of(tpu, "on-demand") == 1.2
    assert configs.price_of(tpu, "spot") == tpu.tables["price"]["low_usd_per_hour"]
    assert configs.price_of(configs.load_chip("h800"), "lease-estimate") == 2.0
    assert usd_per_chip_s(H100) == 3.99 / 3600


@pytest.mark.parametrize(
    ("chip", "mode", "says"),
    [
        ("h100-sxm", "spot", "chip 'h100-sxm' has no spot price: it has on-demand at 3.99 US dollars an hour"),
        ("tpu-v5e", "reserved", "no reserved price: it has list at 1.2 US dollars an hour, spot at 0.24493"),
        ("h800", "on-demand", "no on-demand price: it has lease-estimate at 2"),
        ("m3-max", None, "chip 'm3-max' has no rental price"),
        ("m3-max", "spot", "chip 'm3-max' has no rental price"),
        ("h100-sxm", "sport", "must be one of on-demand, reserved, spot, lease-estimate, list; did you mean 'spot'?"),
    ],
)
def test_a_price_that_is_not_there_is_an_error(chip, mode, says):
    with pytest.raises(configs.ConfigError) as caught:
        usd_per_chip_s(configs.load_chip(chip), mode)
    assert says in str(caught.value)


@pytest.mark.parametrize("chip", configs.ids("chips"))
def test_a_spot_price_is_below_the_first(chip):
    facts = configs.load_chip(chip)
    for mode, table in facts.tables.get("price", {}).get("others", {}).items():
        assert table["usd_per_hour"] == configs.price_of(facts, mode) < facts.usd_per_hour


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[price.others.spot]", "[price.others.sport]", "did you mean 'spot'?"),
        ("[price.others.spot]\n", "[price.others.spot]\nhourly = 3\n", "price.others.spot.hourly is not a known key"),
        ("usd_per_hour = 0.24493\nprovider", "usd_per_hour = -1\nprovider", "price.others.spot.usd_per_hour"),
    ],
)
def test_bad_prices_are_refused(old, new, says, tmp_path):
    text = (configs.catalog.ROOT / "chips" / "tpu-v5e.toml").read_text()
    assert old in text
    path = tmp_path / "chip.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(configs.ConfigError) as caught:
        configs.load_chip(str(path))
    assert says in str(caught.value)
