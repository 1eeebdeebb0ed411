"""The answer as a person reads it in a terminal: verdict first, then why."""

from typing import Any

from rich.console import Console
from rich.table import Table

from ..model.generic import TOPK
from . import doubts
from .parts import print_body, replica, table
from .units import amount, dollars, energy, percent, say, seconds

_TOP = 8
_LIMITS = {
    "hbm": "memory: no room for the KV cache of one more sequence",
    "tpot": "time per output token: one more sequence breaks the promise",
    "ttft": "time to first token: one more sequence breaks the promise",
    "engine": "the engine: its slots or the tokens of its passes are taken",
    "demand": "demand: one replica serves the peak with room to spare",
    "interior": "nothing: the batch could be larger",
}
_GOALS = {"total_usd": "cost", "total_joules": "energy", "total_flops": "FLOPs", "loss_nats": "loss"}


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the object of `document` as a verdict, tables and warnings."""
    if "nearest_feasible" in answer:
        evaluated = answer["schema"].startswith("evaluate")
        lead = "Not feasible as given: " if evaluated and answer["plan"] else "No feasible plan: "
        console.print(f"{lead}{answer['message']}.", style="bold", highlight=False)
        if answer["plan"] is None:
            return
    else:
        console.print(verdict(answer), style="bold", highlight=False)
    doubt = doubts.tables(answer) if "uncertainty" in answer else []
    parts = _plan(answer), _bill(answer), *doubt, _ranking(answer), _elasticities(answer)
    print_body(console, parts, _reasons(answer), answer["warnings"])


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one or two sentences."""
    plan, base = answer["plan"], answer["baseline"]
    unit = answer["question"]["objective"]
    evaluated = answer["schema"].startswith("evaluate")
    sparse = plan["experts"] > 1.0
    of = (
        f"active of {say(plan['total_params'])} parameters ({plan['sparsity']:.3g} x sparse)"
        if sparse
        else "parameters"
    )
    lead = f"{say(plan['active_params'])} {of} on {say(plan['train_tokens'])} tokens"
    train = f"{lead} ({plan['tokens_per_param']:,.0f} per parameter)"
    text = f"{train}" if evaluated else f"Train {train}"
    if plan["chip"]:
        replica = f"{plan['chips_per_replica']} x {plan['chip']}"
        text += f", {'served' if evaluated else 'serve'} in {plan['precision']} on replicas of {replica}, "
        text += f"{plan['batch']:.0f} sequences at a time"
    if answer["bill"][f"total_{unit}"] is not None:
        text += f": {amount(answer['bill'][f'total_{unit}'], unit)} over its life"
    saved = answer["saving_fraction"]
    if saved is not None and base[f"total_{unit}"] is not None:
        size = f"{say(base['active_params'])} on {say(base['train_tokens'])} tokens"
        how = f"{percent(abs(saved))} {'less' if saved >= 0 else 'more'} than" if abs(saved) > 1e-6 else "the same as"
        text += f", {how} compute-optimal training of the same quality ({size}, {amount(base[f'total_{unit}'], unit)})"
    return text + "."


def _plan(answer: dict[str, Any]) -> Table:
    plan, build, base = answer["plan"], answer["buildable"], answer["baseline"]
    evaluated = answer["schema"].startswith("evaluate")
    columns = ("", "given", "compute-optimal") if evaluated else ("", "optimum", "to build", "compute-optimal")
    out = table("Plan", *columns)

    def row(name: str, ours: str, built: str = "", other: str = "") -> None:
        out.add_row(*((name, ours, other) if evaluated else (name, ours, built, other)))

    def digits(value: float | None) -> str:
        return "" if value is None else say(value, digits=4)

    built = build or {}
    row(
        "active parameters" if plan["experts"] > 1.0 else "parameters",
        digits(plan["active_params"]),
        digits(built.get("params")),
        digits(base["active_params"]),
    )
    row(
        "training tokens", digits(plan["train_tokens"]), digits(built.get("train_tokens")), digits(base["train_tokens"])
    )
    if plan["experts"] > 1.0:
        whole = [digits(one.get("total_params")) for one in (plan, built, base)]
        row("with idle experts", *whole)
        row("experts", f"{plan['experts']:.3g} x FFN", f"{TOPK:g} of {built['experts']}" if build else "")
    if build:
        row("layers x width", "", f"{build['layers']} x {build['d_model']}")
        row("FFN, heads / KV heads", "", f"{build['ffn']}, {build['heads']} / {build['kv_heads']}")
    row("loss", f"{plan['loss_nats']:.4f} nats")
    if plan["chip"]:
        row("replica", replica(plan), "", replica(base) if base["chip"] else "none fits")
        row(
            "batch", f"{plan['batch']:.1f}", str(built.get("batch", "")), f"{base['batch']:.1f}" if base["chip"] else ""
        )
        row("replicas at the peak", f"{plan['replicas']:.1f}", str(built.get("replicas", "")))
        run = answer["training"]
        if run:
            row("trained on", f"{run['chips']:,.0f} x {run['chip']}")
            row(f"for {run['days']:.3g} days, at", f"{percent(run['mfu'])} MFU")
        row("time per output token", seconds(plan["tpot_s"]))
        row("time to first token", seconds(plan["ttft_s"]))
        row("decode step", seconds(plan["step_s"]))
    return out


def _bill(answer: dict[str, Any]) -> Table | None:
    bill = answer["bill"]
    if bill["total_usd"] is None and bill["total_joules"] is None:
        return None
    out = table("Bill", "", "US dollars", "share", "energy")
    unit = "usd" if bill["total_usd"] is not None else "joules"
    whole = bill[f"total_{unit}"]
    rows = [(part, bill[f"{part}_usd"], bill[f"{part}_joules"]) for part in ("training", "prefill", "decode", "total")]
    rows.append(("of which idle", bill["of_which"]["idle_usd"], bill["of_which"]["idle_joules"]))
    for name, usd, joules in rows:
        share = percent((usd if unit == "usd" else joules) / whole)
        out.add_row(name, "no price" if usd is None else dollars(usd), share, energy(joules))
    return out


