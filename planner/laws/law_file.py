"""A fitted law as a file that `--law` accepts, its ensemble as arrays beside it."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import configs

from ..calibration.toml_text import toml
from .fitted import Fitted

_NAMES = {
    "params": "N", "tokens": "D", "loss": "loss in nats per token", "flops": "FLOPs = 6 N D",
    "unique_tokens": "unique tokens", "experts": "experts", "sparsity": "sparsity", "train_bits": "training bits",
    "serve_bits": "serving bits",
}  # fmt: skip


def save(fitted: Fitted, path: Path, open_: Iterable[str], write: Callable[[str, bytes], None]) -> list[str]:
    """Write the law, and its ensemble before it, with ``write`` (a name and what it shall hold); return their names.

    ``open_`` are coefficients that the runs do not identify: the law's caveat.

    Raises:
        configs.ConfigError: coefficients that no law may have, or that runs leave open: nothing is written.
    """
    if fitted.law.loose:
        raise configs.ConfigError(f"any other {fitted.law.loose[0]} fits these runs as well")
    draws = None if fitted.ensemble is None else f"{path.stem}.npz"
    texts = {path.name: toml(tables(fitted, open_, draws)).encode()}
    if draws:
        texts = {draws: _arrays(fitted), **texts}
    with TemporaryDirectory() as folder:
        for name, content in texts.items():
            (Path(folder) / name).write_bytes(content)
        try:
            configs.load_law(str(Path(folder) / path.name))
        except configs.ConfigError as error:
            raise configs.ConfigError(str(error).replace(f"{folder}{os.sep}", "")) from None
    for name, content in texts.items():
        write(str(path.parent / name), content)
    return [str(path.parent / name) for name in reversed(texts)]


def tables(fitted: Fitted, open_: Iterable[str], draws: str | None) -> dict[str, Any]:
    """Return the tables of the file: coefficients to the last digit, the range of the runs, errors downstream."""
    asked, law, table, today = fitted.asked, fitted.law, fitted.table, date.today().isoformat()
    file, rows = configs.shown(Path(asked.runs).name), len(table)
    digest = hashlib.sha256(Path(asked.runs).read_bytes()).hexdigest()[:16]
    kind = "squares" if np.isinf(asked.delta) else f"Huber losses (delta {asked.delta:g})"
    residuals = "residuals in nats" if asked.in_nats else "log residuals"
    source = f"exact minimiser of the sum of {kind} of {residuals} on {rows} runs of {file} (sha256 {digest})"
    read = ", ".join(f"{_NAMES[name]}: {configs.shown(asked.columns[name])}" for name in asked.needed)
    coefficients: dict[str, Any] = {name: law.coefficients[name] for name in configs.LAW_FORMS[asked.form]}
    coefficients |= {"source": source, "retrieved": today}
    if fitted.ensemble is not None:
        told = ", ".join(f"{n} {e:.3g}" for n, e in fitted.ensemble.standard_errors().items() if n in law.free)
        coefficients["note"] = f"bootstrap standard errors: {told} ({len(fitted.ensemble.objective)} draws)"
    loose = ", ".join(open_)
    caveat = "; ".join(one for one in (law.trouble, f"the runs do not identify {loose}" if loose else None) if one)
    out: dict[str, Any] = {
        "name": f"{asked.form} law of {rows} runs in {file}",
        "form": asked.form,
        "conventions": f"as the runs count, columns {read}",
        **({"caveat": caveat} if caveat else {}),
        **({"draws": draws} if draws else {}),
        "coefficients": coefficients,
        "valid": {**valid(fitted), "source": f"range of the {rows} runs of {file}", "retrieved": today},
    }
    curve = fitted.errors
    if curve is not None and curve.trouble is None:
        told = len(curve.residuals)
        out["downstream"] = {
            "eps": curve.eps,
            "k": curve.k,
            "gamma": curve.gamma,
            "measure": configs.shown(asked.columns["error"]),
            "source": f"exact least squares of {told} runs of {file} on their measured loss",
            "retrieved": today,
        }
    return out


def valid(fitted: Fitted) -> dict[str, float]:
    """Return the range of the runs behind a law, as law files state it."""
    columns = fitted.table.columns
    ratio = columns["tokens"] / columns["params"]
    out = {}
    for name, values in (("params", columns["params"]), ("tokens", columns["tokens"]), ("tokens_per_param", ratio)):
        out |= {f"min_{name}": float(values.min()), f"max_{name}": float(values.max())}
    for name in ("experts", "sparsity"):
        if name in columns:
            out[f"max_{name}"] = float(columns[name].max())
    if "unique_tokens" in columns:
        out["max_epochs"] = max(1.0, float((columns["tokens"] / columns["unique_tokens"]).max()))
    if "train_bits" in columns:
        out["min_bits"] = float(min(columns[name].min() for name in ("train_bits", "serve_bits")))
    return out


def _arrays(fitted: Fitted) -> bytes:
    assert fitted.ensemble is not None
    file, kept = io.BytesIO(), {n: np.asarray(v, np.float64) for n, v in fitted.ensemble.coefficients.items()}
    np.savez_compressed(file, **kept)  # pyright: ignore[reportArgumentType]
    return file.getvalue()
