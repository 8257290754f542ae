"""Coordinates for a drawing from left to right: boxes do not overlap, edges run straight."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from t4_ops.lineage.layering import Layered, Place, Slot

# Pixels at scale 1.
_GAP_Y: Final = 16.0
_SLOT_HEIGHT: Final = 6.0
_MIN_GAP_X: Final = 46.0
_MAX_GAP_X: Final = 160.0
_GAP_X_PER_EDGE: Final = 1.4
# How strongly an edge pulls its ends to one height, by how many of them are slots: long edges must
# be straight, so what stands in their way is moved, not they.
_PULL: Final = (1.0, 2.0, 500.0)
_SWEEPS: Final = 8

Point = tuple[float, float]


@dataclass(frozen=True)
class Drawing:
    """Where everything is, in pixels at scale 1, y growing downwards.

    Attributes:
        centres: The middle of each node's box.
        routes: For each edge, in the order given, the points it passes, from its source's side to
            its target's; between the first two, the next two, and so on, it changes its height.
        width: Of the whole.
        height: Of the whole.
    """

    centres: Mapping[str, Point]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def placed(layers: Layered, sizes: Mapping[str, tuple[float, float]]) -> Drawing:
    """Return the coordinates of nodes and edges.

    Args:
        layers: Who stands where.
        sizes: Width and height of each node, in pixels.
    """
    heights = _heights(layers, sizes)
    columns = _columns(layers, sizes)
    centres = {
        place: ((left + right) / 2, heights[place])
        for row, (left, right) in zip(layers.layers, columns, strict=True)
        for place in row
        if isinstance(place, str)
    }
    layer = {place: number for number, row in enumerate(layers.layers) for place in row}
    routes = []
    for number, path in enumerate(layers.paths):
        points = _route(path, centres, heights, sizes, [columns[layer[place]] for place in path])
        routes.append(tuple(points[::-1] if number in layers.reversed else points))
    bottom = max(centres[node][1] + sizes[node][1] / 2 for node in centres)
    slots = [heights[place] for place in heights if isinstance(place, Slot)]
    return Drawing(centres, tuple(routes), columns[-1][1], max([bottom, *slots]))


def _columns(layers: Layered, sizes: Mapping[str, tuple[float, float]]) -> list[Point]:
    """Return left and right of each column; where many edges pass, the space between is wider."""
    counts: dict[int, int] = defaultdict(int)
    layer = {place: number for number, row in enumerate(layers.layers) for place in row}
    for left, _ in {pair for path in layers.paths for pair in pairwise(path)}:
        counts[layer[left]] += 1
    columns, x = [], 0.0
    for number, row in enumerate(layers.layers):
        width = max((sizes[place][0] for place in row if isinstance(place, str)), default=0.0)
        columns.append((x, x + width))
        x += width + min(_MAX_GAP_X, _MIN_GAP_X + _GAP_X_PER_EDGE * counts[number])
    return columns


def _route(
    path: Sequence[Place],
    centres: Mapping[str, Point],
    heights: Mapping[Place, float],
    sizes: Mapping[str, tuple[float, float]],
    columns: Sequence[Point],
) -> list[Point]:
    points: list[Point] = []
    for place, (left, right) in zip(path, columns, strict=True):
        if isinstance(place, str):
            x, half = centres[place][0], sizes[place][0] / 2
            left, right = x - half, x + half  # noqa: PLW2901 - a box may be narrower than its column
        y = heights[place]
        points += [(left, y), (right, y)]
    return _straightened(points[1:-1])


def _straightened(points: list[Point]) -> list[Point]:
    """Leave out the sides of columns that an edge passes without a change of height around them."""
    kept = points[:1]
    for number in range(1, len(points) - 1, 2):
        enters, leaves = points[number], points[number + 1]
        around = {round(point[1]) for point in (kept[-1], enters, points[number + 2])}
        if len(around) > 1:
            kept += [enters, leaves]
    return [*kept, points[-1]]


def _heights(layers: Layered, sizes: Mapping[str, tuple[float, float]]) -> dict[Place, float]:
    """Return the middle of each place, counted from the top of the highest."""
    tall = {
        place: sizes[place][1] if isinstance(place, str) else _SLOT_HEIGHT
        for row in layers.layers
        for place in row
    }
    pulls = _pulls(layers)
    heights: dict[Place, float] = {}
    for row in layers.layers:
        heights.update(_stacked(row, tall, dict.fromkeys(row, 0.0), dict.fromkeys(row, 1.0)))
    last = len(layers.layers) - 1
    for sweep in range(_SWEEPS):
        order = range(last + 1) if sweep % 2 == 0 else range(last, -1, -1)
        for number in order:
            row = layers.layers[number]
            wishes, weights = {}, {}
            for place in row:
                # To begin with, each sweep follows the layer it comes from; at the end, both.
                sides = pulls[place] if sweep >= _SWEEPS - 2 else pulls[place][sweep % 2 :][:1]
                near = [pull for side in sides for pull in side]
                weight = sum(pull for _, pull in near)
                weights[place] = weight or 0.1
                total = sum(heights[other] * pull for other, pull in near)
                wishes[place] = total / weight if weight else heights[place]
            heights.update(_stacked(row, tall, wishes, weights))
    top = min(heights[place] - tall[place] / 2 for place in heights)
    return {place: height - top for place, height in heights.items()}


_Pull = list[tuple[Place, float]]


def _pulls(layers: Layered) -> Mapping[Place, tuple[_Pull, _Pull]]:
    """Return the neighbours of each place to the left and to the right, and how strong they are."""
    pulls: dict[Place, tuple[_Pull, _Pull]] = {
        place: ([], []) for row in layers.layers for place in row
    }
    for left, right in dict.fromkeys(pair for path in layers.paths for pair in pairwise(path)):
        pull = _PULL[isinstance(left, Slot) + isinstance(right, Slot)]
        pulls[left][1].append((right, pull))
        pulls[right][0].append((left, pull))
    return pulls


def _stacked(
    row: Iterable[Place],
    tall: Mapping[Place, float],
    wishes: Mapping[Place, float],
    weights: Mapping[Place, float],
) -> dict[Place, float]:
    """Return heights near the wishes, in the order of the row and without overlaps.

    They have the least sum of weighted squares of distances: with the room each place needs taken
    off, that is an isotonic regression, and pooling neighbours that stand in each other's way
    solves it.
    """
    places = list(row)
    offsets, offset = [], 0.0
    for before, place in zip([None, *places], places, strict=False):
        if before is not None:
            offset += (tall[before] + tall[place]) / 2 + _gap(before, place)
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []
    for place, room in zip(places, offsets, strict=True):
        total, weight, size = weights[place] * (wishes[place] - room), weights[place], 1
        while pools and pools[-1][0] / pools[-1][1] > total / weight:
            more, heavier, others = pools.pop()
            total, weight, size = total + more, weight + heavier, size + others
        pools.append((total, weight, size))
    levels = [total / weight for total, weight, size in pools for _ in range(size)]
    return {place: level + room for place, level, room in zip(places, levels, offsets, strict=True)}


def _gap(one: Place, other: Place) -> float:
    return _GAP_Y / 2 if isinstance(one, Slot) and isinstance(other, Slot) else _GAP_Y
