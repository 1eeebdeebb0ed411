"""Why to believe an answer, and where not: certificate, sources and warnings."""

import math
from typing import Any

import configs
from scaling import range_warnings

from ..choices import BITS, BYTES, EXPERT_FORMS
from ..infeasible import CAPS
from ..model.generic import TOPK, generic_model
from ..plan import PLAN, Outcome
from ..runs.constants import is_timed
from ..runs.interval import Interval, interval
from ..scenario import DEFAULT_SOURCES, REPETITION
from ..training.names import MAX_TRAINING_TOKENS, TYPICAL_MFU
from .units import say

_FAR = 0.03  # of a time: worth a warning of a given plan


def total_of(outcome: Outcome, row: int, unit: str) -> float:
    """Return a case's total in one of usd, joules and flops."""
    if unit == "flops":
        return outcome.value("training_flops", row) + outcome.value("inference_flops", row)
    return outcome.value(f"total_{unit}", row)


def at_quality(outcome: Outcome) -> bool:
    """Say whether the plan is feasible and just reaches the target loss, so that costs may be compared."""
    off = outcome.value("loss_nats") / outcome.value("target_loss") - 1.0
    return outcome.infeasible is None and abs(off) < 1e-9


def certificate(outcome: Outcome) -> dict[str, Any]:
    """Return why the plan is the optimum: stationary, feasible, and of a program convex by construction.

    Every part of the model is read off as a monomial, so the program is convex once no exponent of
    model size or tokens is negative (``least_exponent``); ``model_mismatch`` checks the monomials
    against the model itself at the plan. That program is the search's form, completed so that its times and their
    slopes are the calibrated kernels' at the plan (condensation): for the program the plan is the global optimum, for
    the kernels a stationary point, to the accuracy of ``condensation_gap_fraction`` (of the objective) and
    ``times_gap_fraction`` (of the times) after ``rounds`` of both. A given plan
    carries its cost above the optimum instead.
    """
    solved = outcome.solved
    convex = float(solved["least_exponent"]) > -1e-9
    if outcome.appraised:
        best = math.exp(float(solved["log_objective"])) if solved["found"] else None
        money = outcome.scenario.settings["objective"] != "flops"
        total = total_of(outcome, PLAN, outcome.scenario.settings["objective"])
        uses = [outcome.value(f"log_{name}_use") for name in CAPS]
        above = total / best - 1.0 if best and money and at_quality(outcome) else None
        return {
            "gradient_norm": None,
            "convex": convex,
            "feasibility": max(0.0, *uses),
            "above_optimum_fraction": above,
            "times_gap_fraction": float(solved.get("times_gap", 0.0)),
            "rounds": int(solved.get("rounds", 0)),
        }
    return {
        "gradient_norm": float(solved["gradient_norm"]),
        "convex": convex,
        "feasibility": float(solved["violation"]),
        "duality_gap": abs(float(solved["gap"])),
        "least_exponent": float(solved["least_exponent"]),
        "model_mismatch": abs(float(outcome.slopes["log_objective"]) - float(solved["log_objective"])),
        "condensation_gap_fraction": float(solved["condensation_gap"]),
        "times_gap_fraction": float(solved["times_gap"]),
        "rounds": int(solved["rounds"]),
    }


def sources(outcome: Outcome) -> dict[str, Any]:
    """Return where the answer's constants come from."""
    scenario, chip = outcome.scenario, outcome.choice.chip
    engine = outcome.choice.engine
    measured = chip.id in engine.chips and outcome.choice.precision in engine.precisions
    own_price = "chip_usd_per_hour" in scenario.settings
    price = chip.tables.get("price", {})
    school = outcome.solved["school"]
    kind = "experts" if outcome.choice.experts > 1.0 else "dense"
    return {
        "law": scenario.law.tables["coefficients"]["source"],
        "chip": {t: chip.tables[t]["source"] for t in ("peak_tflops", "memory", "scale_up", "power")},
        "price": "given" if own_price else " ".join(str(price[k]) for k in ("source", "date") if k in price),
        "usd_per_chip_hour": outcome.choice.usd_per_hour,
        "training": school.question.trainer.tables["profile"]["source"],
        "training_mdape": school.question.trainer.residuals.get(kind, {}).get("mdape"),
        "serving": engine.tables["profile"]["source"],
        "serving_basis": _interval(outcome, "output_tokens_per_s").basis,
        "serving_mdape": residuals(engine, kind if measured else f"{kind}_unseen_chip")["mdape"],
        "weight_bytes_per_param": BYTES[outcome.choice.precision][0],
        "workload": scenario.workload.tables["requests"]["source"],
        "defaults": DEFAULT_SOURCES,
    }


