"""An estimate as a person reads it in a terminal: verdict first, then the point, why it is so, and what it costs."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from .bars import bars, share_of
from .energy import energy_reasons, energy_table
from .parts import print_answer, table
from .units import energy_per, gigabytes, percent, price, seconds
from .verdict import count, figure, verdict, ways

_STEP_ROWS, _PROMPT_ROWS, _CURVE_ROWS, _LAYOUT_ROWS = 9, 5, 9, 6
_CAPS = {"memory": "memory is then full", "slots": "the engine's slots", "tokens": "the engine's tokens per pass"}
_BOUNDS = {
    "memory": "reading memory",
    "compute": "arithmetic",
    "network": "the network between chips",
    "overhead": "overheads: launches, host, kernels too small to fill the chip",
}
_GOODPUT = {"tpot": "time per token", "ttft": "time to first token", **_CAPS}


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the document of `estimate` as a verdict, tables and warnings."""
    if answer["status"] == "infeasible":
        print_answer(console, verdict(answer), [_most(answer)], [], answer)
        return
    bar = bars(console)
    tables = [
        _point(answer),
        _memory(answer, bar),
        _cost(answer),
        energy_table(answer),
        _parts("Mean step", answer["breakdown"], _STEP_ROWS, bar),
        _parts("One prompt alone", answer["prefill_breakdown"], _PROMPT_ROWS, bar),
        _curve(answer),
        _layouts(answer),
    ]
    print_answer(console, verdict(answer), tables, _reasons(answer), answer)


def _between(bounds: list[float], unit: Callable[[float], str]) -> str:
    return f"{unit(bounds[0])} to {unit(bounds[1])}"


def _point(answer: dict[str, Any]) -> Table:
    band = answer["interval"]
    out = table("At this load", "", "", percent(band["coverage"]) + " interval")
    out.columns[0].no_wrap = True
    out.add_row("sequences at once", count(answer["batch"]))
    out.add_row("time per output token", seconds(answer["tpot_s"]), _between(band["tpot_s"], seconds))
    out.add_row("time to first token", seconds(answer["ttft_s"]), _between(band["ttft_s"], seconds))
    out.add_row("a whole request", seconds(answer["e2e_s"]))
    out.add_row("requests per second", figure(answer["requests_per_s"]))
    out.add_row("input tokens per second", figure(answer["input_tokens_per_s"]))
    # At a given rate what leaves is what arrives: no interval.
    rates = "" if answer["load"] == "rate" else _between(band["output_tokens_per_s"], figure)
    out.add_row("output tokens per second", figure(answer["output_tokens_per_s"]), rates)
    if answer["chip"]["chips"] > 1:
        out.add_row("  per chip", figure(answer["output_tokens_per_s_per_chip"]))
    return out


def _memory(answer: dict[str, Any], bar: Callable[[float], str]) -> Table:
    parts, total = answer["memory_bytes"], answer["memory_bytes"]["total"]
    out = table(f"Memory of the busiest chip, {gigabytes(total)}", "", "", "share", "")
    out.columns[3].justify = "left"
    names = {"weights": "weights", "kv_cache": "KV cache", "activations": "engine and activations", "free": "free"}
    for key, name in names.items():
        out.add_row(name, gigabytes(parts[key]), share_of(parts[key] / total), bar(parts[key] / total))
    return out


def _cost(answer: dict[str, Any]) -> Table:
    usd, joules = answer["usd_per_mtok"], answer["joules_per_token"]
    out = table("Cost", "", "input", "cached input", "output")

    def row(name: str, values: dict[str, float | None], unit: Callable[[float], str]) -> None:
        cells = [values.get(key) for key in ("input", "cached_input", "output")]
        out.add_row(name, *("" if v is None else unit(v) for v in cells))

    if usd["output"] is not None:
        row("per million tokens", usd, price)
    row("energy per token", joules, energy_per)
    return out


def _parts(title: str, rows: list[dict[str, Any]], most: int, bar: Callable[[float], str]) -> Table | None:
    if not rows:
        return None
    whole = sum(row["seconds"] for row in rows)
    out = table(f"{title}, {seconds(whole)}", "operation", "time", "share", "", "bound by", "basis")
    for column in out.columns[3:]:
        column.justify = "left"
    first, rest = (rows, []) if len(rows) <= most + 1 else (rows[:most], rows[most:])
    for row in first:
        share = row["seconds"] / whole
        length = bar(row["seconds"] / rows[0]["seconds"])
        out.add_row(row["op"], seconds(row["seconds"]), share_of(share), length, row["bound"], row["basis"])
    if rest:
        spent = sum(row["seconds"] for row in rest)
        out.add_row(f"{len(rest)} others", seconds(spent), share_of(spent / whole), "", "", "")
    return out


