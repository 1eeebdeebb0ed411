"""The answer as one JSON object, in SI units, under the names that scripts rely on."""

import math
from typing import Any

import configs

from ..choices import expansions
from ..infeasible import CAPS, Infeasible
from ..model.generic import TOPK
from ..plan import BASELINE, BUILDABLE, PLAN, Outcome
from ..runs.training_interval import bounds
from ..uncertain import Study
from .elasticities import elasticities, worth
from .trust import at_quality, certificate, intervals, sources, total_of, unseen_chip, warnings
from .uncertainty import notes, robust, uncertainty
from .units import percent

_RANKED = 8
_UNITS = ("usd", "joules", "flops")
_BOUNDS = {"links": "network", "streams": "memory"}  # of what takes a step; launches and host are overhead


def document(outcome: Outcome, command: str, study: Study | None = None) -> dict[str, Any]:
    """Return the object that ``--json`` prints; every number is finite. ``study`` adds what draws make of the plan."""
    empty = dict.fromkeys(("plan", "bill", "baseline", "saving_fraction", "batch_limit", "certificate", "elasticities"))
    head = {"schema": f"{command}/1", **_status(outcome)}
    if outcome.infeasible:
        head |= _explained(outcome.infeasible)
    if not len(outcome.told) or not math.isfinite(outcome.value("tokens")):
        return finite({**head, **empty, "question": question(outcome), "warnings": []})
    unit = outcome.scenario.settings["objective"]
    found = elasticities(outcome)
    budget = "budget_usd" in outcome.scenario.settings
    total = total_of(outcome, PLAN, unit)
    body = {
        "plan": plan(outcome),
        "bill": bill(outcome, PLAN),
        "baseline": baseline(outcome),
        "saving_fraction": saving(outcome),
        "batch_limit": batch_limit(outcome),
        "certificate": certificate(outcome),
        "elasticities_of": "loss_nats" if budget else f"total_{unit}",
        "elasticities_hold": _held(outcome),
        "elasticities": found,
        "shadow_prices": None if budget or unit == "flops" or outcome.appraised else {
            f"{unit}_per_{name}": value for name, value in worth(outcome, found, total).items()
        },
        "training": training(outcome),
        "step": step(outcome),
        "buildable": buildable(outcome),
        "ranking": ranking(outcome),
        "other_laws": other_laws(outcome),
        "accuracy": outcome.choice.engine.residuals,
        "interval": intervals(outcome),
        "sources": sources(outcome),
        "question": question(outcome),
        "warnings": warnings(outcome),
    }  # fmt: skip
    if study is not None:
        body |= {"uncertainty": uncertainty(study), "robust": robust(study)}
        body["warnings"] = body["warnings"] + notes(study)
    return finite(head | body)


