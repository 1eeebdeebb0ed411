"""Training runs as measured: tables of them, one row per run, in the columns of published-benchmark collections."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import configs
from configs import shown

from .cells import number
from .names import chip_of, model_of
from .run import Left, Unusable, has_experts, shape
from .table import has_columns, rows_of

COLUMNS = ("model", "chip", "n_chips", "framework", "tok_s_per_chip")  # without these a table says too little
# What sources call weights cut over copies, gradients alone (PyTorch FSDP's names, DeepSpeed's), and neither.
_CUT = (("grad_op", (False, True)), ("zero-2", (False, True)), ("no_shard", (False, False)), ("zero-1", (False, False)),
        ("full_shard", (True, False)), ("fsdp", (True, False)), ("zero-3", (True, False)))  # fmt: skip
_OF_STEPS = ("tok_s_per_chip", "tflops_per_chip", "mfu_pct")
_ASSUMED_TOKENS = 4096.0  # of a sequence where a source is silent: the median of those that say
_ASSUMED_SEQUENCES = 4.0  # per chip
_LONGEST_BUBBLE = 0.2  # idle over busy time: what nobody puts up with whose stages could take turns
_RECOMPUTES = re.compile(r"act ckpt (true|false)")
_STEP_TOKENS = re.compile(r"tokens per step (\d+)")
_FORMATS = (("nvfp4", "fp4"), ("fp4", "fp4"), ("fp8", "fp8"), ("int8", "int8"), ("bf16", "bf16"), ("fp16", "bf16"))


@dataclass(frozen=True)
class TrainedRun:
    """One measured training run: what was trained and how, and tokens per second and chip.

    ``ep`` spreads experts over chips that are copies for all else; ``sequences`` is the global batch; ``recomputed``
    is the share of the forward pass that is done again, None where the source does not say. ``sharded`` says that
    weights are cut over copies too, ``sharded_gradients`` that gradients alone are. ``guessed`` names what
    the source left out and a rule filled in.
    """

    where: str
    source: str
    model: configs.ModelFacts
    model_name: str
    chip: configs.ChipFacts
    trainer: str
    precision: str
    chips: float
    tp: float
    pp: float
    vp: float
    cp: float
    ep: float
    micro_batch: float
    sequence_tokens: float
    sequences: float
    sharded: bool
    recomputed: float | None
    tokens_per_s_per_chip: float
    sharded_gradients: bool = False
    split: str = ""
    guessed: tuple[str, ...] = ()

    @property
    def dp(self) -> float:
        """Copies of the model that work on sequences of their own."""
        return self.chips / (self.tp * self.pp * self.cp)

    @property
    def experts(self) -> bool:
        """Whether the model routes tokens to experts."""
        return has_experts(self.model)

    @property
    def configuration(self) -> str:
        """What runs share whose errors move together: model, chip, precision, trainer."""
        return f"{shape(self.model)} {self.chip.id} {self.precision} {self.trainer}"


# Gives a run whose source states no layout one, from what it does state of micro_batch, vp and ep; raises Unusable.
Lay = Callable[[TrainedRun, Mapping[str, float]], TrainedRun]


def read(path: str, lay: Lay | None = None) -> tuple[list[TrainedRun], list[Left]]:
    """Return the runs of a CSV file and the rows left out.

    Runs without a layout are given one by ``lay``; without it they are left out, so that nothing is fitted to a guess.

    Raises:
        configs.ConfigError: no such file, not a table, no rows, or columns missing.
    """
    return parse(rows_of(path, COLUMNS), Path(path).name, lay)


def is_table(file: Path) -> bool:
    """Say whether ``file`` is a table of training runs, by its header."""
    return has_columns(file, COLUMNS)


def is_whole(row: Mapping[str, str]) -> bool:
    """Say whether a row tells of a whole run's chip-hours and of no step (`planner.runs.whole_run`)."""
    return bool(row.get("chip_hours")) and not any(row.get(name) for name in _OF_STEPS)


