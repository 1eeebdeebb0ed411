"""Plans under draws: intervals, regret and the robust size, against plans solved anew and plain arithmetic."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import configs
from planner.cli.main import main
from planner.plan import optimize
from planner.report.document import document
from planner.scenario import Scenario
from planner.uncertain import study
from planner.uncertain.costs import Costs
from planner.uncertain.law_draws import draws_of, load_draws
from planner.uncertain.study import risk

QUESTION = {"lifetime_tokens": 1e14, "quality_like": 8e9, "chips": ["h100-sxm", "b200-sxm"]}


@pytest.fixture(scope="module")
def outcome():
    return optimize(Scenario.of(QUESTION))


@pytest.fixture(scope="module")
def studied(outcome):
    return study(outcome, 400, robust=True)


def law_file(path, coefficients):
    """Write a law of these coefficients with the ranges of epoch-2024."""
    text = (configs.catalog.ROOT / "laws" / "epoch-2024.toml").read_text().replace('draws = "epoch-2024.npz"\n', "")
    for name, value in configs.load_law("epoch-2024").coefficients.items():
        text = text.replace(f"\n{name} = {value!r}\n", f"\n{name} = {coefficients[name]!r}\n")
    path.write_text(text)
    assert configs.load_law(str(path)).coefficients == pytest.approx(coefficients, rel=1e-15)
    return str(path)


def test_the_best_plan_of_a_draw_is_the_plan_solved_anew_under_its_law(outcome, tmp_path):
    work = Costs(outcome, [outcome], 5, seed=3)
    zero = np.zeros(5)
    work.draws = replace(work.draws, training=zero, serving=dict.fromkeys(work.draws.serving, zero))
    sizes = work.sizes()
    best = work.best(sizes, *work.table(sizes)[:2])
    _, laws = work.draws.laws[0]
    for i in range(5):
        name = law_file(tmp_path / f"draw{i}.toml", {key: float(values[i]) for key, values in laws.items()})
        anew = optimize(Scenario.of({**QUESTION, "law": name}))
        # Times are planes about each plan, the training run's form about the first one: half a per cent between them.
        assert best["cost"][i] == pytest.approx(anew.value("total_usd"), rel=5e-3)
        # The cost is flat about its optimum: the size is told ten times less sharply.
        assert best["params"][i] == pytest.approx(anew.value("params"), rel=0.03)
        saving = 1.0 - anew.value("total_usd") / anew.value("total_usd", 1)
        assert best["saving"][i] == pytest.approx(saving, abs=5e-3)


def test_no_size_has_less_risk_than_the_robust_one(outcome, studied):
    work = Costs(outcome, [outcome], 400, seed=0)
    log_N = np.log(studied.robust.params) + np.linspace(-0.25, 0.25, 48)
    costs, _, _ = work.table(np.tile(log_N, (len(work.rivals), 1)))
    mean = costs.mean(axis=0)
    # Sizes between those searched, on every choice: the edges of tiles move costs by so much from one to the next.
    assert mean.min() >= studied.risk(studied.robust) * (1.0 - 1e-4)
    assert studied.risk(studied.robust) <= studied.risk(studied.point)


@pytest.mark.parametrize("tail", [None, 0.05, 0.5])
@pytest.mark.parametrize("demand", [1e12, 1e15])
def test_the_robust_size_is_never_riskier_than_the_point_plan(demand, tail):
    found = study(optimize(Scenario.of({**QUESTION, "lifetime_tokens": demand})), 100, robust=True, tail=tail)
    assert risk(found.robust.cost, tail) <= risk(found.point.cost, tail)  # of draws that fail, then of cost
    assert (found.regret(found.point) > -1e-4).all()  # between sizes of the table serving is told by a parabola


def test_flops_under_draws_are_those_of_a_dense_grid():
    outcome = optimize(Scenario.of({**QUESTION, "objective": "flops"}))
    found = study(outcome, 200, robust=True)
    _, laws = found.draws.laws[0]
    N = np.exp(np.linspace(math.log(1e9), math.log(8e9), 20_001))[None]
    c = {name: values[:, None] for name, values in laws.items()}
    optimal = (c["beta"] * c["B"] / (c["alpha"] * c["A"]) * 8e9 ** c["alpha"]) ** (1.0 / c["beta"])
    loss = c["E"] + c["A"] / 8e9 ** c["alpha"] + c["B"] / optimal ** c["beta"]
    room = loss - c["E"] - c["A"] / N ** c["alpha"]
    D = np.where(room > 0, (c["B"] / np.where(room > 0, room, 1.0)) ** (1.0 / c["beta"]), np.inf)
    total = 6.0 * N * D + 2.0 * N * 1e14
    assert found.best["cost"] == pytest.approx(total.min(axis=1), rel=1e-5)  # of sizes 0.14 % apart
    assert found.best["params"] == pytest.approx(N[0, total.argmin(axis=1)], rel=5e-3)
    mean = total.mean(axis=0)
    assert found.risk(found.robust) == pytest.approx(mean.min(), rel=1e-4)
    assert found.robust.params == pytest.approx(N[0, mean.argmin()], rel=1e-2)
    optimum = 6.0 * 8e9 * optimal[:, 0] + 2.0 * 8e9 * 1e14
    assert found.best["saving"] == pytest.approx(1.0 - total.min(axis=1) / optimum, abs=1e-4)


def test_errors_of_times_spread_as_their_intervals_say(studied):
    for z in (*studied.draws.serving.values(), studied.draws.training / studied.draws.training.std()):
        assert abs(z.mean()) < 0.3
        assert 0.85 < z.std() < 1.15  # 400 draws: 4 % of a standard error
    assert np.ptp(studied.best["cost"]) > 0.1 * studied.best["cost"].mean()


def test_draws_repeat_by_seed(outcome, studied):
    again = study(outcome, 400, robust=True)
    assert again.best["cost"].tolist() == studied.best["cost"].tolist()
    assert study(outcome, 400, seed=1).best["cost"].tolist() != studied.best["cost"].tolist()


def test_the_worst_draws_cost_more_than_the_mean():
    cost = np.arange(1.0, 101.0)
    assert risk(cost, None) == (0.0, 50.5)
    assert risk(cost, 0.1) == (0.0, 95.5)
    assert risk(cost, 1.0) == (0.0, 50.5)
    # A draw that cannot be had comes before any cost.
    assert risk(np.append(cost, np.inf), 0.1) == (pytest.approx(1.0 / 101.0), 95.5)
    assert risk(np.full(3, np.inf), None) == (1.0, math.inf)


def test_the_robust_size_fails_in_the_fewest_draws():
    asked = {**QUESTION, "train_days": 90.0, "train_chips": 12.0, "train_on": ["h100-sxm"]}
    found = study(optimize(Scenario.of(asked)), 100, robust=True)
    answer = document(found.outcome, "optimize", found)
    robust = answer["robust"]
    assert 0.0 < answer["uncertainty"]["plan"]["infeasible_fraction"] < 1.0
    assert robust["infeasible_fraction"] <= robust["infeasible_fraction_of_plan"]
    assert robust["gain_fraction"] is None or robust["infeasible_fraction"] == robust["infeasible_fraction_of_plan"]
    assert robust["risk"] > 0


def test_notes_say_what_the_draws_are_of(outcome):
    found = study(outcome, 20, ["hoffmann-2022", "kaplan-2020"])
    warnings = document(outcome, "optimize", found)["warnings"]
    assert "draws are of hoffmann-2022 and kaplan-2020, the plan is that of epoch-2024." in warnings
    assert any(text.startswith("no draws of hoffmann-2022, kaplan-2020 are known") for text in warnings)


def test_several_laws_weigh_the_same_and_each_has_its_plan(outcome):
    found = study(outcome, 90, ["epoch-2024", "hoffmann-2022", "sardana-2024-all"], robust=True)
    assert [len(next(iter(draws.values()))) for _, draws in found.draws.laws] == [30, 30, 30]
    answer = document(outcome, "optimize", found)
    by_law = {one["law"]: one for one in answer["uncertainty"]["by_law"]}
    anew = optimize(Scenario.of({**QUESTION, "law": "sardana-2024-all"}))
    assert by_law["sardana-2024-all"]["active_params"] == pytest.approx(anew.value("params"), rel=1e-9)
    # Its best plan is far smaller than the point plan, which is what regret says.
    assert by_law["sardana-2024-all"]["regret_of_plan_fraction"] > by_law["epoch-2024"]["regret_of_plan_fraction"]
    assert found.risk(found.robust) < found.risk(found.point)
    alone = found.best["params"][60:]
    assert np.median(alone) == pytest.approx(anew.value("params"), rel=0.1)


def test_other_laws_stand_beside_a_plan_that_extrapolates(outcome):
    answer = document(outcome, "optimize")
    others = {one["law"]: one for one in answer["other_laws"]}
    assert "epoch-2024" not in others
    for name in ("hoffmann-2022", "gadre-2024-c4"):
        anew = optimize(Scenario.of({**QUESTION, "law": name}))
        # On the plan's own choice, times and training form, which are matched where the plan lies.
        assert others[name]["active_params"] == pytest.approx(anew.value("params"), rel=0.1)
        assert others[name]["total_usd"] == pytest.approx(anew.value("total_usd"), rel=0.1)
    assert any("times above the fitted range of epoch-2024" in text for text in answer["warnings"])
    near = optimize(Scenario.of({"lifetime_tokens": 1e9, "quality_like": 1e9, "objective": "joules"}))
    assert document(near, "optimize")["other_laws"] == []  # within the runs of its law


def test_the_answer_says_how_sure_it_is(capsys):
    words = ["optimize", "--lifetime-tokens", "1e14", "--quality-like", "8B", "--chips", "h100-sxm", "--draws", "100"]
    assert main([*words, "--cvar", "0.1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    doubt, robust = answer["uncertainty"], answer["robust"]
    for name in ("active_params", "train_tokens", "total_usd", "saving_fraction"):
        low, high = doubt["interval"][name]
        assert low < doubt["median"][name] < high
    assert doubt["draws"] == 100
    assert doubt["coverage"] == 0.9
    assert doubt["laws"] == [{"id": "epoch-2024", "draws": 100, "basis": "refits to resampled runs"}]
    assert (
        doubt["interval"]["active_params"][0] < answer["plan"]["active_params"] < doubt["interval"]["active_params"][1]
    )
    assert doubt["plan"]["regret_mean_fraction"] >= 0
    assert robust["criterion"] == "cvar"
    assert robust["risk"] <= robust["risk_of_plan"]
    assert doubt["choices"][0]["cheaper_fraction"] is None
    assert sum(one["best_fraction"] for one in doubt["choices"]) == pytest.approx(1.0)
    assert main([*words, "--robust"]) == 0
    text = capsys.readouterr().out
    assert "Under 100 draws" in text
    assert "Regret:" in text
    assert "Robust:" in text


def test_joules_and_a_deadline_under_draws():
    asked = {**QUESTION, "objective": "joules", "train_days": 30.0, "train_chips": 4000.0}
    found = study(optimize(Scenario.of(asked)), 50, robust=True)
    assert np.isfinite(found.best["cost"]).any()
    assert document(found.outcome, "optimize", found)["uncertainty"]["median"]["total_joules"] > 0


BAD = {
    "--cvar 2": "outside 0.001 to 1",
    "--draws 3": "outside 10",
    "--draws 10.5": "whole number",
    "--draws many": "is not a number",
    "--laws": "needs a value",
    "--laws epoch-2024,,hoffmann-2022": "separated by single commas",
    "--laws epoch-2025": "did you mean 'epoch-2024'",
    "--laws epoch-2024,hoffmann-2022 --target-loss 2.1": "each law measures loss on data of its own",
    "--uncertainty --budget-usd 1B": "--uncertainty needs --quality-like or --target-loss",
    "--robust --budget-usd 1B": "--robust needs --quality-like or --target-loss",
    "--uncertainty yes": "does not belong here",
    "--robust --robust": "given twice",
    "--unique-tokens 0": "outside",
    "--unique-tokens -1T": "outside",
    "--uncertainity": "did you mean '--uncertainty'",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_questions_are_answered_in_one_sentence(words, capsys):
    asked = ["optimize", "--lifetime-tokens", "1e14", "--chips", "h100-sxm", *words.split()]
    assert main(asked) == 2
    said = capsys.readouterr()
    assert BAD[words] in said.err
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1


def test_files_of_draws_are_checked(tmp_path):
    path = tmp_path / "law.npz"
    good = {name: np.ones(5) for name in ("E", "A")}
    np.savez(path, **good)
    assert set(load_draws(path, ["E", "A"])) == {"E", "A"}
    for bad, said in (
        (b"nonsense", "not a file of draws"),
        (b"", "not a file of draws"),
        ({"E": np.ones(5)}, "no draws of A"),
        ({"E": np.ones(5), "A": np.ones(4)}, "one length"),
        ({"E": np.ones((5, 2)), "A": np.ones((5, 2))}, "one length"),
        ({"E": np.ones(0), "A": np.ones(0)}, "one length"),
        ({"E": np.full(5, np.nan), "A": np.ones(5)}, "not finite"),
        ({"E": np.array([{"a": 1}], dtype=object), "A": np.ones(1)}, "not a file of draws"),
        ({"E": np.array(["x"] * 5), "A": np.ones(5)}, "not a file of draws"),
    ):
        if isinstance(bad, bytes):
            path.write_bytes(bad)
        else:
            np.savez(path, **bad)
        with pytest.raises(configs.ConfigError, match=said):
            load_draws(path, ["E", "A"])
    with pytest.raises(configs.ConfigError, match="not a file of draws"):
        load_draws(tmp_path / "none.npz", ["E"])


def test_each_draw_is_taken_once_while_they_last():
    law = configs.load_law("epoch-2024")
    every = draws_of(law, 1000, np.random.default_rng(0))["alpha"]
    assert len(np.unique(every)) == 1000
    assert len(draws_of(law, 1500, np.random.default_rng(0))["alpha"]) == 1500
    none = draws_of(configs.load_law("hoffmann-2022"), 3, np.random.default_rng(0))
    assert none["alpha"].tolist() == [configs.load_law("hoffmann-2022").coefficients["alpha"]] * 3


def test_shipped_draws_have_the_published_standard_errors():
    law = configs.load_law("epoch-2024")
    kept = load_draws(law.draws, list(law.coefficients))
    published = {"A": 121.0, "B": 1326.0, "E": 0.0258, "alpha": 0.0151, "beta": 0.0204}
    for name, error in published.items():
        # A thousand draws tell a standard error to 2.2 %, that of B, whose tail is heavy, to some 6 %.
        assert np.std(kept[name], ddof=1) == pytest.approx(error, rel=0.15 if name == "B" else 0.07)
