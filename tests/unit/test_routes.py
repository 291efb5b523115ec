"""Routes at work: the publisher's answer covers what they send on, and nothing is lost on the way."""

from __future__ import annotations

import asyncio

import pytest

from auth.principal import ANONYMOUS
from gateway.bus.contract import TopicSettings
from gateway.columns import Columns
from gateway.ingress import Outcome
from gateway.operate.metrics import Metrics
from gateway.routes import MAX_TOPICS, Router, Workflow
from routing.errors import InvalidRoute
from tests.conftest import eventually
from tests.unit.routes_support import event, route, routed

pytestmark = pytest.mark.timeout(20)


async def test_copies_are_stored_when_the_publisher_is_answered() -> None:
    async with routed(route(when="data.n > 1", to="u/{data.n}")) as house:
        events = [event(n, b'{"n": %d}' % n, subject=f"s/{n}") for n in range(4)]
        assert await house.publish(*events) == [(0, 0), (0, 1), (0, 2), (0, 3)]
        assert await house.ids("t") == ["0", "1", "2", "3"]
        copies = await house.stored("u")
        assert [(each.attributes["id"], each.subject, each.key) for each in copies] == [
            ("2", "2", b"2"),
            ("3", "3", b"3"),
        ]
        assert copies[0].attributes["routehops"] == 1
        assert copies[0].data == b'{"n": 2}'
        assert house.counters() == (2, 2, 0)


async def test_a_topic_without_routes_is_left_alone() -> None:
    async with routed(route(to="u")) as house:
        assert house.router.of("u") is None
        assert await house.publish(event(), topic="u") == [(0, 0)]
        assert await house.ids("u") == ["0"]


async def test_moved_events_have_no_position_in_the_topic_that_they_left() -> None:
    async with routed(route(when="kind = 'a'", to="u", action="move")) as house:
        assert await house.publish(event(0, kind="b"), event(1, kind="a"), event(2, kind="b")) == [(0, 0), None, (0, 1)]
        assert await house.publish(event(3, kind="a")) == [None]
        assert await house.ids("t") == ["0", "2"]
        assert await house.ids("u") == ["1", "3"]


async def test_a_pattern_of_subjects_chooses_and_none_is_a_subject_too() -> None:
    async with routed(route("some", "t/a/*", to={"topic": "u"}), route("none", "t", to={"topic": "errors"})) as house:
        await house.publish(event(0, subject="a/x"), event(1), event(2, subject="a/x/y"), event(3, subject="b"))
        assert await house.ids("u") == ["0"]
        assert await house.ids("errors") == ["1"]


async def test_columns_are_routed_like_events() -> None:
    columns = Columns(
        {"specversion": "1.0", "id": ["0", "1"], "source": "/s", "type": "t", "kind": ["a", "b"]}, [b"1", b"2"], 2
    )
    async with routed(route(when="kind = 'a'", to="u", action="move")) as house:
        await house.topics.ensure("t", ANONYMOUS)
        assert await house.ingress.submit("t", columns, ANONYMOUS) == [None, (0, 0)]
        assert [each.data for each in await house.stored("u")] == [b"1"]


async def test_attributes_are_set_where_the_event_is() -> None:
    async with routed(route(when="kind = 'a'", set={"priority": 9}, tags={"desk": "{symbol}"})) as house:
        await house.publish(event(0, kind="a", subject="x/AAPL"), event(1, kind="b"))
        first, second = await house.stored("t")
        assert (first.attributes["priority"], first.attributes["desk"]) == (9, "AAPL")
        assert "desk" not in second.attributes
        assert house.counters() == (1, 1, 0)


async def test_one_route_may_cause_another() -> None:
    async with routed(
        route("first", "t/**", to={"topic": "u"}), route("second", "u/**", to={"topic": "v"}, action="move"),
        topics=("t", "u", "v"),
    ) as house:  # fmt: skip
        assert await house.publish(event()) == [(0, 0)]
        assert [await house.ids(topic) for topic in "tuv"] == [["0"], [], ["0"]]
        assert (await house.stored("v"))[0].attributes["routehops"] == 2


async def test_what_cannot_be_filled_goes_to_the_error_topic_with_the_reason() -> None:
    async with routed(route(to="u/{data.side}", on_error={"topic": "errors"})) as house:
        assert await house.publish(event(0, b'{"side": "a/b"}'), event(1, b'{"side": "buy"}')) == [(0, 0), (0, 1)]
        (failed,) = await house.stored("errors")
        assert failed.attributes["routename"] == "r"
        assert failed.attributes["routefrom"] == "t"
        assert "to[0].subject: {data.side} is 'a/b'" in str(failed.attributes["routeerror"])
        assert failed.data == b'{"side": "a/b"}'
        assert await house.ids("u") == ["1"]
        assert house.counters() == (2, 1, 1)


async def test_a_move_that_fails_leaves_the_event_in_one_place() -> None:
    async with routed(route(to="u/{gone}", action="move", on_error={"topic": "errors"})) as house:
        assert await house.publish(event(0)) == [None]
        assert (await house.ids("t"), await house.ids("errors")) == ([], ["0"])
    async with routed(route(to="u/{gone}", action="move")) as house:
        assert await house.publish(event(0)) == [(0, 0)]


