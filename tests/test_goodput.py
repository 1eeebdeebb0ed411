"""Goodput: against simulated failures, exact optima, published projections and runs; and bad files."""

from itertools import pairwise

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import lambertw

import configs
from planner.training.goodput import (
    Checkpoint,
    Goodput,
    best_interval_s,
    chips_for,
    daly_interval_s,
    young_interval_s,
)

CHIPS_FOR = jax.jit(chips_for)
FRACTION = jax.jit(Goodput.fraction)
HOUR_S = 3600.0
ratios = st.floats(1e-8, 1.9)  # of the time of a checkpoint to the time between failures


def made(chip_mtbf_s=2e8, restart_s=600.0, write_s=30.0, blocking=1.0, **more):
    return Goodput(chip_mtbf_s, restart_s, Checkpoint(write_s * 1e12, 1e12, blocking), **more)


def simulated(goodput, chips, interval_s, cycles=60_000, seed=0):
    """Return the useful fraction of a run that is interrupted at random, event by event."""
    draw = np.random.default_rng(seed).exponential
    mtbf, restart = float(goodput.mtbf_s(chips)), goodput.restart_s
    stall, write = float(goodput.checkpoint.stall_s()), float(goodput.checkpoint.write_s())
    now, work, saved, pending = 0.0, 0.0, 0.0, None
    failure = draw(mtbf)
    for _ in range(cycles):
        done = now + interval_s + stall
        written = now + interval_s
        if failure >= written:  # the snapshot was taken, whether or not the job lives to see it written
            if pending:
                saved = pending[1]
            pending = (written + write, work + interval_s)
        if failure >= done:
            now, work = done, work + interval_s
            continue
        if pending and pending[0] <= failure:
            saved = pending[1]
        pending, work, now = None, saved, failure
        while (again := draw(mtbf)) < restart:
            now += again
        now += restart
        failure = now + again - restart
    return saved / now


@pytest.mark.parametrize(
    ("chips", "restart_s", "write_s"), [(8192, 600.0, 30.0), (65536, 300.0, 120.0), (131072, 600.0, 600.0)]
)
def test_fraction_against_simulation(chips, restart_s, write_s):
    """Tens of thousands of failures leave 1 % of noise at most."""
    goodput = made(restart_s=restart_s, write_s=write_s)
    for factor in (0.5, 1.0, 2.0):
        interval = factor * float(goodput.interval_s(chips))
        expected = float(goodput.fraction_at(chips, interval))
        assert simulated(goodput, chips, interval, 150_000) == pytest.approx(expected, rel=0.01)


def test_checkpoints_written_behind_the_work_against_simulation():
    """The lag counted as restart: exact to first order in lag over time between failures, here 2 % of it."""
    goodput = made(write_s=240.0, blocking=0.05)
    chips = 16384
    interval = float(goodput.interval_s(chips))
    assert interval > 240.0
    assert simulated(goodput, chips, interval, 200_000) == pytest.approx(float(goodput.fraction(chips)), rel=0.01)


def test_a_checkpoint_waits_for_the_last_one():
    """Nearly free stalls would be taken all the time, but the store is still writing."""
    goodput = made(write_s=600.0, blocking=0.001)
    assert float(goodput.interval_s(1000)) == pytest.approx(0.999 * 600.0)
    assert 0.0 < float(goodput.fraction(1000)) < 1.0


@given(ratios, st.floats(10.0, 1e6))
def test_the_best_interval_is_lambert_s(ratio, mtbf):
    """1 - x = exp(-(x + d)) has the root 1 + W(-exp(-1 - d)); near its branch point W itself loses digits."""
    exact = mtbf * (1.0 + lambertw(-np.exp(-1.0 - ratio)).real)
    assert float(best_interval_s(ratio * mtbf, mtbf)) == pytest.approx(exact, rel=1e-8 / np.sqrt(ratio))


@given(ratios, st.floats(10.0, 1e6))
def test_young_and_daly_approach_the_best_interval(ratio, mtbf):
    """Young's first order is off by the order of sqrt(delta / M) and above; Daly's by its square and more."""
    stall = ratio * mtbf
    best = float(best_interval_s(stall, mtbf))
    root = np.sqrt(ratio / 2.0)
    assert best <= float(young_interval_s(stall, mtbf)) <= best * (1.0 + 2.0 * root)
    assert float(daly_interval_s(stall, mtbf)) == pytest.approx(best, rel=0.2 * root**3 + 1e-7)


