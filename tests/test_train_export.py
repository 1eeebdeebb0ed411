"""Settings for Megatron-LM, MaxText and TorchTitan, read back: they multiply out to the layout they stand for."""

import argparse
import json
import math
import random
import re
import shlex
import tomllib
from functools import cache
from typing import Any

import pytest

import configs
from planner.cli.main import main
from planner.train.export import FRAMEWORKS, block
from planner.train.question import Question
from planner.train.space import Way

DENSE, EXPERTS, MIXED = "llama-3.1-405b", "qwen3-30b-a3b", "deepseek-v3"
LAYERS = {DENSE: 126, EXPERTS: 48, MIXED: 61}  # of the models' published configs
GPUS, TPUS = ("h100-sxm", "b200-sxm", "mi300x", "a100-sxm"), ("tpu-v5p", "tpu-v5e", "tpu-v7")
SEQUENCE = 8192


@cache
def asked(model: str, chip: str, precision: str = "bf16", **more: Any) -> Question:
    given = {"model": model, "chip": chip, "chips": 8, "tokens": 1e12, "precision": precision, **more}
    return Question.of({"sequence_tokens": SEQUENCE, **given})


def exported(framework: str, question: Question, way: Way, many: int, recomputed: float = 0.0) -> dict[str, Any]:
    answer = {"batch_sequences": float(many * way.dp * way.micro_batch), "recomputed_fraction": recomputed}
    return block(framework, question, way, answer)


def way_of(**given: int) -> Way:
    return Way(**{**dict.fromkeys(Way._fields, 1), "sharded": 0, "zero_bubble": 0, **given})


def cases(count: int, chips: tuple[str, ...]):
    """Yield questions and ways that a search could find, micro-batches and shares recomputed, from a fixed seed."""
    draw = random.Random(7)
    while count:
        model, chip = draw.choice((DENSE, EXPERTS, MIXED)), draw.choice(chips)
        precision = draw.choice(list(configs.load_chip(chip).peak_flops_per_s))
        if precision not in ("bf16", "fp8", "int8", "fp4"):
            continue
        pp = draw.choice((1, 1, 2, 3, 8, 16))
        vp = draw.choice([n for n in (1, 2, 3, 4, 8) if pp * n <= LAYERS[model]]) if pp > 1 else 1
        zero = int(pp > 1 and vp == 1 and draw.random() < 0.3)
        tp, cp, dp = draw.choice((1, 2, 8)), draw.choice((1, 2, 4)), draw.choice((1, 2, 6, 16, 96))
        able = [n for n in (1, 2, 4, 8, 16, 64) if tp * cp * dp % n == 0]
        ep = draw.choice(able) if model != DENSE else 1
        many = draw.choice((1, 2, 3, 8)) * (pp if vp > 1 else 1)
        way = Way(tp, pp, vp, cp, ep, dp, draw.choice((1, 2, 4)), draw.choice((0, 1)), zero)
        stage = math.ceil(LAYERS[model] / pp)
        yield asked(model, chip, precision), way, many, draw.choice((0.0, 1.0, draw.randint(0, stage) / stage))
        count -= 1


def reader() -> argparse.ArgumentParser:
    """Return Megatron-LM's own declarations of the arguments that are used, its choices included."""
    out = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    wholes = (
        "tensor-model-parallel-size pipeline-model-parallel-size context-parallel-size expert-model-parallel-size "
        "expert-tensor-parallel-size micro-batch-size global-batch-size seq-length train-iters recompute-num-layers "
        "num-virtual-stages-per-pipeline-rank"
    )
    for name in wholes.split():
        out.add_argument(f"--{name}", type=int)
    switches = (
        "sequence-parallel use-distributed-optimizer overlap-grad-reduce overlap-param-gather use-megatron-fsdp bf16 "
        "moe-grouped-gemm no-gradient-accumulation-fusion overlap-moe-expert-parallel-comm"
    )
    for name in switches.split():
        out.add_argument(f"--{name}", action="store_true")
    chosen = {
        "recompute-granularity": ("full", "selective"),
        "recompute-method": ("uniform", "block"),
        "fp8-format": ("e4m3", "hybrid"),
        "fp8-recipe": ("tensorwise", "delayed", "mxfp8", "blockwise", "custom"),
        "fp4-format": ("e2m1",),
        "fp4-recipe": ("nvfp4", "custom"),
        "data-parallel-sharding-strategy": ("no_shard", "optim", "optim_grads", "optim_grads_params"),
        "ckpt-format": ("torch", "torch_dist", "torch_dcp", "fsdp_dtensor"),
        "moe-token-dispatcher-type": ("allgather", "alltoall", "flex"),
    }
    for name, values in chosen.items():
        out.add_argument(f"--{name}", choices=values)
    out.add_argument("--pipeline-model-parallel-layout")
    return out


