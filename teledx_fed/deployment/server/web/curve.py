"""Coordinates of a learning curve for the page's SVG."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor

from teledx_fed.core.formatting import number

LEFT, RIGHT, TOP, BOTTOM = 36, 364, 12, 172
MOST_DOTS = 40
STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)

Place = tuple[float, float]
Scored = tuple[int, float | None]
"""A round, and the score of its model if it has one."""


@dataclass(frozen=True)
class Curve:
    """A curve in SVG pixels: `line` is a path with gaps where there is no score; a mark is a position and its text."""

    line: str
    dots: tuple[tuple[Place, str], ...]
    heights: tuple[tuple[float, str], ...]
    rounds: tuple[tuple[float, str], ...]
    last: tuple[Place, str]
    summary: str


def curve(points: Sequence[Scored]) -> Curve | None:
    """Return the curve of the scores; None if no round was scored."""
    scored = [(round, value) for round, value in points if value is not None]
    if not scored:
        return None
    heights, until = _heights([value for _, value in scored]), points[-1][0]

    def place(round: float, value: float) -> Place:
        across = (RIGHT - LEFT) * round / max(until, 1)
        up = (BOTTOM - TOP) * (value - heights[0]) / (heights[-1] - heights[0])
        return _px(LEFT + across), _px(BOTTOM - up)

    (first, start), (last, end) = scored[0], scored[-1]
    decimals = ".3f" if heights[1] - heights[0] < 0.01 else ".2f"
    dots = tuple((place(*point), f"round {point[0]}: {number(point[1], '.3f')}") for point in scored)
    return Curve(
        line=_path([None if value is None else place(round, value) for round, value in points]),
        dots=dots if len(dots) <= MOST_DOTS else (),
        heights=tuple((place(0, height)[1], number(height, decimals)) for height in heights),
        rounds=tuple((place(round, 0)[0], str(round)) for round in _rounds(until)),
        last=(place(last, end), number(end, ".3f")),
        summary=f"from {number(start, '.3f')} after round {first} to {number(end, '.3f')} after round {last}",
    )


def _heights(values: Sequence[float]) -> list[float]:
    """Return at most six round numbers that enclose all values."""
    low, high = min(values), max(values)
    for step in STEPS:
        first, last = floor(low / step), max(ceil(high / step), floor(low / step) + 1)
        if last - first <= 5:
            break
    return [step * i for i in range(first, last + 1)]


def _rounds(last: int) -> list[int]:
    """Return at most seven rounds to label, from 0 to `last`, and none close to `last`."""
    step = next(size * 10**power for power in range(9) for size in (1, 2, 5) if last <= 6 * size * 10**power)
    return [*(round for round in range(0, last, step) if last - round > step / 2), last]


def _path(places: Iterable[Place | None]) -> str:
    parts, pen = [], "M"
    for place in places:
        if place is not None:
            parts.append(f"{pen}{place[0]:g} {place[1]:g}")
        pen = "M" if place is None else "L"
    return "".join(parts)


def _px(value: float) -> float:
    return round(value, 1)
