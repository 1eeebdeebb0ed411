"""The shipped facts by kind, each with its source."""

from math import inf
from typing import Any

from rich.console import Console

import configs

from .formulas import SYMBOLS, formula
from .parts import table

KINDS = (
    "chips", "laws", "models", "workloads", "prices", "scenarios", "engines", "trainers", "kernels", "energy",
    "batch-laws", "failures",
)  # fmt: skip


def listing(kind: str) -> dict[str, Any]:
    """Return every fact file of a kind: id, key figures in SI units, source."""
    rows = {
        "chips": _chips,
        "laws": _laws,
        "models": _models,
        "workloads": _workloads,
        "prices": _prices,
        "scenarios": _scenarios,
        "engines": _engines,
        "trainers": _trainers,
        "kernels": _kernels,
        "energy": _energy,
        "batch-laws": _batch_laws,
        "failures": _failures,
    }[kind]()
    return {"schema": "list/1", "kind": kind, "items": rows, "warnings": []}


def _chips() -> list[dict[str, Any]]:
    out = []
    for chip in map(configs.load_chip, configs.ids("chips")):
        peaks = {f"{p}_flops_per_s": chip.peak_flops_per_s.get(p) for p in configs.PRECISIONS}
        out.append(
            {
                "id": chip.id,
                "name": chip.name,
                **peaks,
                "hbm_bytes": chip.hbm_bytes,
                "hbm_bytes_per_s": chip.hbm_bytes_per_s,
                "link_bytes_per_s": chip.link_bytes_per_s,
                "domain_chips": chip.domain_chips,
                "power_watts": chip.power_w,
                "usd_per_hour": chip.usd_per_hour,
                "training_mfu": chip.training_mfu.get("bf16"),
                "source": chip.tables["peak_tflops"]["source"],
            }
        )
    return out


def _laws() -> list[dict[str, Any]]:
    return [
        {"id": law.id, "name": law.name, "form": law.form, "law": formula(law.form, law.coefficients),
         "coefficients": law.coefficients, **law.coefficients, "valid": law.valid, "caveat": law.caveat,
         "source": law.tables["coefficients"]["source"]}
        for law in map(configs.load_law, configs.ids("laws"))
    ]  # fmt: skip


def _models() -> list[dict[str, Any]]:
    out = []
    for m in map(configs.load_model, configs.ids("models")):
        size = {"params": m.params, "active_params": m.active_params, "d_model": m.d_model}
        cached = {
            "kv_bytes_per_token": _BF16_BYTES * configs.kv_elements_per_token(m),
            "state_elements": configs.state_elements(m),
        }
        layers = {"layers": sum(layer.count for layer in m.layers), "kind": _kind(m), "weights": m.weights}
        sources = {"source": m.tables["architecture"]["source"], "params_source": m.tables["parameters"]["source"]}
        out.append({"id": m.id, "name": m.name, **size, **layers, **cached, **sources})
    return out


_BF16_BYTES = 2.0


def _kind(model: configs.ModelFacts) -> str:
    """Say in a few words what a model is made of: dense or experts, and every mixer that is not plain attention."""
    experts = any(isinstance(layer.feedforward, configs.ExpertsFacts) for layer in model.layers)
    mixers = [layer.mixer for layer in model.layers]
    named = {
        "MLA": any(isinstance(m, configs.LatentFacts) for m in mixers),
        "indexer": any(isinstance(m, configs.LatentFacts) and m.index_topk for m in mixers),
        "window": any(isinstance(m, configs.AttentionFacts) and m.window_tokens < inf for m in mixers),
        "recurrent": any(isinstance(m, configs.RecurrentFacts) for m in mixers),
        "parallel": model.parallel_blocks,
    }
    return ", ".join(["MoE" if experts else "dense", *(word for word, there in named.items() if there)])


def _workloads() -> list[dict[str, Any]]:
    return [
        {"id": w.id, "name": w.name, "input_tokens": w.input_tokens, "output_tokens": w.output_tokens,
         "cached_fraction": w.cached_fraction, "source": w.tables["requests"]["source"]}
        for w in map(configs.load_workload, configs.ids("workloads"))
    ]  # fmt: skip


def _prices() -> list[dict[str, Any]]:
    out = []
    for chip in map(configs.load_chip, configs.ids("chips")):
        price = chip.tables.get("price")
        if price:
            keys = ("usd_per_hour", "low_usd_per_hour", "high_usd_per_hour", "mode", "provider", "date", "source")
            others = price.get("others", {})
            other = {f"{mode}_usd_per_hour": others.get(mode, {}).get("usd_per_hour") for mode in ("reserved", "spot")}
            out.append({"id": chip.id, **{key: price.get(key) for key in keys}, **other})
    return out


