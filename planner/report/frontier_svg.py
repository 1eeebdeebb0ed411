"""The latency-cost curve as a drawing within a page; its colours and fonts are in page.css."""

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from .axes import LogAxis, plain
from .frontier_chart import Cost
from .labels import dots, place
from .units import seconds
from .verdict import count, figure, ways

_FONT = 13.0  # pixels, as in page.css
_LETTER = 0.56 * _FONT  # of a letter's width on average, bold ones included
_LINE = 1.25 * _FONT
_MARK, _RING = 4.0, 8.0  # pixels from the centre to the edge
_ROOM = 0.05  # of an axis left free at either end
# Round, square, triangle, diamond: the shape says the same as the colour, as far as it goes.
_SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "M-3.6,-3.6h7.2v7.2h-7.2z",
    "M0,-4.8L4.6,3.4h-9.2z",
    "M0,-5.2L5.2,0L0,5.2L-5.2,0z",
)
_COLOURS = 7


@dataclass(frozen=True)
class _Frame:
    """A drawing's size and the margins round its plot, in pixels; how many values an axis names at most; how far
    beyond the fastest point the axis of speed goes for the floor of latency, a ratio."""

    name: str
    width: float
    height: float
    ticks: tuple[int, int]
    reach: float
    left: float = 58.0
    right: float = 26.0
    top: float = 30.0
    bottom: float = 46.0


_FRAMES = (_Frame("wide", 880.0, 500.0, (10, 7), 30.0), _Frame("narrow", 358.0, 400.0, (5, 7), 2.0))


def drawings(answer: dict[str, Any]) -> str:
    """Return the curve of a `frontier` document twice, for a wide page and for a phone, and a legend of the chips."""
    return "\n".join([*(_Drawing(answer, frame).svg() for frame in _FRAMES), legend(answer)])


def legend(answer: dict[str, Any]) -> str:
    """Return which mark stands for replicas of how many chips."""
    items = []
    for chips, (shape, colour) in _marks(answer).items():
        mark = f'<svg viewBox="-8 -8 16 16" aria-hidden="true"><path class="{colour}" d="{shape}"/></svg>'
        items.append(f"<span>{mark}{chips:,} {'chip' if chips == 1 else 'chips'}</span>")
    return f'<div class="legend">{"".join(items)}</div>'


def _marks(answer: dict[str, Any]) -> dict[int, tuple[str, str]]:
    """Return the shape and the class of colour of every replica size, smallest first."""
    sizes = sorted({row["chips"] for row in (*answer["points"], *answer["tiers"])})
    return {chips: (_SHAPES[i % len(_SHAPES)], f"s{i % _COLOURS}") for i, chips in enumerate(sizes)}


