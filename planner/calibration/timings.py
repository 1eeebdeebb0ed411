"""The one table of kernel timings: a family of kernels, its shapes, and the seconds each call took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LABELS = ("system", "source", "framework", "framework_version", "kernel", "split")
TEXTS = {
    "gemm": ("dtype",),
    "attention_prefill": ("dtype", "kv_dtype"),
    "attention_decode": ("dtype", "kv_dtype"),
    "moe": ("dtype", "distribution"),
    "allreduce": ("op", "dtype"),
}
_ATTENTION = ("batch", "heads", "kv_heads", "head_dim", "window", "q_len", "kv_len")
COUNTS = {
    "gemm": ("m", "n", "k"),
    "attention_prefill": _ATTENTION,
    "attention_decode": _ATTENTION,
    "moe": ("tokens", "hidden", "inter", "topk", "experts", "tp", "ep"),
    "allreduce": ("devices", "bytes"),
}
FAMILIES = tuple(COUNTS)
DEFAULTS = {"gemm": {"copies": 6.0}}  # weight matrices that took turns; 6 in aiconfigurator's collector
_NO_LESS = {  # the first is never more than the second
    "attention_prefill": (("q_len", "kv_len"), ("kv_heads", "heads")),
    "attention_decode": (("q_len", "kv_len"), ("kv_heads", "heads")),
    "moe": (("topk", "experts"), ("ep", "experts"), ("tp", "inter")),
}
_MAY_BE_ZERO = ("window",)  # 0 = attention over the whole context


@dataclass(frozen=True, eq=False)
class Timings:
    """Measured calls of one family of kernels, one row each; every time is seconds of one call on one device.

    ``columns`` holds `LABELS` (who ran what, "" where not recorded) and the family's `TEXTS` as arrays of
    strings, its `COUNTS` and ``seconds`` as float64:

    - gemm: y[m, n] = x[m, k] W[n, k]^T, m tokens, n output and k input features; ``copies`` of W took turns
      (6 where not recorded);
    - attention_prefill, attention_decode: head counts of one device, ``window`` 0 = none, ``kv_len`` counts
      the cached tokens and those of the call (decode: cached + 1);
    - moe: ``inter`` and ``experts`` are the model's totals, before division by ``tp`` and ``ep``;
    - allreduce: ``op`` is all_reduce, all_gather, reduce_scatter or alltoall, ``bytes`` the message in bytes.

    Rows without a dtype, or whose time or shape is no positive finite number or contradicts itself, are left out
    and counted in ``dropped``, on top of the count given.
    """

    family: str
    columns: dict[str, np.ndarray]
    dropped: int = 0

    def __post_init__(self) -> None:
        if self.family not in COUNTS:
            raise ValueError(f"family {self.family!r} is none of {', '.join(FAMILIES)}")
        shape = (*TEXTS[self.family], *COUNTS[self.family], "seconds")
        missing = [name for name in shape if name not in self.columns]
        defaults = DEFAULTS.get(self.family, {})
        extra = [name for name in self.columns if name not in shape and name not in LABELS and name not in defaults]
        if missing or extra:
            raise ValueError(f"{self.family}: columns missing {missing}, not known {extra}")
        rows = len(self.columns["seconds"])
        columns: dict[str, np.ndarray] = {}
        for name in (*LABELS, *shape):
            given: Any = self.columns.get(name, np.full(rows, "", dtype=object))
            kind = object if name in LABELS or name in TEXTS[self.family] else np.float64
            columns[name] = np.asarray(given, dtype=kind)
            if columns[name].shape != (rows,):
                raise ValueError(f"{self.family}: column {name} has not {rows} rows like seconds")
        for name, value in defaults.items():
            given = np.asarray(self.columns.get(name, np.full(rows, value)), dtype=np.float64)
            columns[name] = np.where(np.isfinite(given) & (given > 0), given, value)
        good = columns["dtype"] != ""
        with np.errstate(invalid="ignore"):
            for name in (*COUNTS[self.family], "seconds"):
                low = columns[name] >= 0 if name in _MAY_BE_ZERO else columns[name] > 0
                good &= low & np.isfinite(columns[name])
            for less, more in _NO_LESS.get(self.family, ()):
                good &= columns[more] >= columns[less]
            if self.family == "allreduce":
                good &= columns["devices"] >= 2
        if not good.all():
            columns = {name: values[good] for name, values in columns.items()}
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "dropped", self.dropped + int(rows - good.sum()))

    @property
    def rows(self) -> int:
        """How many timings there are."""
        return len(self.columns["seconds"])

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems measured, sorted."""
        return tuple(sorted(set(self.columns["system"].tolist())))

    def select(self, mask: np.ndarray) -> "Timings":
        """Return the rows of a boolean mask, or of indices; what was dropped before is not counted again."""
        return Timings(self.family, {name: values[mask] for name, values in self.columns.items()})

    def of_system(self, names: Mapping[str, str]) -> "Timings":
        """Return the rows of the systems among ``names``, each system called by the name it has there."""
        kept = self.select(np.isin(self.columns["system"].astype(str), list(names)))
        systems = np.array([names[s] for s in kept.columns["system"]], dtype=object)
        return Timings(self.family, {**kept.columns, "system": systems})

    def merged(self) -> "Timings":
        """Return one row, of median time, for every set of rows alike in all but their seconds."""
        keys = [values for name, values in self.columns.items() if name != "seconds"]
        return self._one_each(*medians(keys, self.columns["seconds"]))

    def quickest(self) -> "Timings":
        """Return one row, of least time, for every set of rows alike in all but their seconds."""
        keys = [values for name, values in self.columns.items() if name != "seconds"]
        order, starts = groups(keys, self.columns["seconds"])
        return self._one_each(order[starts], self.columns["seconds"][order[starts]])

    def _one_each(self, first: np.ndarray, seconds: np.ndarray) -> "Timings":
        back = np.argsort(first, kind="stable")
        columns = {name: values[first[back]] for name, values in self.columns.items()}
        return Timings(self.family, {**columns, "seconds": seconds[back]}, self.dropped)

    @staticmethod
    def concatenated(tables: Sequence["Timings"]) -> "Timings":
        """Return the rows of several tables of one family, in their order.

        Raises:
            ValueError: no tables, or tables of different families.
        """
        families = {table.family for table in tables}
        if len(families) != 1:
            raise ValueError(f"tables of one family can be joined, not of {sorted(families)}")
        names = tables[0].columns
        columns = {name: np.concatenate([table.columns[name] for table in tables]) for name in names}
        return Timings(families.pop(), columns, sum(table.dropped for table in tables))


