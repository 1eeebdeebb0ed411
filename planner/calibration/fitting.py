"""From timings to kernel constants: one robust fit per family and variant, with errors on rows seen and unseen."""

from dataclasses import fields
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import configs
from hw.fit import fit_jit

from .families import FAMILIES, known, rates
from .timings import Timings

MAX_ROWS = 3000  # more rows move no parameter by a standard error and cost time
MIN_ROWS = 8
MIN_HELD = 4
_SIZES = (64, 256, 1024, MAX_ROWS)  # fits are padded to one of these, so that few programs are compiled
_CHUNK = 16384


class Fitted(NamedTuple):
    """One fitted set and its residuals log(predicted / measured) on every row given."""

    family: str
    variant: str
    facts: configs.KernelSet
    residuals: np.ndarray
    columns: dict[str, np.ndarray]


def fit_sets(table: Timings, chips: dict[str, configs.ChipFacts]) -> list[Fitted]:
    """Fit every family that reads ``table``, in every variant with `MIN_ROWS` rows or more, over all its systems.

    ``chips`` gives the datasheet of each system in the table. Rows whose split is "heldout" check the fit and do not
    enter it. Where none is so marked, further fits leave out whole systems in turn, or halves of the shapes of one.
    """
    out = []
    for family, about in FAMILIES.items():
        if about.table != table.family:
            continue
        variants = known(family, table.columns)
        for variant in sorted(set(variants) - {""}):
            mask = variants == variant
            if (mask & (table.columns["split"] != "heldout")).sum() >= MIN_ROWS:
                columns = {k: v[mask] for k, v in table.columns.items()}
                out.append(_fit(family, variant, columns, chips))
    return out


def _fit(family: str, variant: str, columns: dict[str, np.ndarray], chips: dict[str, configs.ChipFacts]) -> Fitted:
    about = FAMILIES[family]
    row = rows_of(family, variant, columns, chips)
    seconds = columns["seconds"]
    groups = _groups(columns, (*about.cluster, "system"))
    begin = _start(family, seconds)
    marked = columns["split"] == "heldout"
    best = solve(begin, row, seconds, groups, np.flatnonzero(~marked))
    residuals = np.log(predict(best.model, row) / seconds)
    errors = np.abs(np.expm1(residuals))
    if marked.sum() >= MIN_HELD:
        unseen = [float(np.median(errors[marked]))]
    else:
        unseen = [_unseen(begin, row, seconds, groups, held) for held in _left_out(columns, groups)]
    spans = {c: (float(columns[c].min()), float(columns[c].max())) for c in about.ranges}
    facts = configs.KernelSet(
        value=_plain(best.model),
        log_standard_error=_plain(best.log_standard_errors),
        rows=float(len(seconds)),
        mdape=float(np.median(errors)),
        p90=float(np.quantile(errors, 0.9)),
        unseen_mdape=float(np.median(unseen)) if unseen else None,
        software=_software(columns),
        low={c: s[0] for c, s in spans.items()},
        high={c: s[1] for c, s in spans.items()},
    )
    return Fitted(family, variant, facts, residuals, columns)


def rows_of(family: str, variant: str, columns: Any, chips: dict[str, configs.ChipFacts]) -> Any:
    """Return (rates, shape) of rows of one variant, every leaf with one entry per row."""
    systems = columns["system"]
    if len(set(systems)) == 1:
        found = rates(family, variant, chips[systems[0]], columns)
    else:
        parts = {s: rates(family, variant, chips[s], columns) for s in sorted(set(systems))}
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *parts.values())
        index = np.searchsorted(list(parts), systems.astype(str))
        found = jax.tree.map(lambda x: x[index, np.arange(len(systems))], stacked)
    return found, FAMILIES[family].shape(variant, columns)


def _seconds(model: Any, row: Any) -> Any:
    return model.seconds(*row)


