"""What speed costs, as a person reads it in a terminal: verdict, tiers, the curve, its ends, one fleet for all."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .parts import table
from .units import percent, price, seconds
from .verdict import count, figure, ways

_WIDTH = 80
_ROWS = 9


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one sentence."""
    if answer["status"] == "infeasible":
        return f"Not feasible: {answer['message'].rstrip('.')}."
    fast, standard, batch = answer["tiers"]
    text = f"{answer['model']['name']} in {answer['precision']['weights']} on {answer['chip']['id']}: "
    text += f"{figure(standard['tokens_per_s_per_user'])} tokens/s each{_paid(standard)} is standard; "
    text += f"{fast['speedup']:.2g} times as fast costs {fast['price_multiple']:.2g} times as much; "
    text += f"batch work, whenever there is room, {percent(1.0 - batch['price_multiple'])} less"
    ends = answer["limits"]
    text += f". No price buys more than {figure(1.0 / ends['fastest_tpot_s'])} tokens/s each"
    return f"{text}; reading the weights alone takes {seconds(ends['latency_floor_s'])}."


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the document of `frontier` as a verdict, tables and warnings, at most 80 columns wide."""
    width = min(console.width, _WIDTH)

    def tell(thing: Any) -> None:
        console.print(thing, highlight=False, width=width)

    tell(Text(verdict(answer), "bold"))
    if answer["status"] != "infeasible":
        for one in (_tiers(answer), _curve(answer), _mix(answer)):
            tell("")
            tell(one)
        tell("")
        for lead, line in _reasons(answer):
            tell(Text.assemble((lead, "bold"), " ", line))
    for warning in answer["warnings"]:
        tell(Text.assemble(("Note:", "yellow"), f" {warning[:1].upper()}{warning[1:]}"))
    for name in answer.get("files", ()):
        tell(Text(f"Wrote {name}"))


def _paid(row: dict[str, Any]) -> str:
    usd = row["usd_per_mtok"]["output"]
    return "" if usd is None else f" for {price(usd)} per million output tokens"


def _money(usd: float | None) -> str:
    return "" if usd is None else price(usd)


def _replica(row: dict[str, Any]) -> str:
    split = ways(row)
    return f"{row['chips']}" + (f" ({split})" if split else "")


def _tiers(answer: dict[str, Any]) -> Table:
    titles = ("speed", "price", "tokens/s each", "at once", "chips", "per M output", "input")
    out = table("Tiers, each on a fleet of its own", "", *titles)
    for row in answer["tiers"]:
        usd = row["usd_per_mtok"]
        cells = [f"x {row['speedup']:.2f}", f"x {row['price_multiple']:.2f}", figure(row["tokens_per_s_per_user"])]
        out.add_row(
            row["name"], *cells, count(row["batch"]), _replica(row), _money(usd["output"]), _money(usd["input"])
        )
    return out


def _curve(answer: dict[str, Any]) -> Table:
    points = answer["points"]
    shown = sorted({round(i * (len(points) - 1) / (_ROWS - 1)) for i in range(_ROWS)})
    out = table("The cheapest at every speed", "tokens/s each", "per token", "at once", "chips", "per M output")
    out.columns[0].justify = "right"
    for row in (points[i] for i in shown):
        cells = [seconds(row["tpot_s"]), count(row["batch"]), _replica(row), _money(row["usd_per_mtok_output"])]
        out.add_row(figure(row["tokens_per_s_per_user"]), *cells)
    return out


def _mix(answer: dict[str, Any]) -> Table:
    mix = answer["mix"]
    out = table("On one fleet, batch work in the troughs", "", "share of tokens", "price of a request")
    for name in ("fast", "standard", "batch"):
        found = mix[name]["price_multiple"]
        told = found["proportional"] if name == "batch" else found
        out.add_row(name, percent(mix["shares"][name]), f"x {told:.2f}")
    return out


def _reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    ends, mix, least = answer["limits"], answer["mix"], answer["smallest_efficient"]
    fast = answer["tiers"][0]
    out = []
    if fast["worth_above_usd_per_hour"] is not None and fast["speedup"] > 1.001:
        out.append(
            ("Fast pays", f"where an hour of waiting costs more than {price(fast['worth_above_usd_per_hour'])}.")
        )
    slow = ends["slow_usd_per_mtok_output"]
    if slow is not None:
        text = f"{price(slow)} per million output tokens is where patience ends: arithmetic and caches are not shared."
        out.append(("Slow mode:", text))
    ideal = ends["ideal_batch"]
    told = [f"{count(ideal[k])} {words}" for k, words in _IDEAL if ideal[k] is not None]
    out.append(("Ideal batch:", f"{', '.join(told)}."))
    if ends["balanced_context_tokens"] is not None:
        text = f"from {figure(ends['balanced_context_tokens'])} tokens on, reading the cache outlasts arithmetic."
        out.append(("Context:", text))
    step = answer["schedule"]
    text = f"a pass leaves every {seconds(step['interval_s'])}; who just misses one has a token after "
    text += f"{seconds(step['worst_latency_s'])}. Reading all memory once takes {seconds(ends['drain_s'])}."
    out.append(("Departures:", text))
    text = f"{figure(least['output_tokens_per_s'])} output tokens/s fill one replica of {least['chips']} chips; less "
    out.append(("Smallest scale:", text + "traffic makes every token dearer."))
    use, alone = percent(mix["utilisation"]), percent(mix["utilisation_without_batch"])
    text = (
        f"troughs hold {percent(mix['trough_share'])} of all tokens; the fleet is then {use} busy instead of {alone}. "
    )
    low, high = mix["batch"]["discount"]["most"], mix["batch"]["discount"]["least"]
    text += f"They support a discount of {percent(mix['batch']['discount']['proportional'])} if shared by work, and "
    text += f"anything from {percent(low)} to {percent(high)} harms nobody."
    out.append(("Batch work:", text))
    if answer["price_basis"]:
        out.append(("Price:", f"{answer['price_basis']}, without margin."))
    band = answer["interval"]
    text = f"standard's time per token {seconds(band['tpot_s'][0])} to {seconds(band['tpot_s'][1])}, nine times in ten "
    out.append(("How far to trust it:", text + f"({band['basis'].rstrip('.')})."))
    return out


_IDEAL = (
    ("blackboard", "by peak rates and parameter counts"),
    ("datasheet", "op by op"),
    ("calibrated", "in measured times"),
    ("with_kv", "with caches read as well"),
)