def is_decode(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Tell one new token against a cache; a lone token against nothing is a prompt of one token."""
    return (columns["q_len"] == 1) & (columns["kv_len"] > 1)


def phases(columns: dict[str, np.ndarray], decode: np.ndarray) -> list[Timings]:
    """Part attention rows into a table of prefill and one of decode, where there are any."""
    parts = (("attention_prefill", ~decode), ("attention_decode", decode))
    return [
        Timings(family, {name: values[mask] for name, values in columns.items()})
        for family, mask in parts
        if mask.any()
    ]


def medians(keys: Sequence[np.ndarray], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of ``values`` over rows of equal ``keys``, beside the index of the first row of each group."""
    order, starts = groups(keys, values)
    sizes = np.diff(np.append(starts, len(values)))
    ordered = values[order]
    middle = (ordered[starts + (sizes - 1) // 2] + ordered[starts + sizes // 2]) / 2.0
    first = np.minimum.reduceat(order, starts) if len(starts) else order
    return first, middle


def groups(keys: Sequence[np.ndarray], values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an order that sorts rows by ``keys``, then ``values``, and where in it each group of keys starts."""
    codes = [_codes(key) if key.dtype == object else key for key in keys]
    varying = [code for code in codes if len(code) and (code != code[0]).any()]
    order = np.lexsort((values, *varying))
    new = np.zeros(len(values), dtype=bool)
    new[:1] = True
    for code in varying:
        ordered = code[order]
        new[1:] |= ordered[1:] != ordered[:-1]
    return order, np.flatnonzero(new)


def _codes(texts: np.ndarray) -> np.ndarray:
    """Number the distinct texts; far quicker than sorting strings."""
    seen: dict[str, int] = {}
    return np.fromiter((seen.setdefault(text, len(seen)) for text in texts), dtype=np.int64, count=len(texts))
