"""A price card as a person reads it in a terminal: verdict, lines by cause, tiers, contexts, caches, other cards."""

from math import inf
from typing import Any

from rich.console import Console
from rich.table import Table

from ..price.lines import CAUSES
from ..price.market import RATIOS
from .parts import print_answer, table
from .units import duration, percent, price, say
from .verdict import count, figure, ways

_LINES = {
    "input": "input",
    "cached_input": "cached input",
    "cache_write_5m": "write, 5 min",
    "cache_write_1h": "write, 1 h",
    "output": "output",
}


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one sentence."""
    if answer["status"] == "infeasible":
        return f"Not feasible: {answer['message'].rstrip('.')}."
    usd, replica = answer["usd_per_mtok"], answer["replica"]
    split = ways(replica)
    where = f"{replica['chips']} x {answer['chip']['id']}" + (f" ({split})" if split else "")
    text = f"{answer['model']['name']} in {answer['precision']['weights']} on {where}, "
    text += f"{figure(answer['tokens_per_s_per_user'])} tokens/s each: {price(usd['input'])} per million input tokens, "
    text += f"{price(usd['cached_input'])} cached, {price(usd['output'])} output"
    margin = answer["margin_fraction"]
    return text + (f", of which {percent(margin)} is margin." if margin else ", at cost.")


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the document of `price` as a verdict, tables and warnings."""
    if answer["status"] == "infeasible":
        print_answer(console, verdict(answer), [], [], answer)
        return
    tables = (_lines(answer), _tiers(answer), _steps(answer), _caches(answer), _ratios(answer))
    print_answer(console, verdict(answer), tables, _reasons(answer), answer)


def _lines(answer: dict[str, Any]) -> Table:
    shares = [cause for cause in CAUSES if any(row["parts_usd_per_mtok"][cause] for row in answer["lines"])]
    out = table("Per million tokens, and what takes the cost", "", "price", *(_CAUSES.get(one, one) for one in shares))
    for row in answer["lines"]:
        parts = (row["parts_usd_per_mtok"][cause] / row["cost_usd_per_mtok"] for cause in shares)
        out.add_row(_LINES[row["name"]], price(row["usd_per_mtok"]), *(f"{100.0 * part:.0f} %" for part in parts))
    return out


def _tiers(answer: dict[str, Any]) -> Table:
    out = table("Tiers", "", "speed", "price", "tokens/s", "at once", "input", "cached", "output")
    for row in answer["tiers"]:
        usd = row["usd_per_mtok"]
        cells = [_times(row["speedup"]), _times(row["price_multiple"]), figure(row["tokens_per_s_per_user"])]
        cells += [count(row["batch"]), *(price(usd[k]) for k in ("input", "cached_input", "output"))]
        out.add_row(row["name"], *cells)
    return out


def _times(ratio: float) -> str:
    return f"x {ratio:.2f}" if 0.0995 <= ratio < 9.995 else f"x {ratio:.2g}" if ratio < 1.0 else f"x {figure(ratio)}"


def _steps(answer: dict[str, Any]) -> Table | None:
    rows = answer["context_steps"]
    if len(rows) < 2:
        return None
    out = table("Long contexts", "tokens", "priced at", "input", "cached", "output")
    for row in rows:
        low, high = row["min_context_tokens"], row["max_context_tokens"]
        name = f"from {say(low)}" if low else "below"
        usd = row["usd_per_mtok"]
        out.add_row(
            f"{name}" + (f"{' to' if low else ''} {say(high)}" if high else ""), say(row["context_tokens"]),
            *(price(usd[k]) for k in ("input", "cached_input", "output")),
        )  # fmt: skip
    return out


def _caches(answer: dict[str, Any]) -> Table:
    kilobytes = answer["kv_bytes_per_token"] / 1e3
    out = table(
        f"Having a token's cache again ({kilobytes:.3g} kB), per million tokens",
        "kept in", "to fetch", "to hold an hour", "read once in", "cheapest when held",
    )  # fmt: skip
    for row in answer["cache_tiers"]:
        start, end = row["cheapest_from_s"], row["cheapest_to_s"]
        best = (
            "" if start is None else f"{duration(start)} on" if end is None else f"{duration(start)} to {duration(end)}"
        )
        drain = "" if row["drain_s"] is None else duration(row["drain_s"])
        name = _TIERS.get(row["tier"], row["tier"])
        held = "" if row["tier"] == "compute" else price(row["hold_usd_per_mtok_per_hour"])
        out.add_row(name, price(row["retrieve_usd_per_mtok"]), held, drain, best)
    return out


_CAUSES = {"network": "links", "overhead": "other"}
_TIERS = {"compute": "computed anew", "hbm": "HBM"}


def _ratios(answer: dict[str, Any]) -> Table:
    out = table("Beside public cards", "", "here", "median", "lowest", "highest", "cards")
    for name, words in RATIOS.items():
        here, there = answer["ratios"][name], answer["market"][name]
        cells = [figure(there[k]) for k in ("median", "low", "high")]
        out.add_row(words, "" if here is None else figure(here), *cells, f"{there['cards']}")
    return out


def _reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    out = []
    balanced = answer["balanced_context_tokens"] or inf
    if balanced < inf:
        text = f"beyond {figure(balanced)} tokens reading the cache outlasts arithmetic: where a step of price belongs."
        out.append(("Context:", text))
    busy = percent(1.0 / answer["peak_to_mean"])
    out.append(("Idle:", f"the fleet is sized for the peak and {busy} busy; batch work waits and has none."))
    out.append(("Price:", f"{answer['price_basis']}."))
    ratio = answer["interval"]["cost_ratio"]
    text = f"costs are {price(ratio[0])[1:]} to {price(ratio[1])[1:]} of these, nine times in ten "
    out.append(("How far to trust it:", text + f"({answer['interval']['basis'].rstrip('.')})."))
    return out
