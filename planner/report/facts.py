"""The shipped facts of each kind as rows: id, key figures in SI units, source."""

from math import inf
from typing import Any

import configs

from .formulas import formula


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


def _electricity() -> list[dict[str, Any]]:
    facts, out = configs.load_electricity(), []
    for name, key, unit in (
        ("pue", "ratio", "building / servers"),
        ("server", "ratio", "server / boards"),
        ("price", "usd_per_kwh", "$ per kWh"),
    ):
        one = facts.tables[name]
        between = {"low": one[f"low_{key}"], "high": one[f"high_{key}"]}
        out.append({"id": name, "value": one[key], **between, "unit": unit, "source": one["source"]})
    rest = {"low": None, "high": None, "unit": "g CO2 per kWh", "source": facts.tables["co2"]["source"]}
    out += [{"id": grid, "value": grams, **rest} for grid, grams in facts.co2_g_per_kwh.items()]
    return sorted(out, key=lambda row: row["id"])


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


def _cards() -> list[dict[str, Any]]:
    """One row per card: its first tier's price of short contexts, and every price under ``prices``."""
    out = []
    for card in map(configs.load_card, configs.ids("cards")):
        base, *others = card.prices
        price = {f"{kind}_usd_per_mtok": getattr(base, kind) for kind in ("input", "cached_input", "output")}
        step = next((one.min_context_tokens for one in others if one.tier == base.tier), None)
        tiers = ", ".join(dict.fromkeys(one.tier for one in card.prices))
        prices = [{k: None if v == inf else v for k, v in vars(one).items()} for one in card.prices]
        row, speeds = card.tables["prices"][0], card.output_tokens_per_s
        said = {"step_tokens": step, "output_tokens_per_s": speeds.get(base.tier), "tiers": tiers}
        more = {
            "prices": prices,
            "speeds": speeds,
            "source": (row if "source" in row else card.tables["document"])["source"],
        }
        out.append({"id": card.id, "name": card.name, "provider": card.provider, **price, **said, **more})
    return out


def _storage() -> list[dict[str, Any]]:
    out = []
    for one in map(configs.load_storage, configs.ids("storage")):
        read, price = one.tables["read"], one.tables["price"]
        size = {"bytes": one.bytes, "bytes_per_s": one.bytes_per_s, "drain_s": one.drain_s, "binds": read["binds"]}
        rates = {f"{end}_bytes_per_s": read[f"{end}_gb_per_s"] * 1e9 for end in ("low", "high")}
        rent = {key: price[key] for key in ("usd_per_hour", "low_usd_per_hour", "high_usd_per_hour")}
        sources = {"source": one.tables["capacity"]["source"], "price_source": price["source"]}
        out.append({"id": one.id, "name": one.name, **size, **rates, **rent, **sources})
    return out


def _offers() -> list[dict[str, Any]]:
    """One row per catalogue: its scale of quality and how much of it is on offer; every offer under ``rows``."""
    out = []
    for catalogue in map(configs.load_offers, configs.ids("offers")):
        rows = []
        for offer in catalogue.offers:
            price = {f"{kind}_usd_per_mtok": getattr(offer.prices[0], kind) for kind in ("input", "output")}
            times = {key: getattr(offer, key) for key in ("output_tokens_per_s", "ttft_s", "turnaround_s")}
            named = {"id": offer.id, "model": offer.model, "tier": offer.tier, "quality": offer.quality}
            rows.append({**named, **price, **times})
        qualities = [offer.quality for offer in catalogue.offers]
        size = {"offers": len(rows), "lowest_quality": min(qualities), "highest_quality": max(qualities)}
        scale = catalogue.tables["quality"]
        said = {"quality_scale": scale["scale"], "date": scale.get("date", scale.get("retrieved"))}
        out.append(
            {"id": catalogue.id, "name": catalogue.name, **size, **said, "rows": rows, "source": scale["source"]}
        )
    return out


# In the order in which `list` names the kinds.
ROWS = {
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
    "electricity": _electricity,
    "batch-laws": _batch_laws,
    "failures": _failures,
    "cards": _cards,
    "storage": _storage,
    "offers": _offers,
}
