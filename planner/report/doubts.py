"""How sure a plan is, as a person reads it."""

from typing import Any

from rich.table import Table

from .parts import replica, table
from .units import amount, percent, say


def tables(answer: dict[str, Any]) -> list[Table]:
    """Return the tables of what draws make of the plan, of its rivals and of the laws."""
    doubt, unit = answer["uncertainty"], answer["question"]["objective"]
    out = table(f"Under {doubt['draws']:,} draws", "", "low", "median", "high")
    rows = (
        ("parameters", "active_params", say),
        ("training tokens", "train_tokens", say),
        ("cost", f"total_{unit}", lambda x: amount(x, unit)),
        ("saving", "saving_fraction", percent),
    )
    for name, key, words in rows:
        low, high = doubt["interval"][key]
        middle = doubt["median"][key]
        out.add_row(name, *("" if x is None else words(x) for x in (low, middle, high)))
    found = [out]
    if len(doubt["laws"]) > 1:
        laws = table("By law", "law", "draws", "parameters", "tokens", "plan's regret", *_robust_column(answer))
        for law, one in zip(doubt["laws"], doubt["by_law"], strict=True):
            cells = [one["regret_of_plan_fraction"], *([one["regret_of_robust_fraction"]] if answer["robust"] else [])]
            laws.add_row(
                one["law"], f"{law['draws']:,}", say(one["active_params"]), say(one["train_tokens"]),
                *("none" if x is None else percent(x) for x in cells),
            )  # fmt: skip
        found.append(laws)
    return found


def _robust_column(answer: dict[str, Any]) -> list[str]:
    return ["robust's regret"] if answer["robust"] else []


def reasons(answer: dict[str, Any]) -> list[str]:
    """Return sentences on the point plan's regret, the robust size and ties."""
    doubt, unit = answer["uncertainty"], answer["question"]["objective"]
    plan = doubt["plan"]
    out = []
    able = ""
    if plan["infeasible_fraction"] > 0:
        often, able = percent(plan["infeasible_fraction"]), ", where it can be had,"
        out.append(f"In {often} of draws this size does not reach the quality within the limits.")
    if plan["regret_mean_fraction"] is not None:
        mean, worst = percent(plan["regret_mean_fraction"]), percent(plan["regret_p90_fraction"])
        low, high = plan["train_tokens"]
        out.append(
            f"[bold]Regret:[/] to settle on {say(plan['active_params'])} parameters now costs{able} {mean} more on "
            f"average than to know law and times before ({worst} or more in one draw of ten); tokens then come to "
            f"{say(low)} to {say(high)}."
        )
    if answer["robust"]:
        out.append(_robust(answer["robust"], unit))
    ties = [one for one in doubt["choices"] if one["tie"]]
    for one in ties:
        often = percent(one["cheaper_fraction"])
        out.append(f"[bold]Tie:[/] {replica(one)} is cheaper than the plan's choice in {often} of draws.")
    if not ties and len(doubt["choices"]) > 1:
        most = max(one["cheaper_fraction"] for one in doubt["choices"][1:])
        often = f"more than {percent(most)} of draws" if most > 0 else "any draw"
        out.append(f"No other choice is cheaper than the plan's in {often}.")
    return out


def _robust(best: dict[str, Any], unit: str) -> str:
    what = "mean cost"
    if best["criterion"] == "cvar":
        what += f" of the worst {percent(best['worst_fraction'])} of draws"
    said = f"[bold]Robust:[/] {say(best['active_params'])} parameters on {replica(best)} have the least {what}"
    if best["risk"] is None:
        return "[bold]Robust:[/] no size meets the quality within the limits in any draw."
    ours = amount(best["risk"], unit)
    if best["gain_fraction"] is None:
        fails = percent(best["infeasible_fraction"]), percent(best["infeasible_fraction_of_plan"])
        return f"{said}, {ours}, of those that fail least: in {fails[0]} of draws, the plan in {fails[1]}."
    plans, gain = amount(best["risk_of_plan"], unit), percent(best["gain_fraction"])
    if best["tie"]:
        return f"{said}, {ours} against the plan's {plans}: a tie ({gain})."
    return f"{said}, {ours}, {gain} below the plan's {plans}."
