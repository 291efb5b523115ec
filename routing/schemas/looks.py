"""How often a graph of checks looks at the same place of the data, for data of a given depth.

Exact counting takes a round for each level of the data. Most schemas are spared that: what does
not come back to itself is counted once, and what does is harmless as long as it comes back by
one way at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

#: Looks at the places on the way to one leaf of the data.
MAX_LOOKS = 10_000
#: Steps that exact counting may take; it then answers for the depth that it got to.
MAX_STEPS = 2_000_000
#: Levels that no decoder goes beyond.
DEEPEST = 1000
_KINDS = (0, 1)


class Node:
    """One check: which others it asks in place, and which one level down.

    What goes down is told apart by what the data is there, lists first, then objects: it is never both.
    """

    __slots__ = ("by_name", "down", "in_place")

    def __init__(self) -> None:
        self.in_place: list[int] = []
        #: Each of these may meet every child; of `by_name` each child meets one.
        self.down: tuple[list[int], list[int]] = ([], [])
        self.by_name: tuple[list[int], list[int]] = ([], [])

    def all(self) -> list[int]:
        return [*self.in_place, *self.down[0], *self.down[1], *self.by_name[0], *self.by_name[1]]


class Circle(ValueError):
    """A check asks itself about the same place of the data."""


def deepest(nodes: Sequence[Node]) -> int | None:
    """The levels of data within MAX_LOOKS; None: any. The first node is asked about the whole. Raises Circle."""
    order = finished(range(len(nodes)), lambda place: nodes[place].in_place)
    rank = {place: at for at, place in enumerate(order)}
    for place, node in enumerate(nodes):
        if any(rank[at] >= rank[place] for at in node.in_place):
            raise Circle
    reached = set(finished((0,), lambda place: nodes[place].all()))
    order = [place for place in order if place in reached]
    return None if _harmless(nodes, order) else _counted(nodes, order)


def finished(starts: Iterable[int], edges: Callable[[int], Iterable[int]]) -> list[int]:
    """The places that can be reached, each after those that can be reached from it, except on circles."""
    order: list[int] = []
    seen: set[int] = set()
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        todo = [(start, iter(edges(start)))]
        while todo:
            rest = todo[-1][1]
            following = next((at for at in rest if at not in seen), None)
            if following is None:
                order.append(todo.pop()[0])
            else:
                seen.add(following)
                todo.append((following, iter(edges(following))))
    return order


def _harmless(nodes: Sequence[Node], order: Sequence[int]) -> bool:
    """Whether no depth of data brings more than MAX_LOOKS on the way around each circle."""
    parts = _circles(nodes)
    part_of = {place: at for at, part in enumerate(parts) for place in part}
    for kind in _KINDS:
        ways = [0] * len(nodes)  # by which a check comes back to its own circle a level down
        for place in order:
            node, own = nodes[place], part_of[place]
            ways[place] = (
                sum(ways[at] for at in node.in_place if part_of[at] == own)
                + sum(part_of[at] == own for at in node.down[kind])
                + any(part_of[at] == own for at in node.by_name[kind])
            )
        if max(ways, default=0) > 1:
            return False
    total = [0] * len(parts)
    for at, part in enumerate(parts):  # what it asks comes before it
        for place in part:
            node = nodes[place]
            total[at] += 1 + max(
                sum(total[part_of[to]] for to in (*node.in_place, *node.down[kind]) if part_of[to] != at)
                + max((total[part_of[to]] for to in node.by_name[kind] if part_of[to] != at), default=0)
                for kind in _KINDS
            )
    return total[part_of[0]] <= MAX_LOOKS


def _circles(nodes: Sequence[Node]) -> list[list[int]]:
    """Strongly connected parts of what the first node leads to, each after those that it leads to (Kosaraju)."""
    order = finished((0,), lambda place: nodes[place].all())
    backwards: list[list[int]] = [[] for _ in nodes]
    for place in order:
        for to in nodes[place].all():
            backwards[to].append(place)
    parts: list[list[int]] = []
    taken = [False] * len(nodes)
    for start in reversed(order):
        if taken[start]:
            continue
        taken[start] = True
        part, todo = [], [start]
        while todo:
            part.append(todo.pop())
            for place in backwards[part[-1]]:
                if not taken[place]:
                    taken[place] = True
                    todo.append(place)
        parts.append(part)
    return parts[::-1]


def _counted(nodes: Sequence[Node], order: Sequence[int]) -> int | None:
    """Level by level, from data without any."""
    steps = len(nodes) + sum(len(node.all()) for node in nodes)
    below = [0] * len(nodes)
    depth = 0
    while True:
        looks = [_level(nodes, order, below, kind) for kind in _KINDS]
        most = [max(pair) for pair in zip(*looks, strict=True)]
        if most[0] > MAX_LOOKS:
            return depth - 1
        if most == below or depth > DEEPEST:
            return None
        below = most
        depth += 1
        if depth * steps > MAX_STEPS and depth > 2:
            return depth - 1


def _level(nodes: Sequence[Node], order: Sequence[int], below: Sequence[int], kind: int) -> list[int]:
    """Looks at a place and all below it, where the data at that place is of this kind."""
    looks = [0] * len(nodes)
    for place in order:
        node = nodes[place]
        count = 1 + sum([looks[at] for at in node.in_place]) + sum([below[at] for at in node.down[kind]])
        looks[place] = min(count + max([below[at] for at in node.by_name[kind]], default=0), MAX_LOOKS + 1)
    return looks
