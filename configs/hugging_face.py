"""Models as Hugging Face describes them: the config.json of every family in `FAMILIES`."""

import json
from dataclasses import replace
from pathlib import Path

from .architectures import LayerFacts, ModelFacts, count
from .blocks import WIDTH
from .errors import nearest, shown
from .families import FAMILIES, Kind
from .json_fields import Fields, read_json

_MOST_LAYERS = 10_000
_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_MTP = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")


def load(path: Path) -> ModelFacts:
    """Read a config.json; ``params`` and ``active_params`` are what the shape counts to.

    Raises:
        ConfigError: the file is absent, is not such JSON, or describes no model of a known family; one sentence.
    """
    top = read_json(path)
    text = top
    while isinstance(text.fields.get("text_config"), dict):
        text = text.inner("text_config")
    family_name = text.fields.get("model_type", top.fields.get("model_type"))
    if not isinstance(family_name, str):
        text.refuse("model_type", f"is missing: one of {', '.join(FAMILIES)} is needed")
    if family_name not in FAMILIES:
        hint = nearest(family_name, FAMILIES) or f" (known are {', '.join(FAMILIES)})"
        text.refuse("model_type", f"= '{shown(family_name)}' is not a family this planner knows{hint}")
    family = FAMILIES[family_name]
    text = replace(text, fields={**family.defaults, **text.fields})
    layers = int(text.whole(*_LAYERS, high=_MOST_LAYERS))
    tied = top.flag("tie_word_embeddings", text.flag("tie_word_embeddings", family.tied))
    facts = ModelFacts(
        id=str(path),
        name=path.resolve().parent.name,
        params=0.0,
        active_params=0.0,
        d_model=text.whole(*WIDTH),
        vocab=text.whole("vocab_size"),
        tied_embeddings=tied,
        parallel_blocks=text.flag("parallel_attn", text.flag("use_parallel_residual", family.parallel)),
        mtp_layers=text.whole(*_MTP, default=0.0, low=0, high=100),
        layers=_grouped(family.kinds(text, layers)),
        weights=_weights(top if top.has("quantization_config") else text),
        aliases=(),
        tables={"config": top.fields},
    )
    total, active = count(facts)
    return replace(facts, params=total, active_params=active)


def _grouped(kinds: list[Kind]) -> tuple[LayerFacts, ...]:
    """Count layers of a kind together, kinds in the order that they first appear."""
    counts: dict[Kind, int] = {}
    for kind in kinds:
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(LayerFacts(float(n), *kind) for kind, n in counts.items())


def _weights(config: Fields) -> str | None:
    """Return the number format of quantised weights: the planner's name for it, else the publisher's."""
    how = config.inner("quantization_config")
    if not how.fields:
        return None
    method = how.fields.get("quant_method", how.fields.get("quant_algo"))
    if not isinstance(method, str):
        how.refuse("quant_method", "is missing: the name of a number format is needed")
    try:
        described = json.dumps(how.fields).lower()
    except RecursionError:
        how.refuse("quant_method", "stands in a table nested too deeply")
    for name in ("mxfp4", "nvfp4"):
        if name in described:
            return name
    if "fp8" in described or '"type": "float"' in described:
        return "fp8"
    bits = how.has("bits", "num_bits")
    return f"int{how.whole(bits, high=64):g}" if bits else shown(method.lower())
