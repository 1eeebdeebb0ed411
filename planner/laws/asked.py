"""What is asked of a fit: the table and its columns, the form, how residuals count; checked before jax is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import configs

# What a form asks of every run besides parameters, tokens and loss; `scaling.FORMS` says the same.
COLUMNS = {
    "repeated": ("unique_tokens",), "moe": ("experts",), "sparsity": ("sparsity",),
    "precision": ("train_bits", "serve_bits"),
}  # fmt: skip
MONOMIALS = ("chinchilla", "tied", "gadre")  # sums of powers: fitted a hundred times faster than other forms
DELTA = 1e-3  # Hoffmann et al. 2022, section 3.3
DRAWS, FEWER_DRAWS, LEAST_DRAWS = 1000, 200, 20  # by default; of slow forms; for which 5 % on either side mean a thing
_ROLES = ("params", "tokens", "flops", "loss", *(name for names in COLUMNS.values() for name in names))
_OPTIONAL = ("error", "weights", "group")
_WHOLE = ("drop_highest", "bootstrap", "seed")


@dataclass(frozen=True)
class Asked:
    """A fit's question: ``columns`` by what they hold, ``where`` (column to text that rows must hold), ``fixed``
    coefficients, ``delta`` of Huber's loss (inf: least squares) on residuals in logarithms, or ``in_nats``."""

    runs: str
    columns: dict[str, str]
    form: str
    fixed: dict[str, float]
    delta: float
    in_nats: bool
    where: dict[str, str]
    drop_highest: int
    draws: int
    seed: int

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Asked":
        """Return the question that settings of `configs.FIT_SETTINGS` ask.

        Raises:
            configs.ConfigError: a setting is missing, does not go with another, or cannot be read.
        """
        if "runs" not in given:
            raise configs.ConfigError("--runs is missing: give a CSV table with one training run per line")
        form = given.get("form", "chinchilla")
        if "tokens" in given and "flops" in given:
            raise configs.ConfigError("--tokens and --flops exclude each other: tokens are FLOPs / (6 parameters)")
        own = COLUMNS.get(form, ())
        for needs, names in COLUMNS.items():
            for name in names:
                if name in given and name not in own:
                    raise configs.ConfigError(f"{_flag(name)} goes with --form {needs}, not with {form}")
        for name in _WHOLE:
            if name in given and given[name] != round(given[name]):
                raise configs.ConfigError(f"{_flag(name)} = {given[name]:g} must be a whole number")
        draws = int(given.get("bootstrap", DRAWS if form in MONOMIALS else FEWER_DRAWS))
        if 0 < draws < LEAST_DRAWS:
            raise configs.ConfigError(f"--bootstrap = {draws} must be 0, or {LEAST_DRAWS} or more")
        roles = {name: given[name] for name in (*_ROLES, *_OPTIONAL) if name in given and name != "group"}
        for name, column in roles.items():
            other = next(n for n, c in roles.items() if c == column)
            if other != name:
                raise configs.ConfigError(
                    f"{_flag(other)} and {_flag(name)} both name the column '{configs.shown(column)}': a column is "
                    "one thing"
                )
        return cls(
            runs=given["runs"],
            columns={name: given[name] for name in (*_ROLES, *_OPTIONAL) if name in given},
            form=form,
            fixed=_fixed(given.get("fix"), form),
            delta=_delta(given.get("delta")),
            in_nats=given.get("residual", "log") == "nats",
            where=_pairs("--where", given["where"], "column=value") if "where" in given else {},
            drop_highest=int(given.get("drop_highest", 0)),
            draws=draws,
            seed=int(given.get("seed", 0)),
        )

    @property
    def needed(self) -> tuple[str, ...]:
        """Return what must be told of every run."""
        size = "flops" if "flops" in self.columns else "tokens"
        return ("params", size, "loss", *COLUMNS.get(self.form, ()))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _pairs(flag: str, text: str, shape: str) -> dict[str, str]:
    """Return NAME=VALUE,NAME=VALUE as a dict."""
    out: dict[str, str] = {}
    for part in text.split(","):
        name, eq, value = (piece.strip() for piece in part.partition("="))
        if not (name and eq):
            raise configs.ConfigError(f"{flag} = '{configs.shown(text)}' must be {shape}, several with commas")
        if name in out:
            raise configs.ConfigError(f"{flag}: '{configs.shown(name)}' is given twice")
        out[name] = value
    return out


def _fixed(text: str | None, form: str) -> dict[str, float]:
    known, out = configs.LAW_FORMS[form], {}
    for name, value in (_pairs("--fix", text, "name=number") if text else {}).items():
        if name not in known:
            hint = configs.nearest(name, known)
            raise configs.ConfigError(
                f"--fix: '{configs.shown(name)}' is no coefficient of {form}{hint} (it has {', '.join(known)})"
            )
        try:
            out[name] = float(value)
        except ValueError:
            raise configs.ConfigError(f"--fix: {name} = '{configs.shown(value)}' is not a number") from None
        if not known[name].low <= out[name] <= known[name].high:
            raise configs.ConfigError(
                f"--fix: {name} = {value} is outside {known[name].low:g} to {known[name].high:g} ({known[name].unit})"
            )
    return out


def _delta(text: str | None) -> float:
    if text is None:
        return DELTA
    try:
        value = inf if text.strip().lower() == "inf" else float(text)
    except ValueError:
        value = 0.0
    if not value >= 1e-9 or not (isfinite(value) or text.strip().lower() == "inf"):
        raise configs.ConfigError(
            f"--delta = '{configs.shown(text)}' must be a positive number, such as 1e-3, or inf for least squares"
        )
    return value
