"""Calibrations and validations of kernel constants as a person reads them in a terminal."""

from typing import Any

from rich.console import Console

from .parts import print_warnings, table
from .serving import show_profiles, show_serving, show_shipped
from .training import show_shipped_training, show_training
from .units import seconds

_WORST = 5

_FAMILIES = ("gemm", "gemm_closed", "attention_prefill", "attention_decode", "moe", "allreduce")


def show_calibration(answer: dict[str, Any], console: Console) -> None:
    """Print the sets fitted: errors first, then the files they went to."""
    for what in ("engine", "trainer"):
        if f"{what}s" in answer:
            show_profiles(answer, what, console)
            return
    for chip in answer["chips"]:
        rows = table(chip["chip"], "kernel", "set", "timings", "median error", "p90", "unseen")
        for one in chip["sets"]:
            unseen = "" if one["unseen_mdape"] is None else _percent(one["unseen_mdape"])
            rows.add_row(
                one["family"].replace("_", " "), one["variant"], f"{one['rows']:,}", _percent(one["mdape"]),
                _percent(one["p90"]), unseen,
            )  # fmt: skip
        console.print(rows, highlight=False)
        console.print()
    if len(answer["chips"]) == 1 and answer["device"] is not None:
        _show_constants(answer["chips"][0], console)
    console.print(
        "unseen: median error on shapes, or for a mix of chips on chips, that a fit did not see", highlight=False
    )
    for name in answer["files"]:
        console.print(f"Wrote {name}", highlight=False)
    _show_warnings(answer, console)


def _show_constants(chip: dict[str, Any], console: Console) -> None:
    for one in chip["sets"]:
        _show_residuals(one, console)
        rows = table(f"{one['family']} {one['variant']}", "constant", "value", "standard error")
        for name, value in one["constants"].items():
            rows.add_row(name, f"{value:.4g}", _percent(one["log_standard_errors"][name]))
        console.print(rows, highlight=False)
        console.print()


def _show_residuals(one: dict[str, Any], console: Console) -> None:
    worst = one["residuals"][:_WORST]
    names = [name for name in worst[0] if name not in ("measured_s", "predicted_s", "held_out")]
    title = f"{one['family']} {one['variant']}, worst of {one['rows']:,} timings"
    rows = table(title, *names, "measured", "predicted", "off", "")
    for row in worst:
        off = row["predicted_s"] / row["measured_s"] - 1.0
        shape = [f"{row[name]:g}" for name in names]
        mark = "held out" if row["held_out"] else ""
        rows.add_row(*shape, seconds(row["measured_s"]), seconds(row["predicted_s"]), f"{100 * off:+.0f} %", mark)
    console.print(rows, highlight=False)
    console.print()


def show_validation(answer: dict[str, Any], console: Console) -> None:
    """Print predicted against measured, one table per family."""
    message = answer["message"]
    console.print(f"{message[:1].upper()}{message[1:]}.", style="bold", highlight=False)
    for family in _FAMILIES:
        groups = answer.get(family)
        if not groups:
            continue
        predicted = answer["status"] == "predicted"
        last = ("bias", "constants") if predicted else ("unseen",)
        console.print()
        rows = table(family.replace("_", " "), "system", "set", "timings", "median error", "p90", *last)
        for one in groups:
            name = one["set"] if one.get("op") is None else f"{one['set']} {one['dtype']}"
            cells = [one["system"], name, f"{one['rows']:,}", _percent(one["mdape"]), _percent(one["p90"])]
            if predicted:
                tail = one["constants"] if one["basis"] == "calibrated" else f"{one['constants']}, datasheet"
                cells += [f"{100 * one['bias']:+.1f} %", tail]
            else:
                cells += ["" if one["unseen_mdape"] is None else _percent(one["unseen_mdape"])]
            rows.add_row(*cells)
        console.print(rows, highlight=False)
    if "serving" in answer:
        console.print()
        {"predicted": show_serving, "shipped": show_shipped}[answer["status"]](answer["serving"], console)
    if "training" in answer:
        console.print()
        {"predicted": show_training, "shipped": show_shipped_training}[answer["status"]](answer["training"], console)
    _show_warnings(answer, console)


def _show_warnings(answer: dict[str, Any], console: Console) -> None:
    print_warnings(console, answer["warnings"])


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
