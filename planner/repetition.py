"""Qualities and budgets for which the tokens there are do not suffice, however often repeated."""

import math
from typing import Any

from .infeasible import Infeasible, up
from .search import Planner

_MOST_PARAMS = math.log(1e15)  # of any model that is considered
_ENDLESS = 1e3  # a split beyond any last one
_HALVINGS = 40
_MOST_TOKENS = 1e20


def starved(planner: Planner) -> Infeasible | None:
    """Return why no model reaches the quality however often the unique tokens are repeated, if so."""
    settings = planner.scenario.settings
    if "unique_tokens" not in settings or planner.budget is not None or _reached(planner, settings["unique_tokens"]):
        return None
    short, enough = math.log(settings["unique_tokens"]), math.log(_MOST_TOKENS)
    for _ in range(_HALVINGS):
        middle = 0.5 * (short + enough)
        if _reached(planner, math.exp(middle)):
            enough = middle
        else:
            short = middle
    needed = 1.01 * math.exp(enough)
    said = f"no model reaches this quality on --unique-tokens {settings['unique_tokens']:.4g}, however often repeated"
    return Infeasible(
        "infeasible",
        "unique_tokens",
        f"{said}: raise --unique-tokens to {up(needed)}, or ask for less",
        needed / settings["unique_tokens"] - 1.0,
        {"unique_tokens": needed},
    )


def exhausted(planner: Planner) -> Infeasible:
    """Explain a budget that outlasts the unique tokens: the best loss is a limit that no plan attains."""
    unique = planner.scenario.settings["unique_tokens"]
    said = f"--budget-usd buys more training than --unique-tokens {unique:.4g} can use, however often repeated"
    remedy = "ask for a quality instead (--target-loss or --quality-like), or raise --unique-tokens"
    return Infeasible("infeasible", "unique_tokens", f"{said}: {remedy}", 0.0)


def _reached(planner: Planner, unique_tokens: float) -> bool:
    """Say whether any choice's law reaches the quality with so many unique tokens."""
    limit: dict[str, Any] = {**planner.given["repetition"], "unique_tokens": unique_tokens}
    told = [planner.curve(None, i, _ENDLESS, repetition=limit) for i in planner.kinds()]
    return any(math.isfinite(float(one["last"])) and float(one["log_N"]) < _MOST_PARAMS for one in told)