def _curve(answer: dict[str, Any]) -> Table | None:
    """Return the batches from one to the largest that runs, thinned out, with the answer's own among them."""
    usd = answer["usd_per_mtok"]["output"] is not None
    here = {**answer, "usd_per_mtok_output": answer["usd_per_mtok"]["output"]}
    fixed = {"here": here, "most": answer["saturated"]}
    own = [row["batch"] for row in fixed.values()]
    rows = [row for row in answer["curve"] if row["feasible"]]
    rows = [row for row in rows if all(not 0.75 < row["batch"] / batch < 1.33 for batch in own)]
    keep = _CURVE_ROWS - len(fixed)
    if len(rows) > keep:
        rows = [rows[round(i * (len(rows) - 1) / (keep - 1))] for i in range(keep)]
    same = fixed["most"]["batch"] / fixed["here"]["batch"] < 1.001
    rows += [fixed["here"]] if same else list(fixed.values())
    if len(rows) < 2:
        return None
    titles = ["sequences", "per token", "first token", "tokens/s each", "in all"]
    out = table("More or fewer at once", *titles, *(["per M output"] if usd else []), "")
    out.columns[0].justify = "right"
    out.columns[-1].justify = "left"
    for row in sorted(rows, key=lambda row: row["batch"]):
        mark = "this load" if row is fixed["here"] else "the most" if row is fixed["most"] else ""
        each, rate = figure(1.0 / row["tpot_s"]), figure(row["output_tokens_per_s"])
        cells = [count(row["batch"]), seconds(row["tpot_s"]), seconds(row["ttft_s"]), each, rate]
        out.add_row(*cells, *([price(row["usd_per_mtok_output"])] if usd else []), mark)
    return out


def _layouts(answer: dict[str, Any]) -> Table | None:
    rows = answer["layouts"]
    if len(rows) < 2:
        return None
    columns = ("layout", "sequences", "most", "per token", "first token", "tokens/s per chip")
    out = table(f"Layouts of {answer['chip']['chips']} chips, best first", *columns)
    for row in rows[:_LAYOUT_ROWS]:
        if row.get("fits", True):
            cells = [count(row["batch"]), count(row["max_batch"]), seconds(row["tpot_s"]), seconds(row["ttft_s"])]
            out.add_row(ways(row) or "one chip", *cells, figure(row["output_tokens_per_s_per_chip"]))
        else:
            out.add_row(ways(row), "", count(row["max_batch"]), "too few", "", "")
    return out


def _most(answer: dict[str, Any]) -> Table | None:
    """Return how many sequences each layout holds, where none holds what was asked."""
    rows = [row for row in answer["layouts"] if row["max_batch"] >= 1.0]
    if not rows:
        return None
    out = table(f"Layouts of {answer['chip']['chips']} chips", "layout", "most sequences")
    for row in sorted(rows, key=lambda row: -row["max_batch"])[:_LAYOUT_ROWS]:
        out.add_row(ways(row) or "one chip", count(row["max_batch"]))
    return out


def _reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a lead and a sentence of everything that a table does not show."""
    rows = answer["breakdown"]
    spent = sum(row["seconds"] for row in rows if row["bound"] == answer["bound"]) / sum(row["seconds"] for row in rows)
    where = f"mostly into {_BOUNDS[answer['bound']]} ({percent(spent)} of a step)."
    floor = f"Reading what one sequence needs takes {seconds(answer['latency_floor_s'])} at least."
    most = f"{count(answer['max_batch'])} sequences: {_CAPS[answer['max_batch_limit']]}."
    out = [("Time goes", f"{where} {floor}"), ("At most", f"{most} {_ideal(answer)}")]
    found = (_goodput(answer["goodput"]), _speculation(answer["speculation"]), _disaggregated(answer["disaggregated"]))
    out += [one for one in found if one]
    hourly = answer["usd_per_hour"]
    basis = answer["price_basis"]
    out.append(("Price:", f"{basis}." if hourly is None else f"{price(hourly)} an hour ({basis})."))
    out += energy_reasons(answer)
    kernels = {"calibrated": "its own kernel timings", "datasheet": "its datasheet and other chips' timings"}
    trust = f"intervals from {answer['interval']['basis'].rstrip('.')}. {answer['engine']['name']}; "
    trust += f"{answer['chip']['id']} by {kernels[answer['chip']['basis']]}."
    return [*out, ("How far to trust it:", trust)]


def _ideal(answer: dict[str, Any]) -> str:
    ideal = answer["ideal_batch"]
    if ideal is None:
        return "At no batch does arithmetic with the weights outlast reading them."
    return f"From {count(ideal)} on, arithmetic with the weights outlasts reading them."


def _goodput(found: dict[str, Any] | None) -> tuple[str, str] | None:
    if found is None:
        return None
    rates = f"{figure(found['requests_per_s'])} requests/s, {figure(found['output_tokens_per_s'])} output tokens/s"
    limit = _GOODPUT.get(found["limit"], found["limit"])
    return "Within the limits", f"{count(found['batch'])} sequences at once, {rates}; what stops more: {limit}."


def _speculation(found: dict[str, Any] | None) -> tuple[str, str] | None:
    if found is None:
        return None
    gain = f"{found['speedup']:.2f} times as fast" if found["speedup"] >= 1 else f"slower, x {found['speedup']:.2f}"
    how = f"of {found['draft_tokens']:.0f} tokens, {found['tokens_per_step']:g} out per step"
    return "Speculation", f"{how}: {gain} ({seconds(found['tpot_without_s'])} per token without)."


def _disaggregated(found: dict[str, Any] | None) -> tuple[str, str] | None:
    if found is None:
        return None
    apart, together = found["output_tokens_per_s_per_chip"], found["together_output_tokens_per_s_per_chip"]
    text = f"({found['prefill_replicas']:.2g} per decode replica): {seconds(found['tpot_s'])} per token, the first one "
    text += f"after {seconds(found['ttft_s'])}, of which the cache travels {seconds(found['transfer_s'])}; "
    text += f"{figure(apart)} tokens/s per chip against {figure(together)} together."
    return "Prompts on replicas of their own", text
