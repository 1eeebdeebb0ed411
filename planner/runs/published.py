"""What is known of published benchmarks beside their figures: how they were run, and which rows are in doubt."""

import re
from collections.abc import Mapping

import configs

from .run import has_experts

# Requests per run by (input, output) tokens: NVIDIA/TensorRT-LLM, docs/source/performance/perf-overview.md at 00f3768,
# "Throughput Benchmarking".
_REQUESTS = {
    (128, 128): 30000, (128, 2048): 3000, (128, 4096): 1500, (1000, 2000): 1500, (2048, 128): 3000, (2048, 2048): 1500,
    (5000, 500): 1500, (1000, 1000): 3000, (500, 2000): 3000, (20000, 2000): 1000,
}  # fmt: skip
# dstackai/benchmarks: Deepseek-R1/README.md, "Online Benchmarking Commands" (500 prompts of one length each; of the
# shared-prefix ones 10 groups of 50 share 2,000 tokens, and the first of each group finds none of them);
# comparison/h100sxm5_vs_mi300x: 1,000 requests, as total_output_tokens over their mean length says.
_DSTACK_ONLINE, _DSTACK_POISSON = 500.0, 1000.0
_SHARED_PREFIX = 2000.0 * (1.0 - 10.0 / 500.0)
# Tokens guessed and tokens gained per step of DeepSeek's multi-token prediction: assumed by who collected the rows.
_ACCEPTED = {"mtp 1": (1.0, 1.7), "mtp 3": (3.0, 2.6)}

_OVERVIEW = ".*perf-overview.*"
_DSTACK_405B = "dstack .*405B"
# Rows whose columns match, why they are in doubt, and whether a fit may still learn from them.
_PARALLEL, _STARVED = "doubtful parallelism", "starved of KV cache"
_DOUBTS: tuple[tuple[dict[str, str], str, bool], ...] = (
    ({"chip": "RTX6000Pro", "model": "Qwen3-30B-A3B", "tp": "4|8"}, _PARALLEL, False),
    ({"chip": "RTX6000Pro", "model": r"Llama 3\.[13] 70B", "pp": "8"}, _PARALLEL, False),
    ({"source": _OVERVIEW, "chip": "B200", "tp": "8", "experts": "yes"}, _PARALLEL, False),
    ({"chip": "H100", "model": "Llama 4 Maverick", "quant": "FP8", "n_chips": "8"}, _STARVED, False),
    ({"chip": "H100", "model": r"Llama 3\.\d 70B", "quant": "FP8", "n_chips": "1"}, _STARVED, False),
    ({"chip": "A100-80", "model": r"Llama 3\.\d 70B", "n_chips": "2"}, _STARVED, False),
    (
        {"chip": "GB200", "model": "Qwen3-30B-A3B", "version": r"1\.0"},
        "old software: 31 % faster one version on",
        False,
    ),
    ({"source": _DSTACK_405B, "isl": "32784"}, "queueing, or an old engine, at 32k input", True),
    ({"source": _DSTACK_405B, "request_rate": ".+"}, "queueing at a request rate", True),
    (
        {"source": _DSTACK_405B, "chip": "MI300X", "notes": ".*fp8-meta.*"},
        "Meta's FBGEMM checkpoint on an AMD chip: not its FP8 kernels",
        False,
    ),
    ({"chip": "L40S", "n_chips": r"[2-9]|\d\d+"}, "several L40S: PCIe dominates", True),
    ({"spec_decode": "MTP.*"}, "accepted drafts were assumed", False),
    ({"notes": ".*do not use.*"}, "marked as unusable by who collected it", False),
    (
        {"notes": ".*2FP8: presumably two replicas.*"},
        "two replicas with the figures of one: taken as one's",
        True,
    ),
)


def doubts(row: Mapping[str, str], model: configs.ModelFacts) -> tuple[tuple[str, ...], bool]:
    """Return why ``row`` may not mean what it says, and whether a fit may learn from it."""
    cells = {**row, "experts": "yes" if has_experts(model) else "no"}
    found = [(why, teaches) for columns, why, teaches in _DOUBTS if _matches(cells, columns)]
    return tuple(why for why, _ in found), all(teaches for _, teaches in found)


def _matches(cells: Mapping[str, str], columns: Mapping[str, str]) -> bool:
    return all(re.fullmatch(text, cells.get(name, ""), re.IGNORECASE) for name, text in columns.items())


def requests(row: Mapping[str, str], concurrency: float | None) -> float | None:
    """Return how many requests a run had in all, None where that is not known."""
    source, notes = row.get("source", ""), row.get("notes", "")
    if "perf-overview" in source:
        return _REQUESTS.get((round(float(row["isl"])), round(float(row["osl"]))))
    if "500 requests" in notes:
        return 500.0
    if "all requests at once" in notes:
        return concurrency
    if re.fullmatch(_DSTACK_405B, source, re.IGNORECASE) and row.get("request_rate"):
        return _DSTACK_POISSON
    if _dstack_online(row):
        return _DSTACK_ONLINE
    return None


def _dstack_online(row: Mapping[str, str]) -> bool:
    return row.get("source", "").startswith("dstack DeepSeek-R1") and row.get("notes", "").startswith("dataset ")


def lockstep(row: Mapping[str, str]) -> bool:
    """Return whether all requests had one length and were kept at a concurrency, so that they move together."""
    return _dstack_online(row) or "all requests at once" in row.get("notes", "")


def cached_tokens(row: Mapping[str, str]) -> float:
    """Return the tokens of a prompt that are found in the prefix cache."""
    return _SHARED_PREFIX if row.get("notes", "").startswith("dataset generated-shared-prefix") else 0.0


def mean_lengths(row: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the mean prompt and answer where the notes state them: they replace the columns."""
    found = re.search(r"mean in/out (\d+)/(\d+)", row.get("notes", ""))
    return (found.group(1), found.group(2)) if found else None


def max_batch(row: Mapping[str, str]) -> float | None:
    """Return the limit on sequences at once where the notes state it."""
    found = re.search(r"max-num-seqs (\d{1,6})\b", row.get("notes", ""))
    return max(float(found.group(1)), 1.0) if found else None


def speculation(text: str) -> tuple[float, float] | None:
    """Return tokens drafted and tokens gained per step of the method called ``text``, None where they are not known."""
    return _ACCEPTED.get(text.strip().lower())


def attention_dp(row: Mapping[str, str], model: configs.ModelFacts) -> bool:
    """Return whether "TP" chips hold copies of attention and whole experts: TensorRT-LLM's published runs of models
    with experts from version 1.0 on (perf-overview.md at 00f3768, "For MoE models").
    """
    release = re.match(r"\D*(\d+)", row.get("version", ""))
    ours = row.get("framework") == "TensorRT-LLM" and "perf-overview" in row.get("source", "")
    return ours and has_experts(model) and release is not None and int(release.group(1)) >= 1


def replicas(row: Mapping[str, str]) -> tuple[float, bool]:
    """Return how many replicas the chips make where the notes say so, and whether the figures count only one.

    The rows named "2FP8" repeat, to the digit, those of half the chips: they count one of two replicas.
    """
    two = "2fp8" in row.get("notes", "").lower()
    return (2.0, True) if two else (1.0, False)