def residuals(engine: configs.EngineFacts, kind: str) -> dict[str, float]:
    """Return what predictions of one kind err by under an engine: its own runs', or those of the best fitted one."""
    return engine.residuals.get(kind) or configs.load_engine(configs.PLANNING_ENGINE).residuals[kind]


def unseen_chip(engine: configs.EngineFacts) -> float:
    """Return the median error, as a fraction, on runs of dense models whose chip was left out of the fit."""
    return residuals(engine, "dense_unseen_chip")["mdape"]


def intervals(outcome: Outcome) -> dict[str, Any] | None:
    """Return the 90 % intervals of the plan's times and throughput by what measured runs were off, and their basis."""
    if not outcome.has_hardware:
        return None
    v = outcome.value
    rate = v("batch") / v("tpot_s")
    values = {"tpot_s": v("tpot_s"), "ttft_s": v("ttft_s"), "output_tokens_per_s": rate}
    found = {name: _interval(outcome, name) for name in values}
    bounds = {name: list(found[name].of(value)) for name, value in values.items()}
    return {"coverage": 0.9, **bounds, "basis": found["tpot_s"].basis}


def _interval(outcome: Outcome, quantity: str) -> Interval:
    params, total, lengths = outcome.value("params"), outcome.value("total_params"), outcome.scenario.requests()
    model = generic_model("plan", max(total, params, 1e6), max(params, 1e6))
    return interval(
        outcome.choice.engine, outcome.choice.chip, model, quantity,
        lengths["input_tokens"], lengths["output_tokens"], outcome.value("batch"),
    )  # fmt: skip


def warnings(outcome: Outcome) -> list[str]:
    """Return sentences on where the answer leans on less than measurement."""
    scenario, choice = outcome.scenario, outcome.choice
    chip, engine = choice.chip, choice.engine
    lost = int(outcome.solved["unsettled"])
    if scenario.settings["objective"] == "joules":
        head = ["joules are chip-seconds at board power (TDP), busy or idle: an upper bound, without hosts or cooling."]
    else:
        head = []
    out = [f"{lost} of {len(outcome.choices)} choices did not settle and were left out."] if lost else []
    out += head
    sizes, repeated = (outcome.value("params"), outcome.value("tokens")), "unique_tokens" in scenario.settings
    out += range_warnings(scenario.law.id, scenario.law.valid, *sizes, repeated)
    if outcome.value("tokens") > MAX_TRAINING_TOKENS * (1.0 - 1e-6) and not outcome.appraised:
        out.append(
            f"{outcome.value('tokens'):.3g} training tokens are beyond what any run is, {MAX_TRAINING_TOKENS:g}."
        )
    low, high = scenario.shape.valid["min_params"], scenario.shape.valid["max_params"]
    if not low <= outcome.value("params") <= high:
        out.append(f"layers and KV width follow public models of {say(low)} to {say(high)} parameters: extrapolated.")
    if not outcome.has_hardware:
        out.append(
            f"no chip, replica size and precision allowed serves {say(outcome.value('params'))} parameters within "
            "the limits: the plan has no hardware and no bill in dollars."
        )
        return out
    if choice.precision not in engine.precisions:
        out.append(
            f"no {choice.precision} run is among those behind {engine.id}: it is timed by kernels and by the overheads "
            "of other formats."
        )
    if chip.id not in engine.chips:
        error = 100 * unseen_chip(engine)
        out.append(
            f"datasheet-only chip for serving: no run on {chip.id} is among those behind {engine.id}, whose profile is "
            f"carried over (median error {error:.1f} % on chips left out of the fit)."
        )
    vendors = {configs.load_chip(name).vendor for name in engine.chips}
    if vendors and chip.vendor not in vendors:
        out.append(f"{engine.id} is a profile of software on {' and '.join(sorted(vendors))} chips, {chip.id} is none.")
    if not is_timed(chip, engine):
        out.append(f"no kernel was timed on {chip.id} or a sibling: generic constants on its datasheet.")
    largest = engine.fitted.get("max_batch", math.inf)
    if outcome.value("batch") > largest:
        batch = outcome.value("batch")
        out.append(f"a batch of {batch:,.0f} is beyond the {largest:,.0f} sequences of the runs behind {engine.id}.")
    off = float(outcome.solved.get("times_gap", 0.0))
    if outcome.appraised and off > _FAR:
        out.append(
            "times are those by which the best plan of this choice was found: here the calibrated kernels' differ by "
            f"{100 * off:.0f} % (`estimate` tells the times of one model)."
        )
    out += _of_training(outcome)
    out += _of_law(outcome)
    if choice.precision != "bf16" and scenario.law.form != "precision":
        out.append(f"{scenario.law.id} does not say what {choice.precision} weights cost in quality: none is charged.")
    out += _of_experts(outcome)
    if not outcome.has_baseline:
        out.append("the compute-optimal model of this quality cannot be served within the limits: no saving is stated.")
    elif choice.usd_per_hour is None:
        out.append(f"{chip.id} has no rental price: no bill in dollars.")
    return out


