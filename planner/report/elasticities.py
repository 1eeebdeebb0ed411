"""Slopes of ln(objective) turned into named elasticities, and into the worth of the limits."""

from collections.abc import Mapping
from typing import Any

from ..model.generic import FFN_SHARE
from ..plan import Outcome

# Numbers that steer the compiled program rather than describe the world, or that only come in whole steps.
_HIDDEN = {
    "by_likeness", "by_joules", "by_flops", "n_chips", "stages", "shape.kv_heads", "experts", "sparsity",
    "precision.use.bf16", "precision.use.fp8", "precision.use.int8", "precision.use.fp4",
}  # fmt: skip
# What a flag or file calls the quantity; an elasticity does not depend on the unit.
_NAMES = {
    "tpot_s": "tpot_ms",
    "ttft_s": "ttft_ms",
    "lifetime_s": "lifetime_days",
    "chip.usd_per_s": "chip.usd_per_hour",
    "train_chip.usd_per_s": "train_chip.usd_per_hour",
}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    out: dict[str, float] = {}
    for key, value in tree.items():
        out |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": float(value)}
    return out


def elasticities(outcome: Outcome) -> dict[str, float]:
    """Return d ln(objective) / d ln(input) at the plan for every input, largest first.

    An input moves the search's form, and through the calibrated kernels the residuals that complete it: both count.
    The residuals' exponents, of second order at the optimum of a fixed choice, are held.

    Where a budget was asked for, the objective is the loss: its elasticities follow from those of the
    cost at the plan's loss, d ln L / d ln x = -(d ln C / d ln x) / (d ln C / d ln L).
    """
    settings, choice = outcome.scenario.settings, outcome.choice
    budget = settings.get("budget_usd")
    slopes = _leaves(outcome.slopes["given"]) | _leaves(outcome.slopes["choice"])
    scenario = outcome.scenario.numbers(outcome.value("loss_nats") if budget else None)
    values = _leaves(scenario) | _leaves(choice.numbers())
    values |= {f"training.plan.{key}": value for key, value in outcome.solved["school"].form.items()}
    hidden = set(_HIDDEN)
    hidden.add("quality_like" if "quality_like" not in settings else "target_loss")
    hidden |= {f"chip.peak_flops_per_s.{p}" for p in absent_precisions(choice.chip.peak_flops_per_s)}
    found = {name: slopes[name] * values[name] for name in values if name not in hidden}
    found = _of_training(outcome, found)
    times = {time: float(of["log"]) for time, of in outcome.slopes["residuals"].items()}
    for name, of in outcome.slopes["calibrated"].items():
        if name not in hidden:
            found[name] = found.get(name, 0.0) + sum(times[time] * of[time] for time in times)
    found |= _of_sparsity(outcome)
    if budget:
        per_loss = found.pop("target_loss")
        found = {name: -value / per_loss for name, value in found.items()} | {"budget_usd": 1.0 / per_loss}
    named = {_NAMES.get(name, name): value + 0.0 for name, value in found.items()}
    return dict(sorted(named.items(), key=lambda item: -abs(item[1])))


def _of_sparsity(outcome: Outcome) -> dict[str, float]:
    """Return d ln(objective) / d ln(most total over active parameters) where that limit binds, by the envelope: what
    experts do to the law's loss, to weights, and through residuals and form to the times and the training run."""
    most, experts = outcome.scenario.settings["max_sparsity"], outcome.choice.experts
    if outcome.appraised or experts <= 1.0 or outcome.choice.sparsity < most * (1.0 - 1e-6):
        return {}
    slopes = outcome.slopes["choice"]
    by_sparsity = float(slopes["sparsity"]) + float(slopes["experts"]) / FFN_SHARE
    return {"max_sparsity": by_sparsity * most}


def _of_training(outcome: Outcome, found: dict[str, float]) -> dict[str, float]:
    """Return elasticities with those of the training run under its chip's name: the plan's where it is the same chip.

    What inputs do to the run's chip-seconds weighs by how much of the objective those are.
    """
    out = {name: value for name, value in found.items() if not name.startswith("training.")}
    school, given = outcome.solved["school"], outcome.slopes["given"]["training"]["plan"]
    share = float(given["log"])
    chip = "chip" if school.chip.id == outcome.choice.chip.id else "train_chip"
    moved = {f"{chip}.usd_per_s": found["training.plan.usd_per_s"], f"{chip}.power_w": found["training.plan.power_w"]}
    peaks = {"wide_flops_per_s": "bf16", "narrow_flops_per_s": school.question.precision}
    for name, slope in outcome.solved["school_slopes"].items():
        head, key = name.split(".")
        where = f"failures.{key}" if head == "bill" else f"{chip}.{key}"
        if head == "chip" and key in peaks:
            where = f"{chip}.peak_flops_per_s.{peaks[key]}"
        moved[where] = moved.get(where, 0.0) + share * slope
    if "worth" in outcome.solved:
        moved[outcome.solved["held_by"]] = outcome.solved["worth"]
    return out | {name: out.get(name, 0.0) + value for name, value in moved.items()}


def absent_precisions(peaks: Mapping[str, float]) -> list[str]:
    """Return the precisions that a chip does not have."""
    return [p for p in ("bf16", "fp8", "int8", "fp4") if p not in peaks]


def worth(outcome: Outcome, found: Mapping[str, float], total: float) -> dict[str, float]:
    """Return what one more unit of a limit saves, in the objective's unit (shadow prices).

    ``total`` is the objective; latency limits per second, memory per byte and bandwidth per byte/s of
    every chip of the plan.
    """
    s, chip = outcome.scenario.settings, outcome.choice.chip
    amounts = {
        "tpot_s": ("tpot_ms", s["tpot_ms"] / 1e3),
        "ttft_s": ("ttft_ms", s["ttft_ms"] / 1e3),
        "hbm_bytes": ("chip.hbm_bytes", chip.visible_bytes),
        "hbm_bytes_per_s": ("chip.hbm_bytes_per_s", chip.hbm_bytes_per_s),
    }
    return {unit: -found[name] * total / amount + 0.0 for unit, (name, amount) in amounts.items()}
