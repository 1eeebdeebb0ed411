"""Kernel constants from recorded timings: one file per chip, and a generic one where several chips were timed."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import configs

from .families import FAMILIES
from .fitting import Fitted, fit_sets
from .timings import Timings

Tick = Callable[[str], None]
_SHORT, _WORST = 1000, 20  # rows of a table whose residuals are all told, and how many of a longer one


def by_chip(
    tables: Sequence[Timings], chip: str | None
) -> tuple[dict[str, configs.ChipFacts], list[Timings], list[str]]:
    """Return the chips that the tables name, the tables with their systems so renamed, and warnings on those left out.

    ``chip`` stands for the one system of the tables, or for every system that is not known.

    Raises:
        configs.ConfigError: no system is known and no chip given, or a chip for several known systems.
    """
    known_systems = sorted({s for table in tables for s in table.systems if configs.chip_named(s)})
    if chip and len({configs.chip_named(s) for s in known_systems}) > 1:
        raise configs.ConfigError(
            f"--chip = '{chip}' cannot stand for {', '.join(known_systems)}: give one system's timings"
        )
    found: dict[str, configs.ChipFacts] = {}
    renamed, lost = [], {}
    for table in tables:
        systems = table.columns["system"]
        names = {}
        for system in sorted(set(systems)):
            known = chip or configs.chip_named(system)
            if known is None:
                lost[system] = lost.get(system, 0) + int((systems == system).sum())
            else:
                found.setdefault(known, configs.load_chip(known))
                names[system] = known
        kept = table.of_system(names)
        if kept.rows:
            renamed.append(kept)
    warnings = [
        f"{count} rows of system '{configs.shown(name)}' left out: it is no chip known here, give one with --chip."
        for name, count in lost.items()
    ]
    if not found:
        names = ", ".join(f"'{configs.shown(n)}'" for n in lost) or "none"
        raise configs.ConfigError(f"--from: no chip known here among the systems {names}: name it with --chip")
    return found, renamed, warnings


def constants(tables: Sequence[Timings], chips: dict[str, configs.ChipFacts], tick: Tick) -> dict[str, list[Fitted]]:
    """Return the fitted sets by chip id and, where several chips were timed, those of all of them together as generic.

    Each step of the work is told to ``tick`` before it is done.
    """
    out: dict[str, list[Fitted]] = {name: [] for name in chips}
    with jax.enable_x64(True):
        for table in tables:
            for name in sorted(set(table.columns["system"])):
                tick(f"{name} {table.family}")
                out[name] += fit_sets(table.select(table.columns["system"] == name), chips)
        if len(chips) > 1:
            out[configs.GENERIC] = []
            for table in tables:
                if len(set(table.columns["system"])) > 1:
                    tick(f"{configs.GENERIC} {table.family}")
                    mixed = fit_sets(table, chips)
                    out[configs.GENERIC] += [one for one in mixed if len(set(one.columns["system"])) > 1]
    return {name: sets for name, sets in out.items() if sets}


def steps(tables: Sequence[Timings]) -> int:
    """Return how often `constants` ticks."""
    several = len({s for t in tables for s in set(t.columns["system"])}) > 1
    each = [len(set(t.columns["system"])) for t in tables]
    return sum(each) + (sum(n > 1 for n in each) if several else 0)


def summary(sets: Sequence[Fitted]) -> list[dict[str, Any]]:
    """Return the sets as rows of a report: errors, constants and standard errors."""
    return [
        {
            "family": one.family,
            "variant": one.variant,
            "rows": int(one.facts.rows),
            "mdape": one.facts.mdape,
            "p90": one.facts.p90,
            "unseen_mdape": one.facts.unseen_mdape,
            "constants": one.facts.value,
            "log_standard_errors": one.facts.log_standard_error,
            "residuals": _residuals(one),
        }
        for one in sets
    ]


def _residuals(one: Fitted) -> list[dict[str, Any]]:
    """Return measured and predicted seconds, worst first: of all rows of a short table, else of the worst."""
    names = [*FAMILIES[one.family].ranges, *(("q_len",) if one.family == "attention_prefill" else ())]
    order = np.argsort(-np.abs(one.residuals))
    seconds = one.columns["seconds"]
    return [
        {
            **{name: float(one.columns[name][i]) for name in names},
            "measured_s": float(seconds[i]),
            "predicted_s": float(seconds[i] * np.exp(one.residuals[i])),
            "held_out": bool(one.columns["split"][i] == "heldout"),
        }
        for i in order[: len(order) if len(order) <= _SHORT else _WORST]
    ]
