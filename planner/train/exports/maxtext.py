"""Settings of MaxText, as YAML over its base.yml.

Names, defaults and limits are those of AI-Hypercomputer/maxtext, src/maxtext/configs/base.yml at commit 000b810bb1d9
and src/maxtext/configs/types.py at 000e6d8a0ee0 (2026), read in November 2026.
"""

from math import gcd, inf, nextafter

from .run import Run, share

VENDORS = ("Google", "NVIDIA", "AMD")
NAME = "MaxText"

# Axes whose links may leave a scale-up domain, in the order in which they do: what is exchanged least goes first.
_AXES = ("data", "fsdp", "pipeline", "expert", "context", "tensor")

Settings = dict[str, str | int | float | bool]


def settings(run: Run) -> tuple[str, list[str]]:
    """Return YAML, and a sentence on each part of the layout that it does not realise."""
    notes: list[str] = []
    out: Settings = {"hardware": "tpu" if run.chip.vendor == "Google" else "gpu"}
    out |= _mesh(run, notes) | _copies(run, notes) | _pipeline_and_batch(run, notes)
    out |= {"max_target_length": run.sequence_tokens, "steps": run.steps, **_context(run, notes)}
    out |= {"remat_policy": _memory(run, notes), "dtype": "bfloat16", **_formats(run, notes, out)}
    if run.overlapped:
        notes.append("MaxText leaves overlap to XLA's scheduler: --overlap is left out.")
    return "\n".join([f"# {NAME}, {run.head()}", *(f"{key}: {_yaml(value)}" for key, value in out.items())]), notes


def _yaml(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value!r}"