def test_daly_stays_at_the_time_between_failures_where_checkpoints_take_longer():
    assert float(daly_interval_s(30.0, 10.0)) == 10.0
    assert float(best_interval_s(30.0, 10.0)) < 10.0


@given(st.floats(10.0, 1e5), st.floats(1.0, 1e3), st.floats(0.05, 20.0))
def test_no_interval_beats_the_best(chips, write, factor):
    goodput = made(write_s=write)
    best = goodput.interval_s(chips)
    assert float(goodput.fraction_at(chips, factor * best)) <= float(goodput.fraction(chips)) * (1 + 1e-12)


def test_more_chips_less_goodput_down_to_nothing():
    goodput = made()
    fractions = [float(goodput.fraction(n)) for n in np.geomspace(1, 1e9, 40)]
    assert all(later < sooner or later == 0.0 for sooner, later in pairwise(fractions))
    assert fractions[0] > 0.999
    assert fractions[-1] == 0.0


def test_llama_3_reports_more_than_nine_tenths():
    """466 interruptions in 54 days, 14 bytes per parameter (bf16 weights, float32 master and moments) at 2 TB/s.

    The report names no restart time: nine tenths, reached or passed, then means restarts of 13 minutes or less.
    """
    facts = configs.load_failures("llama-3")
    assert facts.goodput == 0.9

    def fraction(restart_s):
        checkpoint = Checkpoint(405e9 * 14, facts.storage_bytes_per_s)
        return float(Goodput(facts.chip_mtbf_s, restart_s, checkpoint, facts.planned_s).fraction(16384))

    assert 54 * 24 * HOUR_S / (facts.chip_mtbf_s / 16384) == pytest.approx(419)
    assert 54 * 24 * HOUR_S / facts.planned_s == pytest.approx(47)
    assert fraction(300.0) > fraction(600.0) > 0.92
    assert fraction(780.0) > 0.9 > fraction(840.0)
    assert fraction(300.0) < 0.96  # what 419 failures cost at the least that RSC-1 took


def test_meta_projections():
    """Kokolis et al. project 1.8 hours between failures on 16,384 chips and 0.23 on 131,072 from RSC-1's rate."""
    mtbf_s = configs.load_failures("meta-rsc-1").chip_mtbf_s
    assert mtbf_s / 16384 == pytest.approx(1.8 * HOUR_S, rel=0.01)
    assert mtbf_s / 131072 == pytest.approx(0.23 * HOUR_S, rel=0.03)


def test_meta_effective_training_time():
    """Their closed form, (1 - N r (u0 + dt / 2)) / (1 + w / dt), keeps first orders: close where losses are small."""
    facts = configs.load_failures("meta-rsc-2")
    restart, write, interval = facts.restart_s[0], 30.0, 1800.0
    for chips in (1024, 8192):
        rate = chips / facts.chip_mtbf_s
        theirs = (1.0 - rate * (restart + interval / 2.0)) / (1.0 + write / interval)
        ours = float(Goodput(facts.chip_mtbf_s, restart, Checkpoint(write, 1.0)).fraction_at(chips, interval))
        assert ours == pytest.approx(theirs, rel=0.01)


def test_planned_stops_cost_a_restart_and_a_checkpoint():
    rare, daily = made(), made(planned_s=86400.0)
    assert float(rare.fraction(1000) / daily.fraction(1000)) == pytest.approx(1.0 + 630.0 / 86400.0)


def test_spot_recalls_add_to_failures():
    """Rates add: a chip that fails every 4 weeks and is recalled every week stops every 5.6 days."""
    both = made(chip_mtbf_s=28 * 86400.0).with_interruptions(7 * 86400.0)
    assert float(both.chip_mtbf_s) == pytest.approx(5.6 * 86400.0)


def test_gradients_against_differences():
    fields = {"chip_mtbf_s": 2e8, "restart_s": 600.0, "write_s": 30.0, "blocking": 0.7, "planned_s": 1e5}

    def fraction(values):
        return made(**values).fraction(16384.0)

    slopes = jax.grad(fraction)(fields)
    for name, value in fields.items():
        up, down = ({**fields, name: value * factor} for factor in (1 + 1e-6, 1 - 1e-6))
        difference = (fraction(up) - fraction(down)) / (2e-6 * value)
        assert float(slopes[name]) == pytest.approx(float(difference), rel=1e-6), name
    assert float(slopes["chip_mtbf_s"]) > 0.0 > float(slopes["restart_s"])


