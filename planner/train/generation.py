"""How fast a model generates on the chips it is trained on: the best replica that the serving model knows of."""

from dataclasses import dataclass
from typing import Any

from ..estimate.layouts import Split, layouts
from ..estimate.point import Point, batch_for, evaluate, rank
from ..estimate.question import Question as Served
from ..estimate.trust import interval, warnings

_SERVER_CHIPS = 8  # chips come in servers of eight, or in larger scale-up domains
_WIDEST = 64  # chips of a domain that one replica may take, so that few layouts are ranked
MOST_CHIPS = 1024  # where none of a server holds the model: servers are joined up to so many chips
_LIKE = 0.99  # of the rate per chip: of two replicas as good as each other the smaller is taken


@dataclass(frozen=True)
class Generation:
    """One replica kept full: as many sequences as fit, no limit on the time per token."""

    served: Served
    point: Point

    @property
    def tokens_per_s_per_chip(self) -> float:
        """Output tokens per second and chip, prompts read in between: what `estimate` says of the same slice."""
        return self.point.at("output_tokens_per_s") / self.point.split.chips

    def document(self, flops_per_token: float) -> dict[str, Any]:
        """Return the replica as JSON; ``flops_per_token`` are model FLOPs per token generated, prompt included."""
        served, point, rate = self.served, self.point, self.tokens_per_s_per_chip
        peaks = served.chip.peak_flops_per_s
        band = interval(served, point)
        return {
            "chips": point.split.chips,
            "layout": point.split._asdict(),
            "engine": served.engine.id,
            "precision": served.precision,
            "batch": point.batch,
            "tpot_s": point.at("tpot_s"),
            "tokens_per_s_per_chip": rate,
            "interval": {
                "coverage": band["coverage"],
                "tokens_per_s_per_chip": [x / point.split.chips for x in band["output_tokens_per_s"]],
                "basis": band["basis"],
            },
            "model_flops_per_s_per_chip": flops_per_token * rate,
            "decode_mfu": flops_per_token * rate / peaks[served.precision],
        }

    def warnings(self) -> list[str]:
        """Return what the serving model assumes of this replica."""
        return [f"generation: {text}" for text in warnings(self.served, self.point)]


def fastest(served: Served) -> Generation | None:
    """Return the replica with most output tokens per second and chip, of two alike the smaller; None if none fits.

    Replicas of 1, 2, 4 ... chips are ranked up to a server of eight, or a scale-up domain up to 64; where none of them
    holds the model and one sequence, the least power of two that does.
    """
    best: tuple[int, dict[str, Any]] | None = None
    chips, within = 1, min(max(served.chip.domain_chips, _SERVER_CHIPS), _WIDEST)
    while chips <= within or (best is None and chips <= MOST_CHIPS):
        rows = rank(served.with_chips(chips)) if layouts(served.model, served.chip, chips) else []
        if rows and rows[0]["max_batch"] >= 1.0:
            key = "output_tokens_per_s_per_chip"
            if best is None or rows[0][key] * _LIKE > best[1][key]:
                best = chips, rows[0]
        chips *= 2
    if best is None:
        return None
    chips, row = best
    slice_, split = served.with_chips(chips), Split(**{name: row[name] for name in Split._fields})
    batch = batch_for(slice_, evaluate(slice_, split, 1.0))
    return Generation(slice_, evaluate(slice_, split, batch))
