"""Names beside the points of a picture, where they hide the least."""

from typing import Any

import numpy as np

_GAPS = (4.0, 14.0, 26.0, 40.0, 58.0, 80.0, 105.0, 135.0)  # pixels between a point and its name
_ANGLES = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
_DOT = 6.0  # pixels between, and across, the boxes that stand for a line
_AWAY = 0.3  # square pixels covered that one pixel of distance is worth
_CROSSED = 2.0  # a line through a name is worse than a name over a line
_CANDIDATES = 24  # places whose lines are looked at as well
_OUTSIDE = 1e6


def label(figure: Any, axes: Any, points: list[dict[str, Any]], font_size: float) -> None:
    """Name each point, the largest first, where the fewest names, points and lines are; a line leads back to it.

    ``points`` have x and y in the units of the axes, ``area`` in points squared, and a ``name``. The figure must have
    been laid out before: names are placed in pixels, and kept at that distance whatever is drawn later.
    """
    if not points:
        return
    renderer, pixel = figure.canvas.get_renderer(), figure.dpi / 72.0
    inside = np.array(axes.get_window_extent(renderer).extents)
    centres = axes.transData.transform([(p["x"], p["y"]) for p in points])
    radii = 0.5 * pixel * np.sqrt([p["area"] for p in points])
    busy = np.concatenate([
        _extents(axes, renderer),
        *[dots(ends[0], ends[-1], 0.0) for ends in map(axes.transData.transform, _lines(axes))],
        np.column_stack([centres - radii[:, None], centres + radii[:, None]]),
    ])  # fmt: skip
    for i in sorted(range(len(points)), key=lambda i: -points[i]["area"]):
        at, centre, radius = (points[i]["x"], points[i]["y"]), centres[i], float(radii[i])
        words = axes.annotate(points[i]["name"], at, fontsize=font_size)
        size = words.get_window_extent(renderer)
        words.remove()
        box = place(centre, radius, (size.width, size.height), busy, inside)
        end = np.clip(centre, box[:2], box[2:])
        far = float(np.hypot(*(end - centre))) > radius + 7.0 * pixel
        busy = np.concatenate([busy, box[None], *([dots(centre, end, radius)] if far else [])])
        line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0}
        away = ((box[:2] + box[2:]) / 2.0 - centre) / pixel
        axes.annotate(
            points[i]["name"], at, tuple(away), textcoords="offset points", ha="center", va="center",
            fontsize=font_size, zorder=5, arrowprops=line if far else None,
        )  # fmt: skip


def _extents(axes: Any, renderer: Any) -> np.ndarray:
    """Return the boxes (x0, y0, x1, y1) of the axes' texts and legend."""
    some = [*axes.texts, *([axes.get_legend()] if axes.get_legend() else [])]
    return np.array([one.get_window_extent(renderer).extents for one in some]).reshape(-1, 4)


def _lines(axes: Any) -> list[np.ndarray]:
    return [line.get_xydata() for line in axes.get_lines()]


def dots(start: np.ndarray, end: np.ndarray, skipped: float) -> np.ndarray:
    """Return boxes (x0, y0, x1, y1) along a line, its first ``skipped`` pixels left out."""
    length = float(np.hypot(*(end - start)))
    along = np.arange(skipped, length, _DOT)[:, None] / max(length, 1.0)
    centres = start + along * (end - start)
    return np.column_stack([centres - _DOT / 2.0, centres + _DOT / 2.0])


def place(
    centre: np.ndarray, radius: float, size: tuple[float, float], busy: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Return the box for a name of ``size`` round a point that covers least, its line included, and lies nearest.

    ``busy`` are the boxes (x0, y0, x1, y1) of what is drawn, ``inside`` the one to stay within, all in pixels.
    """
    half = np.array(size) / 2.0
    turns = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
    middles = np.concatenate([centre + turns * (radius + gap + half) for gap in _GAPS])
    boxes = np.column_stack([middles - half - [2.0, 1.0], middles + half + [2.0, 1.0]])
    ends = np.clip(centre, boxes[:, :2], boxes[:, 2:])
    outside = (boxes[:, :2] < inside[:2]).any(axis=1) | (boxes[:, 2:] > inside[2:]).any(axis=1)
    cost = _covered(boxes, busy) + _OUTSIDE * outside + _AWAY * np.hypot(*(ends - centre).T)
    best = np.argsort(cost, kind="stable")[:_CANDIDATES]
    crossed = [_covered(dots(centre, ends[i], radius + _DOT), busy).sum() for i in best]
    return boxes[best[int(np.argmin(cost[best] + _CROSSED * np.array(crossed)))]]


def _covered(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the square pixels that each of ``boxes`` shares with ``others``, all told."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.prod(np.maximum(high - low, 0.0), axis=2).sum(axis=1)
