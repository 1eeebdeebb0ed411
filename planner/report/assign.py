"""An assignment as a person reads it: what it saves first, then who gets what, what promises cost, what fails."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .parts import print_body, table
from .units import dollars, percent, say, seconds
from .verdict import figure

_LITTLE = 0.005  # a saving below this share is told as none: prices are known no better


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one sentence."""
    parts, habit, premium = [], answer["habit"], answer["premium"]
    unserved = answer["unserved"]
    if unserved["tasks"]:
        why = ", ".join(f"{name} {count:,}" for name, count in unserved["by_limit"].items() if count)
        have = "has" if unserved["tasks"] == 1 else "have"
        parts.append(f"{_of(unserved['tasks'], answer['tasks'])} {have} no offer ({why})")
    served = answer["served"]["tasks"]
    if not served:
        return f"{parts[0]}."
    cost = f"{'the others cost ' if parts else ''}{dollars(answer['total_usd'])} {_period(answer)}"
    if answer["waiting_usd"] > 0.0:
        cost += f" ({dollars(answer['paid_usd'])} for tokens, {dollars(answer['waiting_usd'])} for waiting)"
    if habit["tasks"] == served:
        parts.append(f"{cost}{' ' if _saves(habit) else ', '}{_against(habit)}")
    elif habit["tasks"]:
        some = f"on the {_of(habit['tasks'], served)} that {habit['offer']} can do, {dollars(habit['assigned_usd'])}"
        parts += [cost, f"{some}{' ' if _saves(habit) else ', '}{_against(habit, 'it')}"]
    else:
        parts += [cost, f"{habit['offer']} alone can do none"]
    some = "no task deserves"
    if premium["tasks"]:
        share = f"{percent(premium['cost_share'])} of the cost"
        deserve = "deserves" if premium["tasks"] == 1 else "deserve"
        some = f"{_of(premium['tasks'], answer['tasks'])} ({share}) {deserve}"
    parts.append(f"{some} the best model, {premium['model']}")
    return "; ".join(parts) + "."


def _saves(habit: dict[str, Any]) -> bool:
    return habit["saving_fraction"] >= _LITTLE


def _against(habit: dict[str, Any], name: str = "") -> str:
    alone = f"on {name or habit['offer']} alone"
    if not _saves(habit):
        return f"as much as {alone}"
    return f"instead of {dollars(habit['total_usd'])} {alone}, {percent(habit['saving_fraction'])} less"


def _of(some: int, whole: int) -> str:
    tasks = "task" if whole == 1 else "tasks"
    return f"{'all' if some == whole and whole > 1 else f'{some:,} of'} {whole:,} {tasks}"


def _period(answer: dict[str, Any]) -> str:
    if answer["per"]:
        return f"{'an' if answer['per'] == 'hour' else 'a'} {answer['per']}"
    requests = answer["served"]["requests"]
    return f"for {_many(requests)} {'request' if requests == 1 else 'requests'}"


