"""Numbers in the cells of a row: read strictly, so that no odd one becomes a prediction."""

from collections.abc import Mapping
from math import isfinite

from configs import shown

from .run import Unusable

# What a run can plausibly say, low and high, by column.
LIMITS = {
    "total_params_b": (1e-3, 1e5), "active_params_b": (1e-3, 1e5), "n_chips": (1.0, 1e5), "tp": (1.0, 1e5),
    "ep": (1.0, 1e5), "pp": (1.0, 1e5), "dp": (1.0, 1e5), "isl": (1.0, 1e8), "osl": (1.0, 1e8),
    "concurrency": (1.0, 1e7), "request_rate": (1e-6, 1e7), "out_tok_s_total": (1e-3, 1e10),
    "out_tok_s_per_chip": (1e-3, 1e8), "tpot_ms": (1e-4, 1e7), "ttft_ms": (1e-3, 1e9), "seq_len": (1.0, 1e8),
    "global_batch_seq": (1e-3, 1e8), "micro_batch": (1e-3, 1e6), "cp": (1.0, 1e5), "vp": (1.0, 1e5),
    "tok_s_per_chip": (1e-3, 1e9), "tflops_per_chip": (1e-3, 1e6), "mfu_pct": (1e-3, 1000.0),
    "tokens_t": (1e-6, 1e4), "chip_hours": (1e-2, 1e11),
}  # fmt: skip
_WHOLE = ("n_chips", "tp", "ep", "pp", "dp", "cp", "vp")
_WORDS = ("tp", "concurrency", "request_rate")  # columns that also hold remarks


def number(row: Mapping[str, str], name: str) -> float | None:
    """Return the number in column ``name``, or None where it is blank.

    Raises:
        Unusable: not a number, or one that no run can have.
    """
    text = row.get(name, "").strip()
    if text.lower() in ("", "nan", "n/a", "na", "-", "none"):
        return None
    try:
        value = float(text)
    except ValueError:
        if name in _WORDS:
            return None
        raise Unusable(f"{name} = '{shown(text)}' is not a number") from None
    low, high = LIMITS[name]
    if name == "request_rate" and value == float("inf"):
        return value
    if not isfinite(value) or not low <= value <= high:
        raise Unusable(f"{name} = {shown(text)} is outside {low:g} to {high:g}")
    if name in _WHOLE and value != round(value):
        raise Unusable(f"{name} = {shown(text)} must be a whole number")
    return value
