"""The layout of a drawing: nothing overlaps, edges run to the right, in circles and crowds too."""

from __future__ import annotations

import time
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t4_ops.errors import InvalidInputError
from t4_ops.lineage.layering import Layered, Slot, layered
from t4_ops.lineage.placing import Drawing, placed

Edges = list[tuple[str, str]]
SIZE = (200.0, 46.0)


def drawn(edges: Edges, root: str = "d0") -> tuple[Layered, Drawing]:
    nodes = list(dict.fromkeys([root, *(end for edge in edges for end in edge)]))
    layers = layered(root, nodes, edges)
    return layers, placed(layers, dict.fromkeys(nodes, SIZE))


def check(edges: Edges, drawing: Drawing) -> None:
    """Fail if boxes overlap, lie outside, or an edge does not end at its boxes' sides."""
    for (x, y), (other_x, other_y) in combinations(drawing.centres.values(), 2):
        assert abs(x - other_x) >= SIZE[0] or abs(y - other_y) >= SIZE[1]
    for x, y in drawing.centres.values():
        assert SIZE[0] / 2 <= x + 1e-6 <= drawing.width - SIZE[0] / 2 + 2e-6
        assert SIZE[1] / 2 <= y + 1e-6 <= drawing.height - SIZE[1] / 2 + 2e-6
    for (source, target), route in zip(edges, drawing.routes, strict=True):
        assert len(route) % 2 == 0
        for node, (x, y) in ((source, route[0]), (target, route[-1])):
            centre = drawing.centres[node]
            assert abs(abs(x - centre[0]) - SIZE[0] / 2) < 1e-6
            assert abs(y - centre[1]) < 1e-6
        ways = {x < next_x for (x, _), (next_x, _) in pairwise(route)}
        assert len(ways) == 1
        # A line through a column may not run through a box that stands in it.
        for (x, y), (next_x, _) in list(pairwise(route))[1::2]:
            for box_x, box_y in drawing.centres.values():
                if min(x, next_x) < box_x < max(x, next_x):
                    assert abs(box_y - y) >= SIZE[1] / 2


def chain(length: int) -> Edges:
    return [(f"d{number}", f"d{number + 1}") for number in range(length)]


def test_a_chain_is_a_line() -> None:
    edges = chain(5)
    layers, drawing = drawn(edges)

    check(edges, drawing)
    assert [len(row) for row in layers.layers] == [1] * 6
    assert {y for _, y in drawing.centres.values()} == {SIZE[1] / 2}
    assert [len(route) for route in drawing.routes] == [2] * 5


def test_one_node_is_a_drawing() -> None:
    _, drawing = drawn([])

    assert drawing.centres == {"d0": (SIZE[0] / 2, SIZE[1] / 2)}
    assert (drawing.width, drawing.height) == SIZE


def test_sources_stand_next_to_what_they_are_used_for() -> None:
    edges = [*chain(6), ("late", "d6")]
    layers, _ = drawn(edges, root="d6")

    assert "late" in layers.layers[5]


def test_edges_that_can_be_drawn_without_crossings_are() -> None:
    edges = [("d0", f"r{n}") for n in range(5)] + [(f"r{n}", f"d{5 - n}") for n in range(5)]
    layers, drawing = drawn(edges)

    check(edges, drawing)
    runs, made = layers.layers[1], layers.layers[2]
    assert [dict(edges)[str(run)] for run in runs] == list(made)


def test_a_long_edge_is_straight_and_passes_between_the_boxes() -> None:
    edges = [*chain(6), ("d0", "d6"), ("d0", "d4")]
    layers, drawing = drawn(edges)

    check(edges, drawing)
    slots = [place for row in layers.layers for place in row if isinstance(place, Slot)]
    # Both edges share the slots they have in common.
    assert slots == [Slot("d0", number) for number in range(1, 6)]
    heights = {round(y) for _, y in drawing.routes[6][1:-1]}
    assert len(heights) == 1


def test_a_circle_is_drawn_with_one_edge_back() -> None:
    edges = [("d0", "r0"), ("r0", "d1"), ("d1", "r1"), ("r1", "d0"), ("d0", "r2"), ("r2", "d0")]
    layers, drawing = drawn(edges)

    check(edges, drawing)
    assert layers.reversed == {3, 5}
    (start, *_, end) = drawing.routes[3]
    assert start[0] > end[0]


def test_a_crowd_is_drawn_in_several_columns() -> None:
    edges = [("d0", f"r{n}") for n in range(150)] + [(f"r{n}", f"d{n + 1}") for n in range(150)]
    layers, drawing = drawn(edges)

    check(edges, drawing)
    assert max(len(row) for row in layers.layers) < 50
    assert 0.3 < drawing.width / drawing.height < 3


def test_the_drawing_of_a_graph_is_the_same_each_time() -> None:
    edges = [("d0", f"r{n % 7}") for n in range(7)] + [(f"r{n % 7}", f"d{n}") for n in range(1, 30)]
    assert drawn(edges) == drawn(edges)


def window(days: int, width: int) -> Edges:
    """Return a pipeline whose every day is made from so many days before."""
    edges = [(f"r{day}", f"d{day}") for day in range(days)]
    edges += [
        (f"d{before}", f"r{day}")
        for day in range(days)
        for before in range(day + 1, min(days, day + 1 + width))
    ]
    return edges


def test_a_window_over_the_days_before_is_laid_out_in_seconds() -> None:
    edges = window(90, 30)
    start_s = time.process_time()

    drawn(edges)

    # About a second; it took a good ten times as long once.
    assert time.process_time() - start_s < 5


def test_edges_that_nobody_could_follow_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="depth"):
        drawn(window(365, 365))


@pytest.mark.parametrize("root", ["d0", "d7"])
@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 14), st.integers(0, 14), st.booleans()), max_size=40, unique=True
    )
)
def test_any_graph_can_be_drawn(root: str, pairs: list[tuple[int, int, bool]]) -> None:
    """Datasets and runs in any relation, also ones that no pipeline has."""
    edges = list(
        dict.fromkeys(
            (f"d{dataset}", f"r{run}") if is_input else (f"r{run}", f"d{dataset}")
            for dataset, run, is_input in pairs
        )
    )
    _, drawing = drawn(edges, root)
    check(edges, drawing)
