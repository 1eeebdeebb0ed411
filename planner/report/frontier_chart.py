"""The latency-cost curve in plain characters, for a terminal."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from .axes import LogAxis, plain
from .units import price, seconds

_WIDTH, _ROWS = 80, 12
_LEAST_COLUMNS = 24
_NAMES_Y, _NAMES_X = 6, 8  # values named along an axis, at most
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille cell, by row and column
_BRAILLE = 0x2800


@dataclass(frozen=True)
class Cost:
    """How the cost of an output token is told, by points that have it under ``key``, up to the limit ``slow``."""

    key: str
    slow: float
    title: str
    unit: str
    tell: Callable[[float], str]
    tick: Callable[[float], str]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "Cost":
        """Return dollars per million output tokens; chip time per token where the chip has no price."""
        limits = answer["limits"]
        slow, key = limits["slow_usd_per_mtok_output"], "usd_per_mtok_output"
        if slow is not None:
            unit = "per million output tokens"
            return cls(key, slow, f"US dollars {unit}", unit, price, lambda usd: f"${plain(usd)}")
        slow, key = limits["slow_chip_s_per_output_token"], "chip_s_per_output_token"
        return cls(key, slow, "Chip time per output token", "of a chip per output token", seconds, seconds)


@dataclass(frozen=True)
class _Pen:
    """What a terminal can show: the dots of a cell across and down, and the characters of limit and frame."""

    fine: tuple[int, int]
    limit: str
    side: str
    named_side: str
    corner: str
    foot: str
    named_foot: str


_UNICODE = _Pen((2, 4), "⡀ ⡀", "│", "┤", "└", "─", "┬")
_ASCII = _Pen((1, 1), "...", "|", "+", "+", "-", "+")
_Place = tuple[int, int]  # column and row, from the lower left corner


def chart(answer: dict[str, Any], console: Console) -> Group:
    """Return the curve of a `frontier` document, at most 80 columns wide: both axes are logarithmic."""
    cost, points = Cost.of(answer), answer["points"]
    pen = _UNICODE if console.encoding.lower().startswith("utf") else _ASCII
    upward = LogAxis.over([*(row[cost.key] for row in points), cost.slow])
    across = LogAxis.over(row["tokens_per_s_per_user"] for row in points)
    wide, high = pen.fine
    names = {_at(upward, value, high * _ROWS) // high: cost.tick(value) for value in upward.ticks(_NAMES_Y)}
    gutter = max(map(len, names.values())) + 2
    columns = max(min(console.width, _WIDTH) - gutter - 1, _LEAST_COLUMNS)

    def dot(row: dict[str, Any]) -> _Place:
        speed = _at(across, row["tokens_per_s_per_user"], wide * columns)
        return speed, _at(upward, row[cost.key], high * _ROWS)

    limit = {(x, _at(upward, cost.slow, high * _ROWS)) for x in range(0, wide * columns, 2 * wide)}
    cells = _cells(_line([dot(row) for row in points]), limit, pen)
    letters: dict[_Place, str] = {}
    for tier in answer["tiers"]:
        x, y = dot(tier)
        letters[_free((x // wide, y // high), letters, columns)] = tier["name"][0].upper()

    out = Text(no_wrap=True, overflow="crop")
    out.append(f"{cost.title}, by tokens/s each\n", "bold")
    for row in reversed(range(_ROWS)):
        out.append(f"{names.get(row, ''):>{gutter - 1}} {pen.named_side if row in names else pen.side}")
        for column in range(columns):
            letter = letters.get((column, row))
            out.append(letter or cells.get((column, row), " "), "bold" if letter else "")
        out.append("\n")
    _foot(out, across, gutter, columns, pen)
    tiers = "  ".join(f"{tier['name'][0].upper()} {tier['name']}" for tier in answer["tiers"])
    out.append(f"{' ' * (gutter + 1)}{tiers}  {pen.limit} slow mode, {cost.tell(cost.slow)}")
    return Group(out)  # printed by itself, a text would wrap


def _at(axis: LogAxis, value: float, count: int) -> int:
    """Return which of ``count`` dots along an axis is at ``value``."""
    return round(axis.share(value) * (count - 1))


def _line(corners: list[_Place]) -> set[_Place]:
    """Return the dots of the line through ``corners``."""
    dots = set(corners)
    for (x0, y0), (x1, y1) in pairwise(corners):
        steps = max(abs(x1 - x0), abs(y1 - y0))
        dots |= {(round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps)) for i in range(1, steps)}
    return dots


def _cells(line: set[_Place], limit: set[_Place], pen: _Pen) -> dict[_Place, str]:
    """Return the character of every cell that holds dots."""
    if pen is _ASCII:
        return dict.fromkeys(limit, ".") | dict.fromkeys(line, "*")
    wide, high = pen.fine
    bits: dict[_Place, int] = {}
    for x, y in line | limit:
        place = x // wide, y // high
        bits[place] = bits.get(place, 0) | _DOTS[high - 1 - y % high][x % wide]
    return {place: chr(_BRAILLE + some) for place, some in bits.items()}


def _free(place: _Place, taken: dict[_Place, str], columns: int) -> _Place:
    """Return the cell nearest to ``place`` in its row that no letter has."""
    column, row = place
    return min(((x, row) for x in range(columns) if (x, row) not in taken), key=lambda cell: abs(cell[0] - column))


def _foot(out: Text, across: LogAxis, gutter: int, columns: int, pen: _Pen) -> None:
    """Append the axis of speed and its values, each below its mark."""
    line, names = [pen.foot] * columns, [" "] * columns
    end = -1
    for value in across.ticks(_NAMES_X):
        name, column = plain(value), _at(across, value, columns)
        start = min(max(column - len(name) // 2, 0), columns - len(name))
        if start > end:
            line[column] = pen.named_foot
            names[start : start + len(name)] = name
            end = start + len(name)
    out.append(f"{' ' * gutter}{pen.corner}{''.join(line)}\n{' ' * (gutter + 1)}{''.join(names).rstrip()}\n")
