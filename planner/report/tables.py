"""The answer as a person reads it in a terminal: verdict first, then why."""

from typing import Any

from rich.console import Console
from rich.table import Table

from .units import dollars, percent, say, seconds

_TOP = 8
_LIMITS = {
    "hbm": "memory: no room for the KV cache of one more sequence",
    "tpot": "time per output token: one more sequence breaks the promise",
    "ttft": "time to first token: one more sequence breaks the promise",
    "demand": "demand: one replica serves the peak with room to spare",
    "interior": "nothing: the batch could be larger",
}


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(columns):
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=i == 0)
    return table


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the object of `document` as a verdict, tables and warnings."""
    if answer["plan"] is None or "nearest_feasible" in answer:
        _refusal(answer, console)
        if answer["plan"] is None:
            return
    else:
        console.print(verdict(answer), style="bold", highlight=False)
    for table in (_plan(answer), _bill(answer), _ranking(answer), _elasticities(answer)):
        if table is not None:
            console.print()
            console.print(table, highlight=False)
    console.print()
    for line in _reasons(answer):
        console.print(line, highlight=False)
    for warning in answer["warnings"]:
        console.print(f"[yellow]Note:[/] {warning}", highlight=False)


def _refusal(answer: dict[str, Any], console: Console) -> None:
    console.print(f"No feasible plan: {answer['message']}.", style="bold", highlight=False)


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one or two sentences."""
    plan, bill, base = answer["plan"], answer["bill"], answer["baseline"]
    unit = answer["question"]["objective"]
    evaluated = answer["schema"].startswith("evaluate")
    lead = f"{say(plan['active_params'])} parameters on {say(plan['train_tokens'])} tokens"
    train = f"{lead} ({plan['tokens_per_param']:,.0f} per parameter)"
    text = f"{train}" if evaluated else f"Train {train}"
    if plan["chip"]:
        replica = f"{plan['chips_per_replica']} x {plan['chip']}"
        text += f", {'served' if evaluated else 'serve'} in {plan['precision']} on replicas of {replica}, "
        text += f"{plan['batch']:.0f} sequences at a time"
    total = bill[f"total_{unit}"]
    cost = {"usd": dollars, "joules": lambda j: say(j / 3.6e6, "Wh x 1000"), "flops": lambda f: f"{f:.4g} FLOPs"}[unit]
    text += f": {cost(total)} over its life"
    saved = answer["saving_fraction"]
    if saved is not None and base[f"total_{unit}"] is not None:
        text += (
            f", {percent(abs(saved))} {'less' if saved >= 0 else 'more'} than compute-optimal training of the same "
            f"quality ({say(base['active_params'])} on {say(base['train_tokens'])} tokens, {cost(base[f'total_{unit}'])})"
        )
    return text + "."


def _plan(answer: dict[str, Any]) -> Table:
    plan, build, base = answer["plan"], answer["buildable"], answer["baseline"]
    table = _table("Plan", "", "optimum", "to build", "compute-optimal")

    def row(name: str, a: str, b: str = "", c: str = "") -> None:
        table.add_row(name, a, b, c)

    row("parameters", say(plan["active_params"], digits=4), say(build["params"], digits=4) if build else "",
        say(base["active_params"], digits=4))  # fmt: skip
    row("training tokens", say(plan["train_tokens"], digits=4), say(build["train_tokens"], digits=4) if build else "",
        say(base["train_tokens"], digits=4))  # fmt: skip
    if build:
        shape = f"{build['layers']} layers x {build['d_model']}, FFN {build['ffn']}, {build['heads']}/{build['kv_heads']} heads"
        row("shape", "", shape)
    row("loss", f"{plan['loss_nats']:.4f} nats")
    if plan["chip"]:
        other = f"{base['chips_per_replica']} x {base['chip']} {base['precision']}" if base["chip"] else "none fits"
        row("replica", f"{plan['chips_per_replica']} x {plan['chip']} {plan['precision']}", "", other)
        row(
            "batch",
            f"{plan['batch']:.1f}",
            str(build["batch"]) if build else "",
            f"{base['batch']:.1f}" if base["chip"] else "",
        )
        row("replicas at the peak", f"{plan['replicas']:.1f}", str(build["replicas"]) if build else "")
        row("time per output token", seconds(plan["tpot_s"]))
        row("time to first token", seconds(plan["ttft_s"]))
        row("decode step", seconds(plan["step_s"]))
    return table


