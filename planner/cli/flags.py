"""The flags of each command, as dataclasses that tyro turns into help and values."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro


def _flag(help_text: str, metavar: str | None = None, name: str | None = None):
    return tyro.conf.arg(help=help_text, metavar=metavar, name=name, help_behavior_hint="")


EXAMPLES = {
    "optimize": (
        "optimize --lifetime-tokens 1e15",
        "optimize --lifetime-tokens 1e14 --quality-like 8B --tpot-ms 20 --chips h100-sxm,b200-sxm",
        "optimize --lifetime-tokens 1e13 --budget-usd 10M",
        "optimize --scenario frontier-lab --json",
        "optimize --lifetime-tokens 1e15 --robust --laws epoch-2024,hoffmann-2022",
        "optimize --lifetime-tokens 1e14 --quality-like 8B --unique-tokens 2T",
    ),
    "evaluate": (
        "evaluate --lifetime-tokens 1e15 --quality-like 7B --params 8B --chip h100-sxm --chips-per-replica 1",
        "evaluate --lifetime-tokens 1e14 --params 70B --train-tokens 15T --chip b200-sxm --chips-per-replica 2",
    ),
    "list": ("list chips", "list laws --json"),
    "calibrate": (
        "calibrate --grid small",
        "calibrate --out my-gpu.toml && llm-planner optimize --lifetime-tokens 1e13 --chips my-gpu.toml",
        "calibrate --from my-gpu.timings.jsonl --out my-gpu.toml",
        "calibrate --from data/h100_sxm/gemm/vllm/0.24.0 --chip h100-sxm --out h100.toml",
        "calibrate --from results/ --chip h100-sxm --tp 2 --precision fp8 --engine vllm --out my-engine.toml",
    ),
    "validate": (
        "validate",
        "validate --kernels timings/",
        "validate --serving serving.csv --plot served.png",
        "validate --training training.csv",
        "validate --serving results/ --chip h100-sxm --tp 2 --precision fp8 --engine my-engine.toml --json",
    ),
}
Objective = Literal["usd", "flops", "joules"]
PrecisionName = Literal["bf16", "fp8", "int8", "fp4"]


@dataclass(frozen=True)
class Question:
    """Flags that optimize and evaluate share."""

    lifetime_tokens: Annotated[
        float | None, _flag("All prompt and answer tokens the model will ever serve, such as 1e15.", "TOKENS")
    ] = None
    quality_like: Annotated[
        float | None,
        _flag("Quality: the loss of the compute-optimal model of this many parameters (default 70e9).", "PARAMS"),
    ] = None
    target_loss: Annotated[float | None, _flag("Quality: this loss, in nats per token under the law.", "NATS")] = None
    law: Annotated[
        str | None, _flag("Scaling law: an id of `list laws` or a TOML file (default epoch-2024).", "ID")
    ] = None
    unique_tokens: Annotated[
        float | None,
        _flag("Most new tokens to train on; repeated ones are worth less and less (default: all are new).", "TOKENS"),
    ] = None
    objective: Annotated[
        Objective | None,
        _flag(
            "What to minimise: usd (default), joules (chip-seconds at board power), or flops = 6 N D + 2 N T.",
            "{usd,joules,flops}",
        ),
    ] = None
    workload: Annotated[
        str | None, _flag("Request lengths: an id of `list workloads` or a TOML file (default chat).", "ID")
    ] = None
    input_tokens: Annotated[float | None, _flag("Mean prompt length; overrides the workload.", "TOKENS")] = None
    output_tokens: Annotated[float | None, _flag("Mean answer length; overrides the workload.", "TOKENS")] = None
    cached_fraction: Annotated[float | None, _flag("Share of prompt tokens found in the prefix cache.", "FRACTION")] = (
        None
    )
    tpot_ms: Annotated[float | None, _flag("Limit on mean time per output token (default 40).", "MS")] = None
    ttft_ms: Annotated[float | None, _flag("Limit on time to first token (default 450).", "MS")] = None
    lifetime_days: Annotated[float | None, _flag("Days in service (default 730).", "DAYS")] = None
    peak_to_mean: Annotated[
        float | None, _flag("Peak over mean request rate; the fleet is sized for the peak (default 1.226).", "RATIO")
    ] = None
    precision: Annotated[
        PrecisionName | None, _flag("Serving precision (default: the better of bf16 and fp8).", "{bf16,fp8,int8,fp4}")
    ] = None
    train_days: Annotated[
        float | None, _flag("Days that the training run may take (default: 90, or what it takes).", "DAYS")
    ] = None
    train_chips: Annotated[
        float | None, _flag("Most chips for training; without --train-days it then takes longer.", "CHIPS")
    ] = None
    train_on: Annotated[
        str | None, _flag("Chips to choose among for training, or all (default: those to serve on).", "ID,ID,...")
    ] = None
    train_precision: Annotated[
        PrecisionName | None, _flag("Matrix products of training (default bf16).", "{bf16,fp8,int8,fp4}")
    ] = None
    max_sparsity: Annotated[float | None, _flag("Most total over active parameters (default 1: dense).", "RATIO")] = (
        None
    )
    chip_usd_per_hour: Annotated[float | None, _flag("Rental price that replaces every chip's own.", "USD")] = None
    engine: Annotated[
        str | None,
        _flag("Serving software: an id of `list engines` or a TOML file (default: usual on the chip).", "ID"),
    ] = None
    scenario: Annotated[
        str | None, _flag("Take flags from an id of `list scenarios` or a TOML file; flags given here win.", "ID")
    ] = None


@dataclass(frozen=True)
class Output:
    """Flags that every command has."""

    json: Annotated[bool, tyro.conf.FlagCreatePairsOff, _flag("Print one JSON object and nothing else on stdout.")] = (
        False
    )
    save: Annotated[str | None, _flag("Also write the JSON object to this file.", "FILE")] = None


@dataclass(frozen=True)
class OneModel(Output):
    """Flags of commands about one model on one kind of chip."""

    model: Annotated[
        str | None, _flag("Model: an id or name of `list models`, a config.json, its folder, or a TOML file.", "ID")
    ] = None
    params: Annotated[
        float | None, _flag("Instead of --model: a typical model of this many parameters, such as 8B.", "PARAMS")
    ] = None
    active_params: Annotated[
        float | None, _flag("With --params: parameters used per token, fewer where it has experts.", "PARAMS")
    ] = None
    chip: Annotated[str | None, _flag("Chip: an id of `list chips` or a TOML file.", "ID")] = None


@dataclass(frozen=True)
class Optimize(Output, Question):
    """Choose model size, training tokens, chip, replica, precision and batch at the least lifetime cost."""

    budget_usd: Annotated[
        float | None, _flag("Quality: the best loss that this much money buys, all costs included.", "USD")
    ] = None
    chips: Annotated[
        str | None,
        _flag("Chips to choose among, comma-separated ids of `list chips` or TOML files, or all.", "ID,ID,..."),
    ] = None
    uncertainty: Annotated[
        bool,
        tyro.conf.FlagCreatePairsOff,
        _flag("Solve again under draws of the law and of errors of the times: intervals, regret, ties."),
    ] = False
    robust: Annotated[
        bool,
        tyro.conf.FlagCreatePairsOff,
        _flag("Also find the size that is best on all draws: of the least mean cost, tokens following the loss."),
    ] = False
    cvar: Annotated[
        float | None, _flag("With --robust: the mean of this share of the worst draws instead, such as 0.1.", "SHARE")
    ] = None
    laws: Annotated[
        str | None, _flag("Draw from several laws in equal parts: ids of `list laws` or TOML files.", "ID,ID,...")
    ] = None
    draws: Annotated[float | None, _flag("How many draws (default 1000).", "COUNT")] = None


@dataclass(frozen=True)
class Evaluate(Output, Question):
    """Cost a given plan the way optimize would, beside compute-optimal training and the optimum on that chip.

    The flags --lifetime-tokens, --params, --chip and --chips-per-replica are required.
    """

    params: Annotated[float | None, _flag("Model parameters, active ones, such as 8e9 or 8B.", "PARAMS")] = None
    total_params: Annotated[
        float | None, _flag("All parameters, those of idle experts too (default: --params, a dense model).", "PARAMS")
    ] = None
    experts: Annotated[
        float | None, _flag("Instead: total over active parameters of feed-forward blocks.", "RATIO")
    ] = None
    chip: Annotated[str | None, _flag("Chip: an id of `list chips` or a TOML file.", "ID")] = None
    chips_per_replica: Annotated[float | None, _flag("Chips that hold one copy of the model.", "CHIPS")] = None
    batch: Annotated[
        float | None, _flag("Sequences decoded together (default: the best within the limits).", "SEQUENCES")
    ] = None
    train_tokens: Annotated[
        float | None, _flag("Training tokens (default: those that reach the quality).", "TOKENS")
    ] = None


@dataclass(frozen=True)
class List(Output):
    """List the ids that flags accept, each with its source.

    KIND is one of chips, laws, models, workloads, prices, scenarios, engines, trainers, kernels, energy, batch-laws,
    failures, cards, storage, offers.
    """

    kind: tyro.conf.Positional[Annotated[str | None, _flag("What to list.", "KIND")]] = None


# How recorded runs were served, of the two commands that read them.
_Engine = Annotated[
    str | None, _flag("With served runs: serving software, an id of `list engines` or a TOML file.", "ID")
]
_ResultModel = Annotated[str | None, _flag("With result files of vLLM: the model, where they name another.", "ID")]
_Tp = Annotated[float | None, _flag("With result files of vLLM: tensor parallelism (default 1).", "CHIPS")]
_Pp = Annotated[float | None, _flag("Likewise: pipeline stages (default 1).", "CHIPS")]
_Dp = Annotated[float | None, _flag("Likewise: copies of attention (default 1).", "CHIPS")]
_Ep = Annotated[float | None, _flag("Likewise: groups that hold whole experts (default 1, tp x dp with dp).", "CHIPS")]
_ServedIn = Annotated[
    Literal["bf16", "fp8", "int8", "fp4", "int4"] | None,
    _flag("Likewise: weights and arithmetic (default: by the model's name, else bf16).", "{bf16,fp8,int8,fp4,int4}"),
]


@dataclass(frozen=True)
class Calibrate(Output):
    """Time kernels on the devices present, or read recorded timings, and fit the constants that predictions stand on;
    or read served runs and fit the profile of the engine that served them.

    Writes a chip file that --chips accepts, or an engine file that --engine accepts. Every timing is kept in a log
    beside it as it is taken: a run that is killed goes on where it stopped when started again.
    """

    from_: Annotated[
        str | None,
        _flag(
            "Fit recorded timings instead: a file or folder of this planner's tables or logs, aiconfigurator's parquet "
            "tables or Vidur's CSV files; or served runs: a CSV table of them, or JSON files of "
            "`vllm bench serve --save-result`.",
            "PATH",
            "from",
        ),
    ] = None
    out: Annotated[
        str | None,
        _flag(
            "The chip or engine file to write (default calibrated.toml); a folder takes one file per chip or engine.",
            "FILE",
        ),
    ] = None
    chip: Annotated[
        str | None,
        _flag(
            "Datasheet to calibrate against, an id of `list chips` or a TOML file (default: by the device's name).",
            "ID",
        ),
    ] = None
    grid: Annotated[
        Literal["quick", "small", "standard", "large"] | None,
        _flag(
            "How many shapes to time: 16, 48 (default on a CPU), 120 (default elsewhere) or 600 of each kind.",
            "{quick,small,standard,large}",
        ),
    ] = None
    families: Annotated[
        str | None,
        _flag(
            "What to time, comma-separated: gemm, attention_prefill, attention_decode, allreduce (default: all).",
            "NAME,..",
        ),
    ] = None
    precisions: Annotated[
        str | None,
        _flag("Number formats to time, comma-separated: bf16, fp8, int8 (default: what the device has).", "NAME,.."),
    ] = None
    engine: _Engine = None
    model: _ResultModel = None
    tp: _Tp = None
    pp: _Pp = None
    dp: _Dp = None
    ep: _Ep = None
    precision: _ServedIn = None
    plot: Annotated[str | None, _flag("Where to draw the residuals: a .png or .svg file.", "FILE")] = None


@dataclass(frozen=True)
class Validate(Output):
    """Predict recorded timings, served runs and training runs with the constants in use and show the errors; without
    flags, the shipped errors.
    """

    kernels: Annotated[
        str | None, _flag("Kernel timings: a file or folder in any layout that `calibrate --from` reads.", "PATH")
    ] = None
    serving: Annotated[
        str | None,
        _flag(
            "Served runs: a CSV table of them, JSON files of `vllm bench serve --save-result`, or a folder of either.",
            "PATH",
        ),
    ] = None
    training: Annotated[str | None, _flag("Training runs: a CSV table of them.", "FILE")] = None
    chip: Annotated[
        str | None,
        _flag("Chip of timings or results that do not name a known one: an id of `list chips` or a TOML file.", "ID"),
    ] = None
    engine: _Engine = None
    model: _ResultModel = None
    tp: _Tp = None
    pp: _Pp = None
    dp: _Dp = None
    ep: _Ep = None
    precision: _ServedIn = None
    plot: Annotated[
        str | None, _flag("Where to draw predicted against measured runs: a .png or .svg file.", "FILE")
    ] = None