async def test_a_target_that_does_not_exist_is_an_error_of_the_route() -> None:
    async with routed(route(to={"topic": "gone-{symbol}"}, on_error={"topic": "errors"})) as house:
        assert await house.publish(event(0, symbol="A")) == [(0, 0)]
        (failed,) = await house.stored("errors")
        assert "gone-A" in str(failed.attributes["routeerror"])
        assert house.counters() == (1, 0, 1)
    async with routed(route(to="gone"), topics=("t",)) as house:
        assert await house.publish(event(0)) == [(0, 0)]
    async with routed(route(to="gone", action="move"), topics=("t",)) as house:
        assert await house.publish(event(0), event(1)) == [(0, 0), (0, 1)]
        assert await house.ids("t") == ["0", "1"]
    async with routed(route(to="gone", on_error={"topic": "gone-too"}), topics=("t",)) as house:
        assert await house.publish(event(0)) == [(0, 0)]


async def test_one_copy_that_is_refused_does_not_hold_back_the_others() -> None:
    async with routed(route(to="u", on_error={"topic": "errors"}), topics=("t", "errors")) as house:
        await house.bus.create_topic("u", TopicSettings(partitions=1, cleanup="compact"))
        events = [event(n, b"x", **({"subject": "k"} if n != 2 else {})) for n in range(5)]
        assert len(await house.publish(*events)) == 5
        assert await house.ids("u") == ["0", "1", "3", "4"]
        assert await house.ids("errors") == ["2"]
        assert house.counters() == (5, 4, 1)


async def test_workflows_are_targets_that_count_what_they_get() -> None:
    spec = route(when="confidence >= 0.8", to={"workflow": "trading"})
    async with routed(spec, topics=("t", "flow.trading"), workflows={"trading": "flow.trading"}) as house:
        await house.publish(event(0, confidence="0.9", subject="a/B"), event(1, confidence="0.1"))
        (got,) = await house.stored("flow.trading")
        assert got.subject == "a/B"
        (told,) = house.router.described_workflows()
        assert told == {
            "name": "trading", "topic": "flow.trading", "description": "", "routes": ["r"],
            "counters": {"received": 1},
        }  # fmt: skip
        assert b'linkspan_workflow_events_total{workflow="trading"} 1.0' in house.metrics.render()


async def test_routes_are_told_as_they_were_written_with_their_counters() -> None:
    spec = route(to="u", examples=[{"given": {}, "expect": {"matched": True}}])
    async with routed(spec, topics=("t", "u")) as house:
        await house.publish(event())
        (told,) = house.router.described()
        assert told["counters"].pop("seconds") > 0
        assert told == {
            "name": "r", "from": ["t/**"], "to": "u", "counters": {"matched": 1, "passed": 1, "failed": 0}
        }  # fmt: skip
        rendered = house.metrics.render()
        assert b'linkspan_route_events_total{result="matched",route="r"} 1.0' in rendered
        assert b'linkspan_route_seconds_total{route="r"}' in rendered


async def test_order_is_kept_while_a_target_is_looked_for() -> None:
    async with routed(route(to="u")) as house:
        await house.topics.ensure("t", ANONYMOUS)
        outcomes: list[Outcome] = []
        for number in range(10):
            house.ingress.publish("t", [event(number)], ANONYMOUS, outcomes.append)
        assert house.router.busy
        await house.ingress.drain(5)
        await eventually(lambda: len(outcomes) == 10)
        assert await house.ids("u") == [str(number) for number in range(10)]


async def test_a_publisher_is_answered_when_the_gateway_stops() -> None:
    async with routed(route(to="u"), route("m", to="errors", action="move")) as house:
        await house.topics.ensure("t", ANONYMOUS)
        release = house.bus.hold("describe_topic")
        outcomes: list[Outcome] = []
        house.ingress.publish("t", [event()], ANONYMOUS, outcomes.append)
        await asyncio.sleep(0)
        await house.ingress.close()
        assert len(outcomes) == 1
        release()


def test_a_route_that_is_wrong_is_refused_when_it_is_made() -> None:
    with pytest.raises(InvalidRoute) as caught:
        Router([route(to="u"), route(to="u/{")], [], Metrics(process=False), lambda topic, who: asyncio.sleep(0))
    assert caught.value.where == "routes[1].to"


def test_all_topics_that_are_named_are_known() -> None:
    specs = [
        route("a", to=["u/x", {"topic": "{data.x}-z"}, {"workflow": "flow"}], on_error={"topic": "errors"}),
        route("b", set={"priority": 1}),
    ]
    router = Router(specs, [Workflow("flow", "f")], Metrics(process=False), lambda topic, who: asyncio.sleep(0))
    assert router.topics() == ["f", "u", "errors"]
    for number in range(MAX_TOPICS + 2):
        router.of(f"t{number}")
    assert router.of("t") is not None
