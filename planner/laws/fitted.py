"""A law fitted to a table: the optimum, its resampled ensemble, what it implies, and its errors downstream."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor, log10
from typing import Any

import numpy as np
from jaxtyping import Float

import configs
from scaling import downstream
from scaling.fit import Ensemble, Fit, FitError, Runs, bootstrap, fit

from ..compiled import program
from .asked import LEAST_DRAWS, Asked
from .table import Table

_BEYOND = (0, 2, 4)  # decades above the largest run for which the best size is told, besides the median run's
_DENSE = {"experts": 1.0, "sparsity": 1.0, "train_bits": 16.0, "serve_bits": 16.0}


@dataclass(frozen=True)
class Budgets:
    """Compute-optimal sizes: ``flops`` of b budgets; ``params``, ``tokens`` and ``loss`` of the law, b of each, and
    ``drawn`` parameters of m draws, m by b. ``conditions`` are those of `scaling.Conditions` that hold for them."""

    flops: Float[np.ndarray, " b"]
    params: Float[np.ndarray, " b"]
    loss: Float[np.ndarray, " b"]
    drawn: Float[np.ndarray, "m b"]
    conditions: dict[str, float]

    @property
    def tokens(self) -> Float[np.ndarray, " b"]:
        """Return the tokens that the budgets leave."""
        return self.flops / (6.0 * self.params)


@dataclass(frozen=True)
class Fitted:
    """What `fit` finds: ``ensemble`` is None without resampling, or where hardly a draw converged; so is ``errors``
    without a column of errors."""

    asked: Asked
    table: Table
    runs: Runs
    law: Fit
    ensemble: Ensemble | None
    lost: int
    budgets: Budgets | None
    errors: downstream.Downstream | None


def run(name: str, problem: Mapping[str, Any]) -> Any:
    """Run a function of `scaling.fitting`, compiled to be fast and kept on disk."""
    return program(f"scaling.fitting:{name}", problem, quick=False)(problem)


def fit_table(asked: Asked, table: Table, tick: Callable[[int], None] | None = None) -> Fitted:
    """Return the law of a table of runs; one that does not converge is not resampled.

    Raises:
        configs.ConfigError: runs that no fit can be made of.
    """
    sizes = ("params", "tokens", "loss")
    more = {name: values for name, values in table.columns.items() if name not in sizes}
    params, tokens, loss = (table.columns[name] for name in sizes)
    runs = Runs(params, tokens, loss, more, table.weights, table.group)
    try:
        law = fit(runs, asked.form, asked.fixed, asked.delta, asked.in_nats, run)
        errors = None if table.errors is None else _downstream(asked, *table.errors)
    except FitError as error:
        raise configs.ConfigError(f"{configs.shown(asked.runs)}: {error}") from None
    if not law.converged:
        return Fitted(asked, table, runs, law, None, 0, None, errors)
    ensemble, lost = None, 0
    if asked.draws and law.free:
        every = bootstrap(runs, law, asked.draws, asked.seed, run, tick)
        fine = np.all([np.isfinite(values) for values in every.coefficients.values()], axis=0)
        kept = Ensemble({n: v[fine] for n, v in every.coefficients.items()}, every.objective[fine], 0)
        lost = asked.draws - int(fine.sum())
        ensemble = kept if fine.sum() >= LEAST_DRAWS else None
    return Fitted(asked, table, runs, law, ensemble, lost, _budgets(table, law, ensemble, asked.draws), errors)


def _downstream(asked: Asked, loss: np.ndarray, error: np.ndarray) -> downstream.Downstream:
    try:
        return downstream.fit_errors(loss, error)
    except ValueError as why:
        raise configs.ConfigError(
            f"--error = '{configs.shown(asked.columns['error'])}': {why} (of {len(error)} runs that state one)"
        ) from None


def _budgets(table: Table, law: Fit, ensemble: Ensemble | None, draws: int) -> Budgets:
    """Return the best sizes at budgets round, and beyond, those of the runs; as dense as the runs come."""
    columns = table.columns
    flops = 6.0 * columns["params"] * columns["tokens"]
    top = floor(log10(flops.max()))
    budgets = 10.0 ** np.unique([floor(log10(np.median(flops))), *(top + more for more in _BEYOND)])
    conditions = dict(_DENSE)
    for name in ("experts", "sparsity"):
        if name in columns:
            conditions[name] = float(columns[name].min())
    if "train_bits" in columns:
        conditions["train_bits"] = float(columns["train_bits"].max())
    drawn = ensemble.coefficients if ensemble else {name: np.empty(0) for name in law.coefficients}
    # Padded to the draws asked for, so that one program answers whatever number was lost.
    spare = draws - len(next(iter(drawn.values())))
    values = {
        name: np.concatenate([[law.coefficients[name]], drawn[name], np.full(spare, law.coefficients[name])])
        for name in law.coefficients
    }
    problem = {"law": values, "conditions": conditions, "flops": budgets}
    found = program("scaling.budget:compute_optimal", problem, quick=False)(problem)
    params = np.exp(found["log_params"])
    told = {name: conditions[name] for name in columns if name in conditions}
    if "serve_bits" in told:
        told["serve_bits"] = conditions["serve_bits"]
    return Budgets(budgets, params[0], found["loss"][0], params[1 : 1 + params.shape[0] - 1 - spare], told)
