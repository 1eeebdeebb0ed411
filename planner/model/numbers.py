"""A model's sizes as the nested dict that compiled programs take; its keys carry the structure."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from configs.architectures import (
    AttentionFacts,
    DenseFacts,
    ExpertsFacts,
    Feedforward,
    LatentFacts,
    Mixer,
    ModelFacts,
    RecurrentFacts,
)

MIXERS: Mapping[str, type[Mixer]] = {"attention": AttentionFacts, "latent": LatentFacts, "recurrent": RecurrentFacts}
FEEDFORWARDS: Mapping[str, type[Feedforward]] = {"dense": DenseFacts, "experts": ExpertsFacts}


def decoder_numbers(facts: ModelFacts) -> dict[str, Any]:
    """Return a model's sizes as the nested dict that compiled programs take; its keys carry the structure."""
    layers = []
    for layer in facts.layers:
        out: dict[str, Any] = {"count": layer.count}
        for kinds, part in ((MIXERS, layer.mixer), (FEEDFORWARDS, layer.feedforward)):
            out |= {name: asdict(part) for name, kind in kinds.items() if isinstance(part, kind)}
        layers.append(out)
    copies = 1.0 if facts.tied_embeddings else 2.0
    numbers = {"d_model": facts.d_model, "vocab": facts.vocab, "embedding_copies": copies, "layers": layers}
    return numbers | ({"parallel": 1.0} if facts.parallel_blocks else {})
