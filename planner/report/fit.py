"""A fitted law as a person reads it: the law first, then how sure, what it implies, and what the runs leave open."""

from math import expm1, inf
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import configs

from .formulas import formula
from .parts import print_body, print_warnings, table
from .units import percent, say

_LARGEST = 5
_OPEN = 100.0  # times as many tokens per parameter at one end of an interval as at the other say nothing


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one sentence or two."""
    lead = "One law of many that fit as well: " if answer["undetermined"] else ""
    text = f"{lead}L = {formula(answer['form'], _coefficients(answer))} fits {answer['rows']:,} runs"
    if answer["residuals"]:
        text += f" to {percent(answer['residuals']['log_median_absolute'])} (median)"
    rows = answer["compute_optimal"]
    if rows:
        inside = [row for row in rows if not row["extrapolated"]]
        row = inside[-1] if inside else rows[0]
        at = f"; at {row['flops']:.0e} FLOPs ".replace("e+", "e")
        low, high = row["tokens_per_param_interval"] or (0.0, inf)
        if answer["intervals"] and not high < _OPEN * low:
            text += f"{at}the best size is open"
        else:
            text += f"{at}{_count(row['tokens_per_param'])} tokens per parameter are best"
            text += f" ({_count(low)} to {_count(high)}, nine times in ten)" if answer["intervals"] else ""
    return text + "."


def show(answer: dict[str, Any], console: Console) -> None:
    """Print the object of `fit` as a verdict, tables and warnings."""
    console.print(escape(answer["message"]), style="bold", highlight=False)
    if answer["status"] != "fitted":
        print_warnings(console, answer["warnings"])
        return
    parts = [_law(answer), _optimal(answer), _downstream(answer), _off(answer)]
    print_body(console, parts, _reasons(answer), answer["warnings"])
    if answer["law_file"]:
        flag = f"llm-planner optimize --lifetime-tokens 1e15 --law {answer['law_file']}"
        console.print(f"[bold]Next:[/] {escape(flag)}", highlight=False, soft_wrap=True)


def _coefficients(answer: dict[str, Any]) -> dict[str, float | None]:
    return {name: answer[name] for name in configs.LAW_FORMS[answer["form"]]}


def _law(answer: dict[str, Any]) -> Table:
    sure = bool(answer["intervals"])
    extra = ("standard error", "90 % interval", "") if sure else ("",)
    out = table("Coefficients", "", "value", *extra)
    out.columns[-1].justify = "left"
    for name, value in _coefficients(answer).items():
        said = "" if value is None else f"{value:.6g}"
        fixed = "held" if name in answer["fixed"] else "not identified" if name in answer["not_identified"] else ""
        if sure and name in answer["intervals"]:
            between = " to ".join("?" if end is None else f"{end:.4g}" for end in answer["intervals"][name])
            error = answer["standard_errors"][name]
            note = "not identified" if name in answer["not_identified"] else ""
            out.add_row(name, said, "" if error is None else f"{error:.3g}", between, note)
        else:
            out.add_row(name, said, *([""] * (len(extra) - 1)), fixed)
    return out


def _optimal(answer: dict[str, Any]) -> Table | None:
    rows = answer["compute_optimal"]
    if not rows:
        return None
    told = ", ".join(f"{value:g} {name.replace('_', ' ')}" for name, value in answer["conditions"].items())
    sure = bool(answer["intervals"])
    extra = ("90 % interval",) if sure else ()
    title = "Compute-optimal" + (f" at {told}" if told else "")
    out = table(title, "FLOPs", "parameters", "tokens", "tokens per parameter", *extra, "loss")
    for row in rows:
        flops = f"{row['flops']:.0e}".replace("e+", "e") + (" *" if row["extrapolated"] else "")
        told = row["tokens_per_param_interval"]
        between = [" to ".join(map(_count, told)) if told else "open"] if sure else []
        sizes = say(row["params"]), say(row["tokens"]), _count(row["tokens_per_param"])
        out.add_row(flops, *sizes, *between, f"{row['loss_nats']:.3f}")
    if any(row["extrapolated"] for row in rows):
        out.caption = "* more compute than any run"
        out.caption_justify = "left"
    return out


def _count(value: float) -> str:
    return f"{value:,.0f}" if 99.5 <= value < 1e6 else f"{value:.3g}"


def _downstream(answer: dict[str, Any]) -> Table | None:
    curve = answer["downstream"]
    if curve is None or not curve["identified"]:
        return None
    errors = curve["standard_errors"]
    out = table("Errors downstream", "", "value", *(("standard error",) if errors else ()))
    for name in ("eps", "k", "gamma"):
        out.add_row(name, f"{curve[name]:.6g}", *((f"{errors[name]:.3g}",) if errors else ()))
    return out


def _off(answer: dict[str, Any]) -> Table | None:
    rows = answer["residuals"].get("largest", [])[:_LARGEST]
    if not rows:
        return None
    out = table("Farthest runs", "line", "measured", "predicted", "off by")
    for row in rows:
        off = f"{100 * expm1(row['log_residual']):+.2f} %"
        out.add_row(str(row["line"]), f"{row['loss_nats']:.4f}", f"{row['predicted_nats']:.4f}", off)
    return out


def _reasons(answer: dict[str, Any]) -> list[str]:
    how = "least squares" if answer["huber_delta"] == "inf" else f"Huber losses, delta {answer['huber_delta']:g}"
    kind, agree = answer["residual"], f"{answer['agreeing_starts']} of {answer['starts']} starts end here"
    sure = f"{answer['objective']:.10g} ({how} of {kind} residuals), gradient {answer['gradient_norm']:.0e}; {agree}"
    out = [f"[bold]Optimum:[/] {sure}."]
    draws = answer["bootstrap"]["draws"]
    if answer["intervals"]:
        groups = answer["bootstrap"]["groups"]
        what = f"{groups:,} groups" if groups < answer["rows"] else "runs"
        out.append(f"[bold]Errors:[/] {draws:,} refits to resampled {what}, each to its own optimum.")
    elif not draws:
        out.append("[bold]Errors:[/] none without resampling: --bootstrap 1000 tells them.")
    curve = answer["downstream"]
    if curve and curve["identified"]:
        what = escape(configs.shown(curve["measure"]))
        out.append(
            f"[bold]Downstream:[/] {what} = eps - k exp(-gamma L), least squares on {curve['rows']} runs, rms "
            f"{curve['rms']:.3g}."
        )
    left = answer["rows_left_out"]["highest"]
    if left:
        told = ", ".join(f"line {one['line']} ({one['loss_nats']:.3f})" for one in left[:_LARGEST])
        more = f" and {len(left) - _LARGEST} more" if len(left) > _LARGEST else ""
        out.append(f"[bold]Left out[/] as asked, the highest losses: {told}{more}.")
    return out
