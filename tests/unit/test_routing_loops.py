"""Circles are found before anything runs; what only looks like one is let through."""

from __future__ import annotations

from typing import Any

import pytest

from routing.loops import causes, loop_faults
from routing.route_spec import compile_route
from routing.routes import MAX_HOPS, Route


def route(name: str, source: str, to: Any, **more: Any) -> Route:
    return compile_route({"name": name, "from": [source], "to": to, **more}, {"desk": "flow.desk"})


def chain(count: int) -> list[Route]:
    return [route(f"r{number}", f"t{number}/**", {"topic": f"t{number + 1}"}) for number in range(count)]


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("t/**", {"topic": "t"}),
        ("t", "t"),
        ("t/**", "t/x"),
        ("t/a/**", "t/{subject}"),
        ("**", "audit"),
        ("*/x", {"topic": "u"}),
        ("t/**", {"topic": "{data.topic}"}),
        ("desk-eu/**", {"topic": "desk-{data.desk}"}),
        ("t/*", "t/{symbol}"),
        ("t/*/x", "t/a{symbol}/{subject[0]}"),
        ("flow.desk/**", {"workflow": "desk"}),
    ],
)
def test_a_route_that_reads_what_it_writes_is_a_circle(source: str, to: Any) -> None:
    ((place, message),) = loop_faults([route("r", source, to)])
    assert place == 0
    assert "circle" in message


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("t/**", "u/x"),
        ("t/raw/**", "t/clean/{symbol}"),
        ("t/*", "t/{symbol}/x"),
        ("t/a/*", "t/b-{symbol}/x"),
        ("t", "t/x"),
        ("signals/**", {"topic": "desk-{data.desk}"}),
        ("t/**", {"workflow": "desk"}),
    ],
)
def test_addresses_that_are_apart_are_no_circle(source: str, to: Any) -> None:
    assert loop_faults([route("r", source, to)]) == []


def test_a_circle_of_several_is_told_once_with_its_way() -> None:
    routes = [route("c", "x/**", {"topic": "a"}), route("a", "a/**", {"topic": "b"}), route("b", "b/**", "x/y")]
    assert causes(routes) == [[1], [2], [0]]
    ((place, message),) = loop_faults(routes)
    assert place == 0
    assert "c -> a -> b -> c" in message


def test_routes_that_only_set_attributes_cause_nothing() -> None:
    assert loop_faults([compile_route({"name": "r", "from": ["**"], "tags": {"seen": True}})]) == []


def test_a_chain_is_as_long_as_events_are_let_through() -> None:
    assert loop_faults(chain(MAX_HOPS)) == []
    assert loop_faults(chain(MAX_HOPS + 1)) == [
        (0, f"begins a chain of {MAX_HOPS + 1} routes; an event goes through {MAX_HOPS} at most")
    ]
    assert loop_faults(list(reversed(chain(MAX_HOPS)))) == []
