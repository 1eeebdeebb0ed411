"""Command-line arguments of Megatron-LM.

Names and their limits are those of NVIDIA/Megatron-LM, megatron/training/arguments.py at commit 000c4ac24f61,
megatron/core/transformer/pipeline_parallel_layer_layout.py at 00caa53af309 and, for Megatron-FSDP, the
Megatron-Core guide's feature page, all read in November 2026.
"""

from itertools import groupby
from math import ceil

from .run import Run, share

VENDORS = ("NVIDIA", "AMD")
NAME = "Megatron-LM"


def settings(run: Run) -> tuple[str, list[str]]:
    """Return arguments as a bash array, and a sentence on each part of the layout that they do not realise."""
    notes: list[str] = []
    groups = (_parallel(run, notes), _batch(run), _copies(run, notes), _memory(run, notes), _formats(run, notes))
    lines = [f"    {' '.join(words)}" for group in groups for words in group]
    _environment(run, notes)
    return "\n".join([f"# {NAME}, {run.head()}", "LAYOUT_ARGS=(", *lines, ")"]), notes


def _parallel(run: Run, notes: list[str]) -> list[list[str]]:
    out = [
        ["--tensor-model-parallel-size", f"{run.tp}"],
        ["--pipeline-model-parallel-size", f"{run.pp}"],
        ["--context-parallel-size", f"{run.cp}"],
    ]
    if run.tp > 1:
        out.append(["--sequence-parallel"])
    if run.layers % (run.pp * run.vp):
        out.append(["--pipeline-model-parallel-layout", f'"{layer_layout(run.layers, run.pp * run.vp)}"'])
    elif run.vp > 1:
        out.append(["--num-virtual-stages-per-pipeline-rank", f"{run.vp}"])
    if run.experts:
        out += [
            ["--expert-model-parallel-size", f"{run.ep}"],
            ["--expert-tensor-parallel-size", f"{run.expert_tp}"],
            ["--moe-grouped-gemm"],
        ]
        if run.ep > 1:
            out.append(["--moe-token-dispatcher-type", "alltoall"])
    if run.zero_bubble:
        notes.append("Megatron-LM has no zero-bubble schedule: these arguments give 1F1B and its whole bubble.")
    if run.cp > 1 and run.sequence_tokens % (2 * run.cp):
        notes.append(f"Megatron-LM asks for sequences of a multiple of {2 * run.cp} tokens: twice the context chips.")
    return out + _overlap(run, notes)


def _overlap(run: Run, notes: list[str]) -> list[list[str]]:
    """Return what hides collectives behind another micro-batch: Megatron-LM does so for experts' alone."""
    if not run.overlapped:
        return []
    if run.ep == 1 or (run.pp > 1 and run.vp == 1) or run.recomputed > 0:
        notes.append(
            "Megatron-LM overlaps the exchange of experts alone, in interleaved pipelines or none and without full "
            "recomputation: --overlap is left out."
        )
        return []
    notes.append("Megatron-LM overlaps the exchange of experts with other micro-batches, no other collective.")
    return [["--overlap-moe-expert-parallel-comm"]]


def layer_layout(layers: int, chunks: int) -> str:
    """Return ``layers`` over ``chunks`` in Megatron-LM's letters: the fuller chunks follow the one that embeds."""
    few, more = divmod(layers, chunks)
    counts = [few + (1 <= i <= more) for i in range(chunks)]
    middle = ((count, len(list(group))) for count, group in groupby(counts[1:-1]))
    inner = [f"({_letters(count)}|)*{times}" if times > 1 else f"{_letters(count)}|" for count, times in middle]
    return f"E{_letters(counts[0])}|{','.join([*inner, _letters(counts[-1])])}L"


def _letters(count: int) -> str:
    return "t" * count if count < 2 else f"t*{count}"


def _batch(run: Run) -> list[list[str]]:
    return [
        ["--micro-batch-size", f"{run.micro_batch}"],
        ["--global-batch-size", f"{run.sequences}"],
        ["--seq-length", f"{run.sequence_tokens}"],
        ["--train-iters", f"{run.steps}"],
    ]


def _copies(run: Run, notes: list[str]) -> list[list[str]]:
    out = [["--use-distributed-optimizer"], ["--overlap-grad-reduce"], ["--overlap-param-gather"]]
    if run.sharded:
        notes.append(
            "Megatron-FSDP runs with CUDA_DEVICE_MAX_CONNECTIONS unset or above 1 and with checkpoints of fsdp_dtensor."
        )
        out += [
            ["--use-megatron-fsdp"],
            ["--data-parallel-sharding-strategy", "optim_grads_params"],
            ["--no-gradient-accumulation-fusion"],
            ["--ckpt-format", "fsdp_dtensor"],
        ]
    return out


def _memory(run: Run, notes: list[str]) -> list[list[str]]:
    """Return which layers are computed again: all, or some whole ones of each chunk of a stage, rounded up."""
    if run.reversible:
        notes.append("Megatron-LM has no reversible layers: full recomputation stands in, which keeps their inputs.")
    if run.recomputed <= 0:
        return []
    full = ["--recompute-granularity", "full"]
    each = ceil(run.layers / (run.pp * run.vp))
    again = ceil(run.recomputed * each - 1e-9)
    if again >= each:
        if run.recomputed < 1:
            notes.append(f"Megatron-LM recomputes every layer, not {share(run.recomputed)}: chunks have {each} each.")
        return [full, ["--recompute-method", "uniform"], ["--recompute-num-layers", "1"]]
    if abs(again / each - run.recomputed) > 1e-6:
        notes.append(
            f"Megatron-LM recomputes whole layers of each chunk: {again} of {each}, {share(again / each)} instead of "
            f"{share(run.recomputed)}."
        )
    return [full, ["--recompute-method", "block"], ["--recompute-num-layers", f"{again}"]]


def _formats(run: Run, notes: list[str]) -> list[list[str]]:
    out = [["--bf16"]]
    if run.precision == "fp8" and run.scaled_blocks:
        out += [["--fp8-format", "e4m3"], ["--fp8-recipe", "mxfp8"]]
    elif run.precision == "fp8":
        out += [["--fp8-format", "hybrid"], ["--fp8-recipe", "tensorwise"]]
    elif run.precision == "fp4":
        out += [["--fp4-format", "e2m1"], ["--fp4-recipe", "nvfp4"]]
    elif run.precision != "bf16":
        notes.append(f"Megatron-LM has no training in {run.precision}: these arguments give bf16.")
    return out


def _environment(run: Run, notes: list[str]) -> None:
    """Say what chips before Blackwell ask of the environment."""
    if (run.tp > 1 or run.cp > 1) and not run.sharded and not run.scaled_blocks and run.chip.vendor == "NVIDIA":
        notes.append(f"Megatron-LM wants CUDA_DEVICE_MAX_CONNECTIONS=1 for tp or cp on {run.chip.id}.")