class _Drawing:
    """One drawing: a frame, its axes, and what is drawn so far."""

    def __init__(self, answer: dict[str, Any], frame: _Frame) -> None:
        self.answer, self.frame, self.cost = answer, frame, Cost.of(answer)
        self.floor = answer["limits"]["latency_floor_s"]
        points = answer["points"]
        speeds = [row["tokens_per_s_per_user"] for row in points]
        self.edge = min(1.0 / self.floor, frame.reach * max(speeds))
        self.across = LogAxis.over([*speeds, self.edge], _ROOM)
        self.upward = LogAxis.over([*(row[self.cost.key] for row in points), self.cost.slow], _ROOM)
        self.marks = _marks(answer)
        self.out: list[str] = []

    def svg(self) -> str:
        """Return the whole drawing."""
        f = self.frame
        self._axes()
        busy = [self._limits()]
        centres = np.array([self._centre(row) for row in self.answer["points"]])
        self.out.append(f'<path class="curve" d="M{"L".join(f"{x:.1f},{y:.1f}" for x, y in centres)}"/>')
        for row in self.answer["points"]:
            self.out.append(self._mark(row))
        busy.append(np.column_stack([centres - _MARK, centres + _MARK]))
        busy += [dots(a, b, 0.0) for a, b in pairwise(centres)]
        self._tiers(np.concatenate(busy))
        text = (
            f"The price of an output token by speed, of {self.answer['model']['name']} on {self.answer['chip']['id']}"
        )
        head = f'<svg class="plot {f.name}" viewBox="0 0 {f.width:g} {f.height:g}" role="img"'
        return "\n".join([f'{head} aria-label="{escape(text)}">', *self.out, "</svg>"])

    def _centre(self, row: dict[str, Any]) -> tuple[float, float]:
        return self._x(row["tokens_per_s_per_user"]), self._y(row[self.cost.key])

    def _x(self, value: float) -> float:
        return self.frame.left + self.across.share(value) * (self.frame.width - self.frame.left - self.frame.right)

    def _y(self, value: float) -> float:
        f = self.frame
        return f.height - f.bottom - self.upward.share(value) * (f.height - f.top - f.bottom)

    def _text(self, x: float, y: float, text: str, kind: str, anchor: str = "start", turned: bool = False) -> None:
        turn = f' transform="rotate(90 {x:.1f} {y:.1f})"' if turned else ""
        self.out.append(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>{escape(text)}</text>'
        )

    def _line(self, kind: str, x0: float, y0: float, x1: float, y1: float) -> None:
        self.out.append(f'<line class="{kind}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>')

    def _axes(self) -> None:
        """Draw grid, values and what they are."""
        f = self.frame
        foot, right = f.height - f.bottom, f.width - f.right
        for value in self.across.ticks(f.ticks[0]):
            x = self._x(value)
            self._line("grid", x, f.top, x, foot)
            self._text(x, foot + 18.0, plain(value), "tick", "middle")
        for value in self.upward.ticks(f.ticks[1]):
            y = self._y(value)
            self._line("grid", f.left, y, right, y)
            self._text(f.left - 8.0, y + 0.35 * _FONT, self.cost.tick(value), "tick", "end")
        self.out.append(f'<path class="frame" d="M{f.left},{f.top}V{foot}H{right}"/>')
        self._text(4.0, 16.0, self.cost.title, "title")
        self._text(right, f.height - 6.0, "tokens per second for each user", "title", "end")

    def _limits(self) -> np.ndarray:
        """Draw the floor of latency and the limit of cost; return the boxes they take."""
        f = self.frame
        foot, right = f.height - f.bottom, f.width - f.right
        x, y = self._x(self.edge), self._y(self.cost.slow)
        self._line("limit", x, f.top, x, foot)
        beyond = "further right: " if self.edge < 0.999 / self.floor else ""
        told = f"{beyond}reading the weights, {seconds(self.floor)}"
        self._text(x + 6.0, f.top, told, "limit-name", "start", True)
        self._line("limit", f.left, y, right, y)
        told = f"slow mode: {self.cost.tell(self.cost.slow)}"
        self._text(x - 8.0, y + _FONT, told, "limit-name", "end")
        wide = _LETTER * len(told)
        lines = [dots(np.array(a), np.array(b), 0.0) for a, b in (((x, f.top), (x, foot)), ((f.left, y), (right, y)))]
        return np.concatenate([*lines, [[x - 8.0 - wide, y, x - 8.0, y + _LINE]]])

    def _mark(self, row: dict[str, Any]) -> str:
        (x, y), (shape, colour) = self._centre(row), self.marks[row["chips"]]
        path = f'<path class="mark {colour}" transform="translate({x:.1f} {y:.1f})" d="{shape}">'
        return f"{path}<title>{escape(self._told(row))}</title></path>"

    def _told(self, row: dict[str, Any]) -> str:
        """Return what a point says when pointed at."""
        split = f" ({ways(row)})" if ways(row) else ""
        many = "chip" if row["chips"] == 1 else "chips"
        lines = [row["name"]] if "name" in row else []
        lines.append(f"{count(row['batch'])} at once on {row['chips']:,} {many}{split}")
        lines.append(f"{figure(row['tokens_per_s_per_user'])} tokens/s each, {seconds(row['tpot_s'])} per token")
        return "\n".join([*lines, f"{self.cost.tell(row[self.cost.key])} {self.cost.unit}"])

    def _tiers(self, busy: np.ndarray) -> None:
        """Draw a ring round every tier and its name where it hides least, the slowest first: it has the least room."""
        f = self.frame
        inside = np.array([f.left, f.top, f.width - f.right, f.height - f.bottom])
        rows = sorted(self.answer["tiers"], key=lambda tier: tier["tokens_per_s_per_user"])
        centres = [np.array(self._centre(tier)) for tier in rows]
        busy = np.concatenate([busy, [[*(c - _RING), *(c + _RING)] for c in centres]])
        for tier, centre in zip(rows, centres, strict=True):
            told = (tier["name"], f"{figure(tier['tokens_per_s_per_user'])} tokens/s")
            size = _LETTER * max(map(len, told)), len(told) * _LINE
            box = place(centre, _RING, size, busy, inside)
            end = np.clip(centre, box[:2], box[2:])
            gap = float(np.hypot(*(end - centre)))
            if gap > 2.0 * _RING:
                start = centre + (end - centre) * _RING / gap
                self._line("leader", *start, *end)
                busy = np.concatenate([busy, dots(centre, end, _RING)])
            busy = np.concatenate([busy, box[None]])
            self.out.append(self._mark(tier))
            self.out.append(f'<circle class="ring" cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{_RING:g}"/>')
            middle = 0.5 * (box[0] + box[2])
            for i, text in enumerate(told):
                self._text(middle, box[1] + (i + 0.85) * _LINE, text, "name" if i == 0 else "detail", "middle")