def megatron(text: str) -> argparse.Namespace:
    words = shlex.split(text, comments=True)
    assert words[0] == "LAYOUT_ARGS=("
    assert words[-1] == ")"
    return reader().parse_args(words[1:-1])


def chunks(layout: str) -> list[str]:
    """Return the chunks of a pipeline's layout, letter by letter, as Megatron-LM's guide describes the string."""
    flat = re.sub(r"\(([^)]+)\)\*(\d+)", lambda m: m[1] * int(m[2]), layout.replace(",", ""))
    return re.sub(r"(\w)\*(\d+)", lambda m: m[1] * int(m[2]), flat).split("|")


def yaml(text: str) -> dict[str, Any]:
    """Return flat YAML whose values are JSON too."""
    lines = [line.split(": ", 1) for line in text.splitlines() if not line.startswith("#")]
    out = {key: json.loads(value) for key, value in lines}
    assert len(out) == len(lines)
    return out


@pytest.mark.parametrize("index", range(4))
def test_megatron_arguments_multiply_out(index):
    for question, way, many, again in list(cases(160, GPUS))[index::4]:
        found, layers = exported("megatron", question, way, many, again), LAYERS[question.model.id]
        args = megatron(found["text"])
        model = args.tensor_model_parallel_size * args.pipeline_model_parallel_size * args.context_parallel_size
        assert way.chips % model == 0
        dp = way.chips // model  # which Megatron-LM takes from the chips it is started on
        assert (dp, args.sequence_parallel, args.bf16) == (way.dp, way.tp > 1, True)
        assert args.global_batch_size == many * args.micro_batch_size * dp
        tokens = args.global_batch_size * args.seq_length
        assert (args.train_iters - 1) * tokens < question.tokens <= args.train_iters * tokens
        if question.model.id != DENSE:
            experts = args.expert_model_parallel_size * args.expert_tensor_parallel_size
            assert args.expert_model_parallel_size == way.ep
            assert way.tp * way.cp * way.dp % experts == 0
        else:
            assert args.expert_model_parallel_size is None
        parts = way.pp * way.vp
        if args.pipeline_model_parallel_layout:
            stages = chunks(args.pipeline_model_parallel_layout)
            counts = [stage.count("t") for stage in stages]
            assert (len(stages), sum(counts)) == (parts, layers)
            assert max(counts) == -(-layers // parts)
            assert max(counts) - min(counts) == 1
            assert stages[0].startswith("E")
            assert stages[-1].endswith("L")
            assert args.num_virtual_stages_per_pipeline_rank is None
        else:
            assert layers % parts == 0
            assert (args.num_virtual_stages_per_pipeline_rank or 1) == way.vp
        assert args.use_megatron_fsdp == (args.data_parallel_sharding_strategy is not None) == bool(way.sharded)
        assert bool(way.zero_bubble) == any("zero-bubble" in note for note in found["notes"])
        formats = {"fp8": args.fp8_format, "fp4": args.fp4_format}
        assert [name for name, value in formats.items() if value] == [question.precision] * (
            question.precision in formats
        )
        assert (question.precision == "int8") == any("int8" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("again", "vp", "flags"),
    [
        (0.0, 1, (None, None)),
        (1.0, 1, ("uniform", 1)),
        (0.25, 1, ("block", 3)),
        (0.3, 1, ("block", 4)),
        (0.25, 2, ("block", 2)),  # Megatron-LM counts them in each of two chunks of six
        (0.99, 1, ("uniform", 1)),
    ],
)
def test_megatron_recomputes_at_least_the_share_asked_for(again, vp, flags):
    found = exported("megatron", asked(EXPERTS, "h100-sxm"), way_of(pp=4, vp=vp), 4, again)  # twelve layers a stage
    args = megatron(found["text"])
    assert (args.recompute_method, args.recompute_num_layers) == flags
    done = 0.0 if flags[0] is None else 1.0 if flags[0] == "uniform" else flags[1] * vp / 12
    assert done >= again
    assert any("recomputes" in note for note in found["notes"]) == (done != again)


@pytest.mark.parametrize(("ep", "cut"), [(1, 8), (2, 4), (8, 1), (16, 1), (64, 1)])
def test_experts_keep_what_is_left_of_tensor_parallelism(ep, cut):
    args = megatron(exported("megatron", asked(MIXED, "h100-sxm"), way_of(tp=8, dp=8, ep=ep), 2)["text"])
    assert args.expert_tensor_parallel_size == cut


@pytest.mark.parametrize("index", range(4))
def test_maxtext_meshes_multiply_out(index):
    axes = ("data", "fsdp", "pipeline", "expert", "context", "tensor")
    seen = list(cases(160, TPUS)) + list(cases(160, GPUS))
    for question, way, many, again in seen[index::4]:
        found = exported("maxtext", question, way, many, again)
        out, notes = yaml(found["text"]), " ".join(found["notes"])
        inside, outside = ({axis: out[f"{net}_{axis}_parallelism"] for axis in axes} for net in ("ici", "dcn"))
        slices = math.prod(outside.values())
        assert math.prod(inside.values()) * slices == way.chips
        assert math.prod(inside.values()) <= question.chip.domain_chips
        # No fewer slices hold the run in equal parts.
        assert not [n for n in range(1, slices) if way.chips % n == 0 and way.chips / n <= question.chip.domain_chips]
        whole = {axis: inside[axis] * outside[axis] for axis in axes}
        assert (whole["tensor"], whole["context"], whole["pipeline"]) == (way.tp, way.cp, way.pp)
        assert whole["data"] * whole["fsdp"] * whole["expert"] == way.dp
        assert whole["data" if way.sharded else "fsdp"] == 1
        assert ("shard_optimizer_over_data" in out) == (not way.sharded)
        assert whole["expert"] * math.gcd(way.ep, way.tp) == way.ep or "takes expert chips" in notes
        # MaxText rounds the batch at once down.
        at_once = int(way.chips * out["per_device_batch_size"])
        assert at_once * out["gradient_accumulation_steps"] == many * way.dp * way.micro_batch
        batch = many * way.dp * way.micro_batch * out["max_target_length"]
        assert (out["steps"] - 1) * batch < question.tokens <= out["steps"] * batch
        if way.pp > 1:
            # The asserts of MaxText's types.py.
            layers = LAYERS[question.model.id]
            piped = out.get("pipeline_parallel_layers", layers)
            assert way.pp * out["num_pipeline_repeats"] * out["num_layers_per_pipeline_stage"] == piped
            most = 58 if question.model.id == MIXED else layers  # DeepSeek's three dense layers stay out
            assert most - way.pp < piped <= most
            assert (piped == layers) != ("are in the pipeline" in notes)
            assert (out["num_pipeline_repeats"] == way.vp) != ("chunks are equal" in notes)
            micro = out.get("num_pipeline_microbatches")
            assert (micro == many) != ("multiples of" in notes)
            assert micro is None or (micro % way.pp == 0 and at_once % micro == 0)
        assert out["remat_policy"] == ("full" if again > 0 else "minimal")
        accumulates = out["gradient_accumulation_steps"] > 1
        # MaxText refuses delayed scales with accumulated gradients.
        assert not (accumulates and out.get("quantization") in ("fp8", "nanoo_fp8"))
        assert (question.precision == "bf16" or "give bf16" in notes) == ("quantization" not in out)
        assert found["text"].count("hardware") == 1


def test_a_fraction_per_chip_survives_rounding_down():
    # 1 / 49 in binary is a little small: 49 of them are below 1.
    assert int(49 * (1 / 49)) == 0
    for chips in range(2, 400):
        found = exported("maxtext", asked(DENSE, "tpu-v5p"), way_of(tp=chips), 1)
        assert int(chips * yaml(found["text"])["per_device_batch_size"]) == 1, chips


@pytest.mark.parametrize("index", range(4))
def test_torchtitan_toml_multiplies_out(index):
    for question, way, many, again in list(cases(160, GPUS))[index::4]:
        found = exported("torchtitan", question, way, many, again)
        out, notes = tomllib.loads(found["text"]), " ".join(found["notes"])
        spread, batch = out["parallelism"], out["training"]
        copies = spread["data_parallel_replicate_degree"] * spread["data_parallel_shard_degree"]
        rest = [spread[f"{name}_parallel_degree"] for name in ("tensor", "context", "pipeline")]
        assert copies * math.prod(rest) == way.chips
        assert (copies, *rest) == (way.dp, way.tp, way.cp, way.pp)
        assert batch["global_batch_size"] == many * way.dp * way.micro_batch
        passes = batch["global_batch_size"] / (batch["local_batch_size"] * copies)
        tokens = batch["global_batch_size"] * batch["seq_len"]
        assert (batch["steps"] - 1) * tokens < question.tokens <= batch["steps"] * tokens
        assert spread["fsdp_reshard_after_forward"] == ("always" if way.sharded else "never")
        if way.pp > 1:
            assert passes == 1
            assert batch["local_batch_size"] / spread["pipeline_parallel_microbatch_size"] == many
            schedule = spread["pipeline_parallel_schedule"]
            assert schedule == ("ZBVZeroBubble" if way.zero_bubble else "Interleaved1F1B" if way.vp > 1 else "1F1B")
            stages = titan_stages(spread, LAYERS[question.model.id])
            assert stages == way.pp * (2 if way.zero_bubble else way.vp) or "cannot cut" in notes
        else:
            assert (passes, batch["local_batch_size"]) == (many, way.micro_batch)
        if way.ep > 1:
            assert spread["expert_parallel_degree"] == way.ep
            assert spread["expert_tensor_parallel_degree"] == 1
            assert way.tp * way.cp * way.dp % spread["expert_parallel_degree"] == 0
        done = {"none": 0.0, "full": 1.0, "selective": 1.0 / int(memory_every(out))}[
            out["activation_checkpoint"]["mode"]
        ]
        assert done >= again - 1e-9
        assert (abs(done - again) > 1e-6) == ("recomputes every n-th" in notes)
        converters = out.get("model", {}).get("converters", [])
        assert all(name.split(".")[1] in out["quantize"] for name in converters)
        assert bool(converters) == (question.precision == "fp8")


def memory_every(out: dict[str, Any]) -> str:
    return out["activation_checkpoint"].get("selective_ac_option", "1")


def titan_stages(spread: dict[str, Any], layers: int) -> int | None:
    """Return how many chunks TorchTitan cuts, by the rules and refusals of its pipeline_parallel.py."""
    each = spread.get("pipeline_parallel_layers_per_stage")
    if each is None:
        return None
    first, last = (spread[f"pipeline_parallel_{end}_stage_less_layers"] for end in ("first", "last"))
    chunks_of = math.ceil((layers + first + last) / each)
    least, more = divmod(layers + first + last, chunks_of)
    assert max(first, last) <= least
    assert least + (more > 0) <= each
    assert chunks_of % spread["pipeline_parallel_degree"] == 0
    return chunks_of


def test_torchtitan_cuts_layers_that_do_not_divide():
    # 126 layers in 64 chunks: the embedding and the head count as the two that are missing.
    out = exported("torchtitan", asked(DENSE, "h100-sxm"), way_of(pp=8, vp=8), 8)
    spread = tomllib.loads(out["text"])["parallelism"]
    assert titan_stages(spread, 126) == 64
    assert spread["pipeline_parallel_layers_per_stage"] == 2


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_cannot_be_said_is_told(framework):
    question = asked(DENSE, "trainium2", reversible=True, overlap=True)
    found = exported(framework, question, way_of(vp=4, dp=2), 2, 1.0)
    notes = " ".join(found["notes"])
    for part in ("reversible", "--overlap", "trainium2", "vp 4"):
        assert part in notes, part
    for note in found["notes"]:
        assert note.endswith(".")
        assert note[0].isupper()


@pytest.mark.parametrize(
    ("chip", "precision", "many", "name"),
    [
        ("h100-sxm", "fp8", 4, "te_fp8_currentscaling"),
        ("b200-sxm", "fp8", 1, "te_mxfp8"),
        ("b200-sxm", "fp4", 1, "te_nvfp4"),
        ("mi300x", "fp8", 1, "nanoo_fp8"),
        ("mi300x", "fp8", 4, None),
        ("tpu-v7", "fp8", 4, "fp8_full"),
        ("tpu-v5p", "int8", 1, "int8"),
        ("tpu-v5p", "bf16", 1, None),
    ],
)
def test_maxtext_names_its_formats_by_vendor(chip, precision, many, name):
    found = yaml(exported("maxtext", asked(DENSE, chip, precision), way_of(dp=8), many)["text"])
    assert found.get("quantization") == name


def test_an_unknown_framework_is_refused_with_the_nearest(capsys):
    ask = ["train", "--model", DENSE, "--chip", "h100-sxm", "--chips", "8", "--tokens", "1T", "--export"]
    assert main([*ask, "megatrn"]) == 2
    said = capsys.readouterr().err
    assert "--export" in said
    assert "megatrn" in said
    assert "did you mean 'megatron'" in said
    with pytest.raises(configs.ConfigError, match="did you mean 'torchtitan'"):
        exported("torchtitn", asked(DENSE, "h100-sxm"), way_of(), 1)


RUN = ["train", "--model", "llama-3.1-8b", "--chip", "h100-sxm", "--chips", "64", "--tokens", "1T", "--tp", "2",
       "--pp", "4", "--vp", "4", "--cp", "1", "--micro-batch", "1", "--sharding", "states"]  # fmt: skip


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_command_carries_it_as_data_and_prints_it(framework, capsys):
    assert main([*RUN, "--export", framework, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["export"]
    assert set(found) == {"framework", "text", "notes"}
    assert found["framework"] == framework
    assert main([*RUN, "--export", framework]) == 0
    shown = capsys.readouterr().out
    assert found["text"] in shown
    plain = " ".join(shown.split())
    assert all(" ".join(note.split()) in plain for note in found["notes"])


def test_no_export_is_none(capsys):
    assert main([*RUN, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["export"] is None


def test_a_scenario_file_can_ask_for_it(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text('name = "a run"\nexport = "torchtitan"\n')
    assert main([*RUN, "--scenario", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["export"]["framework"] == "torchtitan"


GOLDEN = {
    "megatron": """\
# Megatron-LM, 2,048 chips = tp 8 x cp 1 x pp 16 x dp 16; batch of 512 sequences = 32 x 1 x dp 16
LAYOUT_ARGS=(
    --tensor-model-parallel-size 8
    --pipeline-model-parallel-size 16
    --context-parallel-size 1
    --sequence-parallel
    --pipeline-model-parallel-layout "Et*7|(t*8|)*14,t*7L"
    --micro-batch-size 1
    --global-batch-size 512
    --seq-length 8192
    --train-iters 238419
    --use-distributed-optimizer
    --overlap-grad-reduce
    --overlap-param-gather
    --recompute-granularity full
    --recompute-method block
    --recompute-num-layers 2
    --bf16
    --fp8-format hybrid
    --fp8-recipe tensorwise
)""",
    "maxtext": """\
# MaxText, 2,048 chips = tp 8 x cp 1 x pp 16 x dp 16; batch of 512 sequences = 32 x 1 x dp 16
hardware: "gpu"
dcn_data_parallelism: 16
dcn_fsdp_parallelism: 1
dcn_pipeline_parallelism: 16
dcn_expert_parallelism: 1
dcn_context_parallelism: 1
dcn_tensor_parallelism: 1
ici_data_parallelism: 1
ici_fsdp_parallelism: 1
ici_pipeline_parallelism: 1
ici_expert_parallelism: 1
ici_context_parallelism: 1
ici_tensor_parallelism: 8
shard_optimizer_over_data: true
num_layers_per_pipeline_stage: 7
num_pipeline_repeats: 1
pipeline_parallel_layers: 112
num_pipeline_microbatches: 32
per_device_batch_size: 0.25
gradient_accumulation_steps: 1
max_target_length: 8192
steps: 238419
remat_policy: "full"
dtype: "bfloat16"
quantization: "te_fp8_currentscaling\"""",
    "torchtitan": """\
# TorchTitan, 2,048 chips = tp 8 x cp 1 x pp 16 x dp 16; batch of 512 sequences = 32 x 1 x dp 16

[training]
local_batch_size = 32
global_batch_size = 512
seq_len = 8192
steps = 238419

[parallelism]
data_parallel_replicate_degree = 1
data_parallel_shard_degree = 16
fsdp_reshard_after_forward = "never"
tensor_parallel_degree = 8
context_parallel_degree = 1
pipeline_parallel_degree = 16
pipeline_parallel_schedule = "1F1B"
pipeline_parallel_microbatch_size = 1
pipeline_parallel_first_stage_less_layers = 0
pipeline_parallel_last_stage_less_layers = 0
pipeline_parallel_layers_per_stage = 8

[activation_checkpoint]
mode = "selective"
selective_ac_option = "4"

[model]
converters = ["quantize.linear.float8"]

[compile]
enable = true

[quantize.linear.float8]
recipe_name = "rowwise"
filter_fqns = ["output", "router.gate"]""",
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_golden(framework):
    way = way_of(tp=8, pp=16, dp=16)
    assert exported(framework, asked(DENSE, "h100-sxm", "fp8"), way, 32, 0.25)["text"] == GOLDEN[framework]
