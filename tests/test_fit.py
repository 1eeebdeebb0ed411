"""The robust fit: it finds what made the data, says how sure it is, and shrugs off wild timings."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from hw.fit import HUBER_DELTA, MAX_PASSES, PRIOR_LOG_SD, fit, fit_jit


class Line(eqx.Module):
    """t = start + x / rate: two parameters that timings tell apart."""

    start_s: jax.Array
    rate: jax.Array


class Spare(eqx.Module):
    """The same with a parameter that nothing depends on."""

    start_s: jax.Array
    rate: jax.Array
    idle: jax.Array


def seconds(model, x):
    return model.start_s + x / model.rate


TRUE = Line(jnp.asarray(3.0), jnp.asarray(20.0))
GUESS = Line(jnp.asarray(2.0), jnp.asarray(30.0))


def sample(rows, noise, seed=0, tails=None):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(np.geomspace(1.0, 1000.0, rows))
    errors = rng.standard_normal(rows) if tails is None else tails(rng, rows)
    return x, seconds(TRUE, x) * jnp.exp(noise * jnp.asarray(errors))


def run(guess, x, y, weight=None):
    weight = jnp.ones_like(x) if weight is None else weight
    return fit_jit(seconds, guess, x, y, jnp.arange(x.size), weight)


def test_finds_the_parameters_of_exact_data():
    x, y = sample(2000, 0.0)
    found = run(GUESS, x, y)
    assert bool(found.settled)
    assert int(found.passes) < MAX_PASSES
    # the prior pulls by about the inverse of its weight against 2,000 rows of weight 1 / delta^2
    assert float(found.model.start_s) == pytest.approx(3.0, rel=1e-4)
    assert float(found.model.rate) == pytest.approx(20.0, rel=1e-4)


def test_is_the_minimum_that_scipy_finds():
    x, y = sample(60, 0.2)

    def objective(z):
        r = np.abs(np.log(np.exp(z[0]) + np.asarray(x) / np.exp(z[1])) - np.log(np.asarray(y))) / HUBER_DELTA
        prior = ((z - np.log([2.0, 30.0])) / PRIOR_LOG_SD) ** 2
        return np.where(r < 1, r**2 / 2, r - 0.5).sum() + prior.sum() / 2

    best = scipy.optimize.minimize(
        objective, np.log([2.0, 30.0]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    found = run(GUESS, x, y)
    assert float(found.objective) <= best.fun * (1 + 1e-7)
    assert [float(found.model.start_s), float(found.model.rate)] == pytest.approx(list(np.exp(best.x)), rel=1e-4)


@pytest.mark.parametrize(
    ("noise", "tails"),
    [(0.05, None), (0.15, lambda rng, rows: rng.laplace(size=rows))],  # nearly all rows within delta; a half beyond it
    ids=["normal", "laplace"],
)
def test_standard_errors_match_the_scatter_of_repeated_fits(noise, tails):
    fits = [run(GUESS, *sample(400, noise, seed, tails)) for seed in range(80)]
    for name in ("start_s", "rate"):
        scatter = np.std([np.log(float(getattr(f.model, name))) for f in fits])
        said = np.mean([float(getattr(f.log_standard_errors, name)) for f in fits])
        assert said == pytest.approx(scatter, rel=0.25)  # 80 repeats know a deviation to 8 %


def test_wild_timings_do_not_steer():
    x, y = sample(500, 0.02)
    wild = y.at[::20].mul(30.0)  # one in twenty
    found = run(GUESS, x, wild)
    assert float(found.model.rate) == pytest.approx(20.0, rel=0.02)


def test_rows_of_weight_zero_do_not_count():
    x, y = sample(100, 0.1)
    alone = run(GUESS, x, y)
    padded_x, padded_y = jnp.concatenate([x, x[:50]]), jnp.concatenate([y, 7.0 * y[:50]])
    padded = run(GUESS, padded_x, padded_y, jnp.concatenate([jnp.ones(100), jnp.zeros(50)]))
    assert float(padded.model.rate) == pytest.approx(float(alone.model.rate), rel=1e-9)
    assert float(padded.log_standard_errors.rate) == pytest.approx(float(alone.log_standard_errors.rate), rel=1e-9)


def test_what_timings_do_not_say_stays_at_the_prior():
    x, y = sample(200, 0.05)
    guess = Spare(GUESS.start_s, GUESS.rate, jnp.asarray(5.0))
    found = fit_jit(seconds, guess, x, y, jnp.arange(200), jnp.ones(200))
    assert float(found.model.idle) == pytest.approx(5.0, rel=1e-9)
    assert float(found.log_standard_errors.idle) == pytest.approx(PRIOR_LOG_SD, rel=1e-9)


def test_rows_that_move_together_are_less_sure():
    """Every row ten times over is no more evidence, once the copies share a cluster."""
    x, y = sample(50, 0.1)
    once = run(GUESS, x, y)
    many = jnp.tile(x, 10), jnp.tile(y, 10)
    copies = fit(seconds, GUESS, *many, jnp.tile(jnp.arange(50), 10), jnp.ones(500))
    apart = run(GUESS, *many)
    assert float(copies.log_standard_errors.rate) == pytest.approx(float(once.log_standard_errors.rate), rel=0.15)
    assert float(apart.log_standard_errors.rate) < 0.5 * float(copies.log_standard_errors.rate)
