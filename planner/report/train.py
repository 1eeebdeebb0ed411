"""A training run as a person reads it in a terminal: verdict first, then speed, memory, layouts and the bill."""

from typing import Any

from rich.console import Console
from rich.table import Table

from . import rollouts
from .bars import bars, share_of
from .parts import print_answer, table
from .units import dollars, energy, gigabytes, percent, say, seconds
from .verdict import count, figure

_LAYOUT_ROWS, _CURVE_ROWS, _SLOPE_ROWS = 6, 6, 6
_MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "optimiser": "optimiser states",
    "activations": "activations",
    "reserved": "runtime, buffers (assumed)",
    "free": "free",
}


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the document of `train` as a verdict, tables and warnings, and the settings exported as they are."""
    if answer["status"] == "infeasible":
        print_answer(console, verdict(answer), [], [], answer)
        return
    bar = bars(console)
    tables = [
        _run(answer),
        _step(answer, bar),
        _memory(answer, bar),
        _layouts(answer),
        _curve(answer),
        _slopes(answer),
        rollouts.bill(answer),
        rollouts.equal(answer),
    ]
    print_answer(console, verdict(answer), tables, [*_reasons(answer), *rollouts.reasons(answer)], answer)
    if answer.get("export"):
        console.print()
        console.print(answer["export"]["text"], highlight=False, markup=False, soft_wrap=True)
        print_answer(console, "", [], [("Export:", note) for note in answer["export"]["notes"]], {"warnings": []})


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one sentence."""
    if answer["status"] == "infeasible":
        return f"Not feasible: {answer['message'].rstrip('.')}."
    low, high = answer["interval"]["days"]
    what = f"{answer['model']['name']} on {say(answer['tokens'])} tokens in {answer['precision']}"
    where = f"{answer['chips']:,} x {answer['chip']['id']} ({ways(answer['layout'])})"
    usd = "" if answer["usd"] is None else f", {dollars(answer['usd'])}"
    took = f"{figure(answer['days'])} days ({figure(low)} to {figure(high)})"
    return f"{what}: {took} on {where}{usd}; MFU {percent(answer['mfu'])}."


def ways(layout: dict[str, Any]) -> str:
    """Return the parallelism of a layout, ones left out: tp 8, pp 16, dp 128, ZeRO-1."""
    names = ("tp", "cp", "pp", "vp", "ep", "dp")
    split = [f"{name} {layout[name]}" for name in names if layout[name] > 1]
    return ", ".join([*split, "FSDP" if layout["sharding"] == "weights" else "ZeRO-1"])


def _run(answer: dict[str, Any]) -> Table:
    band = answer["interval"]
    out = table("The run", "", "", percent(band["coverage"]) + " interval")
    out.columns[0].no_wrap = True

    def between(name: str, unit: Any) -> str:
        return "" if band[name] is None else f"{unit(band[name][0])} to {unit(band[name][1])}"

    rate = "tokens_per_s_per_chip"
    out.add_row("tokens per second and chip", figure(answer[rate]), between(rate, figure))
    out.add_row("model FLOP/s per chip", f"{figure(answer['model_flops_per_s_per_chip'] / 1e12)} T")
    out.add_row(f"MFU, of the {answer['mfu_peak']} peak", percent(answer["mfu"]))
    out.add_row("seconds per step", seconds(answer["step_s"]))
    out.add_row("tokens per step", say(answer["batch_tokens"]), f"{answer['steps']:,.0f} steps")
    out.add_row("days, failures included", figure(answer["days"]), between("days", figure))
    out.add_row("chip-hours", say(answer["chip_hours"]))
    if answer["usd"] is not None:
        out.add_row("dollars", dollars(answer["usd"]), between("usd", dollars))
    out.add_row(f"energy, boards x PUE {answer['pue']:g}", energy(answer["joules"]))
    return out