def degrees(run: Run) -> dict[str, int]:
    """Return the chips along each axis of MaxText's mesh: experts' are copies for all else, taken from dp."""
    experts = gcd(run.ep // gcd(run.ep, run.tp), run.dp)
    copies = {"fsdp" if run.sharded else "data": run.dp // experts}
    others = {"pipeline": run.pp, "expert": experts, "context": run.cp, "tensor": run.tp}
    return {axis: {**copies, **others}.get(axis, 1) for axis in _AXES}


def slices(run: Run) -> int:
    """Return the fewest equal slices of the run, none larger than the chip's scale-up domain."""
    least = -(-run.chips // int(run.chip.domain_chips))
    return next(n for n in range(least, run.chips + 1) if run.chips % n == 0)


def _mesh(run: Run, notes: list[str]) -> Settings:
    found, parts = degrees(run), slices(run)
    out: Settings = {}
    left = parts
    for axis in _AXES:  # each takes what it has in common with what is left, which ends at 1: parts divide the chips
        outside = gcd(left, found[axis])
        left //= outside
        out[f"dcn_{axis}_parallelism"] = outside
        out[f"ici_{axis}_parallelism"] = found[axis] // outside
        if outside > 1 and axis in ("expert", "context", "tensor"):
            notes.append(f"The {axis} axis spans {outside} scale-up domains of {run.chips // parts} chips each.")
    if parts * run.chip.domain_chips != run.chips and parts > 1:
        size = f"{run.chips // parts} of {run.chip.domain_chips:g}"
        notes.append(f"MaxText wants slices of equal size: {parts} of them use {size} chips each.")
    if run.ep > 1 and run.tp > 1:
        layout = "keeps experts whole" if run.expert_tp == 1 else f"cuts them over {run.expert_tp}"
        notes.append(f"MaxText cuts each expert over the {run.tp} tensor chips, where the layout {layout}.")
    if found["expert"] * gcd(run.ep, run.tp) != run.ep:
        notes.append(
            f"MaxText takes expert chips from data parallelism alone: {found['expert']} along that axis, where the "
            f"layout has experts on {run.ep} chips."
        )
    return dict(sorted(out.items(), key=lambda item: item[0].split("_")[0]))


def _copies(run: Run, notes: list[str]) -> Settings:
    if run.sharded:
        return {}
    found = degrees(run)
    if found["context"] * found["expert"] > 1:
        notes.append("MaxText shards weights over the context and expert axes all the same, gathered layer by layer.")
    return {"shard_optimizer_over_data": True}


def _pipeline_and_batch(run: Run, notes: list[str]) -> Settings:
    """Return stages, micro-batches and the batch per chip: what passes at once, over the chips."""
    if run.pp == 1:
        at_once, again = run.micro_batch * run.dp, run.micro_batches
        return {"per_device_batch_size": _per_chip(run, at_once, notes), "gradient_accumulation_steps": again}
    kept = run.pp + ((run.pp - 1) / run.vp if run.vp > 1 else 0)
    if run.micro_batches > kept:
        notes.append(
            "MaxText's pipeline runs all forward passes before the backward ones: it keeps activations of "
            f"{run.micro_batches} micro-batches, the layout's schedule those of {kept:.3g}."
        )
    if run.zero_bubble:
        notes.append("MaxText has no zero-bubble schedule: its pipeline idles for the whole bubble.")
    out: Settings = _stages(run, notes)
    many = _micro_batches(run)
    if many is None:
        notes.append(
            f"MaxText wants micro-batches in multiples of the {run.pp} stages, which {run.micro_batches} x "
            f"{run.micro_batch} sequences a copy are not: choose another --batch-tokens."
        )
    else:
        if many != run.micro_batches:
            notes.append(
                f"MaxText wants micro-batches in multiples of the {run.pp} stages: {many} instead of "
                f"{run.micro_batches}."
            )
        out["num_pipeline_microbatches"] = many
    return out | {
        "per_device_batch_size": _per_chip(run, run.sequences, notes),
        "gradient_accumulation_steps": 1,
    }


def _stages(run: Run, notes: list[str]) -> Settings:
    """Return equal stages of as many layers as there are: chunks are as many as divide those of a stage."""
    each = run.piped_layers // run.pp
    if not each:
        notes.append(f"MaxText can pipeline {run.piped_layers} layers, fewer than the {run.pp} stages.")
        return {}
    repeats = min((n for n in range(1, each + 1) if each % n == 0), key=lambda n: abs(n - run.vp))
    if repeats != run.vp:
        notes.append(f"MaxText's chunks are equal: {repeats} of a stage's {each} layers take turns, not {run.vp}.")
    out: Settings = {"num_layers_per_pipeline_stage": each // repeats, "num_pipeline_repeats": repeats}
    if each * run.pp != run.layers:
        notes.append(
            f"MaxText's stages are equal: {each * run.pp} of {run.layers} layers are in the pipeline, for the others "
            "its chips share out the batch."
        )
        out["pipeline_parallel_layers"] = each * run.pp
    return out


def _micro_batches(run: Run) -> int | None:
    """Return the number of micro-batches that is a multiple of the stages, nearest to the layout's, if any."""
    copy = run.micro_batches * run.micro_batch
    able = [n for n in range(run.pp, copy + 1, run.pp) if copy % n == 0]
    return min(able, key=lambda n: abs(n - run.micro_batches), default=None)


def _per_chip(run: Run, sequences: int, notes: list[str]) -> int | float:
    """Return sequences per chip, a fraction that MaxText's rounding down turns into ``sequences`` again."""
    if sequences % run.chips == 0:
        return sequences // run.chips
    each = sequences / run.chips
    if each < 1:
        notes.append(
            f"MaxText loads {run.chips:,} sequences for each {sequences:,} that it trains on where "
            "per_device_batch_size is below 1, unless expansion_factor_real_data is set."
        )
    return each if int(run.chips * each) == sequences else nextafter(each, inf)


def _context(run: Run, notes: list[str]) -> Settings:
    if run.cp == 1:
        return {}
    if run.chip.vendor == "Google":
        notes.append("MaxText has no ring attention on TPUs: keys and values are gathered over the context axis.")
        return {"context_parallel_strategy": "all_gather"}
    notes.append("Ring attention needs Transformer Engine and, with packed sequences, max_segments_per_seq.")
    return {"context_parallel_strategy": "ring", "attention": "cudnn_flash_te"}


def _memory(run: Run, notes: list[str]) -> str:
    """Return the policy: MaxText has one for all layers."""
    if run.reversible:
        notes.append("MaxText has no reversible layers: full recomputation stands in, which keeps their inputs.")
    if run.recomputed <= 0:
        notes.append("MaxText always computes something again: minimal keeps the products of every layer, no more.")
        return "minimal"
    if run.recomputed < 1:
        notes.append(f"MaxText has one policy for all layers: all are recomputed, not {share(run.recomputed)}.")
    return "full"


def _formats(run: Run, notes: list[str], out: Settings) -> Settings:
    vendor, accumulates = run.chip.vendor, out["gradient_accumulation_steps"] != 1
    if run.precision == "bf16":
        return {}
    if run.precision == "int8":
        return {"quantization": "int8", "use_qwix_quantization": True}
    if run.precision == "fp8" and vendor == "Google":
        return {"quantization": "fp8_full", "use_qwix_quantization": True}
    if vendor == "NVIDIA":
        notes.append("These formats are Transformer Engine's, which has to be installed beside MaxText.")
        if run.precision == "fp4":
            return {"quantization": "te_nvfp4"}
        return {"quantization": "te_mxfp8" if run.scaled_blocks else "te_fp8_currentscaling"}
    if run.precision == "fp8" and vendor == "AMD" and not run.scaled_blocks and not accumulates:
        return {"quantization": "nanoo_fp8"}
    why = " with accumulated gradients" if accumulates else ""
    notes.append(f"MaxText has no training in {run.precision} on {run.chip.id}{why}: these settings give bf16.")
    return {}
