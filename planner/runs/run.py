"""One measured run of a served model: what was run, and what came out."""

from dataclasses import dataclass
from typing import NamedTuple

import configs


class Left(NamedTuple):
    """A row or file that is not compared, and why; ``kind`` is what it says it is ("measured": it should count)."""

    where: str
    why: str
    kind: str = "measured"


class Unusable(Exception):  # noqa: N818  the reason why a row is left out, not a failure
    """Why a row is left out, in words; one that was not ``asked`` for does not count as measured and unpredicted."""

    def __init__(self, why: str, asked: bool = True) -> None:
        super().__init__(why)
        self.asked = asked


@dataclass(frozen=True)
class Run:
    """What was served and how, and the quantities measured, each None where it was not.

    Of ``concurrency`` (sequences kept in flight; None: as many as fit) and ``request_rate`` (per second and replica;
    None: closed loop) at most one is set. ``requests`` is how many there were in all, None if unknown. The replica has
    tp x pp x dp chips; throughput counts one replica. ``kv`` and ``max_batch`` replace the engine's number format of
    the cache and its limit on sequences where the source states them. ``lockstep`` says that all requests have one
    length and are kept at the concurrency, so that they start and end together.

    ``guessed`` names what the source left out and a rule filled in, ``doubts`` why a row may not mean what it says;
    ``teaches`` is false where a fit should not learn from it.
    """

    where: str
    source: str
    model: configs.ModelFacts
    model_name: str
    chip: configs.ChipFacts
    engine: str
    precision: str
    tp: float
    pp: float
    dp: float
    ep: float
    input_tokens: float
    output_tokens: float
    cached_tokens: float = 0.0
    concurrency: float | None = None
    request_rate: float | None = None
    requests: float | None = None
    drafts: float = 0.0
    tokens_per_step: float = 1.0
    kv: str | None = None
    max_batch: float | None = None
    lockstep: bool = False
    output_tokens_per_s: float | None = None
    tpot_s: float | None = None
    ttft_s: float | None = None
    split: str = ""
    guessed: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    teaches: bool = True

    @property
    def chips(self) -> float:
        """Chips of the replica."""
        return self.tp * self.pp * self.dp

    @property
    def saturated(self) -> bool:
        """Whether as many sequences ran at once as fit."""
        return self.concurrency is None and self.request_rate is None

    @property
    def experts(self) -> bool:
        """Whether the model routes tokens to experts."""
        return has_experts(self.model)

    @property
    def configuration(self) -> str:
        """What runs share whose errors move together: model, chip, layout, engine."""
        return f"{self.model.id} {self.chip.id} {self.tp:g} {self.pp:g} {self.dp:g} {self.ep:g} {self.engine}"


def has_experts(model: configs.ModelFacts) -> bool:
    """Return whether any layer of ``model`` routes tokens to experts."""
    return any(isinstance(layer.feedforward, configs.ExpertsFacts) for layer in model.layers)


def shape(model: configs.ModelFacts) -> str:
    """Return what models of one architecture share, whatever their training: those are no news to each other."""
    return f"{model.d_model:g} {model.vocab:g} {model.layers!r}"
