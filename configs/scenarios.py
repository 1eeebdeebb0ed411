"""Questions worth keeping: any of the planner's flags, by name, in a TOML file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .errors import ConfigError
from .laws import FORMS
from .loader import Field, Names, Number, Text, read_toml

# One entry per question a user can ask; the command line's flags are these keys with dashes.
SETTINGS = {
    "lifetime_tokens": Number("tokens, prompt and answer together", 0.0, 1e30, required=False),
    "quality_like": Number("parameters", 1e6, 1e15, required=False),
    "target_loss": Number("nats per token", 1e-3, 20.0, required=False),
    "budget_usd": Number("US dollars", 1.0, 1e18, required=False),
    "law": Text(required=False),
    "unique_tokens": Number("tokens", 1e6, 1e20, required=False),
    "laws": Names(required=False),
    "draws": Number("draws, a whole number", 10, 100_000, required=False),
    "cvar": Number("share of the worst draws", 0.001, 1.0, required=False),
    "objective": Text(("usd", "flops", "joules"), required=False),
    "chips": Names(required=False),
    "workload": Text(required=False),
    "input_tokens": Number("mean tokens per request", 1.0, 1e8, required=False),
    "output_tokens": Number("mean tokens per request", 1.0, 1e8, required=False),
    "cached_fraction": Number("fraction of input tokens", 0.0, 0.999, required=False),
    "tpot_ms": Number("milliseconds", 1e-3, 1e9, required=False),
    "ttft_ms": Number("milliseconds", 1e-3, 1e9, required=False),
    "lifetime_days": Number("days", 1e-2, 1e5, required=False),
    "peak_to_mean": Number("ratio of peak to mean request rate", 1.0, 1e3, required=False),
    "precision": Text(("bf16", "fp8", "int8", "fp4"), required=False),
    "max_sparsity": Number("total over active parameters", 1.0, 1e3, required=False),
    "train_days": Number("days", 1e-2, 1e5, required=False),
    "train_chips": Number("chips", 1, 1e7, required=False),
    "train_on": Names(required=False),
    "train_precision": Text(("bf16", "fp8", "int8", "fp4"), required=False),
    "chip_usd_per_hour": Number("US dollars per chip-hour", 1e-3, 1e3, required=False),
    "engine": Text(required=False),
}
# What evaluate needs besides: the plan that is given instead of chosen.
PLAN_SETTINGS = {
    "params": Number("parameters", 1e6, 1e15, required=False),
    "total_params": Number("parameters", 1e6, 1e18, required=False),
    "experts": Number("total over active parameters of feed-forward blocks", 1.0, 1e4, required=False),
    "chip": Text(required=False),
    "chips_per_replica": Number("chips", 1, 1e6, required=False),
    "batch": Number("sequences", 1.0, 1e9, required=False),
    "train_tokens": Number("tokens", 1e3, 1e24, required=False),
}

_WAYS = Number("chips, a whole number", 1, 16384, required=False)
_ONE_MODEL = {
    "model": Text(required=False),
    "params": Number("parameters", 1e6, 1e15, required=False),
    "active_params": Number("parameters used per token", 1e6, 1e15, required=False),
    "chip": Text(required=False),
}
_PUE = Number("building's power over the servers'", 1.0, 5.0, required=False)
_METER = {
    "pue": _PUE,
    "server_ratio": Number("server's power over its boards'", 1.0, 5.0, required=False),
    "usd_per_kwh": Number("US dollars per kWh", 0.0, 2.0, required=False),
    "co2_g_per_kwh": Number("grams of CO2 per kWh", 0.0, 2000.0, required=False),
    "grid": Text(required=False),
}
# What estimate asks: one model on one slice of chips, under one load.
ESTIMATE_SETTINGS = {
    **_ONE_MODEL,
    "chips": _WAYS,
    "tp": _WAYS,
    "pp": _WAYS,
    "dp": _WAYS,
    "ep": _WAYS,
    "batch": Number("sequences decoded together", 1.0, 1e9, required=False),
    "concurrency": Number("requests in flight", 1.0, 1e9, required=False),
    "request_rate": Number("requests per second", 1e-9, 1e9, required=False),
    "input_tokens": Number("tokens per prompt", 1.0, 1e8, required=False),
    "output_tokens": Number("tokens per answer", 1.0, 1e8, required=False),
    "cached_tokens": Number("tokens per prompt found in the cache", 0.0, 1e8, required=False),
    "precision": Text(("bf16", "fp8", "int8", "fp4", "int4"), required=False),
    "kv_precision": Text(("bf16", "fp8"), required=False),
    "engine": Text(required=False),
    "tpot_ms": Number("milliseconds", 1e-3, 1e9, required=False),
    "ttft_ms": Number("milliseconds", 1e-3, 1e9, required=False),
    "draft_tokens": Number("tokens drafted per step, a whole number", 1, 64, required=False),
    "accept_tokens": Number("tokens a step yields", 1.0, 65.0, required=False),
    "chip_usd_per_hour": Number("US dollars per chip-hour", 1e-3, 1e3, required=False),
    **_METER,
}
_SPLIT = Number("chips, a whole number", 1, 262144, required=False)
# What frontier asks: the same without a load or a meter, and the tiers on the curve.
FRONTIER_SETTINGS = {
    **{k: v for k, v in ESTIMATE_SETTINGS.items() if k not in ("batch", "concurrency", "request_rate", *_METER)},
    "fast_speedup": Number("speed over the standard tier's", 1.0, 100.0, required=False),
    "peak_to_mean": Number("ratio of peak to mean demand", 1.0, 1e3, required=False),
    "fast_share": Number("share of what cannot wait", 0.0, 1.0, required=False),
    "batch_share": Number("share of all output tokens", 0.0, 0.999, required=False),
}
# What price asks: a curve's tiers, and what is charged on top.
PRICE_SETTINGS = {
    **FRONTIER_SETTINGS,
    "margin": Number("share of the price", 0.0, 0.99, required=False),
    "context_steps": Text(required=False),
    "storage": Text(required=False),
}
_USD_PER_MTOK = Number("US dollars per million tokens", 1e-4, 1e4, required=False)
# What deduce asks: a card, or its prices, and what is known of the service behind it.
DEDUCE_SETTINGS = {
    "card": Text(required=False),
    **dict.fromkeys(("input", "cached_input", "cache_write_5m", "cache_write_1h", "output"), _USD_PER_MTOK),
    **dict.fromkeys(("long_input", "long_output"), _USD_PER_MTOK),
    "context_step": Number("tokens", 1e3, 1e8, required=False),
    "tokens_per_s": Number("tokens per second and user", 0.1, 1e5, required=False),
    "chip": Text(required=False),
    "chips": Number("chips, a whole number", 1, 16384, required=False),
    "active_params": Number("parameters used per token", 1e6, 1e15, required=False),
    "sparsity": Number("total over active parameters", 1.0, 1e3, required=False),
    "kv_bytes_per_token": Number("bytes", 1.0, 1e9, required=False),
    "margin": Number("share of the price", 0.0, 0.99, required=False),
    "input_tokens": Number("tokens per prompt", 1.0, 1e8, required=False),
    "output_tokens": Number("tokens per answer", 1.0, 1e8, required=False),
    "precision": Text(("bf16", "fp8", "int8", "fp4", "int4"), required=False),
    "kv_precision": Text(("bf16", "fp8"), required=False),
    "engine": Text(required=False),
    "peak_to_mean": Number("ratio of peak to mean demand", 1.0, 1e3, required=False),
    "pricing_noise": Number("standard error in logarithms", 0.0, 3.0, required=False),
    "chip_usd_per_hour": Number("US dollars per chip-hour", 1e-3, 1e3, required=False),
}
# What train asks: one training run of one model.
TRAIN_SETTINGS = {
    **_ONE_MODEL,
    "chips": _SPLIT,
    "days": Number("days", 1e-3, 1e5, required=False),
    "tokens": Number("tokens", 1e3, 1e18, required=False),
    "sequence_tokens": Number("tokens per sequence", 16.0, 1e8, required=False),
    "batch_tokens": Number("tokens per step", 16.0, 1e12, required=False),
    "batch_law": Text(required=False),
    "precision": Text(("bf16", "fp8", "int8", "fp4"), required=False),
    "trainer": Text(required=False),
    "tp": _SPLIT,
    "pp": _SPLIT,
    "vp": Number("chunks of a stage, a whole number", 1, 1024, required=False),
    "cp": _SPLIT,
    "ep": _SPLIT,
    "micro_batch": Number("sequences, a whole number", 1, 65536, required=False),
    "sharding": Text(("states", "weights"), required=False),
    "schedule": Text(("1f1b", "zero-bubble"), required=False),
    "recompute": Number("share of the layers", 0.0, 1.0, required=False),
    "expert_load": Number("rows of the busiest chip over the mean", 1.0, 100.0, required=False),
    "price_mode": Text(("on-demand", "reserved", "spot", "list"), required=False),
    "chip_usd_per_hour": Number("US dollars per chip-hour", 1e-3, 1e3, required=False),
    "failures": Text(required=False),
    "pue": _PUE,
    "rollout_tokens": Number("tokens generated", 1e3, 1e18, required=False),
    "trained_fraction": Number("share of the rollouts", 0.0, 1.0, required=False),
    "scoring_passes": Number("forward passes over a rollout", 0.0, 100.0, required=False),
    "busy_fraction": Number("share of the generating chips' time", 0.01, 1.0, required=False),
    "rollout_input_tokens": Number("tokens per prompt", 1.0, 1e8, required=False),
    "rollout_output_tokens": Number("tokens per answer", 1.0, 1e8, required=False),
    "inference_tokens": Number("tokens served over the model's life", 1e3, 1e20, required=False),
    "used_probability": Number("chance that the model comes into use", 1e-6, 1.0, required=False),
    "export": Text(("megatron", "maxtext", "torchtitan"), required=False),
}
_COLUMN = Text(required=False)
# What fit asks: the columns of a table of runs, the form of the law, and how it is fitted.
FIT_SETTINGS = {
    "runs": Text(required=False),
    "params": _COLUMN,
    "tokens": _COLUMN,
    "flops": _COLUMN,
    "loss": _COLUMN,
    "unique_tokens": _COLUMN,
    "experts": _COLUMN,
    "sparsity": _COLUMN,
    "train_bits": _COLUMN,
    "serve_bits": _COLUMN,
    "error": _COLUMN,
    "weights": _COLUMN,
    "group": _COLUMN,
    "where": Text(required=False),
    "drop_highest": Number("runs, a whole number", 0, 1e6, required=False),
    "form": Text(tuple(FORMS), required=False),
    "fix": Text(required=False),
    "delta": Text(required=False),
    "residual": Text(("log", "nats"), required=False),
    "bootstrap": Number("resamplings, a whole number", 0, 1e5, required=False),
    "seed": Number("whole number", 0, 2**32 - 1, required=False),
    "out": Text(required=False),
}
# What assign asks: tasks, the offers that may serve them, the habit to compare with, and what waiting costs.
ASSIGN_SETTINGS = {
    "tasks": Text(required=False),
    "offers": Text(required=False),
    "habit": Text(required=False),
    "value_usd_per_hour": Number("US dollars per hour of waiting", 0.0, 1e9, required=False),
    "deadline_margin": Number("deadline over an offer's time, at least", 1.0, 1e3, required=False),
    "per": Text(("hour", "day", "week", "month", "year"), required=False),
    "out": Text(required=False),
}
_DESCRIBED = {"name": Text(required=False), "source": Text(required=False), "note": Text(required=False)}


@dataclass(frozen=True)
class ScenarioFacts:
    """A named question: the settings it fixes, and the plan to evaluate where it gives one."""

    id: str
    name: str
    settings: dict[str, Any]
    plan: dict[str, Any]
    tables: dict[str, Any]


def load_scenario(name: str) -> ScenarioFacts:
    """Load a scenario by id or by path to a TOML file.

    Raises:
        ConfigError: unknown id, unknown setting, or a value outside its range.
    """
    path = path_of("scenarios", name)
    raw = read_toml(path, {**_DESCRIBED, **SETTINGS, **PLAN_SETTINGS})
    settings = {k: v for k, v in raw.items() if k in SETTINGS}
    plan = {k: v for k, v in raw.items() if k in PLAN_SETTINGS}
    return ScenarioFacts(path.stem, raw.get("name", path.stem), settings, plan, raw)


def load_asked(name: str, settings: Mapping[str, Field]) -> dict[str, Any]:
    """Load the ``settings`` of one command from a TOML file.

    Raises:
        ConfigError: no such file, unknown setting, or a value outside its range.
    """
    raw = read_toml(path_of("scenarios", name), {**_DESCRIBED, **settings})
    return {k: v for k, v in raw.items() if k in settings}


def load_served(name: str, settings: Mapping[str, Field]) -> dict[str, Any]:
    """Load the ``settings`` of a command about a served model from a TOML file.

    Raises:
        ConfigError: no such file, unknown setting, one of another command, or a value outside its range.
    """
    path = path_of("scenarios", name)
    raw = read_toml(path, {**_DESCRIBED, **SETTINGS, **PLAN_SETTINGS, **ESTIMATE_SETTINGS, **settings})
    for key in raw:
        if key not in settings and key not in _DESCRIBED:
            owner = "estimate" if key in ESTIMATE_SETTINGS else "optimize"
            raise ConfigError(f"{path}: {key} belongs to {owner}, not to this question")
    return {k: v for k, v in raw.items() if k in settings}
