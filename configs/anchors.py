"""Anchors: single published facts about served models, each with what the planner must be asked to check it."""

from dataclasses import dataclass
from typing import Any

from .catalog import ids, path_of
from .errors import ConfigError, nearest
from .loader import Number, Rows, Table, Text, Where, read_toml

# What an anchor states, and the unit that `published` is in.
QUANTITIES = {
    "step": "s",
    "prefill": "s",
    "output_tokens_per_s": "tokens/s",
    "output_tokens_per_s_per_chip": "tokens/s",
    "requests_per_s_per_chip": "requests/s",
    "max_batch": "sequences",
    "fewest_chips": "chips",
    "kv_bytes_per_token": "bytes",
    "drain": "s",
    "latent_bytes_per_s": "bytes/s",
    "latent_flops_per_s": "FLOP/s",
}
_ALONE = ("drain", "latent_bytes_per_s", "latent_flops_per_s")  # a chip's own, no model is served
_SOME = Number("chips", 1, 1e5, required=False)
_TOKENS = Number("tokens", 0, 1e9, required=False)
_RATIO = Number("time over that of the kernels", 0.0, 100.0, required=False)
_LAYOUT = {"tp": _SOME, "pp": _SOME, "dp": _SOME, "ep": _SOME, "width_tp": _SOME}
_LOAD = {
    "batch": Number("sequences", 0, 1e9, required=False),
    "context_tokens": _TOKENS,
    "prompts": Number("prompts", 0, 1e9, required=False),
    "prompt_tokens": _TOKENS,
    "output_tokens": _TOKENS,
    "heads": Number("heads", 1, 1e4, required=False),
}
_PROFILE: dict[str, Number] = dict.fromkeys(("gemm_ratio", "decode_ratio", "prefill_ratio", "collective_ratio"), _RATIO)
_ROW = Table(
    {
        "name": Text(),
        "quantity": Text(tuple(QUANTITIES)),
        "model": Text(required=False),
        "chip": Text(),
        "engine": Text(required=False),
        "precision": Text(required=False),
        "kv": Text(required=False),
        "kv_heads": Text(("copied", "shared"), required=False),
        "layout": Table(_LAYOUT, required=False, sourced=False),
        "load": Table(_LOAD, required=False, sourced=False),
        "profile": Table(_PROFILE, required=False, sourced=False),
        "published": Number("the unit of its quantity", 0.0, 1e30),
        "tolerance": Number("fraction", 0.0, 10.0),
        "where": Text(),
        "note": Text(required=False),
    },
    sourced=False,
)
_SCHEMA = {"name": Text(), "document": Table({}), "anchors": Rows(_ROW)}


@dataclass(frozen=True)
class AnchorFacts:
    """One published fact and the question behind it, in SI units.

    ``model``, ``engine`` and ``precision`` are ids, empty where only the chip is asked about. ``layout`` and ``load``
    hold what is stated of them; ``profile`` replaces ratios of the engine where the document assumes others.
    ``tolerance`` is how far off the planner may be: for arithmetic its rounding, for measurements what was found.
    """

    name: str
    quantity: str
    unit: str
    model: str
    chip: str
    engine: str
    precision: str
    kv: str | None
    shares_batch: bool
    layout: dict[str, float]
    load: dict[str, float]
    profile: dict[str, float]
    published: float
    tolerance: float
    source: str


def load_anchors(name: str) -> tuple[AnchorFacts, ...]:
    """Load a file of anchors by id or by path.

    Raises:
        ConfigError: unknown id, or a file that breaks the layout.
    """
    path = path_of("anchors", name)
    raw = read_toml(path, _SCHEMA)
    where = Where(str(path)) / "anchors"
    source = raw["document"]["source"]
    return tuple(_anchor(row, source, where / str(number)) for number, row in enumerate(raw["anchors"], 1))


def _anchor(row: dict[str, Any], source: str, where: Where) -> AnchorFacts:
    alone = row["quantity"] in _ALONE
    for key in ("model", "engine", "precision"):
        if alone and key in row:
            raise ConfigError(f"{where / key} does not belong to quantity '{row['quantity']}', which a chip has alone")
        if not alone and key not in row:
            raise ConfigError(f"{where / key} is missing (quantity '{row['quantity']}' is that of a served model)")
    for key, kind in (("model", "models"), ("chip", "chips"), ("engine", "engines")):
        if key in row and row[key] not in ids(kind):
            hint = nearest(row[key], ids(kind))
            raise ConfigError(f"{where / key} = '{row[key]}' is not among the shipped {kind}{hint}")
    return AnchorFacts(
        name=row["name"],
        quantity=row["quantity"],
        unit=QUANTITIES[row["quantity"]],
        model=row.get("model", ""),
        chip=row["chip"],
        engine=row.get("engine", ""),
        precision=row.get("precision", ""),
        kv=row.get("kv"),
        shares_batch=row.get("kv_heads") == "shared",
        layout=row.get("layout", {}),
        load=row.get("load", {}),
        profile=row.get("profile", {}),
        published=row["published"],
        tolerance=row["tolerance"],
        source=f"{source}: {row['where']}",
    )