def _bill(answer: dict[str, Any]) -> Table | None:
    bill = answer["bill"]
    if bill["total_usd"] is None and bill["total_joules"] is None:
        return None
    table = _table("Bill", "", "US dollars", "share", "energy (kWh)")
    unit = "usd" if bill["total_usd"] is not None else "joules"
    for part in ("training", "prefill", "decode", "total"):
        usd = dollars(bill[f"{part}_usd"]) if bill["total_usd"] is not None else "no price"
        share = percent(bill[f"{part}_{unit}"] / bill[f"total_{unit}"])
        table.add_row(part, usd, share, say(bill[f"{part}_joules"] / 3.6e6))
    idle = bill["of_which"][f"idle_{unit}"]
    usd = dollars(bill["of_which"]["idle_usd"]) if bill["total_usd"] is not None else ""
    idle_kwh = say(bill["of_which"]["idle_joules"] / 3.6e6)
    table.add_row("of which idle", usd, percent(idle / bill[f"total_{unit}"]), idle_kwh)
    return table


def _ranking(answer: dict[str, Any]) -> Table | None:
    rows = answer["ranking"]
    if len(rows) < 2:
        return None
    unit = next(k for k in rows[0] if k.startswith("total_"))
    table = _table("Choices in order", "chips, precision", "parameters", "cost", "against the best")
    for row in rows:
        cost = dollars(row[unit]) if unit == "total_usd" else f"{say(row[unit] / 3.6e6)} kWh"
        note = "best" if row is rows[0] else f"x {row['ratio_to_best']:.2f}" + (" (a tie)" if row["tie"] else "")
        name = f"{row['chips_per_replica']} x {row['chip']} {row['precision']}"
        table.add_row(name, say(row["active_params"]), cost, note)
    return table


def _elasticities(answer: dict[str, Any]) -> Table:
    goal = {"total_usd": "cost", "total_joules": "energy", "total_flops": "FLOPs", "loss_nats": "loss"}
    what = goal[answer["elasticities_of"]]
    table = _table(f"What moves the {what} (1 % more of this changes it by ... %)", "input", f"% of {what}")
    for name, value in list(answer["elasticities"].items())[:_TOP]:
        table.add_row(name, f"{value:+.3f}")
    return table


def _reasons(answer: dict[str, Any]) -> list[str]:
    out = []
    step, prices = answer["step"], answer["shadow_prices"]
    if answer["batch_limit"]:
        out.append(f"[bold]Batch limited by[/] {_LIMITS[answer['batch_limit']]}.")
    if step:
        parts = ", ".join(
            f"{n} {seconds(p['seconds'])} ({p['bound']})" for n, p in step["operations"].items() if p["seconds"] > 0
        )
        out.append(
            f"[bold]Decode step[/] {seconds(step['seconds'])} = {parts}; a textbook roofline (hard maximum) says "
            f"{seconds(step['hard_maximum_s'])}, {100 * step['hard_maximum_difference_fraction']:+.1f} %."
        )
    if prices and answer["question"]["objective"] == "usd":
        worth = []
        if abs(prices["usd_per_tpot_s"]) > 1e-9:
            worth.append(f"1 ms more time per output token saves {dollars(prices['usd_per_tpot_s'] * 1e-3)}")
        if abs(prices["usd_per_ttft_s"]) > 1e-9:
            worth.append(f"1 ms more time to first token saves {dollars(prices['usd_per_ttft_s'] * 1e-3)}")
        if abs(prices["usd_per_hbm_bytes"]) > 1e-18:
            worth.append(f"1 GB more HBM per chip saves {dollars(prices['usd_per_hbm_bytes'] * 1e9)}")
        if abs(prices["usd_per_hbm_bytes_per_s"]) > 1e-18:
            worth.append(f"100 GB/s more HBM bandwidth saves {dollars(prices['usd_per_hbm_bytes_per_s'] * 1e11)}")
        if worth:
            out.append(f"[bold]Worth:[/] {'; '.join(worth)}.")
    accuracy, source, sure = answer["accuracy"], answer["sources"], answer["certificate"]
    if answer["buildable"]:
        out.append(
            f"[bold]Rounding[/] to whole layers, heads and batch changes the cost by {percent(answer['buildable']['rounding_cost_fraction'])}."
        )
    if sure.get("duality_gap") is not None:
        out.append(
            f"[bold]Certificate:[/] convex program, gradient {sure['gradient_norm']:.0e}, limits within "
            f"{sure['feasibility']:.0e}, duality gap {sure['duality_gap']:.0e}: the global optimum of this model."
        )
    elif sure.get("above_optimum_fraction") is not None:
        out.append(f"[bold]Against the optimum[/] of this chip: {100 * sure['above_optimum_fraction']:+.2f} %.")
    out.append(
        f"[bold]How far to trust it:[/] serving speed {percent(accuracy['mdape'])} median error on {accuracy['rows']:.0f} "
        f"measured runs ({percent(accuracy['unseen_chip_mdape'])} on unseen chips; this chip: {source['serving_basis']}); "
        f"training MFU {source['training_mfu']:.2f} ({source['training_mfu_basis']})"
        + (
            f"; ${source['usd_per_chip_hour']:g} per chip-hour ({source['price']})."
            if source["usd_per_chip_hour"]
            else "."
        )
    )
    return out
