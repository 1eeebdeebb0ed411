"""Plans on limited tokens, at low precision and under laws of other forms, against dense grids and plain formulas."""

import json
import math

import numpy as np
import pytest

import configs
from planner.cli.main import main
from planner.plan import PLAN, evaluate, optimize
from planner.report.document import document
from planner.scenario import Scenario

DEMAND, LIKE = 1e14, 8e9
C = configs.load_law("epoch-2024").coefficients
R = configs.load_law("muennighoff-2023").coefficients


def chinchilla(c, N, D):
    return c["E"] + c["A"] / N ** c["alpha"] + c["B"] / D ** c["beta"]


def like(c):
    """Return the loss of the compute-optimal model of LIKE parameters."""
    D = (c["beta"] * c["B"] / (c["alpha"] * c["A"]) * LIKE ** c["alpha"]) ** (1.0 / c["beta"])
    return chinchilla(c, LIKE, D)


def worth(count, unique, decay):
    """Muennighoff et al. 2023, equation 5."""
    extra = np.maximum(count / unique - 1.0, 0.0)
    return np.minimum(count, unique) + unique * decay * (1.0 - np.exp(-extra / decay))


def cheapest(loss_of, target, N, D):
    """Return the least of 6 N D + 2 N T on a grid, and where: for each size the fewest tokens within the loss."""
    best = (math.inf, 0.0, 0.0)
    for size in N:
        good = np.flatnonzero(loss_of(size, D) <= target)
        if len(good) and good[0] > 0:
            # Between this token count and the one before the loss crosses the target: by a line in logarithms.
            i = good[0]
            high, low = loss_of(size, D[i - 1]), loss_of(size, D[i])
            tokens = D[i - 1] * (D[i] / D[i - 1]) ** ((high - target) / (high - low))
            total = 6.0 * size * tokens + 2.0 * size * DEMAND
            best = min(best, (total, size, tokens))
    return best


@pytest.mark.parametrize("unique", [1e11, 4e11, 2e12, 1e14])
@pytest.mark.parametrize("law", ["epoch-2024", "muennighoff-2023"])
def test_flops_on_limited_tokens_are_those_of_a_dense_grid(law, unique):
    c = configs.load_law(law).coefficients
    optimal = (c["alpha"] * c["A"] / (c["beta"] * c["B"]) * unique ** c["beta"]) ** (1.0 / c["alpha"])

    def loss_of(N, D):
        return chinchilla(c, worth(N, optimal, R["R_N"]), worth(D, unique, R["R_D"]))

    asked = {"lifetime_tokens": DEMAND, "quality_like": LIKE, "objective": "flops", "law": law, "unique_tokens": unique}
    outcome = optimize(Scenario.of(asked))
    total, _, _ = cheapest(loss_of, like(c), np.geomspace(1e9, 2e10, 2000), np.geomspace(1e10, 1e15, 6000))
    found = outcome.value("training_flops") + outcome.value("inference_flops")
    # Sizes 0.15 % apart and a line between tokens 0.2 % apart miss the least by less than this.
    assert found == pytest.approx(total, rel=5e-6)
    assert outcome.value("loss_nats") == pytest.approx(like(c), rel=1e-9)


@pytest.mark.parametrize("unique", [2e11, 1e12])
def test_dollars_on_limited_tokens_are_the_least_of_what_evaluate_finds(unique):
    asked = {"lifetime_tokens": DEMAND, "quality_like": LIKE, "chips": ["h100-sxm"], "unique_tokens": unique}
    plan = optimize(Scenario.of(asked))
    n, N = plan.choice.n_chips, plan.value("params")
    costs = [evaluate(Scenario.of(asked), N * f, n).value("total_usd") for f in np.linspace(0.93, 1.07, 15)]
    assert min(costs) >= plan.value("total_usd") * (1.0 - 1e-6)
    assert min(costs) == pytest.approx(plan.value("total_usd"), rel=1e-4)


