"""What a price card tells, as a person reads it in a terminal: verdict, parameters, fit, caches, the blackboard."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from .parts import print_answer, table
from .units import duration, percent, price, say
from .verdict import count, figure


def _bytes(value: float) -> str:
    return f"{value / 1e6:.3g} MB" if value >= 999.5e3 else f"{value / 1e3:.3g} kB"


_NAMES: dict[str, tuple[str, Callable[[float], str]]] = {
    "kv_bytes_per_token": ("KV cache per token", _bytes),
    "active_params": ("active parameters", say),
    "total_params": ("total parameters", say),
    "sparsity": ("total over active", lambda x: f"{x:.3g}"),
    "decode_mfu": ("MFU of decoding", percent),
    "prefill_mfu": ("MFU of prompts", percent),
    "balanced_context_tokens": ("balanced context", say),
    "batch": ("sequences at once", count),
    "chips": ("chips of a replica", count),
    "margin_fraction": ("margin", percent),
}
_TOLD = {"yes": "yes", "weakly": "weakly", "no": "no: assumed", "given": "given"}
_SLOTS = {"standard": "", "long": "long contexts, ", "fast": "fast, ", "batch": "batch, "}
_LINES = {"input": "input", "output": "output", "tokens_per_s_per_user": "tokens/s each"}


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one sentence."""
    rows = answer["parameters"]
    said = []
    for name, what in (("active_params", "active parameters"), ("kv_bytes_per_token", "of KV cache per token")):
        said.append(f"{_NAMES[name][1](rows[name]['value'])} {what} ({_between(name, rows[name])})")
    mfu = rows["decode_mfu"]
    text = f"{answer['card']['name']}: about {', '.join(said)}, decoding at "
    return text + f"{percent(mfu['value'])} of peak ({_between('decode_mfu', mfu)})."


def _between(name: str, row: dict[str, Any]) -> str:
    unit = _NAMES[name][1]
    return "given" if row["identified"] == "given" else f"{unit(row['low'])} to {unit(row['high'])}"


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the document of `deduce` as a verdict, tables and reasons."""
    tables = (_parameters(answer), _fit(answer), _caches(answer))
    print_answer(console, verdict(answer), tables, _reasons(answer), answer)


def _parameters(answer: dict[str, Any]) -> Table:
    out = table("What the card tells", "", "median", "90 % interval", "told by the card")
    out.columns[3].justify = "left"
    for name, row in answer["parameters"].items():
        words, unit = _NAMES[name]
        between = "" if row["identified"] == "given" else _between(name, row)
        out.add_row(words, unit(row["value"]), between, _TOLD[row["identified"]])
    return out


def _fit(answer: dict[str, Any]) -> Table:
    out = table("Card and likeliest model", "", "card", "model", "off by")
    for row in answer["fit"]:
        unit = figure if row["line"] == "tokens_per_s_per_user" else price
        name = _SLOTS[row["slot"]] + _LINES[row["line"]]
        out.add_row(name, unit(row["card"]), unit(row["model"]), f"{100.0 * (row['ratio'] - 1.0):+.0f} %")
    return out


def _caches(answer: dict[str, Any]) -> Table | None:
    found = answer["cache_tiers"]
    if found is None:
        return None
    charged = found["charged_usd_per_mtok_per_hour"]
    told = "" if charged is None else f" (charged: {price(charged)})"
    out = table(f"A million tokens' caches held for an hour{told}", "kept in", "would cost", "", "read once in")
    for row in found["tiers"]:
        between = f"{price(row['low_usd_per_mtok_per_hour'])} to {price(row['high_usd_per_mtok_per_hour'])}"
        cost = price(row["usd_per_mtok_per_hour"])
        out.add_row({"hbm": "HBM"}.get(row["tier"], row["tier"]), cost, between, duration(row["drain_s"]))
    return out


def _reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    out = []
    rows, board, caches = answer["parameters"], answer["blackboard"], answer["cache_tiers"]
    untold = [_NAMES[name][0] for name in answer["not_identified"]]
    if untold:
        text = f"{', '.join(untold)}. Prices scale with margin and rent, so sizes are told only as far as these are; "
        text += "weights only over chips. State what you know (--margin, --active-params, --chips)."
        out.append(("Not told:", text))
    text = f"output at {1.0 / board['decode_over_prefill_mfu']:.2g} times input: decoding at "
    text += f"{percent(board['decode_over_prefill_mfu'])} of the MFU of prompts."
    if board["kv_bytes_per_token"] is not None:
        text += f" A step at {say(board['step_tokens'])} tokens, if where costs on {board['chip']} have their kink, "
        text += f"makes {board['kv_bytes_per_token']:,.0f} bytes of KV cache per token for "
        text += f"{say(board['active_params'])} active parameters; all prices together "
        if not board["refined_agrees"]:
            text += f"disagree: {_bytes(rows['kv_bytes_per_token']['value'])}, as weights, networks and pauses cost too"
        else:
            text += "allow it"
        text += f" ({_between('kv_bytes_per_token', rows['kv_bytes_per_token'])})."
    out.append(("On a blackboard:", text))
    if caches is not None:
        drains = ", ".join(f"{hold}: {tier}" for hold, tier in caches["drains_like"].items())
        text = f"by time to read a tier once, {drains}"
        text += f"; by what is charged, {caches['priced_like']}." if caches["priced_like"] else "."
        out.append(("Caches:", text))
    told = answer["assumptions"]
    likely = sorted(told["weighed"], key=lambda row: -row["odds"])[:3]
    names = [f"{row['chip']} {row['precision']} {row['kind']} {percent(row['odds'])}" for row in likely]
    requests = told["requests"]
    text = (
        f"requests of {requests['input_tokens']:g} + {requests['output_tokens']:g} tokens, {told['engine']}; weighed "
    )
    text += f"by how well they explain the card: {', '.join(names)}. Prices stray from cost by "
    text += f"{percent(told['pricing_noise'])} for reasons of their own."
    out.append(("Assumed:", text))
    margin = rows["margin_fraction"]
    if margin["identified"] in ("no", "weakly"):
        out.append(("Margin:", f"{percent(margin['low'])} to {percent(margin['high'])} would do."))
    return out
