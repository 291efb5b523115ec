"""Looks at the data: never fewer than a plain walk over the graph would take."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.schemas import looks
from routing.schemas.looks import Circle, Node, deepest

pytestmark = pytest.mark.timeout(60)
LISTS, OBJECTS = 0, 1


def node(in_place: list[int] = [], lists: list[int] = [], objects: list[int] = [], named: list[int] = []) -> Node:  # noqa: B006
    made = Node()
    made.in_place, made.down, made.by_name = list(in_place), (list(lists), list(objects)), ([], list(named))
    return made


def slow(nodes: list[Node], place: int, depth: int) -> int:
    """By recursion, for the worst data of a depth."""

    @cache
    def at(place: int, kind: int, depth: int) -> int:
        one = nodes[place]
        count = 1 + sum(at(to, kind, depth) for to in one.in_place)
        if depth:
            count += sum(worst(to, depth - 1) for to in one.down[kind])
            count += max((worst(to, depth - 1) for to in one.by_name[kind]), default=0)
        return count

    def worst(place: int, depth: int) -> int:
        return max(at(place, kind, depth) for kind in (LISTS, OBJECTS))

    return worst(place, depth)


def test_one_way_back_is_harmless_at_any_depth() -> None:
    assert deepest([node(lists=[0])]) is None
    assert deepest([node(named=[0, 0, 0])]) is None, "a child has one name"
    assert deepest([node(in_place=[1, 2]), node(lists=[0]), node(objects=[0])]) is None, "lists are no objects"


def test_two_ways_back_double_with_each_level() -> None:
    assert deepest([node(lists=[0, 0])]) == 12
    assert deepest([node(in_place=[1, 2]), node(objects=[0]), node(named=[0])]) == 10
    assert deepest([node(objects=[0], named=[0])]) == 12


def test_what_never_comes_back_is_counted_once() -> None:
    chain = [node(in_place=[n + 1, n + 1]) for n in range(10)]
    assert deepest([*chain, node()]) is None
    chain = [node(in_place=[n + 1, n + 1]) for n in range(20)]
    assert deepest([*chain, node()]) == -1
    deep = [node(lists=[n + 1, n + 1]) for n in range(20)]
    assert deepest([*deep, node()]) == 12


@pytest.mark.parametrize("nodes", [[node(in_place=[0])], [node(in_place=[1]), node(in_place=[0])]])
def test_a_check_that_asks_itself_in_place_is_a_circle(nodes: list[Node]) -> None:
    with pytest.raises(Circle):
        deepest(nodes)


def test_counting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "MAX_STEPS", 5)
    ring = [node(lists=[n + 1]) for n in range(30)]
    assert deepest([*ring, node(lists=[0, 0])]) == 2


PLACES = st.integers(0, 3)
EDGES = st.lists(PLACES, max_size=2)


@given(st.lists(st.tuples(EDGES, EDGES, EDGES, EDGES), min_size=4, max_size=4))
def test_the_answer_holds_against_the_slow_count(rows: list[tuple[list[int], list[int], list[int], list[int]]]) -> None:
    nodes = [
        node([to for to in in_place if to > place], lists, objects, named)
        for place, (in_place, lists, objects, named) in enumerate(rows)
    ]
    levels = deepest(nodes)
    for depth in range(8):
        count = slow(nodes, 0, depth)
        if levels is None:
            # Around harmless circles each level adds at most what one trip costs.
            assert count <= looks.MAX_LOOKS * (depth + 1)
        elif depth <= levels:
            assert count <= looks.MAX_LOOKS
