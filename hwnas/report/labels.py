"""Sides of points that their names are written on, so that the names neither cross each other nor other points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH_PX, HEIGHT_PX = 270.0, 280.0
"""Of a plot on a phone; where there is room there, there is room everywhere."""

LETTER_PX, LINE_PX, GAP_PX, MARK_PX = 6.6, 15.0, 8.0, 7.0

_SIDES = {
    "middle right": (1, 0),
    "middle left": (-1, 0),
    "top center": (0, 1),
    "bottom center": (0, -1),
    "top right": (1, 1),
    "bottom right": (1, -1),
    "top left": (-1, 1),
    "bottom left": (-1, -1),
}
"""Where a name stands by plotly's word for it: to the right and up, in halves of its size."""

_Box = tuple[float, float, float, float]


def sides(
    places: Mapping[str, tuple[float, float]], ranges: tuple[Sequence[float], Sequence[float]], lines: Sequence[float]
) -> dict[str, str]:
    """Return the side of each point that covers least of what is there already, in plotly's words.

    Args:
        places: of the points, by their names.
        ranges: of the axes.
        lines: where upright ones are, which names are not to cross, nor what is written at their right.
    """
    (x0, x1), (y0, y1) = ranges
    points = {
        name: ((x - x0) / (x1 - x0) * WIDTH_PX, (y - y0) / (y1 - y0) * HEIGHT_PX) for name, (x, y) in places.items()
    }
    taken: list[_Box] = [(x - MARK_PX, y - MARK_PX, x + MARK_PX, y + MARK_PX) for x, y in points.values()]
    upright = [(x - x0) / (x1 - x0) * WIDTH_PX for x in lines]
    taken += [(x - 1, 0.0, x + 1, HEIGHT_PX) for x in upright] + [(x, 0.0, x + LINE_PX, HEIGHT_PX / 2) for x in upright]
    found = {}
    for name, point in points.items():
        boxes = {side: _box(name, point, *towards) for side, towards in _SIDES.items()}
        found[name] = min(boxes, key=lambda side: _covered(boxes[side], taken))
        taken.append(boxes[found[name]])
    return found


def _box(name: str, point: tuple[float, float], right: int, up: int) -> _Box:
    width, height = LETTER_PX * len(name), LINE_PX
    x = point[0] + right * (GAP_PX + width / 2) - width / 2
    y = point[1] + up * (GAP_PX + height / 2) - height / 2
    return x, y, x + width, y + height


def _covered(box: _Box, taken: Sequence[_Box]) -> float:
    """Return the area that a box shares with others, and that is out of the plot."""
    x0, y0, x1, y1 = box
    inside = _shared(box, (0.0, 0.0, WIDTH_PX, HEIGHT_PX))
    return sum(_shared(box, other) for other in taken) + 2 * ((x1 - x0) * (y1 - y0) - inside)


def _shared(one: _Box, other: _Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)
