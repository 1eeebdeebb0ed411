"""How a row of a timing table becomes a call of a kernel model: which parameters, which shape, which rates."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import configs
from configs.formats import FORMATS, canonical
from hw.kernels import collective, decode, gemm, moe, prefill
from hw.kernels.rates import Rates

Columns = Mapping[str, np.ndarray]
_PAIR = 2
_PCIE_BYTES_PER_S = 32e9  # PCIe 4.0 x16, one direction: what joins bridged pairs inside a server
# Models without a gate have two matrices per expert, not three; the tables do not say which, their shapes do
# (hidden, inter, topk, experts): Nemotron 3 Nano, Super and Ultra, configuration files on Hugging Face.
_UNGATED = {(2688, 1856, 6, 128), (4096, 2688, 22, 512), (2048, 5120, 22, 512), (1024, 2688, 22, 512)}
_ALWAYS_GATED = "0.14"  # vLLM version whose timings were taken with gated experts throughout


class Family(NamedTuple):
    """One family of kernels.

    ``start`` is the model before any fit, ``variants`` names the parameter set of each row, ``shape`` and
    ``peak`` give what the model is called with for rows of one variant, and ``cluster`` the columns whose
    equal values make rows dependent. ``launch`` names the parameters that start at 0.7 of the least time measured.
    """

    table: str
    start: Any
    variants: Callable[[Columns], np.ndarray]
    shape: Callable[[str, Columns], Any]
    peak: Callable[[str], str]
    ranges: tuple[str, ...]
    cluster: tuple[str, ...]
    launch: tuple[str, ...]


def _by(column: str) -> Callable[[Columns], np.ndarray]:
    return lambda columns: _mapped(columns[column], canonical)


def _mapped(values: np.ndarray, rule: Callable[[str], str]) -> np.ndarray:
    names, inverse = np.unique(values.astype(str), return_inverse=True)
    return np.array([rule(n) for n in names], dtype=object)[inverse]


def _f(values: np.ndarray) -> Any:
    return jnp.asarray(values, float)


def _gemm_shape(variant: str, columns: Columns) -> gemm.GemmShape:
    kind = FORMATS[variant]
    one = np.ones(len(columns["m"]))
    each = _f(kind.element_bytes * one)
    return gemm.GemmShape(
        _f(columns["m"]), _f(columns["n"]), _f(columns["k"]), each, _f(columns["copies"]), quantised=kind.quantised
    )


def _window(columns: Columns) -> Any:
    return _f(np.where(columns["window"] > 0, columns["window"], np.inf))


def _decode_shape(variant: str, columns: Columns) -> decode.DecodeShape:
    c = {k: _f(columns[k]) for k in ("batch", "heads", "kv_heads", "head_dim", "kv_len")}
    one = jnp.ones_like(c["batch"])
    stored = 2.0 * c["head_dim"] * FORMATS[variant].element_bytes
    return decode.DecodeShape(
        c["batch"], c["heads"], c["kv_heads"], c["head_dim"], c["head_dim"], stored * one, c["kv_len"], _window(columns)
    )


def _prefill_shape(variant: str, columns: Columns) -> prefill.PrefillShape:
    c = {k: _f(columns[k]) for k in ("batch", "heads", "kv_heads", "head_dim", "q_len", "kv_len")}
    width = FORMATS[variant].element_bytes * jnp.ones_like(c["batch"])
    return prefill.PrefillShape(
        c["batch"], c["heads"], c["kv_heads"], c["head_dim"], c["head_dim"], c["q_len"], c["kv_len"], _window(columns),
        width
    )  # fmt: skip


def _moe_variants(columns: Columns) -> np.ndarray:
    """Name sets by precision; ranks of an older vLLM were fed their own tokens only where ep > 1: a set apart."""
    names = _by("dtype")(columns)
    apart = _old(columns) & (columns["ep"] > 1)
    return np.where(apart, names + "_own_tokens", names)


def _old(columns: Columns) -> np.ndarray:
    return np.char.startswith(columns["framework_version"].astype(str), _ALWAYS_GATED)


def _moe_shape(variant: str, columns: Columns) -> moe.MoeShape:
    c = {k: columns[k].astype(float) for k in ("tokens", "hidden", "inter", "topk", "experts", "tp", "ep")}
    keys = zip(c["hidden"], c["inter"], c["topk"], c["experts"], strict=True)
    ungated = np.array([tuple(map(int, key)) in _UNGATED for key in keys], dtype=bool) & ~_old(columns)
    skew = _mapped(columns["distribution"], lambda name: str(_skew(name))).astype(float)
    width = FORMATS[variant.removesuffix("_own_tokens")].element_bytes * np.ones_like(skew)
    return moe.MoeShape(
        *(_f(c[k]) for k in c), skew_exponent=_f(skew), matrices=_f(np.where(ungated, 2.0, 3.0)), weight_bytes=_f(width)
    )  # fmt: skip


def _skew(distribution: str) -> float:
    """Return the exponent in a name such as power_law_1.2; 0 for balanced loads."""
    last = distribution.rsplit("_", 1)[-1]
    return float(last) if last.replace(".", "", 1).isdigit() else 0.0


def _collective_variants(columns: Columns) -> np.ndarray:
    """Name sets by operation and by who runs it: the vendor's library, torch.distributed, or an engine's own kernel."""

    def library(who: str) -> str:
        framework, kernel = who.split("|")
        if framework == "torch.distributed":
            return "_torch"
        return "_eager" if kernel.endswith("_eager") else "_graph" if kernel.endswith("_graph") else ""

    return columns["op"] + _mapped(columns["framework"] + "|" + columns["kernel"], library)


def _collective_shape(variant: str, columns: Columns) -> collective.CollectiveShape:
    passes = 2.0 if variant.startswith("all_reduce") else 1.0
    one = np.ones(len(columns["bytes"]))
    return collective.CollectiveShape(_f(columns["bytes"]), _f(columns["devices"]), _f(passes * one))


def rates(family: str, variant: str, chip: configs.ChipFacts, columns: Columns) -> Rates:
    """Return the chip's datasheet rates for rows of one variant; a missing peak is that of bf16, no native unit.

    A collective beyond the scale-up domain runs at the scale-out rate; between bridged pairs of one server, over PCIe.
    """
    one = np.ones(len(columns["seconds"] if "seconds" in columns else next(iter(columns.values()))))
    peak = chip.peak_flops_per_s.get(FAMILIES[family].peak(variant), chip.peak_flops_per_s["bf16"])
    link = chip.link_bytes_per_s * one
    if family == "allreduce":
        beyond = _PCIE_BYTES_PER_S if chip.domain_chips == _PAIR else chip.scale_out_bytes_per_s
        link = np.where(columns["devices"] > chip.domain_chips, beyond, link)
    flat = [_f(x * one) for x in (peak, chip.hbm_bytes_per_s, chip.cores, chip.cache_bytes)]
    return Rates(flat[0], flat[1], flat[2], flat[3], _f(link))


def _bf16(_: str) -> str:
    return "bf16"


def _own(variant: str) -> str:
    return FORMATS[variant.removesuffix("_own_tokens")].peak


_HEADS = ("batch", "heads", "kv_heads", "head_dim", "kv_len")
_EXPERTS = ("hidden", "inter", "topk", "experts", "tp", "ep")
FAMILIES = {
    "gemm": Family(
        "gemm", gemm.START, _by("dtype"), _gemm_shape, _own, ("m", "n", "k"), ("n", "k"), ("launch_s", "floor_s")
    ),
    "gemm_closed": Family(
        "gemm", gemm.CLOSED_START, _by("dtype"), _gemm_shape, _own, ("m", "n", "k"), ("n", "k"), ("launch_s", "floor_s")
    ),
    "attention_prefill": Family(
        "attention_prefill", prefill.START, _by("kv_dtype"), _prefill_shape, _bf16, _HEADS,
        ("heads", "kv_heads", "head_dim", "window"), ("launch_s",)
    ),
    "attention_decode": Family(
        "attention_decode", decode.START, _by("kv_dtype"), _decode_shape, _bf16, _HEADS,
        ("heads", "kv_heads", "head_dim", "window"), ("launch_s",)
    ),
    "moe": Family("moe", moe.START, _moe_variants, _moe_shape, _own, ("tokens", *_EXPERTS), _EXPERTS, ("start_s",)),
    "allreduce": Family(
        "allreduce", collective.START, _collective_variants, _collective_shape, _bf16, ("devices", "bytes"),
        ("bytes",), ("start_s",)
    ),
}  # fmt: skip


def known(family: str, columns: Columns) -> np.ndarray:
    """Return the variant of each row and, as an empty name, rows whose number format is not known here."""
    names = FAMILIES[family].variants(columns)
    if family == "allreduce":
        return names
    formats = {name: name.removesuffix("_own_tokens") in FORMATS for name in np.unique(names.astype(str))}
    return np.array([name if formats[name] else "" for name in names], dtype=object)
