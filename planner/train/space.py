"""The layouts that a model and its trainer allow on some chips, as a grid, and the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from configs.architectures import RecurrentFacts

from .. import compiled
from ..estimate.layouts import experts_of, heads_of
from ..training.states import RESERVED_FRACTION
from .question import Question

MOST_CHIPS = 262144
_SERVER_CHIPS = 8  # chips are rented in servers of eight, or less than one
_LEAST_PIECE = 1024  # tokens of a sequence that context parallelism leaves to a chip, at least
_MOST_WAYS = {"tp": 64, "cp": 64, "ep": 512, "pp": 64}
_MICRO_BATCHES = (1, 2, 4, 8, 16)
_UNEVEN = 1.07  # the fullest stage over the mean of all
_BATCH_TOLERANCE = 0.05  # by which whole micro-batches may miss the global batch
_SIZES = tuple(2**k for k in range(4, 15))  # axes are padded to one of these, so that few programs are compiled
_MODULE = "planner.train.programs"
_SHAPE = ("tp", "cp", "ep", "micro_batch")
_SPREAD = ("pp", "vp", "sharded", "zero_bubble", "chips")


class Way(NamedTuple):
    """One whole layout; ``sharded`` and ``zero_bubble`` are 0 or 1."""

    tp: int
    pp: int
    vp: int
    cp: int
    ep: int
    dp: int
    micro_batch: int
    sharded: int
    zero_bubble: int

    @property
    def chips(self) -> int:
        """Chips of the run."""
        return self.tp * self.pp * self.cp * self.dp


@dataclass(frozen=True)
class Space:
    """Layouts found for a question, fastest first: those that fit, and the fullest memory of the emptiest that do not.

    ``rates`` are tokens per second and chip, ``days`` from start to end, ``used_bytes`` per chip. ``whole`` counts the
    layouts that divide model and batch, ``tried`` all of the grid.
    """

    ways: list[Way]
    rates: np.ndarray
    days: np.ndarray
    used_bytes: np.ndarray
    whole: int
    tried: int
    least_bytes: float


EMPTY = Space([], np.zeros(0), np.zeros(0), np.zeros(0), 0, 0, np.inf)


def search(question: Question, chips: Sequence[int]) -> Space:
    """Return the layouts of any of ``chips`` that fit, fastest first."""
    shapes, spreads = grid(question, chips)
    given = question.numbers()
    S, K = _columns(_SHAPE, shapes), _columns(_SPREAD, spreads)
    if not shapes or not spreads:
        return EMPTY
    padded = _padded(S), _padded(K)
    told = compiled.program(f"{_MODULE}:search", given, *padded)(given, *padded)
    told = {name: values[: len(shapes), : len(spreads)] for name, values in told.items()}
    whole = _whole(question, S, K, told["sequences"])
    room = question.chip.visible_bytes * (1.0 - RESERVED_FRACTION)
    # A share of what is computed again that was asked for stays, whether it fits or not.
    fits = whole & (told["used_bytes"] <= room)
    rows, columns = np.nonzero(fits)
    rates = told["tokens_per_s_per_chip"][rows, columns]
    order = np.lexsort((_simplicity(S, K)[rows, columns], -rates))
    rows, columns = rows[order], columns[order]
    return Space(
        ways=[_way(shapes[i], spreads[j]) for i, j in zip(rows, columns, strict=True)],
        rates=rates[order],
        days=told["days"][rows, columns],
        used_bytes=told["used_bytes"][rows, columns],
        whole=int(whole.sum()),
        tried=whole.size,
        least_bytes=float(told["used_bytes"][whole].min()) if whole.any() else np.inf,
    )


def tell(question: Question, ways: Sequence[Way]) -> dict[str, Any]:
    """Return `planner.train.programs.tell` of some layouts."""
    given, columns = question.numbers(), _padded(_columns(Way._fields, ways))
    told = compiled.program(f"{_MODULE}:tell", given, columns)(given, columns)
    return _rows(told, len(ways))


def differentiate(question: Question, way: Way) -> dict[str, Any]:
    """Return d ln(chip-seconds) / d(input) for every number of the question."""
    given, layout = question.numbers(), {name: float(value) for name, value in way._asdict().items()}
    return compiled.program(f"{_MODULE}:differentiate", given, layout)(given, layout)["given"]


def grid(question: Question, chips: Sequence[int]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the two axes of the grid, of `_SHAPE` and `_SPREAD`: what was given alone, and of the rest all that may
    be whole: tp divides the heads within a scale-up domain, ep the experts; stages are filled evenly enough."""
    model, ways = question.model, question.ways
    heads, experts, layers = heads_of(model), experts_of(model), int(sum(x.count for x in model.layers))
    most = max(chips, default=1)
    recurrent = any(isinstance(layer.mixer, RecurrentFacts) for layer in model.layers)
    pieces = 1 if recurrent else max(int(question.sequence_tokens // _LEAST_PIECE), 1)
    domain = int(max(question.chip.domain_chips, _SERVER_CHIPS))
    able = {
        "tp": [n for n in _divisors(heads) if n <= min(domain, _MOST_WAYS["tp"], most)],
        "cp": _powers(min(pieces, _MOST_WAYS["cp"], most)),
        "ep": [n for n in _divisors(experts) if n <= min(_MOST_WAYS["ep"], most)] if experts else [1],
        "pp": [n for n in range(1, min(layers, _MOST_WAYS["pp"], most) + 1) if _evenly(layers, n)],
        "micro_batch": [n for n in _MICRO_BATCHES if n <= question.sequences],
    }
    able |= {name: [value] for name, value in ways.items() if name != "vp"}
    shapes = [(t, c, e, m) for t in able["tp"] for c in able["cp"] for e in able["ep"] for m in able["micro_batch"]]
    spreads = []
    zero = int(question.schedule == "zero-bubble")
    for pp in able["pp"]:
        chunks = [n for n in _chunks(layers // pp) if pp > 1 and _evenly(layers, pp * n) and not zero] or [1]
        for vp in [ways["vp"]] if "vp" in ways else chunks:
            for sharded in _shardings(question, pp):
                spreads += [(pp, vp, sharded, zero, n) for n in chips if n % pp == 0]
    return shapes, spreads


def _shardings(question: Question, pp: int) -> list[int]:
    """Return which of states (0) and weights (1) may be cut over copies: in a pipeline states, unless asked."""
    if question.sharding is not None:
        return [int(question.sharding == "weights")]
    return [1] if question.trainer.sharded else [0, 1] if pp == 1 else [0]


def _whole(question: Question, shapes: Any, spreads: Any, sequences: np.ndarray) -> np.ndarray:
    """Say which layouts can be built: whole copies, experts spread over whole ones, whole micro-batches."""
    tp, cp, ep, micro = (shapes[name][:, None] for name in _SHAPE)
    pp, vp, chips = (spreads[name][None, :] for name in ("pp", "vp", "chips"))
    copies = chips / (tp * cp * pp)
    stage = tp * cp * copies
    many = sequences / (copies * micro)
    near = np.abs(sequences / question.sequences - 1.0) <= _BATCH_TOLERANCE
    # Interleaved stages take turns over groups of pp micro-batches (Narayanan et al. 2021, section 2.2).
    turns = (vp == 1) | (many % pp == 0)
    return (copies >= 1) & (copies % 1 == 0) & (stage % ep == 0) & near & turns


def _simplicity(shapes: Any, spreads: Any) -> np.ndarray:
    """Return a number that is smaller for layouts with fewer splits: of two as fast, the plainer is shown first."""
    split = np.log2(shapes["tp"] * shapes["cp"] * shapes["ep"])[:, None] + np.log2(spreads["pp"] * spreads["vp"])[None]
    return split + 0.01 * shapes["micro_batch"][:, None]


def _way(shape: tuple[int, ...], spread: tuple[int, ...]) -> Way:
    tp, cp, ep, micro = shape
    pp, vp, sharded, zero, chips = spread
    return Way(tp, pp, vp, cp, ep, chips // (tp * cp * pp), micro, sharded, zero)


def _columns(names: Sequence[str], rows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    table = np.array([list(row) for row in rows], dtype=float).reshape(len(rows), len(names))
    return {name: table[:, i] for i, name in enumerate(names)}


def _padded(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    count = len(next(iter(columns.values())))
    size = next((n for n in _SIZES if n >= count), -(-count // _SIZES[-1]) * _SIZES[-1])
    return {name: np.pad(values, (0, size - count), mode="edge") for name, values in columns.items()}


def _rows(tree: Any, count: int) -> Any:
    return {k: _rows(v, count) for k, v in tree.items()} if isinstance(tree, dict) else tree[:count]


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def _powers(most: int) -> list[int]:
    return [2**k for k in range(most.bit_length()) if 2**k <= most]


def _chunks(most: int) -> list[int]:
    """Return chunks of a stage of ``most`` layers: powers of two, and a layer each."""
    return sorted({*_powers(most), most})


def _evenly(layers: int, parts: int) -> bool:
    return parts <= layers and -(-layers // parts) * parts <= _UNEVEN * layers
