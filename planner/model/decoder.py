"""A decoder as it is: its kinds of layers, in numbers that may be traced."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax

from configs.architectures import LayerFacts
from hw import Scalar

from .numbers import FEEDFORWARDS, MIXERS

for _kind in (*MIXERS.values(), *FEEDFORWARDS.values(), LayerFacts):
    jax.tree_util.register_dataclass(_kind)  # so that sizes can be traced and differentiated


class Decoder(eqx.Module):
    """Kinds of layers with their counts, width and vocabulary; ``parallel`` blocks share one all-reduce.

    Sizes may be fractional while planning. Which kinds there are is structure, how large they are is data: models of
    one structure share one compiled program.
    """

    d_model: Scalar
    vocab: Scalar
    embedding_copies: Scalar
    layers: tuple[LayerFacts, ...]
    parallel: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(cls, numbers: Mapping[str, Any]) -> "Decoder":
        """Return the decoder that `decoder_numbers` describes."""
        layers = []
        for layer in numbers["layers"]:
            mixer = next((kind(**layer[name]) for name, kind in MIXERS.items() if name in layer), None)
            block = next((kind(**layer[name]) for name, kind in FEEDFORWARDS.items() if name in layer), None)
            layers.append(LayerFacts(layer["count"], mixer, block))
        copies = numbers["embedding_copies"]
        return cls(numbers["d_model"], numbers["vocab"], copies, tuple(layers), "parallel" in numbers)

    def layer_count(self) -> Scalar:
        """Return how many layers there are; halves (a mixer alone, a block alone) count as half of one."""
        halves = [(layer.mixer is not None) + (layer.feedforward is not None) for layer in self.layers]
        return sum((0.5 * n * layer.count for n, layer in zip(halves, self.layers, strict=True)), 0.0)

    def has_experts(self) -> bool:
        """Say whether any layer routes tokens to experts."""
        return any(isinstance(layer.feedforward, FEEDFORWARDS["experts"]) for layer in self.layers)