def finite(value: Any) -> Any:
    """Return ``value`` with every number that is not finite as None, and tuples as lists."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _status(outcome: Outcome) -> dict[str, str]:
    if outcome.infeasible:
        return {"status": outcome.infeasible.status, "message": outcome.infeasible.message}
    if outcome.appraised:
        return {"status": "feasible", "message": "the plan meets the quality and every limit"}
    every = "every chip, replica size and precision allowed"
    sparse = len(expansions(outcome.scenario)) > 1
    if sparse:
        every += " with as many experts"
    if outcome.solved["unsettled"]:
        every = "the choices that settled (see warnings)"
    if "held_by" in outcome.solved:
        every += f", at the size where {outcome.solved['held_by']} just suffices,"
    gap = percent(outcome.solved["condensation_gap"])
    said = f"the global optimum over {every} of a convex program whose times are the calibrated kernels' at the plan"
    scanned = "; numbers of experts were scanned, and the best refined" if sparse else ""
    return {"status": "converged", "message": f"the plan is {said}, to {gap} of the objective{scanned}"}


def _explained(infeasible: Infeasible) -> dict[str, Any]:
    nearest = {}
    for name, value in infeasible.nearest.items():
        nearest |= {name.replace("_ms", "_s"): value / 1e3} if name.endswith("_ms") else {name: value}
    return {"limit": infeasible.limit, "excess_fraction": infeasible.excess_fraction, "nearest_feasible": nearest}


def question(outcome: Outcome) -> dict[str, Any]:
    """Return what was asked, defaults included."""
    return {**outcome.scenario.settings, **outcome.scenario.requests()}


def plan(outcome: Outcome) -> dict[str, Any]:
    """Return the plan before rounding; sizes and batch are real numbers."""
    v, choice, served = outcome.value, outcome.choice, outcome.has_hardware
    hardware = {
        "chip": choice.chip.id,
        "chips_per_replica": choice.n_chips,
        "tp": choice.n_chips // choice.stages,
        "pp": choice.stages,
        "precision": choice.precision,
        "engine": choice.engine.id,
        "batch": v("batch"),
        "tpot_s": v("tpot_s"),
        "ttft_s": v("ttft_s"),
        "step_s": v("step_s"),
        "replicas": v("replicas"),
        "serving_chips": v("replicas") * choice.n_chips,
    }
    return {
        "active_params": v("params"),
        "total_params": v("total_params"),
        "experts": choice.experts,
        "sparsity": choice.sparsity,
        "train_tokens": v("tokens"),
        "tokens_per_param": v("tokens") / v("params"),
        "loss_nats": v("loss_nats"),
        "training_chip_s": v("training_chip_s") if served else None,
        **(hardware if served else dict.fromkeys(hardware)),
    }


def bill(outcome: Outcome, row: int) -> dict[str, Any]:
    """Return training + prefill + decode = total in dollars and joules, and the FLOPs.

    Idle time is part of prefill and decode; ``of_which`` says how much of them it is.
    """
    flops = {f"{name}_flops": outcome.value(f"{name}_flops", row) for name in ("training", "inference")}
    out: dict[str, Any] = {}
    for unit in ("usd", "joules"):
        known = outcome.has_hardware and (unit == "joules" or outcome.choices[outcome.picked[min(row, 1)]].usd_per_hour)
        for part in ("training", "prefill", "decode", "total"):
            out[f"{part}_{unit}"] = outcome.value(f"{part}_{unit}", row) if known else None
        out.setdefault("of_which", {})[f"idle_{unit}"] = outcome.value(f"idle_{unit}", row) if known else None
    return {**out, **flops, "total_flops": sum(flops.values())}


def baseline(outcome: Outcome) -> dict[str, Any]:
    """Return compute-optimal training at the same quality, served as well as it can be."""
    served = outcome.has_baseline
    choice = outcome.choices[outcome.picked[BASELINE]]
    hardware: dict[str, Any] = {
        "chip": choice.chip.id,
        "chips_per_replica": choice.n_chips,
        "tp": choice.n_chips // choice.stages,
        "pp": choice.stages,
        "precision": choice.precision,
        "batch": outcome.value("batch", BASELINE),
    }
    totals: dict[str, float | None] = {f"total_{unit}": total_of(outcome, BASELINE, unit) for unit in _UNITS}
    if not served:
        hardware, totals = dict.fromkeys(hardware), {**dict.fromkeys(totals), "total_flops": totals["total_flops"]}
    if choice.usd_per_hour is None:
        totals["total_usd"] = None
    names = {"active_params": outcome.value("params", BASELINE), "train_tokens": outcome.value("tokens", BASELINE)}
    return {**names, "total_params": outcome.value("total_params", BASELINE), **totals, **hardware}


def saving(outcome: Outcome) -> float | None:
    """Return what the plan saves against the baseline in the objective's unit, as a fraction of the baseline."""
    unit = outcome.scenario.settings["objective"]
    if (unit != "flops" and not outcome.has_baseline) or (outcome.appraised and not at_quality(outcome)):
        return None
    return 1.0 - total_of(outcome, PLAN, unit) / total_of(outcome, BASELINE, unit)


def _held(outcome: Outcome) -> str:
    if outcome.appraised:
        return "size, tokens and batch"
    if "held_by" in outcome.solved:
        return f"the split between size and tokens, where {outcome.solved['held_by']} puts it"
    return "nothing: the plan adapts"


def training(outcome: Outcome) -> dict[str, Any] | None:
    """Return the training run: on which chip, how many for how long, at what utilisation, in which layout.

    Chips and copies are fractions while planning; `train` finds whole ones. None where no layout was found.
    """
    school = outcome.solved["school"]
    if school.layout is None:
        return None
    params, tokens = outcome.value("params"), outcome.value("tokens")
    chip, question, days = school.chip, school.question, school.days
    chip_s = outcome.value("training_chip_s") if outcome.has_hardware else school.chips * days * configs.DAY_S
    chips = chip_s / (days * configs.DAY_S)
    rate = tokens / (chip_s * school.goodput)
    low, high = bounds(question.trainer, chip, question.model, experts=outcome.choice.experts > 1.0)
    split = {name: school.layout[name] for name in ("tp", "cp", "pp", "vp", "ep", "micro_batch")}
    return {
        "chip": chip.id,
        "chips": chips,
        "days": days,
        "trainer": question.trainer.id,
        "precision": question.precision,
        "mfu": 6.0 * params * rate / chip.peak_flops_per_s[question.precision],
        "goodput": school.goodput,
        "tokens_per_s_per_chip": rate,
        "chip_hours": chip_s / 3600.0,
        "usd_per_chip_hour": question.usd_per_hour,
        "layout": {**split, "sharding": "weights" if school.layout["sharded"] else "states"},
        "batch_law": question.batch_law.id,
        "held_by": outcome.solved.get("held_by"),
        "interval": {
            "coverage": 0.9,
            "chip_hours": [chip_s / 3600.0 * math.exp(-high), chip_s / 3600.0 * math.exp(-low)],
            "basis": f"the published runs behind the profile of {question.trainer.name}",
        },
    }