def parse(
    rows: Iterable[tuple[int, Mapping[str, str | None]]], name: str, lay: Lay | None = None
) -> tuple[list[TrainedRun], list[Left]]:
    """Return the runs of numbered rows and the rows left out; ``lay`` as in `read`."""
    runs: list[TrainedRun] = []
    left: list[Left] = []
    for line, raw in rows:
        row = {k: v.strip() for k, v in raw.items() if isinstance(k, str) and isinstance(v, str)}
        where, kind = f"{name}:{line}", row.get("kind", "") or "measured"
        if is_whole(row):
            left.append(Left(where, "a whole run's chip-hours: no step was measured", "whole"))
            continue
        try:
            if kind != "measured":
                raise Unusable(f"kind '{shown(kind)}': not a measurement")
            runs.append(_run(where, row, lay))
        except Unusable as reason:
            left.append(Left(where, str(reason), kind if kind == "measured" and reason.asked else "other"))
    return runs, left


def _run(where: str, row: dict[str, str], lay: Lay | None) -> TrainedRun:
    chip = chip_of(row.get("chip", ""))
    billions = number(row, "total_params_b"), number(row, "active_params_b")
    if (
        row.get("arch", "").lower() == "moe"
        and billions[1] is None
        and configs.model_named(row.get("model", "")) is None
    ):
        raise Unusable("how many parameters of the experts are active is not stated")
    model, guessed_model = model_of(row.get("model", ""), *(None if x is None else x * 1e9 for x in billions))
    trainer, guessed_trainer = trainer_for(row.get("framework", ""), chip)
    chips = number(row, "n_chips")
    if chips is None:
        raise Unusable("n_chips is not stated")
    precision = precision_for(row.get("precision", ""), chip)
    guessed = [guessed_model, guessed_trainer]
    tokens = number(row, "seq_len")
    if tokens is None:
        tokens = _ASSUMED_TOKENS
        guessed.append(f"sequences of {_ASSUMED_TOKENS:.0f} tokens")
    facts = _trainers()[trainer]
    sharded, gradients = _cut(row.get("fsdp", "").lower(), facts)
    split = {name: number(row, name) for name in ("tp", "pp", "cp")}
    silent = all(value is None for value in split.values())
    unlaid = silent and not (sharded or gradients)
    if unlaid and lay is None:
        raise Unusable("the layout is not stated")
    guessed.append("weights sharded over all chips" if silent and sharded and not row.get("fsdp") else "")
    tp, pp, cp = (split[name] or 1.0 for name in ("tp", "pp", "cp"))
    copies = chips / (tp * pp * cp)
    if copies < 1.0 or copies != round(copies):
        raise Unusable(f"tp x pp x cp = {tp:g} x {pp:g} x {cp:g} does not divide n_chips = {chips:g}")
    sequences, micro, guessed_batch = _batch(row, tokens, copies, sharded or gradients)
    vp, guessed_chunks = _chunks(row, model, pp, sequences / (copies * micro))
    ep = min(number(row, "ep") or 1.0, chips / pp) if has_experts(model) else 1.0
    recompute = _RECOMPUTES.search(row.get("notes", "").lower())
    measured, guessed_rate = _rate(row, model, chip, tokens)
    run = TrainedRun(
        where=where,
        source=row.get("source", ""),
        model=model,
        model_name=row["model"],
        chip=chip,
        trainer=trainer,
        precision=precision,
        chips=chips,
        tp=tp,
        pp=pp,
        vp=vp,
        cp=cp,
        ep=ep,
        micro_batch=micro,
        sequence_tokens=tokens,
        sequences=sequences,
        sharded=sharded,
        recomputed=None if recompute is None else float(recompute.group(1) == "true"),
        tokens_per_s_per_chip=measured,
        sharded_gradients=gradients,
        split=row.get("split", ""),
        guessed=tuple(x for x in (*guessed, guessed_batch, guessed_chunks, guessed_rate) if x),
    )
    if lay is None or not unlaid:
        return run
    stated = {name: number(row, name) for name in ("micro_batch", "vp", "ep")}
    return lay(run, {name: value for name, value in stated.items() if value is not None})


def _cut(said: str, trainer: configs.TrainerFacts) -> tuple[bool, bool]:
    """Say whether weights are cut over copies, else whether gradients are: by name, or over how many copies, more than
    one; where nothing is said that is known, as the trainer does."""
    found = next((cut for word, cut in _CUT if word in said), None)
    if found is not None:
        return found
    first = said.split(" ")[0]
    return int(first) > 1 if first.isdigit() else trainer.sharded, False


