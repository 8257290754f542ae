"""Layers and order for a drawing from left to right: who stands in which column, and where in it.

The method is Sugiyama's: break circles, put nodes into layers, let long edges pass through the
layers between in slots of their own, order each layer so that few edges cross.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from t4_ops.errors import InvalidInputError

MAX_SLOTS: Final = 20_000
"""Most places where long edges pass a layer: what laying out takes time for, a few seconds here."""
MAX_PASSES: Final = 400_000
"""Most layers that all edges pass together: what a drawing takes room for, ten megabytes here."""
# Sweeps to the right and back; crossings hardly fall after these.
_SWEEPS: Final = 12
# Most nodes in a layer: at least these, or this many times the square root of all. What a revision
# was used for a hundred times is then drawn in several columns, in about the shape of a screen.
_MIN_ROWS: Final = 24
_ROWS_PER_ROOT: Final = 2.4


class Slot(NamedTuple):
    """The place of a long edge's bundle in a layer: all edges of one node share it.

    Attributes:
        source: The node they leave.
        layer: The layer.
    """

    source: str
    layer: int


Place = str | Slot


@dataclass(frozen=True)
class Layered:
    """Nodes and slots in layers.

    Attributes:
        layers: Places in each layer, in order from top to bottom.
        paths: For each edge, in the order given, the places it visits from the left to the right.
        reversed: Positions of edges that run against the layers, because they close a circle.
    """

    layers: tuple[tuple[Place, ...], ...]
    paths: tuple[tuple[Place, ...], ...]
    reversed: frozenset[int]


def layered(root: str, nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> Layered:
    """Return nodes in layers, with few crossings of edges.

    Args:
        root: The node that what comes before it is drawn close to.
        nodes: All nodes.
        edges: Pairs of nodes, without an edge from a node to itself.

    Raises:
        InvalidInputError: The edges pass more layers than `MAX_SLOTS` or `MAX_PASSES`.
    """
    backward = _circles(root, nodes, edges)
    forward = [
        (target, source) if number in backward else (source, target)
        for number, (source, target) in enumerate(edges)
    ]
    layer = _layers(root, nodes, forward)
    _check_size(forward, layer)
    paths = [_path(edge, layer) for edge in forward]
    rows: list[list[Place]] = [[] for _ in range(max(layer.values()) + 1)]
    for node in nodes:
        rows[layer[node]].append(node)
    middles = [len(row) // 2 for row in rows]
    for slot in dict.fromkeys(slot for path in paths for slot in path if isinstance(slot, Slot)):
        # In the middle, where it stays unless an order with fewer crossings is found.
        rows[slot.layer].insert(middles[slot.layer], slot)
    ordered = _ordered(rows, {pair for path in paths for pair in pairwise(path)})
    return Layered(tuple(tuple(row) for row in ordered), tuple(paths), frozenset(backward))


def _check_size(edges: Iterable[tuple[str, str]], layer: Mapping[str, int]) -> None:
    passes, ends = 0, dict[str, int]()
    for source, target in edges:
        passes += layer[target] - layer[source]
        ends[source] = max(ends.get(source, 0), layer[target])
    slots = sum(end - layer[source] - 1 for source, end in ends.items())
    if slots > MAX_SLOTS or passes > MAX_PASSES:
        raise InvalidInputError(
            f"the graph's edges pass {passes} layers in {slots} places, a drawing holds"
            f" {MAX_PASSES} in {MAX_SLOTS}: limit its depth, or write JSON"
        )


def _circles(root: str, nodes: Iterable[str], edges: Sequence[tuple[str, str]]) -> set[int]:
    """Return edges whose reversal leaves no circle: those that lead back on a depth-first walk."""
    onward: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for number, (source, target) in enumerate(edges):
        onward[source].append((number, target))
    found: set[int] = set()
    is_open: dict[str, bool] = {}
    for start in (root, *nodes):
        if start in is_open:
            continue
        is_open[start] = True
        stack = [(start, iter(onward[start]))]
        while stack:
            node, rest = stack[-1]
            for number, target in rest:
                if is_open.get(target):
                    found.add(number)
                elif target not in is_open:
                    is_open[target] = True
                    stack.append((target, iter(onward[target])))
                    break
            else:
                is_open[node] = False
                stack.pop()
    return found


def _layers(root: str, nodes: Sequence[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return each node's layer: what follows the root as early, the rest as late, as it can be."""
    after: dict[str, list[str]] = {node: [] for node in nodes}
    before: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        after[source].append(target)
        before[target].append(source)
    order = _topological(after, before)
    follows = {root}
    for node in order:
        if not follows.isdisjoint(before[node]):
            follows.add(node)
    rows = max(_MIN_ROWS, round(_ROWS_PER_ROOT * len(nodes) ** 0.5))
    used: Counter[int] = Counter()
    layer: dict[str, int] = {}
    for node in (node for node in order if node in follows):
        wish = max((layer[other] + 1 for other in before[node] if other in follows), default=0)
        layer[node] = _with_room(wish, 2, used, rows)
    for node in (node for node in reversed(order) if node not in follows):
        wish = min((layer[other] - 1 for other in after[node]), default=0)
        layer[node] = _with_room(wish, -2, used, rows)
    first = min(layer.values())
    return {node: number - first for node, number in layer.items()}


