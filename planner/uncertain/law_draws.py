"""Draws of a scaling law: its refits to resampled runs, kept in a file of arrays beside it."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import configs

_MOST_BYTES = 1 << 28


def load_draws(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return arrays of equal length, one per coefficient in ``names``, from an .npz file.

    Raises:
        ConfigError: not such a file, coefficients missing, or numbers that are not finite.
    """
    said = configs.shown(str(path))
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise configs.ConfigError(f"{said}: larger than any file of draws")
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise configs.ConfigError(f"{said}: no draws of {missing[0]} (needed: {', '.join(names)})")
            out = {name: np.array(file[name], dtype=float) for name in names}
    except configs.ConfigError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        raise configs.ConfigError(f"{said}: not a file of draws, arrays of numbers as `fit` writes them") from None
    sizes = {values.shape for values in out.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1 or not all(values.size for values in out.values()):
        raise configs.ConfigError(f"{said}: draws of the coefficients must be lists of one length")
    if not all(np.isfinite(values).all() for values in out.values()):
        raise configs.ConfigError(f"{said}: some draws are not finite")
    return out


def draws_of(law: configs.LawFacts, count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Return ``count`` draws of each coefficient: each of the file's at most once while they last, those left out that
    are no law (`configs.LAW_FORMS`). A law without a file has one draw, its own coefficients, many times.

    Raises:
        ConfigError: no draw of the file is a law.
    """
    if law.draws is None:
        return {name: np.full(count, value) for name, value in law.coefficients.items()}
    kept = load_draws(law.draws, list(law.coefficients))
    ranges = configs.LAW_FORMS[law.form]
    fine = np.all([(values >= ranges[n].low) & (values <= ranges[n].high) for n, values in kept.items()], axis=0)
    if not fine.any():
        raise configs.ConfigError(f"{configs.shown(str(law.draws))}: no draw is within what coefficients may be")
    kept = {name: values[fine] for name, values in kept.items()}
    have = int(fine.sum())
    rounds = [random.permutation(have) for _ in range(-(-count // have))]
    picked = np.concatenate(rounds)[:count]
    return {name: values[picked] for name, values in kept.items()}
