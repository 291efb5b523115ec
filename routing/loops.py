"""Circles among routes, found before anything runs. Pure.

One route causes another when something that it may write is something that the other may read.
Conditions do not count: whether they hold is known only when an event comes.
"""

from __future__ import annotations

from collections.abc import Sequence

from routing.addresses import meet
from routing.routes import MAX_HOPS, Route


def causes(routes: Sequence[Route]) -> list[list[int]]:
    """For each route the places of those that it may cause."""
    outputs = [route.outputs() for route in routes]
    return [
        [
            place
            for place, other in enumerate(routes)
            if any(meet(output, source) for output in written for source in other.sources)
        ]
        for written in outputs
    ]


def loop_faults(routes: Sequence[Route]) -> list[tuple[int, str]]:
    """Each circle once, told at its first route; and chains that are longer than events are let through."""
    following = causes(routes)
    faults, seen = [], set[frozenset[int]]()
    for start in range(len(routes)):
        circle = _circle(following, start)
        if circle is not None and frozenset(circle) not in seen:
            seen.add(frozenset(circle))
            faults.append((min(circle), _told(routes, circle)))
    if not faults:
        faults = _too_long(routes, following)
    return faults


def _circle(following: Sequence[Sequence[int]], start: int) -> list[int] | None:
    """The shortest way from a route back to itself."""
    came_from: dict[int, int] = {}
    row = [start]
    while row:
        reached = []
        for place in row:
            for after in following[place]:
                if after == start:
                    way = [place]
                    while way[-1] != start:
                        way.append(came_from[way[-1]])
                    return way[::-1]
                if after not in came_from:
                    came_from[after] = place
                    reached.append(after)
        row = reached
    return None


def _told(routes: Sequence[Route], circle: Sequence[int]) -> str:
    names = [routes[place].name for place in circle]
    if len(names) == 1:
        return f"goes in a circle: what {names[0]!r} writes is what it reads from; keep the addresses apart"
    way = " -> ".join([*names, names[0]])
    return f"goes in a circle: {way}; keep what they write apart from what they read"


def _too_long(routes: Sequence[Route], following: Sequence[Sequence[int]]) -> list[tuple[int, str]]:
    lengths: dict[int, int] = {}
    # Without circles the routes have an order; the longest chain from each is known after those behind it.
    for start in range(len(routes)):
        pending = [start]
        while pending:
            place = pending[-1]
            unknown = [after for after in following[place] if after not in lengths]
            if unknown:
                pending += unknown
                continue
            pending.pop()
            lengths[place] = 1 + max((lengths[after] for after in following[place]), default=0)
    return [
        (place, f"begins a chain of {length} routes; an event goes through {MAX_HOPS} at most")
        for place, length in lengths.items()
        if length > MAX_HOPS and not any(place in after for after in following)
    ]
