"""The solver itself: against scipy, against a grid, on many lanes, and how often it is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from training_form import TRAINING

from hw import total
from planner import compiled, plan
from planner.choices import enumerate_choices
from planner.optimize.interior_point import minimise, solve_positive_definite
from planner.optimize.many import solve_many
from planner.optimize.posynomial import Posynomials
from planner.optimize.problem import Problem
from planner.optimize.programs import Role, cost_functions, posynomials
from planner.scenario import Scenario
from planner.serving.replica import OVERLAP
from planner.trees import gathered

# Of about the size that kernels take beyond their rooflines.
RESIDUALS = {
    "step": {"log": -5.5, "params_exponent": 0.7, "batch_exponent": 0.4},
    "prefill": {"log": -4.7, "params_exponent": 0.9, "batch_exponent": -0.1},
    "first": {"log": -4.2, "params_exponent": 1.0, "batch_exponent": 0.3},
}


class DirectLift:
    """v is x itself: nothing is eliminated."""

    def __call__(self, x):
        return x

    def slopes(self, x):
        k, n = x.shape
        return jnp.broadcast_to(jnp.eye(k)[:, :, None], (k, k, n)), jnp.zeros((k, k, k, n))


def problem_and_role(asked, index=0, lone=0.0):
    scenario = Scenario.of(asked)
    choice = enumerate_choices(scenario)[index]
    return Problem.of({**scenario.numbers(), "training": TRAINING}, choice.numbers(), RESIDUALS), Role(1.0, lone, 0.0)


def test_posynomials_are_the_model_exactly():
    """Value, gradient and Hessian read off as monomials equal the model's own, anywhere."""
    problem, role = problem_and_role({"lifetime_tokens": 1e14, "chips": ["h100-sxm"]}, index=9)

    def model(v):
        return jnp.log(jnp.stack([total(parts, OVERLAP) for parts in cost_functions(problem, role, v)]))

    data = jax.vmap(lambda _: posynomials(problem, lambda v: cost_functions(problem, role, v)), out_axes=-1)(
        jnp.ones(1)
    )
    weights = jnp.arange(1.0, 8.0)
    for v in np.random.default_rng(0).uniform([21, 24, 0], [29, 33, 7], (20, 3)):
        values, gradients, hessian = data.lagrangian(v[:, None], weights[:, None])
        assert np.allclose(values[:, 0], model(v), rtol=1e-12, atol=1e-11)
        assert np.allclose(data.values(v[:, None])[:, 0], model(v), rtol=1e-12, atol=1e-11)
        assert np.allclose(gradients[..., 0], jax.jacfwd(model)(v), atol=1e-10)
        exact = jax.hessian(lambda v: weights @ model(v))(v)
        assert np.allclose(hessian[..., 0], exact, atol=1e-9)
        assert np.linalg.eigvalsh(hessian[..., 0]).min() > -1e-9  # convex


def random_program(seed, lanes=1):
    """A small geometric program in three variables with a bounded optimum, as lists of monomials."""
    rng = np.random.default_rng(seed)
    a = rng.normal(0, 1, (4, 3))
    c = rng.normal(0, 1, 4)

    def functions(v):
        objective = [jnp.exp(c[i] + a[i] @ v) for i in range(4)]
        objective += [jnp.exp(0.3 * v[j]) for j in range(3)] + [jnp.exp(-0.4 * v[j]) for j in range(3)]
        return [objective, [jnp.exp(v[0] + v[1] - 0.5), 0.2 * jnp.exp(v[2])], [jnp.exp(-v[0] - 1.0)]]

    def one(_):
        return Posynomials.of(functions, 2.0, jnp.zeros(3))

    return functions, jax.vmap(one, out_axes=-1)(jnp.ones(lanes))