def _batch(row: Mapping[str, str], tokens: float, copies: float, sharded: bool) -> tuple[float, float, str]:
    """Return sequences of the global batch and of a micro-batch, and what was guessed."""
    sequences, micro = number(row, "global_batch_seq"), number(row, "micro_batch")
    stated = _STEP_TOKENS.search(row.get("notes", ""))
    guessed = ""
    if sequences is None and stated:
        sequences = float(stated.group(1)) / tokens
    if sequences is None:
        sequences = (micro or _ASSUMED_SEQUENCES) * copies
        guessed = "the global batch"
    if micro is None:
        micro = sequences / copies if sharded else 1.0
    return sequences, min(micro, sequences / copies), guessed


def _chunks(row: Mapping[str, str], model: configs.ModelFacts, pp: float, micro_batches: float) -> tuple[float, str]:
    """Return chunks per pipeline stage: one, or one per layer where it would idle too long and nothing is said."""
    said = number(row, "vp")
    layers = sum(layer.count for layer in model.layers)
    if said is not None or (pp - 1.0) / micro_batches <= _LONGEST_BUBBLE or layers < 2.0 * pp:
        return said or 1.0, ""
    return float(layers // pp), "interleaved pipeline stages of one layer"


def _rate(
    row: Mapping[str, str], model: configs.ModelFacts, chip: configs.ChipFacts, tokens: float
) -> tuple[float, str]:
    """Return tokens per second and chip; where only FLOPs are told, by the FLOPs of a token."""
    rate = number(row, "tok_s_per_chip")
    if rate is not None:
        return rate, ""
    flops, mfu = number(row, "tflops_per_chip"), number(row, "mfu_pct")
    if flops is None and mfu is None:
        raise Unusable("neither throughput nor FLOPs per second were measured")
    told = flops * 1e12 if flops is not None else mfu / 100.0 * chip.peak_flops_per_s["bf16"]  # type: ignore[operator]
    return told / token_flops(model, tokens), "throughput, from FLOPs per second"


def token_flops(model: configs.ModelFacts, tokens: float) -> float:
    """Return model FLOPs per token trained on: 6 per active parameter, and attention over half of the sequence.

    Chowdhery et al. 2022 (arXiv:2204.02311), appendix B, with a causal mask.
    """
    attention = 0.0
    for layer in model.layers:
        x = layer.mixer
        if isinstance(x, configs.AttentionFacts):
            attention += layer.count * x.heads * (x.key_dim + x.value_dim) * min(x.window_tokens, 0.5 * tokens)
        elif isinstance(x, configs.LatentFacts):
            width = x.nope_dim + x.rope_dim + x.value_dim
            attention += layer.count * x.heads * width * 0.5 * tokens
    return 6.0 * (model.active_params + attention)


def precision_for(text: str, chip: configs.ChipFacts) -> str:
    """Return the format of matrix products that a source calls ``text``: bf16 where it names none that is known.

    Raises:
        Unusable: not one of ``chip``.
    """
    words = text.lower()
    found = next((name for word, name in _FORMATS if word in words), "bf16")
    if found not in chip.peak_flops_per_s:
        raise Unusable(f"{found} has no matrix units on {chip.id}")
    return found


def trainer_for(framework: str, chip: configs.ChipFacts) -> tuple[str, str]:
    """Return the trainer profile for runs of ``framework`` on ``chip``, and what was guessed.

    Raises:
        Unusable: no profile for the vendor's chips.
    """
    able = [facts for facts in _trainers().values() if chip.vendor in facts.vendors]
    if not able:
        raise Unusable(f"no trainer profile for {chip.vendor} chips")
    words = framework.lower()
    for facts in able:
        if any(one.lower() in words for one in facts.frameworks):
            return facts.id, ""
    return able[0].id, f"trainer profile {able[0].id}"


@cache
def _trainers() -> dict[str, configs.TrainerFacts]:
    names = sorted(configs.ids("trainers"), key=lambda name: (name != "megatron", name))
    return {name: configs.load_trainer(name) for name in names}