def _with_room(layer: int, step: int, used: Counter[int], rows: int) -> int:
    """Return the next layer that is not full; every second one, as datasets and runs alternate."""
    while used[layer] >= rows:
        layer += step
    used[layer] += 1
    return layer


def _topological(
    after: Mapping[str, Sequence[str]], before: Mapping[str, Sequence[str]]
) -> list[str]:
    waiting = {node: len(others) for node, others in before.items()}
    ready = deque(node for node, count in waiting.items() if not count)
    order = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for other in after[node]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return order


def _path(edge: tuple[str, str], layer: Mapping[str, int]) -> tuple[Place, ...]:
    source, target = edge
    between = range(layer[source] + 1, layer[target])
    return (source, *(Slot(source, number) for number in between), target)


def _ordered(rows: list[list[Place]], pairs: Iterable[tuple[Place, Place]]) -> list[list[Place]]:
    """Return the layers in an order with few crossings: medians, to the right and back."""
    after: dict[Place, list[Place]] = defaultdict(list)
    before: dict[Place, list[Place]] = defaultdict(list)
    for left, right in sorted(pairs, key=str):
        after[left].append(right)
        before[right].append(left)
    rows = _first_order(rows, before)
    best, fewest = [row[:] for row in rows], _crossings(rows, after)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        to_right = sweep % 2 == 0
        sequence = range(1, len(rows)) if to_right else range(len(rows) - 2, -1, -1)
        for number in sequence:
            fixed = rows[number - 1 if to_right else number + 1]
            _sort_row(rows[number], fixed, before if to_right else after)
        crossings = _crossings(rows, after)
        if crossings < fewest:
            best, fewest = [row[:] for row in rows], crossings
    return best


def _first_order(
    rows: list[list[Place]], before: Mapping[Place, Sequence[Place]]
) -> list[list[Place]]:
    """Return an order to begin with: each place near the mean of those before it."""
    for left, right in pairwise(rows):
        _sort_row(right, left, before)
    return rows


def _sort_row(
    row: list[Place], fixed: Sequence[Place], neighbours: Mapping[Place, Sequence[Place]]
) -> None:
    """Sort a layer by the mean position of its neighbours; who has none keeps its position."""
    position = {place: number for number, place in enumerate(fixed)}
    wish: dict[Place, float] = {}
    for number, place in enumerate(row):
        known = [position[other] for other in neighbours.get(place, ()) if other in position]
        wish[place] = sum(known) / len(known) if known else number * len(fixed) / len(row)
    row.sort(key=wish.__getitem__)


def _crossings(rows: Sequence[Sequence[Place]], after: Mapping[Place, Sequence[Place]]) -> int:
    """Return how many pairs of edges cross."""
    count = 0
    for left, right in pairwise(rows):
        position = {place: number for number, place in enumerate(right)}
        ends: list[int] = []
        for place in left:
            targets = sorted(position[other] for other in after.get(place, ()))
            count += sum(len(ends) - bisect_right(ends, target) for target in targets)
            for target in targets:
                insort(ends, target)
    return count