@pytest.mark.parametrize("law", ["kaplan-2020", "ludziejewski-2025", "abnar-2025", "kumar-2024", "gadre-2024-c4"])
@pytest.mark.parametrize("objective", ["usd", "flops"])
def test_any_law_can_run_out_of_tokens(law, objective):
    asked = {"lifetime_tokens": DEMAND, "quality_like": LIKE, "chips": ["h100-sxm"], "law": law, "objective": objective}
    free = optimize(Scenario.of(asked))
    held = optimize(Scenario.of({**asked, "unique_tokens": 0.5 * free.value("tokens")}))
    assert held.value("loss_nats") == pytest.approx(free.value("loss_nats"), rel=1e-9)
    names = ("training_flops", "inference_flops") if objective == "flops" else ("total_usd",)
    ratio = sum(map(held.value, names)) / sum(map(free.value, names))
    # Two epochs are worth nearly as much as new tokens; dollars are told to what times are matched to.
    assert (1.0 if objective == "flops" else 0.998) < ratio < 1.05


def test_enough_tokens_change_nothing():
    asked = {"lifetime_tokens": DEMAND, "quality_like": LIKE, "chips": ["h100-sxm"]}
    free, held = optimize(Scenario.of(asked)), optimize(Scenario.of({**asked, "unique_tokens": 1e15}))
    assert held.value("total_usd") == pytest.approx(free.value("total_usd"), rel=1e-9)


def test_fewer_tokens_cost_more_and_the_slope_says_how_much():
    asked = {"lifetime_tokens": DEMAND, "quality_like": LIKE, "objective": "flops", "unique_tokens": 5e11}

    def cost(unique):
        outcome = optimize(Scenario.of({**asked, "unique_tokens": unique}))
        return math.log(outcome.value("training_flops") + outcome.value("inference_flops"))

    slope = document(optimize(Scenario.of(asked)), "optimize")["elasticities"]["repetition.unique_tokens"]
    step = 1e-4
    assert slope == pytest.approx((cost(5e11 * (1 + step)) - cost(5e11 * (1 - step))) / (2 * step), rel=1e-4)
    assert slope < 0


