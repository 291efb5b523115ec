"""What routes send on when the bus fails: the publisher hears of what is nowhere, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from auth.principal import ANONYMOUS
from gateway.bus.contract import Position
from gateway.errors import BusUnavailable, Draining, InvalidEvent, LinkspanError, OutcomeUnknown, UnknownTopic
from gateway.event import Event
from gateway.forwarding import Forwarder, Parcel, Settlement, Watched, failed_event
from gateway.ingress import Outcome
from gateway.validation import Diverted, Done, Published
from routing.route_spec import compile_route
from tests.conftest import eventually
from tests.unit.routes_support import RoutedHouse, event, route, routed

pytestmark = pytest.mark.timeout(20)
AWAY = BusUnavailable("away")


async def outcome_of(house: RoutedHouse, failures: Sequence[LinkspanError]) -> Outcome:
    """Publish one event while appends fail in turn: those of parcels come before the event's own."""
    await house.publish(event(9), topic="errors")
    await house.topics.ensure("t", ANONYMOUS)
    await house.topics.ensure("u", ANONYMOUS)
    for failure in failures:
        house.bus.fail_next("append", failure)
    try:
        return await house.publish(event(0))
    except LinkspanError as error:
        return error


async def test_a_copy_that_the_bus_refuses_is_an_error_to_the_publisher_since_it_is_nowhere() -> None:
    async with routed(route(to="u")) as house:
        outcome = await outcome_of(house, [AWAY])
        assert isinstance(outcome, OutcomeUnknown)
        assert outcome.detail["positions"] == [(0, 0)]
        assert (await house.ids("t"), await house.ids("u")) == (["0"], [])
        assert house.counters() == (1, 0, 1)


async def test_a_copy_that_is_in_the_error_topic_is_no_error_to_the_publisher() -> None:
    async with routed(route(to="u", on_error={"topic": "errors"})) as house:
        assert await outcome_of(house, [AWAY]) == [(0, 0)]
        assert (await house.stored("errors"))[1].attributes["routeerror"] == "away"


async def test_a_failure_that_cannot_be_kept_either_is_an_error_to_the_publisher() -> None:
    async with routed(route(to="u/{gone}", on_error={"topic": "errors"})) as house:
        outcome = await outcome_of(house, [AWAY])
        assert isinstance(outcome, OutcomeUnknown)
        assert await house.ids("t") == ["0"]


async def test_a_moved_event_comes_back_when_its_target_fails() -> None:
    async with routed(route(to="u", action="move")) as house:
        assert await outcome_of(house, [AWAY]) == [(0, 0)]
        assert (await house.ids("t"), await house.ids("u")) == (["0"], [])


async def test_a_moved_event_that_is_nowhere_is_an_error_to_the_publisher() -> None:
    async with routed(route(to="u", action="move")) as house:
        outcome = await outcome_of(house, [AWAY, AWAY])
        assert isinstance(outcome, BusUnavailable)
        assert await house.ids("t") == []


def settled(count: int, kept: Sequence[int] | None, parts: int) -> tuple[Settlement, list[Outcome]]:
    outcomes: list[Outcome] = []
    return Settlement(count, kept, outcomes.append, parts), outcomes


def test_a_publisher_is_answered_once_when_all_parts_are() -> None:
    settlement, outcomes = settled(3, [0, 2], 2)
    settlement.own([(0, 5), (0, 6)])
    assert outcomes == []
    settlement.more()
    settlement.sent()
    settlement.sent()
    assert outcomes == [[(0, 5), None, (0, 6)]]


def test_events_that_come_back_have_positions_again() -> None:
    settlement, outcomes = settled(3, [0], 2)
    settlement.own([(0, 5)])
    settlement.back([1, 2], [(0, 6), (0, 7)])
    assert outcomes == [[(0, 5), (0, 6), (0, 7)]]


def test_a_schema_of_the_topic_may_have_diverted_some() -> None:
    settlement, outcomes = settled(3, [0, 2], 1)
    positions: list[Position | None] = [(0, 5), None]
    settlement.own(Published(positions, [Diverted(1, "bad", (0, 1), "wrong")]))
    (outcome,) = outcomes
    assert isinstance(outcome, Published)
    assert list(outcome) == [(0, 5), None, None]
    assert outcome.diverted == (Diverted(2, "bad", (0, 1), "wrong"),)


@pytest.mark.parametrize(
    ("own", "sent", "expected"),
    [
        (BusUnavailable("away"), False, BusUnavailable),
        (BusUnavailable("away"), True, OutcomeUnknown),
        (InvalidEvent("bad"), True, InvalidEvent),
        (OutcomeUnknown("half", positions=[(0, 1), None]), False, OutcomeUnknown),
    ],
)
def test_an_error_of_the_events_own_append_is_the_publishers(
    own: LinkspanError, sent: bool, expected: type[LinkspanError]
) -> None:
    settlement, outcomes = settled(3, [0, 2], 2)
    if sent:
        settlement.sent()
    else:
        settlement.given_up(InvalidEvent("refused for good"))
    settlement.own(own)
    (outcome,) = outcomes
    assert type(outcome) is expected
    if isinstance(own, OutcomeUnknown):
        assert isinstance(outcome, OutcomeUnknown)
        assert outcome.detail["positions"] == [(0, 1), None, None]


def test_a_failed_event_is_as_it_was_with_what_went_wrong() -> None:
    compiled = compile_route(route("name", to="u"))
    told = failed_event(event(1, b"x"), compiled, "t", "bad\nthing " + "x" * 1000)
    assert told.data == b"x"
    assert told.attributes["routename"] == "name"
    assert str(told.attributes["routeerror"]).startswith("bad thing x")
    assert len(str(told.attributes["routeerror"])) == 500


async def test_nothing_is_sent_after_the_end() -> None:
    async def ensure(topic: str, who: object) -> None:
        raise AssertionError

    forwarder = Forwarder(ensure)
    await forwarder.close()
    settlement, outcomes = settled(1, [], 1)
    parcel = Parcel(Watched(compile_route(route(to="u")), lambda route, target, count: None), 0, "u", "t", 0.0)
    parcel.add(event(), event(), 0)
    forwarder.send(parcel, settlement)
    assert isinstance(outcomes[0], Draining)


async def test_a_parcel_that_waited_for_its_topic_may_still_be_refused() -> None:
    ready = asyncio.Event()

    async def ensure(topic: str, who: object) -> None:
        await ready.wait()

    def way(topic: str, events: Sequence[Event], done: Done, since: float, *, routed: bool, checked: bool) -> None:
        raise UnknownTopic(topic) if not ready.is_set() else InvalidEvent("refused")

    forwarder = Forwarder(ensure)
    forwarder.bind(way)
    settlement, outcomes = settled(1, [], 1)
    parcel = Parcel(Watched(compile_route(route(to="u")), lambda route, target, count: None), 0, "u", "t", 0.0)
    parcel.add(event(), event(), 0)
    forwarder.send(parcel, settlement)
    assert forwarder.busy
    ready.set()
    await eventually(lambda: not forwarder.busy)
    assert outcomes == [[None]]
    await forwarder.close()