def _of_law(outcome: Outcome) -> list[str]:
    """Return sentences on where the law's further inputs, repeated tokens and bits, lean on less than runs."""
    scenario, out = outcome.scenario, []
    if "unique_tokens" in scenario.settings:
        own = "R_D" in scenario.law.coefficients
        source = scenario.law if own else configs.load_law(REPETITION)
        epochs, most = outcome.value("tokens") / scenario.settings["unique_tokens"], source.valid["max_epochs"]
        if epochs > 1.0:
            out.append(f"each unique token is seen {epochs:,.3g} times; {source.id} says what repetition is worth.")
        if epochs > most:
            out.append(f"{epochs:,.3g} epochs are above the fitted range of {source.id} ({most:,.3g}).")
    if scenario.law.form != "chinchilla" and scenario.law.caveat:
        out.append(f"{scenario.law.id}: {scenario.law.caveat}.")
    if scenario.law.form == "precision":
        bits, least = BITS[outcome.choice.precision], scenario.law.valid["min_bits"]
        if bits < least:
            out.append(f"{bits:g} bits are below the fitted range of {scenario.law.id} ({least:g}).")
    return out


def _of_experts(outcome: Outcome) -> list[str]:
    """Return sentences on where the experts of the plan, or their absence, lean on less than measurement."""
    scenario, choice = outcome.scenario, outcome.choice
    law = scenario.law
    if law.form not in EXPERT_FORMS:
        most = scenario.settings["max_sparsity"]
        return [f"{law.id} is a law of dense models: the plan stays dense."] if most > 1.0 else []
    if choice.experts <= 1.0:
        return []
    out = []
    for name, value, what in (("experts", choice.experts, "experts"), ("sparsity", choice.sparsity, "x sparse")):
        most = law.valid.get(f"max_{name}", math.inf)
        if value > most * (1.0 + 1e-9):
            out.append(f"{value:.3g} {what} is above the fitted range of {law.id} ({most:g}): the law extrapolates.")
    if law.form == "moe":
        out.append(
            f"the runs behind {law.id} send a token to one expert: the plan's {TOPK:g} of {TOPK * choice.experts:.0f} "
            "fine-grained ones are taken to be worth as much."
        )
    if "held_by" in outcome.solved and not outcome.appraised:
        out.append("under limits on the training run numbers of experts were searched to some per cent only.")
    return out


def _of_training(outcome: Outcome) -> list[str]:
    """Return sentences on where the training run leans on less than measurement."""
    school = outcome.solved["school"]
    question = school.question
    chip, trainer = question.chip, question.trainer
    if school.layout is None:
        return [f"no layout that was tried trains the plan: its run is 6 N D at a utilisation of {TYPICAL_MFU:g}."]
    out = []
    if not question.trainer_usual:
        out.append(
            f"no training run on {chip.vendor} chips is among those measured: {trainer.name}'s profile stands in."
        )
    elif chip.id not in trainer.chips:
        seen = ", ".join(trainer.chips)
        out.append(f"{trainer.name}'s profile was fitted to runs on {seen}, not on {chip.id}.")
    beyond = question.batch_law.outside(outcome.value("tokens"))
    return [*out, beyond] if beyond else out