def solve(begin: Any, row: Any, seconds: np.ndarray, groups: np.ndarray, chosen: np.ndarray) -> Any:
    """Fit to at most `MAX_ROWS` of the ``chosen`` rows, drawn without looking, padded to a standard size."""
    if len(chosen) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MAX_ROWS, replace=False))
    size = next(s for s in _SIZES if s >= len(chosen))
    index = np.concatenate([chosen, np.full(size - len(chosen), chosen[0])])
    weight = (np.arange(size) < len(chosen)).astype(float)
    _, cluster = np.unique(groups[index], return_inverse=True)
    picked = jax.tree.map(lambda x: x[index], row)
    return fit_jit(_seconds, begin, picked, jnp.asarray(seconds[index]), jnp.asarray(cluster), jnp.asarray(weight))


_predict = eqx.filter_jit(_seconds)


def predict(model: Any, row: Any) -> np.ndarray:
    """Return predicted seconds of every row, in chunks of one size so that one program serves any table."""
    count = len(jax.tree.leaves(row)[0])
    size = _CHUNK if count > 1024 else 1024
    out = []
    for begin in range(0, count, size):
        index = np.minimum(np.arange(begin, begin + size), count - 1)
        out.append(np.asarray(_predict(model, jax.tree.map(lambda x: x[index], row)))[: count - begin])  # noqa: B023
    return np.concatenate(out)


def model_of(family: str, found: configs.KernelSet) -> Any:
    """Return the kernel model of ``family`` with the parameters of a set.

    Raises:
        configs.ConfigError: a parameter is missing, unknown, or not positive.
    """
    start, values, where = FAMILIES[family].start, found.value, f"{found.origin}: {family}"
    names = [field.name for field in fields(start)]
    for name in values:
        if name not in names:
            raise configs.ConfigError(f"{where} has no parameter '{name}'{configs.nearest(name, names)}")
    for name in names:
        if not values.get(name, 0.0) > 0.0:
            raise configs.ConfigError(f"{where}: parameter {name} = {values.get(name)} must be a positive number")
    return type(start)(**{name: jnp.asarray(values[name], float) for name in names})


def _start(family: str, seconds: np.ndarray) -> Any:
    """Return the centre of the prior: the family's own, its launch at 0.7 of the least time measured."""
    about = FAMILIES[family]
    model = jax.tree.map(lambda x: jnp.asarray(x, float), about.start)
    least = jnp.asarray(0.7 * float(seconds.min()))
    return eqx.tree_at(lambda m: [getattr(m, name) for name in about.launch], model, [least] * len(about.launch))


def _groups(columns: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    keys = np.zeros(len(columns["seconds"]), dtype=np.int64)
    for name in names:
        _, inverse = np.unique(columns[name].astype(str) if columns[name].dtype == object else columns[name],
                               return_inverse=True)  # fmt: skip
        keys = keys * (inverse.max() + 1) + inverse
    return np.unique(keys, return_inverse=True)[1]


def _left_out(columns: dict[str, np.ndarray], groups: np.ndarray) -> list[np.ndarray]:
    """Return what further fits leave out in turn to check the form: each system, or each half of the groups."""
    if len(set(columns["system"])) > 1:
        masks = [columns["system"] == system for system in sorted(set(columns["system"]))]
    else:
        masks = [groups % 2 == half for half in (0, 1)]
    return [m for m in masks if MIN_HELD <= m.sum() <= len(m) - MIN_ROWS]


def _unseen(begin: Any, row: Any, seconds: np.ndarray, groups: np.ndarray, held: np.ndarray) -> float:
    model = solve(begin, row, seconds, groups, np.flatnonzero(~held)).model
    checked = jax.tree.map(lambda x: x[np.flatnonzero(held)], row)
    return float(np.median(np.abs(predict(model, checked) / seconds[held] - 1.0)))


def _plain(model: Any) -> dict[str, float]:
    return {field.name: float(getattr(model, field.name)) for field in fields(model)}


def _software(columns: dict[str, np.ndarray]) -> str:
    parts = [columns[c].astype(str) for c in ("framework", "framework_version", "kernel") if c in columns]
    if not parts:
        return ""
    names, counts = np.unique([" ".join(p).strip() for p in zip(*parts, strict=True)], return_counts=True)
    return "; ".join(names[np.argsort(-counts)][:4])
