"""Reads result files of `vllm bench serve --save-result`: one served run per JSON object."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import configs
from configs import ConfigError, nearest, shown

from .cells import LIMITS
from .names import chip_of, engine_of, model_of, precision_in, precision_of
from .run import Left, Run, Unusable, has_experts

KEYS = ("completed", "total_input_tokens", "total_output_tokens")  # a file without these is of another kind
_LARGEST_BYTES = 256 * 1024 * 1024  # --save-detailed writes every answer; more than this is no result file
_BACKENDS = {"sglang": "SGLang", "sglang-native": "SGLang", "tensorrt-llm": "TensorRT-LLM", "vllm": "vLLM"}


@dataclass(frozen=True)
class Deployment:
    """What result files do not say: the chip, the layout of one replica, the number format, the software, the model.

    ``model``, ``precision`` and ``engine`` are told from the file's model and backend where they are None.
    """

    chip: str | None = None
    tp: float = 1.0
    pp: float = 1.0
    dp: float = 1.0
    ep: float | None = None
    precision: str | None = None
    model: str | None = None
    engine: str | None = None


def holds_results(path: Path) -> bool:
    """Say whether ``path`` is a file that `read` can use, by its first object."""
    try:
        first = _objects(path)[0]
    except ConfigError:
        return False
    return isinstance(first, dict) and all(key in first for key in KEYS)


def read(path: Path, deployed: Deployment) -> tuple[list[Run], list[Left]]:
    """Return the runs of a result file, also one that `--append-result` made, and what is left out.

    Raises:
        configs.ConfigError: no such file, not JSON, or the deployment is incomplete or unknown.
    """
    fixed = _fixed(deployed)
    runs: list[Run] = []
    left: list[Left] = []
    objects = _objects(path)
    for number, one in enumerate(objects, 1):
        where = path.name if len(objects) == 1 else f"{path.name}:{number}"
        try:
            if not isinstance(one, dict):
                raise Unusable("not an object of results")
            runs.append(_run(where, one, deployed, *fixed))
        except Unusable as reason:
            left.append(Left(where, str(reason)))
    return runs, left


def _objects(path: Path) -> list[Any]:
    """Return the JSON objects of a file, one after the other."""
    name = shown(str(path))
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ConfigError(f"{name}: larger than {_LARGEST_BYTES // 2**20} MiB, which no result file is")
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{name}: cannot be read ({error})") from None
    out: list[Any] = []
    decoder = json.JSONDecoder(parse_constant=lambda constant: float("nan") if constant == "NaN" else constant)
    at = 0
    try:
        while at < len(text):
            one, at = decoder.raw_decode(text, at)
            out.append(one)
            while at < len(text) and text[at] in " \t\r\n,":
                at += 1
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not JSON ({error})") from None
    if not out:
        raise ConfigError(f"{name}: empty, not a result of `vllm bench serve`")
    return out[0] if len(out) == 1 and isinstance(out[0], list) and out[0] else out


def _fixed(deployed: Deployment) -> tuple[configs.ChipFacts, configs.EngineFacts | None]:
    """Return chip and engine of a deployment.

    Raises:
        configs.ConfigError: the chip is missing, or a name is not known.
    """
    if deployed.chip is None:
        raise ConfigError("--chip is missing: result files of vLLM do not say the chip, give it, for instance h100-sxm")
    try:
        chip = chip_of(deployed.chip)
    except Unusable:
        chip = configs.load_chip(deployed.chip)
    return chip, None if deployed.engine is None else configs.load_engine(deployed.engine)


def _run(
    where: str,
    one: Mapping[str, Any],
    deployed: Deployment,
    chip: configs.ChipFacts,
    chosen: configs.EngineFacts | None,
) -> Run:
    missing = [key for key in KEYS if key not in one]
    if missing:
        raise Unusable(f"no '{missing[0]}': not a result of `vllm bench serve`{nearest(missing[0], map(str, one))}")
    completed = _number(one, "completed", 1.0, 1e9)
    if completed is None:
        raise Unusable("no request completed")
    inputs, outputs = _number(one, "total_input_tokens", 1.0, 1e14), _number(one, "total_output_tokens", 1.0, 1e14)
    if inputs is None or outputs is None:
        raise Unusable("no token was counted")
    if one.get("ramp_up_strategy"):
        raise Unusable("the request rate was ramped up: no steady state")
    name = deployed.model or _text(one, "model_id")
    model, _ = model_of(name, None, None)
    guessed: list[str] = []
    precision = deployed.precision or precision_in(name)
    if precision is None:
        precision, assumed = ("bf16", "precision bf16") if chosen is None else precision_of("bf16", chip)
        guessed.append(assumed or "precision bf16")
    engine = chosen.id if chosen is not None else _engine(one, chip, guessed)
    rate = _rate(one)
    concurrency = _number(one, "max_concurrency", *LIMITS["concurrency"])
    requests = _number(one, "num_prompts", 1.0, 1e9) or completed
    tpot = _latency(one, "tpot")
    ttft = _latency(one, "ttft")
    experts = has_experts(model)
    ep = (deployed.ep or (deployed.tp * deployed.dp if deployed.dp > 1 else 1.0)) if experts else 1.0
    drafts, gained = _speculation(one)
    doubts = ("requests failed",) if completed < 0.99 * requests else ()
    return Run(
        where=where,
        source="vllm bench serve",
        model=model,
        model_name=name,
        chip=chip,
        engine=engine,
        precision=precision,
        tp=deployed.tp,
        pp=deployed.pp,
        dp=deployed.dp,
        ep=ep,
        input_tokens=max(inputs / completed, 1.0),
        output_tokens=max(outputs / completed, 1.0),
        concurrency=concurrency if rate is None else None,
        request_rate=rate,
        requests=completed,
        drafts=drafts,
        tokens_per_step=gained,
        output_tokens_per_s=_number(one, "output_throughput", 1e-6, 1e12),
        tpot_s=tpot,
        ttft_s=ttft,
        guessed=tuple(guessed),
        doubts=doubts,
        teaches=not doubts,
    )


def _engine(one: Mapping[str, Any], chip: configs.ChipFacts, guessed: list[str]) -> str:
    backend = str(one.get("backend") or one.get("endpoint_type") or "")
    if backend not in _BACKENDS:
        guessed.append("engine vLLM")
    name, assumed = engine_of(_BACKENDS.get(backend, "vLLM"), chip, "")
    if assumed:
        guessed.append(assumed)
    return name


def _rate(one: Mapping[str, Any]) -> float | None:
    """Return requests per second, None where all came at once or as fast as the concurrency let them."""
    told = one.get("request_rate")
    if told is None or str(told).strip().lower() in ("inf", "infinity", "nan", ""):
        return None
    return _number(one, "request_rate", *LIMITS["request_rate"])


def _latency(one: Mapping[str, Any], what: str) -> float | None:
    """Return the mean in seconds, or the median where no mean is given."""
    for kind in ("mean", "median"):
        value = _number(one, f"{kind}_{what}_ms", 0.0, 1e9)
        if value:
            return value / 1e3
    return None


def _speculation(one: Mapping[str, Any]) -> tuple[float, float]:
    """Return tokens drafted and tokens gained per step."""
    drafts, tokens = (
        _number(one, "spec_decode_num_drafts", 0.0, 1e14),
        _number(one, "spec_decode_draft_tokens", 0.0, 1e14),
    )
    gained = _number(one, "spec_decode_acceptance_length", 1.0, 1e3)
    if not drafts or not tokens or gained is None:
        return 0.0, 1.0
    return tokens / drafts, gained


def _text(one: Mapping[str, Any], key: str) -> str:
    value = one.get(key)
    return value if isinstance(value, str) else ""


def _number(one: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    """Return a number, None where it is absent, null or not a number at all.

    Raises:
        Unusable: something else, or out of range.
    """
    value = one.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Unusable(f"{key} = '{shown(value)}' is not a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unusable(f"{key} = {shown(repr(value))} is not a number")
    if isinstance(value, float) and not isfinite(value):
        return None
    if not low <= value <= high:
        raise Unusable(f"{key} = {shown(repr(value))} is outside {low:g} to {high:g}")
    return float(value)
