"""Why to believe an answer, and where not: certificate, sources and warnings."""

import math
from typing import Any

from scaling import range_warnings

from ..choices import BYTES
from ..infeasible import CAPS
from ..plan import PLAN, Outcome
from ..scenario import DEFAULT_SOURCES
from .units import say


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
    against the model itself at the plan. A given plan carries its cost above the optimum instead.
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
        }
    return {
        "gradient_norm": float(solved["gradient_norm"]),
        "convex": convex,
        "feasibility": float(solved["violation"]),
        "duality_gap": abs(float(solved["gap"])),
        "least_exponent": float(solved["least_exponent"]),
        "model_mismatch": abs(float(outcome.slopes["log_objective"]) - float(solved["log_objective"])),
    }


def sources(outcome: Outcome) -> dict[str, Any]:
    """Return where the answer's constants come from."""
    scenario, chip = outcome.scenario, outcome.choice.chip
    engine = scenario.engine
    measured = chip.id in engine.chips and outcome.choice.precision in engine.precisions
    own_price = "chip_usd_per_hour" in scenario.settings
    price = chip.tables.get("price", {})
    mfu = chip.tables.get("training_mfu", {}).get("bf16", {})
    return {
        "law": scenario.law.tables["coefficients"]["source"],
        "chip": {t: chip.tables[t]["source"] for t in ("peak_tflops", "memory", "scale_up", "power")},
        "price": "given" if own_price else " ".join(str(price[k]) for k in ("source", "date") if k in price),
        "usd_per_chip_hour": outcome.choice.usd_per_hour,
        "training_mfu": outcome.choice.training_mfu,
        "training_mfu_basis": "measured"
        if outcome.choice.mfu_measured
        else f"median of {chip.vendor}'s measured chips",
        "training_mfu_source": mfu.get("source", ""),
        "serving": scenario.engine.tables["efficiency"]["source"],
        "serving_basis": "measured" if measured else "datasheet",
        "serving_mdape": scenario.engine.accuracy["mdape"] if measured else carried_over(outcome)[1],
        "weight_bytes_per_param": BYTES[outcome.choice.precision][0],
        "workload": scenario.workload.tables["requests"]["source"],
        "defaults": DEFAULT_SOURCES,
    }


def carried_over(outcome: Outcome) -> tuple[str, float]:
    """Return on what kind of chip the engine's efficiencies were tried unseen, and their median error there."""
    accuracy, chip = outcome.scenario.engine.accuracy, outcome.choice.chip
    if chip.vendor == "NVIDIA":
        return "chips left out of the fit", accuracy["unseen_chip_mdape"]
    return "the one other vendor's chip tried, under another engine", accuracy["other_vendor_mdape"]


def warnings(outcome: Outcome) -> list[str]:
    """Return sentences on where the answer leans on less than measurement."""
    scenario, choice = outcome.scenario, outcome.choice
    chip, engine = choice.chip, scenario.engine
    lost = int(outcome.solved["unsettled"])
    if scenario.settings["objective"] == "joules":
        head = ["joules are chip-seconds at board power (TDP), busy or idle: an upper bound, without hosts or cooling."]
    else:
        head = []
    out = [f"{lost} of {len(outcome.choices)} choices did not settle and were left out."] if lost else []
    out += head
    out += range_warnings(scenario.law.id, scenario.law.valid, outcome.value("params"), outcome.value("tokens"))
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
        out.append(f"no {choice.precision} run is among those behind {engine.id}: its speed is taken to be like fp8's.")
    if chip.id not in engine.chips:
        kind, error = carried_over(outcome)
        out.append(
            f"datasheet-only chip for serving: no run on {chip.id} is among those behind {engine.id}; its efficiencies "
            f"are carried over (median error {100 * error:.1f} % on {kind})."
        )
    largest = engine.accuracy["max_batch"]
    if outcome.value("batch") > largest:
        batch = outcome.value("batch")
        out.append(f"a batch of {batch:,.0f} is beyond the {largest:,.0f} sequences of the runs behind {engine.id}.")
    if not choice.mfu_measured:
        out.append(
            f"too few bf16 training runs on {chip.id} are published: MFU {choice.training_mfu:.2f} is the median "
            "of its vendor's measured chips, or of all where there are none."
        )
    if choice.precision != "bf16":
        out.append(f"{scenario.law.id} does not say what {choice.precision} weights cost in quality: none is charged.")
    if scenario.settings["max_sparsity"] > 1.0:
        out.append(f"{scenario.law.id} is a law of dense models: the plan stays dense.")
    if not outcome.has_baseline:
        out.append("the compute-optimal model of this quality cannot be served within the limits: no saving is stated.")
    elif choice.usd_per_hour is None:
        out.append(f"{chip.id} has no rental price: no bill in dollars.")
    return out
