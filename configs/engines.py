"""Engine profiles: what serving software adds to the kernels, as measured, and by how much that errs."""

from dataclasses import dataclass
from typing import Any

from .catalog import path_of
from .loader import Names, Number, Table, Tables, Text, read_toml

PLANNING_ENGINE = "tensorrt-llm"  # whose residuals stand in where a profile has none: of the most runs
_USUAL = {"NVIDIA": PLANNING_ENGINE, "AMD": "vllm-rocm", "Google": "vllm-tpu"}  # by vendor of the chip
_ANYWHERE = "vllm"  # runs on the others too
ENGINES = ("tensorrt-llm", "vllm", "sglang", "jetstream", "xla", "ideal")
# What residuals are kept of: throughput of dense models and of models with experts, as fitted, with the row's chip left
# out of the fit, and with its model left out; time per output token and to the first one, as fitted.
RESIDUALS = (
    "dense", "dense_unseen_chip", "dense_unseen_model", "experts", "experts_unseen_chip", "experts_unseen_model",
    "tpot", "ttft",
)  # fmt: skip
_RATIO = Number("time over that of the timed kernels", 0.0, 100.0)
_SECONDS = Number("seconds", 0.0, 1.0)
_ERRORS = Table(
    {
        "rows": Number("measured rows", 0, 1e6),
        "mdape": Number("fraction", 0.0, 10.0),
        "p90": Number("fraction", 0.0, 100.0),
        "low": Number("log of measured over predicted, 5th percentile", -10.0, 10.0),
        "high": Number("log of measured over predicted, 95th percentile", -10.0, 10.0),
        "coverage": Number("fraction of rows inside the 90 % interval that other rows gave", 0.0, 1.0, False),
        "engines": Number("other engines, whose rows these are for want of this one's", 1, 1e3, False),
    },
    sourced=False,
)
RANGES = ("input_tokens", "output_tokens", "batch")
_PROFILE = {
    "gemm_ratio": _RATIO,
    "decode_ratio": _RATIO,
    "prefill_ratio": _RATIO,
    "expert_ratio": _RATIO,
    "collective_ratio": _RATIO,
    "bus_fraction": Number("fraction of the PCIe rate that a ring reaches", 0.01, 1.0),
    "stream_passes": Number("reads and writes of the residual per layer", 0.0, 1000.0),
    "layer_s": _SECONDS,
    "context_layer_s": _SECONDS,
    "expert_layer_s": _SECONDS,
    "expert_pair_s": _SECONDS,
    "hop_s": _SECONDS,
    "step_s": _SECONDS,
    "sequence_s": _SECONDS,
    "boundary_sequence_s": _SECONDS,
}
_SCHEMA = {
    "name": Text(),
    "chips": Names(),
    "models": Names(required=False),
    "precisions": Names(),
    "engine": Text(ENGINES),
    "frameworks": Names(),
    "versions": Names(required=False),
    "host_like": Text(required=False),
    "kernels": Table(
        {
            "attention": Text(("own", "bf16")),
            "experts": Text(("own", "bf16")),
            "quantises": Text(("apart", "fused")),
            "kv": Text(("narrow", "bf16")),
            "activations": Text(("apart", "fused"), required=False),
            "constants": Text(required=False),
        }
    ),
    "profile": Table(_PROFILE),
    "log_standard_error": Table(
        dict.fromkeys(_PROFILE, Number("of the logarithm", 0.0, 100.0, False)), required=False, sourced=False
    ),
    "limits": Table(
        {
            "kv_fraction": Number("fraction of the memory that weights leave", 0.1, 1.0),
            "reserve_gb": Number("GB of 1e9 bytes per chip", 0.0, 100.0),
            "max_batch": Number("sequences per pass and copy", 1.0, 1e6),
            "max_tokens": Number("tokens per pass and copy", 1.0, 1e7),
        }
    ),
    "fitted": Table(
        {
            "rows": Number("measured rows", 1, 1e6),
            "configurations": Number("models on chips and layouts", 1, 1e6),
            "parameters": Number("parameters that the rows determine, not the prior", 0.0, 1e3),
            "drift": Number("log of measured over predicted per factor of e outside the ranges", 0.0, 10.0),
            **{f"{end}_{name}": Number("per sequence or pass", 0.0, 1e9) for name in RANGES for end in ("min", "max")},
        },
        required=False,
        sourced=False,
    ),
    "residuals": Tables(RESIDUALS, _ERRORS),
}


@dataclass(frozen=True)
class EngineFacts:
    """An engine's profile, with the error it leaves on the runs that it was fitted to.

    ``chips``, ``precisions`` and ``models`` list what those rows were measured on (of a profile without rows, what it
    is meant for). ``profile`` and ``limits`` are the parameters of `planner.serving.engine.Engine`; ``kernels`` says
    whose constants its kernels take; ``fitted`` counts the rows behind the profile and their ranges, and is empty
    where there are none; ``residuals`` hold, for each kind of `RESIDUALS` that was measured, rows, mdape, p90 and the
    bounds of a 90 % interval (with ``engines``: of that many others, for want of rows). ``frameworks`` and
    ``versions`` (by their beginning; none: any) are what tables of runs call it.
    """

    id: str
    name: str
    engine: str
    frameworks: tuple[str, ...]
    versions: tuple[str, ...]
    kernels: dict[str, str]
    profile: dict[str, float]
    limits: dict[str, float]
    chips: tuple[str, ...]
    precisions: tuple[str, ...]
    models: tuple[str, ...]
    fitted: dict[str, float]
    residuals: dict[str, dict[str, float]]
    tables: dict[str, Any]

    def knows_version(self, version: str) -> bool:
        """Say whether ``version`` is one of the profile's, by its beginning; a profile that names none takes any."""
        plain = version.lstrip("~v ")
        return not self.versions or any(plain.startswith(one) for one in self.versions)

    @property
    def quantises_apart(self) -> bool:
        """Say whether activations are converted by kernels of their own rather than in those before."""
        return self.kernels["quantises"] == "apart"


def usual_engine(vendor: str) -> str:
    """Return the id of the engine profile that serves on a vendor's chips where none is asked for."""
    return _USUAL.get(vendor, _ANYWHERE)


def load_engine(name: str) -> EngineFacts:
    """Load an engine profile by id or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("engines", name)
    raw = read_toml(path, _SCHEMA)
    return EngineFacts(
        name if name.endswith(".toml") else path.stem,
        raw["name"],
        raw["engine"],
        tuple(raw["frameworks"]),
        tuple(raw.get("versions", ())),
        {k: v for k, v in raw["kernels"].items() if k in _SCHEMA["kernels"].keys},
        {k: raw["profile"][k] for k in _PROFILE},
        {**raw["limits"], "reserve_bytes": raw["limits"]["reserve_gb"] * 1e9},
        tuple(raw["chips"]),
        tuple(raw["precisions"]),
        tuple(raw.get("models", ())),
        raw.get("fitted", {}),
        raw.get("residuals", {}),
        raw,
    )
