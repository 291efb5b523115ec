"""Routes over batches: what goes where, what stays, and what fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from routing.attributes import Value
from routing.batch import Paths, Plain
from routing.route_spec import compile_route
from routing.routes import HOPS, MAX_HOPS, Outcome, Route, RouteStats, hops, run


def route(**spec: Any) -> Route:
    return compile_route({"name": "r", "from": ["t/**"], **{key.rstrip("_"): value for key, value in spec.items()}})


def event(number: int = 0, data: bytes | None = None, **attributes: Value) -> Plain:
    return Plain({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", **attributes}, data)


def through(events: Sequence[Plain], *routes: Route, stats: RouteStats | None = None) -> Outcome:
    paths = Paths(path for each in routes for path in each.paths)
    return run([(each, None, stats or RouteStats()) for each in routes], events, "t", paths)


def addresses(outcome: Outcome) -> list[tuple[int, str]]:
    return [(sent.place, f"{sent.topic}/{sent.attributes.get('subject')}") for _, sent in outcome.sent]


def test_a_copy_goes_where_the_expression_holds_and_the_original_stays() -> None:
    events = [event(n, b'{"n": %d}' % n, subject=f"s/{n}") for n in range(4)]
    outcome = through(events, route(when="data.n >= 2", to="other/{data.n}"))
    assert addresses(outcome) == [(2, "other/2"), (3, "other/3")]
    assert outcome.kept == [0, 1, 2, 3]
    assert outcome.sent[0][1].attributes[HOPS] == 1
    assert HOPS not in events[2].attributes


def test_a_target_without_a_subject_keeps_that_of_the_event() -> None:
    outcome = through([event(subject="a/b"), event()], route(to=[{"topic": "x"}, {"topic": "y", "subject": "z"}]))
    assert addresses(outcome) == [(0, "x/a/b"), (1, "x/None"), (0, "y/z"), (1, "y/z")]


def test_a_move_leaves_the_topic_and_is_still_seen_by_later_routes() -> None:
    outcome = through([event(0, kind="a"), event(1)], route(when="kind = 'a'", to="x", action="move"), route(to="y"))
    assert outcome.kept == [1]
    assert addresses(outcome) == [(0, "x/None"), (0, "y/None"), (1, "y/None")]


def test_a_diverted_event_is_not_seen_by_later_routes() -> None:
    outcome = through([event(0, kind="a"), event(1)], route(when="kind = 'a'", to="x", action="divert"), route(to="y"))
    assert outcome.kept == [1]
    assert addresses(outcome) == [(0, "x/None"), (1, "y/None")]


def test_a_route_without_a_target_sets_attributes_which_later_routes_see() -> None:
    first = route(when="data.v = 1", set={"priority": 9}, tags={"desk": "eu-{data.v}", "hot": True})
    outcome = through([event(0, b'{"v": 1}'), event(1, b'{"v": 2}')], first, route(when="priority = 9", to="x/{desk}"))
    assert outcome.changed[0]["priority"] == 9
    assert outcome.changed[0]["hot"] is True
    assert list(outcome.changed) == [0]
    assert addresses(outcome) == [(0, "x/eu-1")]


def test_an_event_goes_to_all_targets_or_fails_as_a_whole() -> None:
    stats = RouteStats()
    outcome = through([event(0, b'{"a": "x"}'), event(1, b'{"a": "x/y"}')], route(to=["u", "v/{data.a}"]), stats=stats)
    assert addresses(outcome) == [(0, "u/None"), (0, "v/x")]
    (failed,) = outcome.failed
    assert (failed[1].place, failed[1].at) == (1, "to[1].subject")
    assert "'x/y'" in failed[1].reason
    assert (stats.matched, stats.failed) == (2, 1)


def test_a_failed_move_leaves_its_topic_only_for_an_error_topic() -> None:
    assert through([event()], route(to="x/{gone}", action="move")).kept == [0]
    assert through([event()], route(to="x/{gone}", action="move", on_error={"topic": "errors"})).kept == []
    diverted = route(to="x/{gone}", action="divert", on_error={"topic": "errors"})
    assert addresses(through([event()], diverted, route(to="y"))) == []


def test_an_evaluation_that_fails_is_no_match_and_counted() -> None:
    stats = RouteStats()
    outcome = through([event(0, b"no json")], route(when="data.price > 10", to="x", action="move"), stats=stats)
    assert (outcome.kept, outcome.sent) == ([0], [])
    assert (stats.matched, stats.failed) == (0, 1)
    assert stats.seconds > 0


def test_tags_that_are_no_attribute_fail_the_event() -> None:
    outcome = through([event(0, b'{"x": "a\\u0000b"}')], route(tags={"x": "{data.x}"}))
    assert outcome.changed == {}
    assert outcome.failed[0][1].at == "tags.x"
    assert through([event()], route(tags={"x": "{gone}"})).failed[0][1].reason == "{gone} is not there"


def test_names_of_topics_are_checked_when_they_are_known() -> None:
    outcome = through([event(0, name="x" * 250), event(1, name="fine")], route(to={"topic": "{name}", "subject": "s"}))
    assert addresses(outcome) == [(1, "fine/s")]
    assert outcome.failed[0][1].at == "to[0].topic"
    internal = through([event(0, name="_linkspan.topics")], route(to={"topic": "{name}"}))
    assert "reserved" in internal.failed[0][1].reason


def test_an_event_passes_a_bounded_number_of_routes() -> None:
    outcome = through([event(routehops=MAX_HOPS - 1), event(routehops=MAX_HOPS)], route(to="x"))
    assert [sent.attributes[HOPS] for _, sent in outcome.sent] == [MAX_HOPS]
    assert "circle" in outcome.failed[0][1].reason


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 3), ("3", 3), (-1, 0), (True, 0), ("x", 0), (None, 0), ("9" * 20, 0), ("²", 0)]
)
def test_hops_are_a_number_whatever_came(value: Value | None, expected: int) -> None:
    assert hops(value) == expected


def test_only_the_places_that_a_route_reads_from_are_looked_at() -> None:
    outcome = run([(route(to="x"), [1], RouteStats()), (route(to="y"), [], RouteStats())], [event(0), event(1)], "t")
    assert addresses(outcome) == [(1, "x/None")]
