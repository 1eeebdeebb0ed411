"""Reads tables of served runs: one row per run, in the columns of published-benchmark collections."""

from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path

import configs
from configs import shown

from . import published
from .cells import number
from .names import chip_of, engine_of, kv_of, model_of, name_length, precision_of
from .run import Left, Run, Unusable, has_experts
from .table import rows_of

COLUMNS = ("model", "quant", "chip", "n_chips", "framework", "isl", "osl")  # without these a row says too little
KINDS = ("measured", "vendor_claim", "secondary", "analytic")
_DEVICES_PER_CHIP = {"tpu-v7": 2.0}  # tables count TensorCores where the framework shards over them
_MEASURES = ("out_tok_s_total", "out_tok_s_per_chip", "in_tok_s_total", "total_tok_s", "tpot_ms", "ttft_ms", "step_ms")


def read(path: str, engine: configs.EngineFacts | None = None) -> tuple[list[Run], list[Left]]:
    """Return the runs of a CSV file and the rows left out; ``engine`` keeps those of its frameworks and predicts them.

    Raises:
        configs.ConfigError: no such file, not a table, no rows, or columns missing.
    """
    return parse(rows_of(path, COLUMNS), Path(path).name, engine)


def parse(
    rows: Iterable[tuple[int, Mapping[str, str | None]]], name: str, engine: configs.EngineFacts | None = None
) -> tuple[list[Run], list[Left]]:
    """Return the runs of numbered rows and the rows left out."""
    runs: list[Run] = []
    left: list[Left] = []
    for line, raw in rows:
        row = {k: v.strip() for k, v in raw.items() if isinstance(k, str) and isinstance(v, str)}
        where, kind = f"{name}:{line}", row.get("kind", "") or "measured"
        try:
            _must_measure(row, kind)
            runs.append(_run(where, row, engine))
        except Unusable as reason:
            left.append(Left(where, str(reason), kind if kind in KINDS and reason.asked else "other"))
    return runs, left


def _must_measure(row: Mapping[str, str], kind: str) -> None:
    if kind != "measured":
        raise Unusable(f"kind '{shown(kind)}': not a measurement")
    if row.get("phase") == "prefill":
        raise Unusable("prefill alone: a served run has answers")


def _run(where: str, row: dict[str, str], chosen: configs.EngineFacts | None) -> Run:
    stated = published.mean_lengths(row)
    if stated:
        row = {**row, "isl": stated[0], "osl": stated[1]}
    chip = chip_of(row.get("chip", ""))
    billions = number(row, "total_params_b"), number(row, "active_params_b")
    total, active = (None if x is None else x * 1e9 for x in billions)
    model, guessed_model = model_of(row.get("model", ""), total, active)
    engine, guessed_engine = _engine(row, chip, chosen)
    chips = number(row, "n_chips")
    if chips is None:
        raise Unusable("the number of chips is not stated")
    output, tpot, ttft = _measured(row, chips)
    lengths = number(row, "isl"), number(row, "osl")
    if lengths[0] is None or lengths[1] is None:
        raise Unusable("the lengths of requests are not stated")
    precision, guessed_precision = precision_of(row.get("quant", ""), chip)
    tp, pp, dp, ep, guessed_layout = _layout(row, model, chip, chips)
    copies, counts_one = published.replicas(row)
    replicas = chips / (tp * pp * dp)
    shared = 1.0 if counts_one and replicas == copies else replicas  # over how many replicas the figures are spread
    concurrency, rate = number(row, "concurrency"), number(row, "request_rate")
    if rate is None and concurrency is None and "saturated" not in row.get("concurrency", ""):
        raise Unusable("neither concurrency nor a request rate is stated")
    requests = published.requests(row, concurrency)
    rate = None if rate is None or not isfinite(rate) else rate / shared
    if rate is not None:
        concurrency = None
    named = row.get("spec_decode", "")
    drafting = published.speculation(named) if named else (0.0, 1.0)
    if drafting is None:
        raise Unusable(f"how many tokens '{shown(named)}' accepts is not known")
    doubts, teaches = published.doubts(row, model)
    return Run(
        where=where,
        source=row.get("source", ""),
        model=model,
        model_name=row["model"],
        chip=chip,
        engine=engine,
        precision=precision,
        tp=tp,
        pp=pp,
        dp=dp,
        ep=ep,
        input_tokens=lengths[0],
        output_tokens=lengths[1],
        cached_tokens=min(published.cached_tokens(row), lengths[0] - 1.0),
        concurrency=None if concurrency is None else max(concurrency / shared, 1.0),
        request_rate=rate,
        requests=None if requests is None else max(requests / shared, 1.0),
        drafts=drafting[0],
        tokens_per_step=drafting[1],
        kv=kv_of(row.get("kv_quant", "")),
        max_batch=published.max_batch(row),
        lockstep=published.lockstep(row),
        output_tokens_per_s=None if output is None else output / shared,
        tpot_s=None if tpot is None else tpot / 1e3,
        ttft_s=None if ttft is None else ttft / 1e3,
        split=row.get("split", ""),
        guessed=tuple(x for x in (guessed_model, guessed_engine, guessed_precision, *guessed_layout) if x),
        doubts=doubts,
        teaches=teaches,
    )