@pytest.mark.parametrize("chips", [1.0, 1e5, 1e9])
def test_gradients_are_finite_everywhere(chips):
    slopes = jax.grad(lambda n, goodput: goodput.fraction(n), argnums=(0, 1))(chips, made())
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(slopes))


@given(st.floats(1.0, 5e4), st.floats(60.0, 1800.0), st.floats(1.0, 300.0))
def test_chips_for_against_a_grid(busy, restart, write):
    """The fewest chips of a grid that amount to ``busy``; infinity where none of it does."""
    goodput = made(restart_s=restart, write_s=write)
    grid = busy * np.geomspace(1.0, 2**20, 4000)
    useful = grid * np.asarray(FRACTION(goodput, grid))
    enough = np.flatnonzero(useful >= busy)
    found = float(CHIPS_FOR(goodput, busy))
    if len(enough) == 0:
        assert found == np.inf or useful.max() > busy * (1 - 1e-4)  # the grid may step over a narrow peak
        return
    assert grid[max(enough[0] - 1, 0)] * (1 - 1e-9) <= found <= grid[enough[0]] * (1 + 1e-9)
    assert found * float(FRACTION(goodput, found)) == pytest.approx(busy, rel=1e-9)


def test_chips_for_has_the_implicit_gradient():
    step = 1e-3
    goodput, busy = made(), 1e4
    difference = (CHIPS_FOR(goodput, busy + step) - CHIPS_FOR(goodput, busy - step)) / (2 * step)
    assert float(jax.grad(lambda one: CHIPS_FOR(goodput, one))(busy)) == pytest.approx(float(difference), rel=1e-5)

    def by_restart(restart):
        return CHIPS_FOR(made(restart_s=restart), busy)

    difference = (by_restart(600.1) - by_restart(599.9)) / 0.2
    assert float(jax.grad(by_restart)(600.0)) == pytest.approx(float(difference), rel=1e-5)


def test_no_number_of_chips_is_infinite_and_flat():
    goodput = made(restart_s=3600.0)
    assert float(CHIPS_FOR(goodput, 1e6)) == np.inf
    assert float(jax.grad(lambda busy: CHIPS_FOR(goodput, busy))(1e6)) == 0.0


# Reports


@pytest.mark.parametrize("name", configs.ids("failures"))
def test_reports_lie_within_an_order_of_magnitude(name):
    """A chip-failure every 500 to 5,000 chip-days, as far as anyone has published."""
    facts = configs.load_failures(name)
    assert 500 < facts.chip_mtbf_s / 86400 <= 5000
    assert name in configs.failures_of(facts.chips[0])


def test_chips_without_a_report_have_none():
    assert configs.failures_of("h100-sxm") == ("llama-3",)
    assert configs.failures_of("l4") == ()


GOOD = (configs.catalog.ROOT / "failures" / "meta-rsc-1.toml").read_text()
BAD = {
    "unknown key": (GOOD.replace("per_1000_server_days", "per_1000_node_days"), "interruptions.per_1000_node_days"),
    "half a rate": (GOOD.replace("chips_per_server = 8\n", ""), "it has per_1000_server_days"),
    "two rates": (
        GOOD.replace("chips_per_server = 8\n", "chips_per_server = 8\ncount = 3\n"),
        "it has count, per_1000",
    ),
    "no rate": (
        GOOD.replace("chips_per_server = 8\n", "").replace("per_1000_server_days = 6.50\n", ""),
        "it has none",
    ),
    "unknown chip": (GOOD.replace('"a100-sxm"', '"a100-smx"'), "did you mean 'a100-sxm'"),
    "restart upside down": (GOOD.replace("low_s = 300", "low_s = 3000"), "restart.low_s = 3000 must not exceed"),
    "impossible": (GOOD.replace("goodput = 0.9", "goodput = 1.9"), "outside 0.01 to 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_sentence(case, tmp_path):
    text, says = BAD[case]
    path = tmp_path / "report.toml"
    path.write_text(text)
    with pytest.raises(configs.ConfigError) as caught:
        configs.load_failures(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_report_names_the_nearest():
    with pytest.raises(configs.ConfigError, match=r"unknown failure report 'llama-4'; did you mean 'llama-3'\?"):
        configs.load_failures("llama-4")
