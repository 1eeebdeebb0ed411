"""Settings of TorchTitan, as the TOML that its releases up to 0.2.2 read.

Names and their limits are those of pytorch/torchtitan: torchtitan/config/job_config.py at commit 6404b932421f,
torchtitan/config/configs.py at 0014ac2ca45a (Python in the place of TOML, since pull request 2386 of February 2026),
torchtitan/distributed/pipeline_parallel.py at 02ef790c7961. Tensor parallelism of experts and the tables of quantize
are as in third-party copies of the job_config.py of 0.2.2. All were read in November 2026.
"""

from math import ceil, floor

from .run import Run, share

VENDORS = ("NVIDIA", "AMD")
NAME = "TorchTitan"

Table = dict[str, str | int | bool | list[str]]


def settings(run: Run) -> tuple[str, list[str]]:
    """Return TOML tables, and a sentence on each part of the layout that they do not realise."""
    notes: list[str] = []
    tables = {
        "training": _training(run),
        "parallelism": _parallel(run, notes),
        "activation_checkpoint": _memory(run, notes),
        **_formats(run, notes),
    }
    lines = [f"# {NAME}, {run.head()}"]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    if run.overlapped:
        notes.append("TorchTitan overlaps collectives with other micro-batches in DualPipeV alone: --overlap is out.")
    notes.append("TorchTitan reads TOML up to release 0.2.2; later ones take these values in a Python config.")
    return "\n".join(lines), notes


def _toml(value: str | int | bool | list[str]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value}" if isinstance(value, int) else f'"{value}"'


def _training(run: Run) -> Table:
    """Return the batch: a pipeline takes all of a copy's sequences at once, else they accumulate."""
    return {
        "local_batch_size": run.micro_batch * (run.micro_batches if run.pp > 1 else 1),
        "global_batch_size": run.sequences,
        "seq_len": run.sequence_tokens,
        "steps": run.steps,
    }


def _parallel(run: Run, notes: list[str]) -> Table:
    out: Table = {
        "data_parallel_replicate_degree": 1,
        "data_parallel_shard_degree": run.dp,
        "fsdp_reshard_after_forward": "always" if run.sharded else "never",
        "tensor_parallel_degree": run.tp,
        "context_parallel_degree": run.cp,
        "pipeline_parallel_degree": run.pp,
    }
    if not run.sharded and run.dp * run.cp > 1:
        notes.append(
            "TorchTitan has no ZeRO-1: FSDP that keeps what a forward pass has gathered stands in, which shards "
            "gradients too and gathers every step."
        )
    if run.cp > 1:
        out["context_parallel_rotate_method"] = "alltoall"  # pieces of keys and values go round, one at a time
    if run.pp > 1:
        out |= _pipeline(run, notes)
    if run.ep > 1:
        out |= {"expert_parallel_degree": run.ep, "expert_tensor_parallel_degree": 1}
        if run.expert_tp > 1:
            notes.append(f"TorchTitan cuts experts over one chip or all {run.tp} of tp: they stay whole.")
    return out


def _pipeline(run: Run, notes: list[str]) -> Table:
    """Return the schedule, and layers in chunks as even as they come."""
    chunks, schedule = run.vp, "Interleaved1F1B" if run.vp > 1 else "1F1B"
    if run.zero_bubble:
        if run.layers >= 2 * run.pp:
            chunks, schedule = 2, "ZBVZeroBubble"
            notes.append("TorchTitan's zero-bubble schedule puts two chunks on a stage, in a V: the layout has one.")
        else:
            notes.append("TorchTitan's zero-bubble schedule needs two layers on a stage: 1F1B stands in.")
    out: Table = {"pipeline_parallel_schedule": schedule, "pipeline_parallel_microbatch_size": run.micro_batch}
    each, weights = ceil(run.layers / (run.pp * chunks)), _end_weights(run.layers, run.pp * chunks)
    if weights is None:
        both = "1F1B" if chunks == 1 else "two chunks a stage"
        notes.append(
            f"TorchTitan cannot cut {run.layers} layers into {run.pp * chunks} chunks: {both}, as it cuts them."
        )
        return out
    for end, less in zip(("first", "last"), weights, strict=True):
        out[f"pipeline_parallel_{end}_stage_less_layers"] = less
    return out | {"pipeline_parallel_layers_per_stage": each}


def _end_weights(layers: int, chunks: int) -> tuple[int, int] | None:
    """Return for how many layers the embedding and the head count, so that TorchTitan counts out ``chunks`` chunks.

    It cuts what counts into chunks of the fullest's layers, and its ends must not outweigh the emptiest chunk.
    """
    each = ceil(layers / chunks)
    for both in range(2 * each + 1):
        first, last = both // 2, both - both // 2
        if ceil((layers + both) / each) == chunks and last <= (layers + both) // chunks:
            return first, last
    return None


def _memory(run: Run, notes: list[str]) -> Table:
    """Return which layers are computed again: none, every n-th or all."""
    if run.reversible:
        notes.append("TorchTitan has no reversible layers: full checkpoints stand in, which keep their inputs.")
    if run.recomputed <= 0:
        return {"mode": "none"}
    every = floor(1.0 / run.recomputed + 1e-9)
    if abs(1.0 / every - run.recomputed) > 1e-6:
        got = share(1.0 / every)
        notes.append(f"TorchTitan recomputes every n-th layer or all: {got} instead of {share(run.recomputed)}.")
    return {"mode": "full"} if every == 1 else {"mode": "selective", "selective_ac_option": f"{every}"}


def _formats(run: Run, notes: list[str]) -> dict[str, Table]:
    """Return what narrows products: of dense layers all but the head's, and of experts."""
    if run.precision == "bf16":
        return {}
    if run.precision != "fp8":
        notes.append(f"TorchTitan has no training in {run.precision}: these settings give bf16.")
        return {}
    kind, recipe = ("mx", "mxfp8_cublas") if run.scaled_blocks else ("float8", "rowwise")
    out: dict[str, Table] = {
        "model": {"converters": [f"quantize.linear.{kind}"]},
        "compile": {"enable": True},
        f"quantize.linear.{kind}": {"recipe_name": recipe, "filter_fqns": ["output", "router.gate"]},
    }
    if run.experts:
        out["model"]["converters"] = [f"quantize.linear.{kind}", f"quantize.grouped_mm.{kind}"]
        out[f"quantize.grouped_mm.{kind}"] = {"fqns": ["experts"]}
    return out