def _ranking(answer: dict[str, Any]) -> Table | None:
    rows = answer["ranking"]
    if len(rows) < 2:
        return None
    unit = next(k for k in rows[0] if k.startswith("total_")).removeprefix("total_")
    out = table("Choices in order", "chips, precision, layout", "parameters", "cost", "against the best")
    for row in rows:
        note = "best" if row is rows[0] else f"x {row['ratio_to_best']:.2f}" + (" (a tie)" if row["tie"] else "")
        out.add_row(replica(row), say(row["active_params"]), amount(row[f"total_{unit}"], unit), note)
    return out


def _elasticities(answer: dict[str, Any]) -> Table:
    what = _GOALS[answer["elasticities_of"]]
    out = table(f"What moves the {what}, per 1 % more", "input", f"% of {what}")
    for name, value in list(answer["elasticities"].items())[:_TOP]:
        out.add_row(name, f"{value:+.3f}")
    return out


def _reasons(answer: dict[str, Any]) -> list[str]:
    out = []
    step, sure = answer["step"], answer["certificate"]
    if answer["batch_limit"]:
        out.append(f"[bold]Batch limited by[/] {_LIMITS[answer['batch_limit']]}.")
    if step:
        parts = sorted(step["operations"].items(), key=lambda item: -item[1]["seconds"])
        said = [
            f"{name} {seconds(part['seconds'])}" + (f" ({part['bound']})" if "roofline_memory_s" in part else "")
            for name, part in parts
            if part["seconds"] > 0.005 * step["seconds"]
        ]
        off = 100 * step["hard_maximum_difference_fraction"]
        out.append(
            f"[bold]Decode step[/] {seconds(step['seconds'])} by calibrated kernels = {', '.join(said)}; a textbook "
            f"roofline says {seconds(step['hard_maximum_s'])}, {off:+.1f} %."
        )
    worth = _worth(answer)
    if worth:
        out.append(f"[bold]Worth:[/] {'; '.join(worth)}.")
    if answer["buildable"]:
        cost = percent(answer["buildable"]["rounding_cost_fraction"])
        out.append(f"[bold]Rounding[/] to whole layers, heads and batch changes the cost by {cost}.")
    if sure.get("duality_gap") is not None:
        out.append(
            f"[bold]Certificate:[/] convex program, gradient {sure['gradient_norm']:.0e}, duality gap "
            f"{sure['duality_gap']:.0e}: global for the condensed program; stationary for the calibrated kernels to "
            f"{percent(sure['condensation_gap_fraction'])} of the {_GOALS[answer['elasticities_of']]}, after "
            f"{sure['rounds']} rounds{_scanned(answer)}."
        )
    elif sure.get("above_optimum_fraction") is not None:
        out.append(f"[bold]Against the optimum[/] of this chip: {100 * sure['above_optimum_fraction']:+.2f} %.")
    if answer["other_laws"]:
        out.append(_others(answer))
    if "uncertainty" in answer:
        out += doubts.reasons(answer)
    return [*out, _trust(answer)]


def _scanned(answer: dict[str, Any]) -> str:
    return "; experts scanned" if "experts were scanned" in answer["message"] else ""


def _worth(answer: dict[str, Any]) -> list[str]:
    """Return what one more unit of each limit that matters saves; a millionth of the bill does not."""
    prices = answer["shadow_prices"]
    if not prices or answer["question"]["objective"] != "usd":
        return []
    units = {
        "tpot_s": (1e-3, "1 ms more time per output token"),
        "ttft_s": (1e-3, "1 ms more time to first token"),
        "hbm_bytes": (1e9, "1 GB more HBM per chip"),
        "hbm_bytes_per_s": (1e11, "100 GB/s more HBM bandwidth"),
    }
    saved = {words: prices[f"usd_per_{name}"] * amount for name, (amount, words) in units.items()}
    least = 1e-6 * answer["bill"]["total_usd"]
    return [f"{words} saves {dollars(value)}" for words, value in saved.items() if abs(value) > least]


def _others(answer: dict[str, Any]) -> str:
    """Return what other laws would choose, where the plan is outside its own law's runs."""
    unit, found = answer["question"]["objective"], answer["other_laws"]
    low, high = found[0], found[-1]
    costs = sorted(one[f"total_{unit}"] for one in found)
    return (
        f"[bold]Other laws[/] ({len(found)}) would train {say(low['active_params'])} parameters on "
        f"{say(low['train_tokens'])} tokens ({low['law']}) to {say(high['active_params'])} on "
        f"{say(high['train_tokens'])} ({high['law']}), for {amount(costs[0], unit)} to {amount(costs[-1], unit)}: "
        "--robust --laws weighs several."
    )


def _trust(answer: dict[str, Any]) -> str:
    source, band = answer["sources"], answer["interval"]
    text = "[bold]How far to trust it:[/] "
    if band:
        low, high = band["tpot_s"]
        text += f"time per output token {seconds(low)} to {seconds(high)}, nine times in ten ({band['basis']}"
        text += f", median error {percent(source['serving_mdape'])}); "
    run = answer["training"]
    if run:
        low, high = run["interval"]["chip_hours"]
        text += f"training {say(low)} to {say(high)} chip-hours ({run['interval']['basis']})"
    if source["usd_per_chip_hour"]:
        text += f"; ${source['usd_per_chip_hour']:g} per chip-hour ({source['price']})"
    return text + "."