def _scenarios() -> list[dict[str, Any]]:
    return [
        {"id": s.id, "name": s.name, "settings": s.settings, "source": s.tables.get("source", "")}
        for s in map(configs.load_scenario, configs.ids("scenarios"))
    ]


def _trainers() -> list[dict[str, Any]]:
    out = []
    for one in map(configs.load_trainer, configs.ids("trainers")):
        kinds = ("dense", "experts")
        own = {kind: t for kind, t in one.residuals.items() if kind in kinds and "trainers" not in t}
        errors = {f"{kind}_mdape": own[kind]["mdape"] if kind in own else None for kind in kinds}
        out.append(
            {
                "id": one.id,
                "name": one.name,
                "rows": int(sum(t["rows"] for t in own.values())),
                **errors,
                "chips_measured": " ".join(one.chips),
                "profile": one.profile,
                "residuals": one.residuals,
                "source": one.tables["profile"]["source"],
            }
        )
    return out


def _engines() -> list[dict[str, Any]]:
    out = []
    for e in map(configs.load_engine, configs.ids("engines")):
        # A table that says of how many engines is of their rows together: it stands in, and is no error of this one.
        own = {
            kind: e.residuals[kind] for kind in _ENGINE_KINDS if "engines" not in e.residuals.get(kind, {"engines": 0})
        }
        errors = {f"{kind}_mdape": own[kind]["mdape"] if kind in own else None for kind in _ENGINE_KINDS}
        rows = e.fitted.get("rows", 0)
        run = {"engine": e.engine, "versions": list(e.versions), "precisions": list(e.precisions)}
        chips = {"chips": list(e.chips), "chips_measured": " ".join(e.chips) if rows else "none"}
        limits = {k: v for k, v in e.limits.items() if isinstance(v, float) and k != "reserve_gb"}
        fitted = {"profile": e.profile, "limits": limits, "residuals": e.residuals}
        source = e.tables["profile"]["source"]
        out.append({"id": e.id, "name": e.name, **run, **chips, "rows": rows, **errors, **fitted, "source": source})
    return out


_ENGINE_KINDS = ("dense", "experts", "tpot", "ttft")


def _kernels() -> list[dict[str, Any]]:
    out = []
    for facts in map(configs.load_kernels, configs.ids("kernels")):
        for family, variants in facts.sets.items():
            for variant, one in variants.items():
                errors = {"mdape": one.mdape, "p90": one.p90, "unseen_mdape": one.unseen_mdape}
                constants = {"constants": one.value, "log_standard_errors": one.log_standard_error}
                name = {"id": facts.id, "family": family, "variant": variant, "rows": one.rows}
                out.append({**name, **errors, **constants, "software": one.software, "source": facts.source})
    return out


def _energy() -> list[dict[str, Any]]:
    out = []
    for one in map(configs.load_energy, configs.ids("energy")):
        flop = {f"{p}_joules_per_flop": one.constants["joules_per_flop"][p] for p in configs.PRECISIONS}
        spent = {
            f"{p}_overhead_joules_per_flop": one.constants["overhead_joules_per_flop"][p] for p in configs.PRECISIONS
        }
        rest = {k: v for k, v in one.constants.items() if not isinstance(v, dict)}
        out.append({"id": one.id, "name": one.name, **flop, **spent, **rest, "source": one.tables["memory"]["source"]})
    return out


def _batch_laws() -> list[dict[str, Any]]:
    out = []
    for law in map(configs.load_batch_law, configs.ids("batch_laws")):
        numbers = {"coefficient": law.coefficient, "exponent": law.exponent}
        price = {"extra_tokens_fraction": law.extra_tokens_fraction}
        valid = {"valid_min": law.valid[0], "valid_max": law.valid[1], "caveat": law.caveat}
        kind = {"kind": law.kind, "variable": law.variable}
        source = law.tables["coefficients"]["source"]
        out.append({"id": law.id, "name": law.name, **kind, **numbers, **price, **valid, "source": source})
    return out


def _failures() -> list[dict[str, Any]]:
    out = []
    for one in map(configs.load_failures, configs.ids("failures")):
        low, high = one.restart_s or (None, None)
        times = {
            "chip_mtbf_s": one.chip_mtbf_s,
            "planned_s": one.planned_s,
            "restart_low_s": low,
            "restart_high_s": high,
        }
        rest = {"storage_bytes_per_s": one.storage_bytes_per_s, "goodput": one.goodput, "caveat": one.caveat}
        name = {"name": one.name, "chips": list(one.chips), "measured_on": " ".join(one.chips)}
        out.append({"id": one.id, **name, **times, **rest, "source": one.tables["interruptions"]["source"]})
    return out


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
        ("joules_per_sram_byte", 1e-12, "SRAM"),
        ("joules_per_link_byte", 1e-12, "link"),
        ("idle_fraction", 1, "idle"),
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