@pytest.mark.parametrize("seed", range(20))
def test_minimise_equals_slsqp(seed):
    functions, program = random_program(seed)
    found = minimise(program, DirectLift(), jnp.zeros((3, 1)), jnp.ones(1, bool))
    log_sums = jax.jit(lambda v: jnp.log(jnp.stack([sum(parts) for parts in functions(v)])))
    jacobian = jax.jit(jax.jacfwd(log_sums))
    limits = {"type": "ineq", "fun": lambda v: -log_sums(v)[1:], "jac": lambda v: -jacobian(v)[1:]}
    other = minimize(
        lambda v: float(log_sums(v)[0]), np.zeros(3), jac=lambda v: jacobian(v)[0], constraints=limits,
        method="SLSQP", options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    assert float(found.gradient_norm[0]) < 1e-9
    assert abs(float(found.gap[0])) < 1e-9
    assert float(found.values[1:].max()) < 1e-9
    # SLSQP stops at about 1e-8 of the optimum; never below it by more than its feasibility error.
    assert float(found.values[0, 0]) == pytest.approx(other.fun, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_any_start_leads_to_the_same_point(seed):
    _, program = random_program(seed, lanes=64)
    start = np.random.default_rng(seed).uniform(-2, 2, (3, 64))
    found = minimise(program, DirectLift(), jnp.asarray(start), jnp.ones(64, bool))
    assert float(found.gradient_norm.max()) < 1e-9
    assert np.ptp(np.asarray(found.values[0])) < 1e-11


def test_inactive_lanes_cost_nothing_and_move_nothing():
    _, program = random_program(0, lanes=2)
    found = minimise(program, DirectLift(), jnp.full((3, 2), 0.1), jnp.array([True, False]))
    assert np.allclose(found.x[:, 1], 0.1)
    assert float(found.gradient_norm[0]) < 1e-9


def test_positive_definite_solve():
    rng = np.random.default_rng(1)
    for k in (1, 2, 3, 4):
        m = rng.normal(size=(k, k, 50))
        a = np.einsum("ijn,kjn->ikn", m, m) + 1e-3 * np.eye(k)[:, :, None]
        b = rng.normal(size=(k, 50))
        x = np.asarray(solve_positive_definite(jnp.asarray(a), jnp.asarray(b)))
        assert np.allclose(np.einsum("ijn,jn->in", a, x), b, atol=1e-8)


def test_many_questions_at_once_equal_one_by_one():
    rng = np.random.default_rng(3)
    chips = ["h100-sxm", "b200-sxm", "a100-sxm"]
    scenario = Scenario.of({"lifetime_tokens": 1e15, "chips": chips})
    choices = enumerate_choices(scenario)
    n = 150  # more than one block, and not a whole number of them
    picked = rng.integers(0, len(choices), n)
    tokens, sizes = 10 ** rng.uniform(9, 17, n), 10 ** rng.uniform(9, 11.5, n)
    given = jax.tree.map(lambda a: np.full(n, a, float), {**scenario.numbers(), "training": TRAINING})
    given |= {"lifetime_tokens": tokens, "quality_like": sizes}
    rows = gathered([choices[i].numbers() for i in picked])
    residuals = jax.tree.map(lambda a: np.full(n, a, float), RESIDUALS)
    found = jax.tree.map(np.asarray, jax.jit(solve_many)(given, rows, residuals))
    planner = plan.Planner(scenario, choices)
    every = jax.tree.map(lambda a: np.full(3 * len(planner.valid), a, float), RESIDUALS)
    assert found["ok"].mean() > 0.5
    for i in range(0, n, 10):
        asked = {"lifetime_tokens": tokens[i], "quality_like": sizes[i], "chips": chips}
        lone = (np.arange(len(planner.valid)) == picked[i]).astype(float)
        question = planner._question(every, lone)
        alone = planner._run("solve", {**Scenario.of(asked).numbers(), "training": TRAINING}, planner.stacked, question)
        assert bool(found["ok"][i]) == bool(alone["ok"][picked[i]])
        if found["ok"][i]:
            assert found["objective"][i] == pytest.approx(alone["objective"][picked[i]], rel=1e-9)


def test_one_program_serves_every_question(monkeypatch):
    """Compile counts: questions that differ in numbers alone share their programs."""
    built = []
    original = compiled.Program.prepare

    def counted(self):
        if self._ready is None:
            built.append(self.function)
        original(self)

    compiled._known.cache_clear()
    monkeypatch.setattr(compiled.Program, "prepare", counted)
    for asked in (
        {"lifetime_tokens": 1e15},
        {"lifetime_tokens": 1e9, "objective": "joules", "chips": ["h100-sxm"]},
        {"lifetime_tokens": 1e12, "objective": "flops", "law": "hoffmann-2022"},
        {"lifetime_tokens": 1e13, "target_loss": 2.0, "precision": "bf16", "tpot_ms": 10},
    ):
        plan.optimize(Scenario.of(asked))
    names = ["answer:differentiate", "answer:solve", "answer:tell", "condense:residuals", "many:solve_many"]
    assert sorted(built) == [*(f"planner.optimize.{name}" for name in names), "planner.train.programs:plan"]


def test_a_damaged_cache_is_rebuilt(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_PLANNER_CACHE", str(tmp_path / "cache"))
    compiled._known.cache_clear()
    first = plan.optimize(Scenario.of({"lifetime_tokens": 1e15})).value("total_usd")
    files = list((tmp_path / "cache").glob("*.executable"))
    assert len(files) == 6
    for file in files:
        file.write_bytes(b"not an executable")
    compiled._known.cache_clear()
    assert plan.optimize(Scenario.of({"lifetime_tokens": 1e15})).value("total_usd") == first
    compiled._known.cache_clear()


def test_no_cache_directory_is_no_obstacle(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LLM_PLANNER_CACHE", str(blocked / "cache"))
    assert compiled.cache_directory() is None
    shared = tmp_path / "open"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    monkeypatch.setenv("LLM_PLANNER_CACHE", str(shared))
    assert compiled.cache_directory() is None  # others could plant code there
