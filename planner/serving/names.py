"""Names of a pass's operations by how their time is told: what the engine's parameters, and reports, go by."""

RATIOS = {"decode attention": "decode_ratio", "prefill attention": "prefill_ratio", "experts": "expert_ratio"}
LINKS = (
    "all-reduce", "gather tokens", "scatter sums", "dispatch", "combine", "pipeline",
    "gather width", "scatter width", "sum features", "gather features", "share queries", "return values",
)  # fmt: skip
AS_TIMED = ("activations", "recurrence", "indexer")
STREAMS = ("norms", *AS_TIMED)
ATTENTION = ("decode attention", "prefill attention")
OVERHEADS = ("launches", "host")  # what the engine adds
