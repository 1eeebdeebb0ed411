"""Public language models by id, name or alias; a user's own as a TOML file or as a Hugging Face config.json."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from . import hugging_face
from .architectures import (
    AttentionFacts,
    DenseFacts,
    ExpertsFacts,
    Feedforward,
    LatentFacts,
    LayerFacts,
    Mixer,
    ModelFacts,
    RecurrentFacts,
)
from .catalog import ids, path_of
from .errors import ConfigError, nearest, shown
from .loader import Names, Number, Rows, Table, Text, Where, read_toml

_HEADS = Number("heads", 1, 1e4)
_FEATURES = Number("features", 1, 1e7)
_SOME = Number("features, 0 for none", 0, 1e7)
_MATRICES = Number("matrices, 3 gated or 2 plain", 2, 3)

# The keys of each kind of mixer and of feed-forward block, and what a key that may be left out stands for.
_MIXERS: dict[str, dict[str, Number]] = {
    "attention": {
        "heads": _HEADS,
        "kv_heads": _HEADS,
        "head_dim": _FEATURES,
        "value_dim": _FEATURES,
        "window": Number("tokens", 1, 1e9),
        "gate_width": _SOME,
    },
    "latent": {
        "heads": _HEADS,
        "query_rank": _SOME,
        "latent_dim": _FEATURES,
        "nope_dim": _FEATURES,
        "rope_dim": _SOME,
        "value_dim": _FEATURES,
        "index_heads": Number("heads, 0 for none", 0, 1e4),
        "index_dim": _SOME,
        "index_topk": Number("tokens, 0 for none", 0, 1e9),
        "gate_width": _SOME,
    },
    "recurrent": {"in_width": _FEATURES, "out_width": _FEATURES, "state_elements": Number("numbers", 1, 1e12)},
    "none": {},
}
_FEEDFORWARDS: dict[str, dict[str, Number]] = {
    "dense": {"width": _FEATURES, "matrices": _MATRICES},
    "experts": {
        "experts": Number("experts", 1, 1e6),
        "topk": Number("experts", 1, 1e6),
        "width": _FEATURES,
        "shared_width": _SOME,
        "matrices": _MATRICES,
        "expert_latent_dim": _SOME,
    },
    "none": {},
}
_DEFAULTS = {
    "window": inf, "gate_width": 0.0, "query_rank": 0.0, "index_heads": 0.0, "index_dim": 0.0, "index_topk": 0.0,
    "shared_width": 0.0, "matrices": 3.0, "expert_latent_dim": 0.0,
}  # fmt: skip
_NUMBERS = {key: spec for kind in (*_MIXERS.values(), *_FEEDFORWARDS.values()) for key, spec in kind.items()}
_LAYER = Table(
    {
        "count": Number("layers", 1, 1e4),
        "mixer": Text(tuple(_MIXERS)),
        **{key: Number(spec.unit, spec.low, spec.high, required=False) for key, spec in _NUMBERS.items()},
        "feedforward": Text(tuple(_FEEDFORWARDS)),
    },
    sourced=False,
)
# What an active count leaves out of the embeddings, which publishers differ in.
ACTIVE_COUNTS = ("all", "without input embedding", "without embeddings")
WEIGHTS = ("fp8", "int8", "fp4", "nvfp4", "mxfp4", "int4")
_SCHEMA = {
    "name": Text(),
    "aliases": Names(required=False),
    "weights": Text(WEIGHTS, required=False),
    "parameters": Table(
        {
            "total": Number("parameters", 1e6, 1e14),
            "active": Number("parameters", 1e6, 1e14, required=False),
            "active_counts": Text(ACTIVE_COUNTS, required=False),
        }
    ),
    "architecture": Table(
        {
            "d_model": Number("features", 16, 1e6),
            "vocab": Number("tokens", 2, 1e7),
            "embeddings": Text(("tied", "untied")),
            "blocks": Text(("serial", "parallel"), required=False),
            "mtp_layers": Number("layers", 0, 100, required=False),
        }
    ),
    "layers": Rows(_LAYER),
}


def load_model(name: str) -> ModelFacts:
    """Load a model by id, name or alias, or by path to a TOML file, a config.json or a folder that holds one.

    Raises:
        ConfigError: unknown name, or a file that breaks its layout; one sentence.
    """
    if name in ids("models"):
        return _shipped(name)
    if name.endswith(".toml"):
        return _of_toml(name, path_of("models", name))
    known = _names()
    if name.lower() in known:
        return _shipped(known[name.lower()])
    if name.endswith(".json"):
        return hugging_face.load(Path(name))
    try:
        is_folder = bool(name) and Path(name).is_dir()
    except (OSError, ValueError):  # a name no folder can have
        is_folder = False
    if is_folder:
        return hugging_face.load(Path(name) / "config.json")
    hint = (
        nearest(name, ids("models"))
        or nearest(name, known)
        or f"; allowed are {', '.join(ids('models'))}, a .toml file and a config.json"
    )
    raise ConfigError(f"unknown model '{shown(name)}'{hint}")


def model_named(text: str) -> ModelFacts | None:
    """Return the shipped model that a table of measurements means by ``text``, or None.

    Ignores case, spaces, hyphens and underscores, an organisation before a slash or a space, remarks in parentheses,
    and endings that leave the architecture as it is (-Instruct, -FP8, -2507 ...).
    """
    keys = _keys()
    for spelling in _spellings(text):
        if spelling in keys:
            return _shipped(keys[spelling])
    return None


@cache
def _shipped(name: str) -> ModelFacts:
    return _of_toml(name, path_of("models", name))


@cache
def _names() -> dict[str, str]:
    """Every id, name and alias in lower case, and the id it stands for."""
    models = [_shipped(one) for one in ids("models")]
    return {text.lower(): m.id for m in models for text in (*m.aliases, m.name, m.id)}


@cache
def _keys() -> dict[str, str]:
    return {_SEPARATORS.sub("", text.rsplit("/", 1)[-1]): known for text, known in _names().items()}


_SEPARATORS = re.compile(r"[\s_:-]+")
_REMARK = re.compile(r"\([^()]*\)")
_MAKERS = {"meta", "nvidia", "google", "gemini", "mistralai", "openai", "databricks", "microsoft", "xai"}
_ENDINGS = {
    "instruct", "chat", "base", "it", "pt", "hf", "text", "thinking", "reasoning", "preview", "exp", "dynamic",
    "fp8", "fp4", "nvfp4", "mxfp4", "bf16", "fp16", "int4", "int8", "awq", "gptq", "w8a8", "w4a16", "fp8kv", "kv",
    "2407", "2501", "2503", "2506", "2507", "2512", "0528", "0324", "0905", "v0.1", "v0.2", "v0.3", "original",
}  # fmt: skip


def _spellings(text: str) -> Iterator[str]:
    """Yield ``text`` without separators, then ever shorter: its maker and its endings dropped one by one."""
    plain = _REMARK.sub(" ", text.lower()).strip().rsplit("/", 1)[-1]
    words = [word for word in _SEPARATORS.split(plain) if word]
    while words:
        yield "".join(words)
        if words[0] in _MAKERS:
            yield "".join(words[1:])
        if words[-1] not in _ENDINGS:
            return
        words.pop()


def _of_toml(name: str, path: Path) -> ModelFacts:
    raw = read_toml(path, _SCHEMA)
    where = Where(str(path))
    shape, published = raw["architecture"], raw["parameters"]
    layers = tuple(_layer(row, where / "layers" / str(number)) for number, row in enumerate(raw["layers"], 1))
    total = published["total"]
    if "active" not in published and any(isinstance(x.feedforward, ExpertsFacts) for x in layers):
        raise ConfigError(f"{where / 'parameters' / 'active'} is missing (a model with experts uses part of itself)")
    active = published.get("active", total)
    if active > total:
        raise ConfigError(f"{where / 'parameters' / 'active'} = {active:g} must not exceed total = {total:g}")
    return ModelFacts(
        id=name,
        name=raw["name"],
        params=total,
        active_params=active,
        d_model=shape["d_model"],
        vocab=shape["vocab"],
        tied_embeddings=shape["embeddings"] == "tied",
        parallel_blocks=shape.get("blocks") == "parallel",
        mtp_layers=shape.get("mtp_layers", 0.0),
        layers=layers,
        weights=raw.get("weights"),
        aliases=tuple(raw.get("aliases", ())),
        tables=raw,
    )


def _layer(row: dict[str, Any], where: Where) -> LayerFacts:
    mixer, block = row["mixer"], row["feedforward"]
    allowed = _MIXERS[mixer].keys() | _FEEDFORWARDS[block].keys()
    for key in row:
        if key not in allowed and key not in ("count", "mixer", "feedforward"):
            kind = f"mixer '{mixer}' with feedforward '{block}'"
            raise ConfigError(f"{where / key} does not belong to {kind} (allowed here: {', '.join(sorted(allowed))})")

    def value(key: str) -> float:
        if key in row:
            return row[key]
        if key not in _DEFAULTS:
            raise ConfigError(f"{where / key} is missing (mixer '{mixer}', feedforward '{block}')")
        return _DEFAULTS[key]

    if mixer == block == "none":
        raise ConfigError(f"{where}: mixer and feedforward are both 'none': a layer has one of them")
    facts = LayerFacts(row["count"], _mixer(mixer, value, row), _feedforward(block, value))
    _check(facts, where)
    return facts


def _mixer(kind: str, value: Callable[[str], float], row: dict[str, Any]) -> Mixer | None:
    if kind == "attention":
        key_dim = value("head_dim")
        heads = value("heads"), value("kv_heads")
        return AttentionFacts(*heads, key_dim, row.get("value_dim", key_dim), value("window"), value("gate_width"))
    if kind == "latent":
        return LatentFacts(*(value(key) for key in _MIXERS["latent"]))
    if kind == "recurrent":
        return RecurrentFacts(*(value(key) for key in _MIXERS["recurrent"]))
    return None


def _feedforward(kind: str, value: Callable[[str], float]) -> Feedforward | None:
    if kind == "dense":
        return DenseFacts(value("width"), value("matrices"))
    if kind == "experts":
        return ExpertsFacts(*(value(key) for key in _FEEDFORWARDS["experts"]))
    return None


def _check(facts: LayerFacts, where: Where) -> None:
    """Refuse numbers that are each in range and contradict one another."""
    mixer, block = facts.mixer, facts.feedforward
    if isinstance(mixer, AttentionFacts) and mixer.kv_heads > mixer.heads:
        raise ConfigError(f"{where / 'kv_heads'} = {mixer.kv_heads:g} must not exceed heads = {mixer.heads:g}")
    if isinstance(mixer, LatentFacts):
        index = {"index_heads": mixer.index_heads, "index_dim": mixer.index_dim, "index_topk": mixer.index_topk}
        if any(index.values()) and not all(index.values()):
            absent = next(key for key, one in index.items() if not one)
            raise ConfigError(f"{where / absent} is missing: an indexer needs {', '.join(index)}")
    if isinstance(block, ExpertsFacts) and block.topk > block.experts:
        raise ConfigError(f"{where / 'topk'} = {block.topk:g} must not exceed experts = {block.experts:g}")