def _step(answer: dict[str, Any], bar: Any) -> Table:
    out = table(f"One step, {seconds(answer['step_s'])}", "", "time", "share", "")
    out.columns[3].justify = "left"
    rows = [row for row in answer["breakdown"] if row["seconds"] > 0.0005 * answer["step_s"]]
    for row in rows:
        length = bar(row["seconds"] / rows[0]["seconds"])
        out.add_row(row["op"], seconds(row["seconds"]), share_of(row["seconds"] / answer["step_s"]), length)
    return out


def _memory(answer: dict[str, Any], bar: Any) -> Table:
    parts, total = answer["memory_bytes"], answer["memory_bytes"]["total"]
    out = table(f"Memory of the fullest chip, {gigabytes(total)}", "", "", "share", "")
    out.columns[3].justify = "left"
    for key, name in _MEMORY.items():
        out.add_row(name, gigabytes(parts[key]), share_of(parts[key] / total), bar(parts[key] / total))
    return out


def _layouts(answer: dict[str, Any]) -> Table | None:
    rows = answer["layouts"][:_LAYOUT_ROWS]
    if len(rows) < 2:
        return None
    title = f"Layouts, best of {answer['layouts_tried']:,} first"
    out = table(title, "layout", "batch", "again", "idle", "memory", "tokens/s")
    for row in rows:
        cells = [f"{row['micro_batch']}", share_of(row["recomputed_fraction"]), share_of(row["bubble_fraction"])]
        out.add_row(ways(row), *cells, gigabytes(row["used_bytes"]), figure(row["tokens_per_s_per_chip"]))
    return out


def _curve(answer: dict[str, Any]) -> Table | None:
    rows = answer["chips_considered"]
    if len(rows) < 2:
        return None
    here = next(i for i, row in enumerate(rows) if row["chips"] == answer["chips"])
    around = sorted({max(here - 2, 0), max(here - 1, 0), here, *range(here + 1, len(rows))})[:_CURVE_ROWS]
    usd = answer["usd"] is not None
    out = table("Other numbers of chips", "chips", "days", "tokens/s/chip", *(["dollars"] if usd else []), "")
    for i in around:
        row = rows[i]
        cells = [f"{row['chips']:,}", figure(row["days"]), figure(row["tokens_per_s_per_chip"])]
        out.add_row(*cells, *([dollars(row["usd"])] if usd else []), "the fewest" if i == here else "")
    return out


def _slopes(answer: dict[str, Any]) -> Table | None:
    shown = [(name, slope) for name, slope in answer["elasticities"].items() if not name.startswith("trainer.")]
    unit = "chip-hours" if answer["usd"] is None else "dollars"
    out = table(f"{unit.capitalize()}, per 1 % more", "", "")
    out.columns[0].no_wrap = True
    for name, slope in shown[:_SLOPE_ROWS]:
        if abs(slope) > 5e-4:
            out.add_row(name, f"{slope:+.2f} %")
    return out if out.row_count else None


def _reasons(answer: dict[str, Any]) -> list[tuple[str, str]]:
    lost, batch = answer["goodput"], answer["batch"]
    again = answer["recomputed_fraction"]
    often = f"a failure every {figure(lost['hours_between_failures'])} hours"
    fail = f"{percent(lost['fraction'])} of the time is useful: {often}, a checkpoint every "
    fail += f"{figure(lost['checkpoint_interval_s'] / 60)} minutes ({lost['basis']})."
    most = f"{say(answer['batch_tokens'])} tokens ({count(answer['batch_sequences'])} sequences, {batch['basis']}); "
    most += f"beyond {say(batch['critical_tokens'])} more chips stop helping ({batch['critical_law']})."
    kept = "Nothing is computed again." if again == 0 else f"{percent(again)} of the layers are computed again to fit."
    trust = f"the interval is that of {answer['interval']['basis']}; {answer['chip']['id']} by its "
    trust += "own kernel timings." if answer["chip"]["basis"] == "calibrated" else "datasheet and other chips' timings."
    price = answer["price_basis"]
    cost = f"{price}." if answer["usd_per_hour"] is None else f"${answer['usd_per_hour']:.2f} per chip-hour ({price})."
    return [("Failures:", fail), ("Batch:", most), ("Memory:", kept), ("Price:", cost), ("How far to trust it:", trust)]