def batch_limit(outcome: Outcome) -> str | None:
    """Return what keeps the batch from growing: hbm, tpot, ttft, engine, demand, or interior where nothing does."""
    if not outcome.has_hardware:
        return None
    uses = {name: outcome.value(f"log_{name}_use") for name in CAPS}
    tightest = max(uses, key=lambda name: uses[name])
    if uses[tightest] > -1e-6:
        return tightest
    return "demand" if outcome.value("busy_replicas") <= 1.0 + 1e-6 else "interior"


def step(outcome: Outcome) -> dict[str, Any] | None:
    """Return the decode step: its seconds by what takes them, as the calibrated kernels and the engine's profile say.

    Beside them stand the textbook's rooflines of products and attention, and ``hard_maximum_s``, the longer side of
    each and the engine's overheads.
    """
    if not outcome.has_hardware or "step_parts" not in outcome.solved:
        return None
    v = outcome.value
    parts: dict[str, Any] = {
        name: {"seconds": seconds, "bound": _BOUNDS.get(name, "overhead"), "basis": "calibrated"}
        for name, seconds in outcome.solved["step_parts"].items()
        if seconds > 0
    }
    for name, form in (("products", "linear"), ("attention", "attention")):
        compute, memory = v(f"step_{form}_compute_s"), v(f"step_{form}_memory_s")
        bound = "compute" if compute > memory else "memory"
        if name in parts:  # what takes no time at all is not there
            parts[name] |= {"bound": bound, "roofline_compute_s": compute, "roofline_memory_s": memory}
    longest = max(parts, key=lambda name: parts[name]["seconds"])
    return {
        "seconds": v("step_s"),
        "hard_maximum_s": v("hard_step_s"),
        "hard_maximum_difference_fraction": v("hard_step_s") / v("step_s") - 1.0,
        "bound": parts[longest]["bound"],
        "latency_floor_s": v("step_linear_memory_s"),
        "memory_bytes": {name: v(f"{name}_bytes") for name in ("weight", "kv", "hbm")},
        "operations": parts,
    }


def buildable(outcome: Outcome) -> dict[str, Any] | None:
    """Return the plan rounded to whole layers, heads, widths, batch and replicas, and what rounding costs."""
    if outcome.appraised or not outcome.has_hardware or not math.isfinite(outcome.value("tokens", BUILDABLE)):
        return None
    if abs(outcome.value("params", BUILDABLE) / outcome.value("params") - 1.0) > 0.05:
        return None  # smaller than the vocabulary alone: no such transformer
    names = ("layers", "d_model", "heads", "kv_heads", "ffn", "batch")
    sizes = {name: round(outcome.value(name, BUILDABLE)) for name in names}
    unit = outcome.scenario.settings["objective"]
    count = round(outcome.value("expert_count", BUILDABLE))
    experts = {"experts": count, "experts_per_token": int(TOPK), "expert_ffn": sizes["ffn"] / TOPK} if count else {}
    return {
        "params": outcome.value("params", BUILDABLE),
        "train_tokens": outcome.value("tokens", BUILDABLE),
        "total_params": outcome.value("total_params", BUILDABLE),
        **sizes,
        **experts,
        "head_dim": 128,
        "vocabulary": 128256,
        "replicas": math.ceil(outcome.value("busy_replicas", BUILDABLE)),
        "total_usd": bill(outcome, BUILDABLE)["total_usd"],
        "rounding_cost_fraction": total_of(outcome, BUILDABLE, unit) / total_of(outcome, PLAN, unit) - 1.0,
    }


def ranking(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the best choices in order, by calibrated times; those within the engine's error of the best are ties.

    The error is the median one on measured runs of dense models whose chip the fit did not see, for differences
    between chips are what is ranked.
    """
    if outcome.appraised or not outcome.has_hardware:
        return []
    unit = outcome.scenario.settings["objective"]
    flops = unit == "flops"
    counted = outcome.ranked_by if flops else unit
    cost = outcome.solved["hardware_objective"]
    order = [i for i in sorted(range(len(outcome.choices)), key=lambda i: cost[i]) if outcome.solved["hardware_ok"][i]]
    error = unseen_chip(outcome.choice.engine)
    rows = []
    for i in order[:_RANKED]:
        choice, ratio = outcome.choices[i], float(cost[i] / cost[order[0]])
        size = outcome.value("params") if flops else math.exp(outcome.solved["log_N"][i])
        rows.append(
            {
                "chip": choice.chip.id,
                "chips_per_replica": choice.n_chips,
                "tp": choice.n_chips // choice.stages,
                "pp": choice.stages,
                "precision": choice.precision,
                "active_params": size,
                "experts": choice.experts,
                f"total_{counted}": float(cost[i]),
                "ratio_to_best": ratio,
                "tie": ratio <= 1.0 + error,
            }
        )
    return rows


def other_laws(outcome: Outcome) -> list[dict[str, Any]]:
    """Return what other laws would choose on the plan's choice, where the plan is outside its own law's runs."""
    unit = outcome.scenario.settings["objective"]
    return [
        {"law": one.law.id, "active_params": one.params, "train_tokens": one.tokens, f"total_{unit}": one.cost}
        for one in outcome.solved.get("others", ())
    ]
