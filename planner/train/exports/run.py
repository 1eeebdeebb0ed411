"""A layout in the whole numbers that settings of training software are written with."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import configs
from configs.architectures import DenseFacts, ExpertsFacts, LatentFacts

from ..question import Question
from ..space import Way


@dataclass(frozen=True)
class Run:
    """One run as settings state it. ``steps`` see all tokens, the last step perhaps some more.

    ``vp`` is 1 without a pipeline, ``ep`` 1 without experts; ``piped_layers`` are those of DeepSeek's stack that have
    experts, all of them elsewhere. ``recomputed`` is the share of layers that is computed again backwards.
    """

    chip: configs.ChipFacts
    precision: str
    tp: int
    pp: int
    vp: int
    cp: int
    ep: int
    dp: int
    micro_batch: int
    micro_batches: int
    sequences: int
    sequence_tokens: int
    steps: int
    layers: int
    piped_layers: int
    experts: bool
    sharded: bool
    zero_bubble: bool
    recomputed: float
    reversible: bool
    overlapped: bool

    @classmethod
    def of(cls, question: Question, way: Way, answer: Mapping[str, Any]) -> "Run":
        """Return ``way`` as an answer of `planner.train.answer.train` costs it."""
        stack = question.model.layers
        experts = sum(int(x.count) for x in stack if isinstance(x.feedforward, ExpertsFacts))
        layers = sum(int(x.count) for x in stack)
        latent = any(isinstance(x.mixer, LatentFacts) for x in stack)
        mixed = latent and experts > 0 and any(isinstance(x.feedforward, DenseFacts) for x in stack)
        sequences, tokens = round(answer["batch_sequences"]), round(question.sequence_tokens)
        return cls(
            chip=question.chip,
            precision=question.precision,
            tp=way.tp,
            pp=way.pp,
            vp=way.vp if way.pp > 1 else 1,
            cp=way.cp,
            ep=way.ep if experts else 1,
            dp=way.dp,
            micro_batch=way.micro_batch,
            micro_batches=sequences // (way.dp * way.micro_batch),
            sequences=sequences,
            sequence_tokens=tokens,
            steps=ceil(question.tokens / (sequences * tokens)),
            layers=layers,
            piped_layers=experts if mixed else layers,
            experts=experts > 0,
            sharded=bool(way.sharded),
            zero_bubble=bool(way.zero_bubble) and way.pp > 1,
            recomputed=answer["recomputed_fraction"],
            reversible=question.reversible,
            overlapped=question.overlapped,
        )

    @property
    def chips(self) -> int:
        """Chips of the run."""
        return self.tp * self.pp * self.cp * self.dp

    @property
    def expert_tp(self) -> int:
        """Over how many chips each expert is cut: what tensor parallelism is left of a stage's expert parallelism."""
        return self.tp // self.ep if self.tp % self.ep == 0 else 1

    @property
    def scaled_blocks(self) -> bool:
        """Whether the chip's 8-bit products take scales per block (MX), as chips with 4-bit units do."""
        return "fp4" in self.chip.peak_flops_per_s

    def head(self) -> str:
        """Return the layout as a line of comment, factors of the chips and of the global batch."""
        factors = [f"{name} {getattr(self, name)}" for name in ("tp", "cp", "pp", "dp")]
        batch = f"{self.sequences:,} sequences = {self.micro_batches} x {self.micro_batch} x dp {self.dp}"
        return f"{self.chips:,} chips = {' x '.join(factors)}; batch of {batch}"


def share(fraction: float) -> str:
    """Return a share of layers as a note says it."""
    return f"{100.0 * fraction:.3g} %"