def _measured(row: Mapping[str, str], chips: float) -> tuple[float | None, float | None, float | None]:
    """Return output tokens per second of all chips, TPOT and TTFT in milliseconds."""
    output, each = number(row, "out_tok_s_total"), number(row, "out_tok_s_per_chip")
    output = each * chips if output is None and each is not None else output
    tpot, ttft = number(row, "tpot_ms"), number(row, "ttft_ms")
    if output is None and tpot is None and ttft is None:
        raise Unusable("neither throughput nor latency of decoding was measured")
    return output, tpot, ttft


def _engine(row: Mapping[str, str], chip: configs.ChipFacts, chosen: configs.EngineFacts | None) -> tuple[str, str]:
    framework, version = row.get("framework", ""), row.get("version", "")
    if chosen is None:
        return engine_of(framework, chip, version)
    if not name_length(chosen, framework) or not chosen.knows_version(version):
        raise Unusable(f"not run with what {chosen.id} is the profile of", asked=False)
    return chosen.id, ""


def _layout(
    row: Mapping[str, str], model: configs.ModelFacts, chip: configs.ChipFacts, chips: float
) -> tuple[float, float, float, float, tuple[str, ...]]:
    """Return tp, pp, dp, ep of one replica, and what was guessed."""
    guessed: list[str] = []
    tp, ep = number(row, "tp"), number(row, "ep")
    pp, dp = number(row, "pp") or 1.0, number(row, "dp") or 1.0
    experts = has_experts(model)
    devices = _DEVICES_PER_CHIP.get(chip.id, 1.0)
    if tp is not None and devices > 1.0 and tp * pp * dp == chips * devices:
        tp /= devices
        ep = None if ep is None else max(ep / devices, 1.0)
    if tp is not None and dp > 1.0 and tp * pp == chips:
        tp = tp / dp  # attention-DP is counted within the TP chips
        guessed.append("attention-DP within TP")
    if tp is None:
        tp = chips / published.replicas(row)[0] / pp / dp
        guessed.append(f"tensor parallelism {tp:g}")
    if published.attention_dp(row, model) and dp == 1.0 and ep is None:
        tp, dp, ep = 1.0, tp, tp
        guessed.append("attention-DP")
    if tp < 1.0 or tp != round(tp) or (chips / (tp * pp * dp)) % 1.0:
        raise Unusable(f"tp x pp x dp = {tp:g} x {pp:g} x {dp:g} does not divide n_chips = {chips:g}")
    if not experts:
        ep = 1.0
    elif ep is None:
        ep = tp * dp if dp > 1.0 else 1.0
    elif (tp * dp / ep) % 1.0:
        raise Unusable(f"ep = {ep:g} does not divide tp x dp = {tp * dp:g}")
    return tp, pp, dp, ep, tuple(guessed)
