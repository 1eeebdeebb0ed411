"""The shipped facts by kind, each with its source."""

from typing import Any

from rich.console import Console

from .facts import ROWS
from .formulas import SYMBOLS
from .parts import table

KINDS = tuple(ROWS)


def listing(kind: str) -> dict[str, Any]:
    """Return every fact file of a kind, one of `KINDS`: id, key figures in SI units, source."""
    return {"schema": "list/1", "kind": kind, "items": ROWS[kind](), "warnings": []}


# For each kind: the key, the scale it is shown in (None for words), and the column's title.
_SHOWN = {
    "chips": (
        ("bf16_flops_per_s", 1e12, "bf16 TFLOP/s"),
        ("fp8_flops_per_s", 1e12, "fp8"),
        ("hbm_bytes", 1e9, "HBM GB"),
        ("hbm_bytes_per_s", 1e9, "GB/s"),
        ("power_watts", 1, "W"),
        ("usd_per_hour", 1, "$/h"),
        ("training_mfu", 1, "MFU"),
    ),
    "laws": (("form", None, "form"), ("law", None, "loss, nats per token")),
    "models": (
        ("params", 1e9, "B params"),
        ("active_params", 1e9, "active"),
        ("layers", 1, "layers"),
        ("kv_bytes_per_token", 1e3, "KV kB"),
        ("kind", None, "kind"),
    ),
    "workloads": (("input_tokens", 1, "input"), ("output_tokens", 1, "output"), ("cached_fraction", 1, "cached")),
    "prices": (
        ("usd_per_hour", 1, "$/h"),
        ("low_usd_per_hour", 1, "low"),
        ("high_usd_per_hour", 1, "high"),
        ("spot_usd_per_hour", 1, "spot"),
        ("mode", None, "mode"),
        ("date", None, "date"),
    ),
    "scenarios": (("name", None, "question"),),
    "kernels": (
        ("family", None, "kernel"),
        ("variant", None, "set"),
        ("rows", 1, "timings"),
        ("mdape", 0.01, "median %"),
        ("p90", 0.01, "p90 %"),
        ("unseen_mdape", 0.01, "unseen %"),
    ),
    "energy": (
        ("bf16_joules_per_flop", 1e-12, "bf16 pJ/FLOP"),
        ("bf16_overhead_joules_per_flop", 1e-12, "overhead"),
        ("joules_per_hbm_byte", 1e-12, "HBM pJ/byte"),
        ("overhead_joules_per_hbm_byte", 1e-12, "overhead"),
        ("joules_per_sram_byte", 1e-12, "SRAM"),
        ("joules_per_link_byte", 1e-12, "link"),
        ("idle_fraction", 1, "idle"),
    ),
    "electricity": (
        ("value", 1, "value"),
        ("low", 1, "low"),
        ("high", 1, "high"),
        ("unit", None, "unit"),
    ),
    "batch-laws": (
        ("kind", None, "batch"),
        ("variable", None, "by"),
        ("coefficient", 1, "tokens at 1"),
        ("exponent", 1, "exponent"),
        ("extra_tokens_fraction", 0.01, "extra tokens %"),
        ("valid_min", 1, "from"),
        ("valid_max", 1, "to"),
    ),
    "failures": (
        ("measured_on", None, "chip"),
        ("chip_mtbf_s", 86400.0, "chip-days apart"),
        ("restart_low_s", 60.0, "restart min"),
        ("restart_high_s", 60.0, "to"),
        ("goodput", 1, "goodput"),
    ),
    "cards": (
        ("input_usd_per_mtok", 1, "$ in"),
        ("cached_input_usd_per_mtok", 1, "cached"),
        ("output_usd_per_mtok", 1, "out"),
        ("step_tokens", 1e3, "step at k"),
        ("output_tokens_per_s", 1, "tok/s"),
        ("tiers", None, "tiers"),
    ),
    "storage": (
        ("bytes", 1e12, "TB"),
        ("bytes_per_s", 1e9, "GB/s"),
        ("drain_s", 60.0, "drain min"),
        ("usd_per_hour", 1, "$/h"),
        ("low_usd_per_hour", 1, "low"),
        ("high_usd_per_hour", 1, "high"),
        ("binds", None, "what binds"),
    ),
    "offers": (
        ("offers", 1, "offers"),
        ("lowest_quality", 1, "quality"),
        ("highest_quality", 1, "to"),
        ("quality_scale", None, "scale"),
        ("date", None, "date"),
    ),
    "trainers": (
        ("name", None, "software"),
        ("rows", 1, "runs"),
        ("dense_mdape", 0.01, "dense %"),
        ("experts_mdape", 0.01, "MoE %"),
        ("chips_measured", None, "measured on"),
    ),
    "engines": (
        ("engine", None, "software"),
        ("rows", 1, "runs"),
        ("dense_mdape", 0.01, "dense %"),
        ("experts_mdape", 0.01, "MoE %"),
        ("tpot_mdape", 0.01, "TPOT %"),
        ("ttft_mdape", 0.01, "TTFT %"),
        ("chips_measured", None, "measured on"),
    ),
}


# What is said below a table whose sources are too many or too long to show beside it.
_BELOW = {
    "trainers": "Median errors of tokens per second and chip on measured runs. Sources are in the files.",
    "laws": f"{SYMBOLS} Ranges and caveats are in the files and in --json.",
    "models": "KV: bf16, per token. Sources are in the files and in --json.",
    "batch-laws": "Batch in tokens = coefficient * variable ^ exponent: the best one, or the one that needs so many "
    "more tokens than small batches. Sources are in the files and in --json.",
    "engines": "Median errors on measured runs: throughput of dense models and of those with experts, time per output "
    "token and to the first one. What a profile without runs stands on is in its file, as all sources are.",
    "electricity": "What estimate takes unless told otherwise, and intensities that --grid names (means of 2024, life "
    "cycle). Sources are in the file and in --json.",
    "cards": "US dollars per million tokens of the first tier, and its observed speed; in contexts from the step on "
    "it asks more. Other tiers' prices, cache writes and sources are in the files and in --json.",
    "storage": "Drain: the time to read all of it once, for which holding a cache costs as much as fetching it. Rents "
    "run from a purchase over five years, where there is one, to list prices on demand. Sources are in the files and "
    "in --json.",
}
_SOURCED = ("laws",)  # kinds that show their sources even so


def show_listing(answer: dict[str, Any], console: Console) -> None:
    """Print a listing as a table, one row per id, its source last; a source that all share is said once, below."""
    kind = answer["kind"]
    shown = _SHOWN[kind]
    shared = (kind in _BELOW and kind not in _SOURCED) or len({row["source"] for row in answer["items"]}) == 1
    titles = [title for _, _, title in shown] + ([] if shared else ["source"])
    out = table(f"{len(answer['items'])} {kind}", "id", *titles)
    if not shared or kind in _BELOW:
        out.columns[-1].justify = "left"
    for column, (_, scale, _) in zip(out.columns[1:], shown, strict=False):
        if scale is None:
            column.justify = "left"
    for row in answer["items"]:
        cells = []
        for key, scale, _ in shown:
            value = row[key]
            cells.append("" if value is None else str(value) if scale is None else f"{value / scale:,.4g}")
        out.add_row(row["id"], *cells, *([] if shared else [row["source"]]))
    console.print(out, highlight=False)
    if kind in _BELOW:
        console.print(_BELOW[kind], highlight=False)
    elif shared:
        console.print(f"Source: {answer['items'][0]['source']}", highlight=False)