def _many(value: float) -> str:
    return say(value) if value >= 1e5 else f"{value:,.10g}" if value == round(value) else figure(value)


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the object of `assign` as a verdict, tables and warnings."""
    console.print(escape(answer["message"]), style="bold", highlight=False)
    parts = [_mix(answer), _promises(answer), _break_even(answer), _largest(answer), _unserved(answer)]
    print_body(console, parts, _reasons(answer), answer["warnings"])


def _mix(answer: dict[str, Any]) -> Table | None:
    if not answer["mix"]:
        return None
    waits = answer["waiting_usd"] > 0.0
    columns = ("quality", "tasks", "requests", "per 1,000", "tokens", *(("waiting",) if waits else ()), "of the cost")
    out = table("Who gets what", "offer", *columns)
    for row in answer["mix"]:
        waiting = [dollars(row["waiting_usd"])] if waits else []
        size = [f"{row['quality']:g}", f"{row['tasks']:,}", _many(row["requests"])]
        usd = [
            dollars(1000.0 * row["paid_usd_per_request"]),
            dollars(row["paid_usd"]),
            *waiting,
            percent(row["cost_share"]),
        ]
        out.add_row(escape(row["offer"]), *size, *usd)
    return out


def _promises(answer: dict[str, Any]) -> Table | None:
    """Return what promises cost; levels and classes that cost nothing are left out, they are in the JSON."""
    told, rows = answer["promises"], []
    for row in told["quality"]:
        if row["lower_level"] is not None:
            rows.append((f"quality {row['level']:g}", f"quality {row['lower_level']:g}", row))
    rows += [(_class(row), "no deadline", row) for row in told["deadline"]]
    rows.append(("haste, where waiting costs", "cheapest tokens", told["waiting"]))
    rows = [row for row in rows if row[2]["saves_usd"] > 0.0]
    if not rows:
        return None
    out = table("What promises cost, each dropped alone", "promise", "tasks", "cost now", "instead", "saves", "")
    out.columns[3].justify = "left"
    for promise, instead, row in rows:
        share = percent(row["saves_usd"] / row["total_usd"])
        out.add_row(promise, f"{row['tasks']:,}", dollars(row["total_usd"]), instead, dollars(row["saves_usd"]), share)
    return out


def _class(row: dict[str, Any]) -> str:
    low, high = row["over_s"], row["up_to_s"]
    if high is None:
        return f"deadline over {_time(low)}"
    return f"deadline {_time(low)} to {_time(high)}" if low else f"deadline up to {_time(high)}"


def _time(value: float) -> str:
    """Return a time as people set deadlines: 350 ms, 10 s, 10 min, 24 h."""
    for scale, name in ((3600.0, "h"), (60.0, "min")):
        if value >= 2.0 * scale or value == scale:
            return f"{value / scale:,.3g} {name}"
    return seconds(value)


def _break_even(answer: dict[str, Any]) -> Table | None:
    rows = [row for row in answer["break_even"] if row["slower_tasks"] or row["faster_tasks"]]
    if not rows:
        return None
    out = table("When the faster tier pays", "slower", "tasks", "faster", "tasks", "if an hour of waiting costs over")
    out.columns[2].justify = "left"
    for row in rows:
        low, high = _worth(row["usd_per_hour"]["p10"]), _worth(row["usd_per_hour"]["p90"])
        worth = low if low == high else f"{low} to {high}"
        slower, faster = escape(row["slower"]), escape(row["faster"])
        out.add_row(slower, f"{row['slower_tasks']:,}", faster, f"{row['faster_tasks']:,}", worth)
    return out


def _worth(usd: float) -> str:
    """Return dollars an hour; what rounds to no cent is said in words."""
    return "nothing" if usd == 0.0 else "a cent" if usd < 0.01 else dollars(usd)


def _largest(answer: dict[str, Any]) -> Table | None:
    habit = answer["habit"]
    rows = habit["largest"][:5] if _saves(habit) else []
    if not rows:
        return None
    out = table("Wasted most", "task", f"on {escape(habit['offer'])}", "better on", "for", "saves")
    out.columns[2].justify = "left"
    for row in rows:
        usd = [dollars(row[key]) for key in ("habit_usd", "total_usd", "saving_usd")]
        out.add_row(escape(row["task"]), usd[0], escape(row["offer"]), *usd[1:])
    return out


def _unserved(answer: dict[str, Any]) -> Table | None:
    rows = answer["unserved"]["first"]
    if not rows:
        return None
    out = table("No offer does these", "task", "tokens in, out", "asked", "what binds", "what would do")
    for column in out.columns[2:]:
        column.justify = "left"
    for row in rows:
        asked, near = row["asked"], row["nearest"]
        text = f"quality {asked['quality']:g}"
        text += f" in {_time(asked['deadline_s'])}" if asked["deadline_s"] is not None else ""
        would = [f"{_time(near['deadline_s'])}"] if row["limit"] == "deadline" else []
        if near["quality"] is not None:
            would.append(f"quality {near['quality']:g}")
        does = " or ".join(would) or ("a shorter prompt" if row["limit"] == "context" else "neither alone")
        tokens = f"{_many(row['input_tokens'])}, {_many(row['output_tokens'])}"
        out.add_row(escape(row["task"]), tokens, text, row["limit"], does)
    return out


def _reasons(answer: dict[str, Any]) -> list[str]:
    out, premium, habit, ties = [], answer["premium"], answer["habit"], answer["ties"]
    told = {
        "quality": "no other is good enough",
        "context": "no other good enough holds the prompt",
        "deadline": "no other good enough is in time",
        "cost": "it costs least",
    }
    why = [f"{told[name]} (tasks: {count:,})" for name, count in premium["because_tasks"].items() if count]
    if why:
        out.append(f"[bold]The best model,[/] {escape(premium['model'])}, is taken where {', where '.join(why)}.")
    broken = [f"the {name} of {count:,}" for name, count in habit["broken_tasks"].items() if count]
    if broken:
        out.append(
            f"[bold]{escape(habit['offer'])} alone[/] would break {', '.join(broken)} of {answer['tasks']:,} tasks."
        )
    if ties["tasks"]:
        tasks = "1 task costs" if ties["tasks"] == 1 else f"{ties['tasks']:,} tasks cost"
        near, usd = percent(ties["within_fraction"]), dollars(ties["total_usd"])
        out.append(f"[bold]Ties:[/] {tasks} as much on a second offer, within {near} ({usd} in all).")
    offers = answer["offers"]
    quality = f"{offers['quality_scale']}, {offers['date']}, {offers['source']}"
    out.append(f"[bold]Offers:[/] {offers['offers']} of {escape(offers['id'])}; quality: {escape(quality)}.")
    if offers["note"]:
        out.append(f"[bold]About them:[/] {escape(offers['note'])}")
    return out
