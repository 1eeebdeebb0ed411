"""What speed costs, as a person reads it in a terminal: verdict, tiers, the curve, its ends, one fleet for all."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from .frontier_chart import Cost, chart
from .parts import print_answer, table
from .units import percent, price, seconds
from .verdict import count, figure, ways

_ROWS = 9
_FASTER = 1.001  # times as fast: less is the same speed

Told = tuple[str, str]  # what a sentence is about, and the sentence


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one sentence."""
    if answer["status"] == "infeasible":
        return f"Not feasible: {answer['message'].rstrip('.')}."
    fast, standard, batch = answer["tiers"]
    text = f"{answer['model']['name']} in {answer['precision']['weights']} on {answer['chip']['id']}: "
    text += f"{figure(standard['tokens_per_s_per_user'])} tokens/s each{_paid(standard)} is standard; "
    if fast["speedup"] > _FASTER:
        text += f"{figure(fast['speedup'])} times as fast costs {figure(fast['price_multiple'])} times as much; "
    text += f"batch work, whenever there is room, {percent(1.0 - batch['price_multiple'])} less"
    ends = answer["limits"]
    text += f". No price buys more than {figure(1.0 / ends['fastest_tpot_s'])} tokens/s each"
    return f"{text}; reading the weights alone takes {seconds(ends['latency_floor_s'])}."


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the document of `frontier` as a verdict, a chart, tables and warnings."""
    if answer["status"] == "infeasible":
        print_answer(console, verdict(answer), [], [], answer)
        return
    tables = (chart(answer, console), tiers(answer), curve(answer), mix(answer))
    reasons = (*worth(answer), *ends(answer), *shared(answer), *trust(answer))
    print_answer(console, verdict(answer), tables, reasons, answer)


def _paid(row: dict[str, Any]) -> str:
    usd = row["usd_per_mtok"]["output"]
    return "" if usd is None else f" for {price(usd)} per million output tokens"


def layout(row: dict[str, Any]) -> str:
    """Return how a replica is split, short enough for a column: tp2 dp32 ep64."""
    return ways(row).replace(" ", "").replace(",", " ")


def tiers(answer: dict[str, Any]) -> Table:
    """Return the tiers side by side."""
    rows = answer["tiers"]
    out = table("Tiers, each on a fleet of its own", "", *(row["name"] for row in rows))

    def tell(name: str, of: Callable[[dict[str, Any]], str]) -> None:
        cells = [of(row) for row in rows]
        if any(cells):
            out.add_row(name, *cells)

    tell("speed", lambda row: f"x {row['speedup']:.2f}")
    tell("price of output", lambda row: f"x {row['price_multiple']:.2f}")
    tell("price of input", lambda row: f"x {row['input_price_multiple']:.2f}")
    tell("per million output", lambda row: _money(row["usd_per_mtok"]["output"]))
    tell("per million input", lambda row: _money(row["usd_per_mtok"]["input"]))
    tell("tokens/s each", lambda row: figure(row["tokens_per_s_per_user"]))
    tell("first token after", lambda row: seconds(row["ttft_s"]))
    tell("sequences at once", lambda row: count(row["batch"]))
    tell("chips of a replica", lambda row: f"{row['chips']:,}")
    tell("split", layout)
    return out


def _money(usd: float | None) -> str:
    return "" if usd is None else price(usd)


def curve(answer: dict[str, Any]) -> Table:
    """Return points of the curve from its one end to the other."""
    points, cost = answer["points"], Cost.of(answer)
    shown = sorted({round(i * (len(points) - 1) / (_ROWS - 1)) for i in range(_ROWS)})
    paid = "chip time" if points[0]["usd_per_mtok_output"] is None else "per M output"
    names = ("tokens/s each", "per token", "at once", "chips", "split", paid)
    out = table("The cheapest at every speed", *(name for name in names if name != "split" or _splits(points)))
    out.columns[0].justify = "right"
    for row in (points[i] for i in shown):
        split = [layout(row)] if _splits(points) else []
        cells = [seconds(row["tpot_s"]), count(row["batch"]), f"{row['chips']:,}", *split, cost.tell(row[cost.key])]
        out.add_row(figure(row["tokens_per_s_per_user"]), *cells)
    return out


def _splits(points: list[dict[str, Any]]) -> bool:
    return any(layout(row) for row in points)


def mix(answer: dict[str, Any]) -> Table:
    """Return what tiers cost where they share one fleet."""
    found = answer["mix"]
    out = table("On one fleet, batch work in the troughs", "", "share of tokens", "price of a request")
    for name in ("fast", "standard", "batch"):
        multiple = found[name]["price_multiple"]
        told = multiple["proportional"] if name == "batch" else multiple
        out.add_row(name, percent(found["shares"][name]), f"x {told:.2f}")
    return out


def worth(answer: dict[str, Any]) -> list[Told]:
    """Say for whom the fast tier pays."""
    fast = answer["tiers"][0]
    if fast["worth_above_usd_per_hour"] is None or fast["speedup"] <= _FASTER:
        return []
    return [("Fast pays", f"where an hour of waiting costs more than {price(fast['worth_above_usd_per_hour'])}.")]


def ends(answer: dict[str, Any]) -> list[Told]:
    """Say what neither money nor patience buys, and the batches, contexts and scales between."""
    limits, least, step = answer["limits"], answer["smallest_efficient"], answer["schedule"]
    cost = Cost.of(answer)
    slow = f"{cost.tell(cost.slow)} {cost.unit}"
    out = [("Slow mode:", f"{slow} is where patience ends: arithmetic and caches are not shared.")]
    ideal = limits["ideal_batch"]
    told = [f"{count(ideal[k])} {words}" for k, words in _IDEAL if ideal[k] is not None]
    out.append(("Ideal batch:", f"{', '.join(told)}."))
    if limits["balanced_context_tokens"] is not None:
        text = f"from {figure(limits['balanced_context_tokens'])} tokens on, reading the cache outlasts arithmetic."
        out.append(("Context:", text))
    text = f"a pass leaves every {seconds(step['interval_s'])}; who just misses one has a token after "
    text += f"{seconds(step['worst_latency_s'])}. Reading all memory once takes {seconds(limits['drain_s'])}."
    out.append(("Departures:", text))
    chips = "one chip" if least["chips"] == 1 else f"one replica of {least['chips']} chips"
    text = (
        f"{figure(least['output_tokens_per_s'])} output tokens/s fill {chips}; less traffic makes every token dearer."
    )
    return [*out, ("Smallest scale:", text)]


def shared(answer: dict[str, Any]) -> list[Told]:
    """Say what batch work in the troughs of one fleet is worth."""
    found = answer["mix"]
    use, alone = percent(found["utilisation"]), percent(found["utilisation_without_batch"])
    text = f"troughs hold {percent(found['trough_share'])} of all tokens; "
    text += f"the fleet is then {use} busy instead of {alone}. "
    discount = found["batch"]["discount"]
    text += f"They support a discount of {percent(discount['proportional'])} if shared by work, and "
    text += f"anything from {percent(discount['most'])} to {percent(discount['least'])} harms nobody."
    return [("Batch work:", text)]


def trust(answer: dict[str, Any]) -> list[Told]:
    """Say where the price is from and how sure the times are."""
    band, basis = answer["interval"], answer["price_basis"]
    text = f"standard's time per token {seconds(band['tpot_s'][0])} to {seconds(band['tpot_s'][1])}, nine times in ten "
    priced = [("Price:", f"{basis}, without margin.")] if basis else []
    return [*priced, ("How far to trust it:", text + f"({band['basis'].rstrip('.')}).")]


_IDEAL = (
    ("blackboard", "by peak rates and parameter counts"),
    ("datasheet", "op by op"),
    ("calibrated", "in measured times"),
    ("with_kv", "with caches read as well"),
)