@pytest.mark.parametrize("unique", [1e9, 9e10, 1.38e11])
def test_too_few_tokens_are_refused_with_the_fewest_that_do(unique, capsys):
    words = ["optimize", "--lifetime-tokens", "1e14", "--chips", "b200-sxm", "--json"]
    assert main([*words, "--unique-tokens", str(unique)]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert answer["limit"] == "unique_tokens"
    enough = answer["nearest_feasible"]["unique_tokens"]
    assert main([*words, "--unique-tokens", repr(enough)]) == 0
    capsys.readouterr()
    assert main([*words, "--unique-tokens", repr(enough / 1.04)]) == 3
    capsys.readouterr()
    assert main([*words, "--unique-tokens", "1e9", "--budget-usd", "20M"]) == 3
    assert "buys more training than --unique-tokens" in json.loads(capsys.readouterr().out)["message"]


def test_a_budget_on_limited_tokens_buys_a_loss_between():
    asked = {"lifetime_tokens": DEMAND, "budget_usd": 2e7, "chips": ["b200-sxm"]}
    free, held = optimize(Scenario.of(asked)), optimize(Scenario.of({**asked, "unique_tokens": 3e11}))
    assert held.value("total_usd") == pytest.approx(2e7, rel=5e-3)
    assert free.value("loss_nats") < held.value("loss_nats") < free.value("loss_nats") + 0.1
    again = optimize(Scenario.of({
        "lifetime_tokens": DEMAND, "target_loss": held.value("loss_nats"), "chips": ["b200-sxm"], "unique_tokens": 3e11,
    }))  # fmt: skip
    assert again.value("total_usd") == pytest.approx(held.value("total_usd"), rel=5e-3)  # forms matched anew


@pytest.mark.parametrize("precision", ["bf16", "fp8", "fp4"])
def test_the_law_of_precision_charges_for_few_bits(precision):
    k = configs.load_law("kumar-2024").coefficients
    asked = {"lifetime_tokens": 1e13, "quality_like": LIKE, "chips": ["b200-sxm"], "law": "kumar-2024"}
    outcome = optimize(Scenario.of({**asked, "precision": precision}))
    N, D = outcome.value("params"), outcome.value("tokens")
    counts = 1.0 - math.exp(k["n_w"] - 16.0 / k["gamma_w"])
    bits = {"bf16": 16.0, "fp8": 8.0, "fp4": 4.0}[precision]
    lost = k["C_T"] * math.exp(-bits / k["gamma_post"]) * D ** k["gamma_D"] / (N * counts) ** k["gamma_N"]
    lost = lost if bits < 16.0 else 0.0
    loss = k["E"] + k["A"] / (N * counts) ** k["alpha"] + k["B"] / D ** k["beta"] + lost
    assert outcome.value("loss_nats", PLAN) == pytest.approx(loss, rel=1e-12)
    A = k["A"] * counts ** -k["alpha"]
    dense = {**k, "A": A}
    assert outcome.value("target_loss") == pytest.approx(like(dense), rel=1e-9)
    # More bits never need a larger model for the same quality.
    wide = optimize(Scenario.of({**asked, "precision": "bf16"}))
    assert lost < 1e-3 or outcome.value("params") > wide.value("params")


def test_flops_under_the_law_of_kaplan_are_those_of_a_dense_grid():
    k = configs.load_law("kaplan-2020").coefficients

    def loss_of(N, D):
        return ((k["N_c"] / N) ** (k["alpha_N"] / k["alpha_D"]) + k["D_c"] / D) ** k["alpha_D"]

    # Compute-optimal: the slopes in ln N and ln D are equal.
    D = k["D_c"] * k["alpha_D"] / k["alpha_N"] * (LIKE / k["N_c"]) ** (k["alpha_N"] / k["alpha_D"])
    asked = {"lifetime_tokens": DEMAND, "quality_like": LIKE, "objective": "flops", "law": "kaplan-2020"}
    outcome = optimize(Scenario.of(asked))
    assert outcome.value("target_loss") == pytest.approx(loss_of(LIKE, D), rel=1e-12)
    total, _, _ = cheapest(loss_of, loss_of(LIKE, D), np.geomspace(1e9, 8e9, 4000), np.geomspace(1e10, 1e14, 20_000))
    found = outcome.value("training_flops") + outcome.value("inference_flops")
    assert found == pytest.approx(total, rel=2e-6)  # of lines between tokens 0.05 % apart


@pytest.mark.parametrize("law", ["kaplan-2020", "muennighoff-2023", "ludziejewski-2025", "abnar-2025", "kumar-2024"])
def test_every_form_answers_whole_questions(law, capsys):
    words = ["--lifetime-tokens", "1e13", "--law", law, "--chips", "h100-sxm", "--json"]
    assert main(["optimize", *words, "--quality-like", "8B", "--uncertainty", "--draws", "20"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["uncertainty"]["laws"][0]["basis"].startswith("the law's own")
    assert answer["saving_fraction"] > 0
    plan = answer["plan"]
    given = ["--params", repr(plan["active_params"]), "--chip", "h100-sxm", "--chips-per-replica"]
    asked = [word for word in words if word not in ("--chips", "h100-sxm")]
    assert main(["evaluate", *asked, "--quality-like", "8B", *given, str(plan["chips_per_replica"])]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["bill"]["total_usd"] == pytest.approx(answer["bill"]["total_usd"], rel=1e-3)
    assert main(["optimize", *words, "--budget-usd", "5M"]) == 0
    assert json.loads(capsys.readouterr().out)["bill"]["total_usd"] == pytest.approx(5e6, rel=5e-3)


@pytest.mark.parametrize("law", ["kaplan-2020", "muennighoff-2023", "abnar-2025", "kumar-2024"])
def test_elasticities_in_a_laws_coefficients_are_those_of_plans_solved_anew(law, tmp_path):
    asked = {"lifetime_tokens": DEMAND, "quality_like": LIKE, "objective": "flops"}
    facts = configs.load_law(law)
    found = document(optimize(Scenario.of({**asked, "law": law})), "optimize")["elasticities"]
    text = (configs.catalog.ROOT / "laws" / f"{law}.toml").read_text()

    def cost(name, factor):
        lines = [
            f"{name} = {facts.coefficients[name] * factor!r}" if line.startswith(f"{name} = ") else line
            for line in text.splitlines()
        ]
        path = tmp_path / "law.toml"
        path.write_text("\n".join(lines))
        outcome = optimize(Scenario.of({**asked, "law": str(path)}))
        return math.log(outcome.value("training_flops") + outcome.value("inference_flops"))

    step = 1e-5
    for name in facts.coefficients:
        if f"law.{name}" not in found:
            continue
        slope = (cost(name, 1 + step) - cost(name, 1 - step)) / (2 * step)
        # Differences of logarithms of cost that agree to 1e-12 tell a slope to 1e-7.
        assert found[f"law.{name}"] == pytest.approx(slope, rel=1e-4, abs=1e-6), name
