"""An estimate in one sentence."""

from typing import Any

from .units import price


def verdict(answer: dict[str, Any]) -> str:
    """Return the answer in one sentence."""
    if answer["status"] == "infeasible":
        return f"Not feasible: {answer['message'].rstrip('.')}."
    low, high = (1.0 / s for s in reversed(answer["interval"]["tpot_s"]))
    user = f"{figure(answer['tokens_per_s_per_user'])} tokens/s each ({figure(low)} to {figure(high)})"
    load = f"{answer['requests_per_s']:.3g} requests/s are " if answer["load"] == "rate" else ""
    many = "sequence" if f"{answer['batch']:,.0f}" == "1" else "sequences"
    text = f"{slice_of(answer)}: {load}{count(answer['batch'])} {many} at once, {user}, "
    text += f"{figure(answer['output_tokens_per_s'])} tokens/s in all"
    usd = answer["usd_per_mtok"]["output"]
    if usd is not None:
        text += f"; {price(answer['usd_per_mtok']['input'])} per million input tokens, {price(usd)} per million output"
    return text + "."


def slice_of(answer: dict[str, Any]) -> str:
    """Return what runs on what: Llama 3.3 70B in fp8 on 8 x h100-sxm (tp 8)."""
    chips = answer["chip"]["chips"]
    split = ways(answer["layout"])
    where = f"{chips} x {answer['chip']['id']}" + (f" ({split})" if split else "")
    return f"{answer['model']['name']} in {answer['precision']['weights']} on {where}"


def ways(layout: dict[str, Any]) -> str:
    """Return the parallelism of a layout, ones left out: tp 4, pp 2."""
    return ", ".join(f"{name} {layout[name]}" for name in ("tp", "pp", "dp", "ep") if layout[name] > 1)


def figure(value: float) -> str:
    """Return three digits, all of them before the point: 8.32, 38.1, 612, 19,800."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"


def count(value: float) -> str:
    """Return a mean number of sequences: whole from 10 on, and wherever it is whole."""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.2g}"
