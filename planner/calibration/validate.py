"""Predicted against measured kernel times, by system and number format."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import configs

from .families import FAMILIES, Columns, known
from .fitting import model_of, predict, rows_of
from .timings import Timings

_LABEL = {"attention_prefill": "kv_dtype", "attention_decode": "kv_dtype"}
_CLOSED = {"gemm": "gemm_closed"}


def validate(tables: Sequence[Timings], given: str | None = None) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """Return, by family, the errors of the constants in use on every group of rows, and warnings on rows left out.

    ``given`` names the chip of systems that are not known here.

    A group is one system, number format and, for collectives, operation and library. ``mdape`` and ``p90`` are the
    median and the 90th percentile of |predicted / measured - 1|, ``bias`` the median of predicted / measured - 1;
    ``closed_mdape`` and ``closed_difference`` say the same of the closed form of a GEMM and how far (median) it is
    from the sharp one.

    Raises:
        configs.ConfigError: no row could be predicted.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    warnings: list[str] = []
    with jax.enable_x64(True):
        for table in tables:
            for system in table.systems:
                rows = table.select(table.columns["system"] == system)
                chip = configs.chip_named(system) or given
                if chip is None:
                    left = f"{rows.rows} {table.family} rows of '{configs.shown(system)}' left out"
                    warnings.append(f"{left}: no such chip here, name it with --chip.")
                    continue
                out.setdefault(table.family, []).extend(_groups(rows, system, configs.load_chip(chip), warnings))
    out = {family: rows for family, rows in out.items() if rows}
    if not out:
        raise configs.ConfigError("--kernels: no row could be predicted: " + " ".join(warnings))
    return out, warnings


def _groups(table: Timings, system: str, chip: configs.ChipFacts, warnings: list[str]) -> list[dict[str, Any]]:
    facts = configs.kernels_of(chip)
    columns, out = table.columns, []
    variants = known(table.family, columns)
    labels = columns[_LABEL.get(table.family, "dtype")]
    for label, variant in sorted(set(zip(labels, variants, strict=True))):
        mask = (labels == label) & (variants == variant)
        one = {k: v[mask] for k, v in columns.items()}
        found = facts.sets.get(table.family, {}).get(variant)
        if found is None:
            warnings.append(
                f"{int(mask.sum())} {table.family} rows of {system} in '{configs.shown(label)}' left out: "
                "no constants for it."
            )
            continue
        row = rows_of(table.family, variant, one, {system: chip})
        seconds = one["seconds"]
        sharp = predict(model_of(table.family, found), row)
        group = {
            "system": str(system),
            "dtype": str(label),
            "set": str(variant),
            "rows": int(mask.sum()),
            **errors(sharp, seconds),
        }
        if table.family == "allreduce":
            group |= {"op": str(one["op"][0]), "kernel": str(one["kernel"][0])}
        closed = facts.sets.get(_CLOSED.get(table.family, ""), {}).get(variant)
        if closed is not None:
            fast = predict(model_of(_CLOSED[table.family], closed), row)
            group["closed_mdape"] = errors(fast, seconds)["mdape"]
            group["closed_difference"] = float(np.median(np.abs(fast / sharp - 1.0)))
        outside = ~within(found, one)
        if outside.any():
            warnings.append(
                f"{int(outside.sum())} {table.family} rows of {system} in '{configs.shown(label)}' lie outside the "
                f"shapes that {found.origin}'s constants were fitted to: extrapolated."
            )
        group["constants"] = found.origin
        group["basis"] = "calibrated" if facts.measured(table.family, variant) else "datasheet"
        out.append(group)
    return out


def within(found: configs.KernelSet, columns: Columns) -> np.ndarray:
    """Return which rows lie within the range of every shape column that the constants were fitted to."""
    inside = np.ones(len(columns["seconds"]), dtype=bool)
    for name in found.low:
        inside &= (columns[name] >= found.low[name]) & (columns[name] <= found.high[name])
    return inside


def errors(predicted: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
    """Return the median and 90th percentile of the absolute relative error, and the median signed one."""
    ratio = predicted / seconds - 1.0
    return {
        "mdape": float(np.median(np.abs(ratio))),
        "p90": float(np.quantile(np.abs(ratio), 0.9)),
        "bias": float(np.median(ratio)),
    }


def shipped() -> dict[str, list[dict[str, Any]]]:
    """Return the error table that ships: what each set of constants erred by where it was fitted."""
    out: dict[str, list[dict[str, Any]]] = {}
    for name in configs.ids("kernels"):
        for family, variants in configs.load_kernels(name).sets.items():
            for variant, one in variants.items():
                if not one.timed:
                    continue
                row = {
                    "system": name,
                    "dtype": variant,
                    "set": variant,
                    "rows": int(one.rows),
                    "mdape": one.mdape,
                    "p90": one.p90,
                }
                out.setdefault(family, []).append({**row, "unseen_mdape": one.unseen_mdape})
    return {family: out[family] for family in FAMILIES if family in out}
