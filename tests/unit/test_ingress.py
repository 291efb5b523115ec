"""The way in: what is acknowledged is stored, what is refused disturbs nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from auth.principal import ANONYMOUS, Principal
from gateway import ingress as module
from gateway.bus.contract import TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.bus.tables import Table
from gateway.config.model import Limits
from gateway.errors import (
    BusUnavailable,
    Draining,
    Forbidden,
    InvalidEvent,
    LinkspanError,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
    UnknownTopic,
)
from gateway.event import Event
from gateway.ingress import GRACE, IN_FLIGHT, SWEEP, Ingress, Outcome
from gateway.operate.metrics import Metrics
from gateway.topics import TABLE, Topics
from tests.conftest import eventually
from tests.unit.test_tables import follow_of

pytestmark = pytest.mark.timeout(20)


def event(number: int = 0, data: bytes = b"x", **more: str) -> Event:
    return Event({"specversion": "1.0", "id": str(number), "source": "/s", "type": "t", **more}, data)


class House:
    """An ingress on a bus in memory."""

    def __init__(self, *, memory: int = 64 * 2**20, deadline: float = 5.0, auto_create: bool = False) -> None:
        self.bus = MemoryBus()
        self.table = Table(self.bus, TABLE, follow_of(self.bus), "//test")
        self.topics = Topics(self.bus, self.table, lambda who, topic: True, auto_create=auto_create)
        self.metrics = Metrics(process=False)
        limits = Limits(memory=memory, publish_deadline=deadline, batch=100, event=10_000)
        self.ingress = Ingress(self.bus, self.topics, limits, self.metrics, lambda who, topic: who.id != "nobody")

    async def start(self) -> None:
        await self.bus.start()
        self.table.start()
        await self.bus.create_topic("t", TopicSettings(partitions=1))
        await self.topics.ensure("t", ANONYMOUS)

    async def close(self) -> None:
        await self.ingress.close()
        await self.topics.close()
        await self.table.close()
        await self.bus.close()

    def publish(self, events: Sequence[Event], outcomes: list[Outcome]) -> None:
        self.ingress.publish("t", events, ANONYMOUS, outcomes.append)

    async def stored(self) -> list[str]:
        batches = await self.bus.read("t", 0, 0, 1 << 30)
        return [str(event.attributes["id"]) for batch in batches for event in batch.events]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.start()
    yield house
    await house.close()


async def test_a_publish_is_answered_with_its_positions(house: House) -> None:
    assert await house.ingress.submit("t", [event(1), event(2)], ANONYMOUS) == [(0, 0), (0, 1)]
    assert await house.ingress.submit("t", [event(3)], ANONYMOUS) == [(0, 2)]
    assert b"linkspan_published_events_total 3.0" in house.metrics.render()


async def test_publishes_of_one_turn_go_to_the_bus_as_one_append(house: House) -> None:
    outcomes: list[Outcome] = []
    before = house.bus.calls.get("append", 0)
    for number in range(20):
        house.publish([event(number)], outcomes)
    last = await house.ingress.submit("t", [event(20)], ANONYMOUS)
    assert house.bus.calls["append"] == before + 1
    assert outcomes == [[(0, number)] for number in range(20)]
    assert last == [(0, 20)]


async def test_what_comes_while_an_append_is_under_way_is_batched_and_stays_in_order(house: House) -> None:
    release = house.bus.hold("append")
    outcomes: list[Outcome] = []
    for number in range(50):
        house.publish([event(number)], outcomes)
        await asyncio.sleep(0)
    release()
    await house.ingress.drain(5)
    assert await house.stored() == [str(number) for number in range(50)]
    assert len(outcomes) == 50
    assert house.bus.calls["append"] < 10


async def test_a_large_batch_does_not_linger(house: House) -> None:
    release = house.bus.hold("append")
    outcomes: list[Outcome] = []
    for number in range(3):
        house.publish([event(number, b"x" * 9_000) for _ in range(30)], outcomes)
        await asyncio.sleep(0)
    release()
    await house.ingress.drain(5)
    assert len(outcomes) == 3


@pytest.mark.parametrize(
    ("topic", "events", "who", "error"),
    [
        ("absent", [event()], ANONYMOUS, UnknownTopic),
        ("t", [], ANONYMOUS, InvalidEvent),
        ("t", [event()] * 101, ANONYMOUS, TooLarge),
        ("t", [event(), event(1, b"x" * 10_001)], ANONYMOUS, TooLarge),
        ("t", [event()], Principal("nobody"), Forbidden),
    ],
)
async def test_what_is_refused_is_refused_whole_and_stores_nothing(
    house: House, topic: str, events: list[Event], who: Principal, error: type[LinkspanError]
) -> None:
    with pytest.raises(error):
        await house.ingress.submit(topic, events, who)
    assert await house.stored() == []


async def test_identity_is_the_gateways_to_say(house: House) -> None:
    forged = event(1, authid="admin", authtype="user")
    await house.ingress.submit("t", [forged], ANONYMOUS)
    assert not {"authid", "authtype"} & forged.attributes.keys()
    known = event(2, authid="admin")
    await house.ingress.submit("t", [known], Principal("alice"))
    assert known.attributes["authid"] == "alice"


async def test_a_bus_that_does_not_keep_up_makes_publishers_wait_then_tells_them() -> None:
    house = House(memory=2**20, deadline=0.2)
    await house.start()
    release = house.bus.hold("append")
    outcomes: list[Outcome] = []
    while house.ingress.writable:
        house.publish([event(0, b"x" * 9_000)] * 10, outcomes)
    with pytest.raises(Unavailable):
        await house.ingress.submit("t", [event()], ANONYMOUS)
    called: list[bool] = []
    house.ingress.when_writable(lambda: called.append(True))
    assert not called
    waiting = asyncio.create_task(house.ingress.submit("t", [event(7)], ANONYMOUS))
    await asyncio.sleep(0)
    release()
    await waiting
    assert called
    assert house.ingress.writable
    house.ingress.when_writable(lambda: called.append(True))
    assert len(called) == 2
    await house.close()


async def test_what_waited_past_the_deadline_is_refused_and_not_stored() -> None:
    house = House(deadline=0.05)
    await house.start()
    release = house.bus.hold("append")
    outcomes: list[Outcome] = []
    for number in range(module.IN_FLIGHT):
        house.publish([event(number, b"x" * 9_000)] * 40, outcomes)
        await asyncio.sleep(0.005)
    house.publish([event(99)], outcomes)
    await asyncio.sleep(0.1)
    house.publish([event(100)], outcomes)
    release()
    await house.ingress.drain(5)
    failed = [outcome for outcome in outcomes if isinstance(outcome, BusUnavailable)]
    assert len(failed) == 1
    assert "99" not in await house.stored()
    assert "100" in await house.stored()
    await house.close()


async def test_one_event_that_the_bus_refuses_costs_only_its_own_publish(house: House) -> None:
    house.bus.fail_next("append", TooLarge("the event is too large for the topic"))
    outcomes: list[Outcome] = []
    house.bus.fail_next("append", TooLarge("the event is too large for the topic"))
    for number in range(3):
        house.publish([event(number)], outcomes)
    await house.ingress.drain(5)
    assert isinstance(outcomes[0], TooLarge)
    assert outcomes[1:] == [[(0, 0)], [(0, 1)]]


@pytest.mark.parametrize("error", [BusUnavailable("away"), OutcomeUnknown("who knows")])
async def test_the_answer_of_a_bus_that_fails_reaches_every_publisher(house: House, error: LinkspanError) -> None:
    house.bus.fail_next("append", error)
    outcomes: list[Outcome] = []
    house.publish([event(1)], outcomes)
    house.publish([event(2)], outcomes)
    await house.ingress.drain(5)
    assert outcomes == [error, error]
    assert b"linkspan_publish_failed_events_total 2.0" in house.metrics.render()


async def test_each_publisher_is_told_what_is_known_of_its_own_events(house: House) -> None:
    known: list[tuple[int, int] | None] = [(0, 1), None, None, (0, 2)]
    house.bus.fail_next("append", BusUnavailable("half way", positions=known))
    outcomes: list[Outcome] = []
    house.publish([event(1), event(2)], outcomes)
    house.publish([event(3)], outcomes)
    house.publish([event(4)], outcomes)
    await house.ingress.drain(5)
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert outcomes[0].detail["positions"] == [(0, 1), None]
    assert isinstance(outcomes[1], BusUnavailable)
    assert outcomes[2] == [(0, 2)]


async def test_topics_are_made_on_first_use_where_that_is_permitted() -> None:
    house = House(auto_create=True)
    await house.start()
    assert await house.ingress.submit("fresh", [event()], ANONYMOUS) == [(0, 0)]
    await house.close()


async def test_a_caller_that_went_away_does_not_take_the_events_back(house: House) -> None:
    release = house.bus.hold("append")
    waiting = asyncio.create_task(house.ingress.submit("t", [event(5)], ANONYMOUS))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    release()
    await house.ingress.drain(5)
    assert await house.stored() == ["5"]


async def test_drain_refuses_new_events_and_answers_the_old(house: House) -> None:
    outcomes: list[Outcome] = []
    house.publish([event(1)], outcomes)
    await house.ingress.drain(5)
    assert outcomes == [[(0, 0)]]
    with pytest.raises(Draining):
        house.publish([event(2)], outcomes)


async def test_close_answers_whatever_is_left(house: House) -> None:
    release = house.bus.hold("append")
    outcomes: list[Outcome] = []
    for _ in range(module.IN_FLIGHT + 1):
        house.publish([event(1, b"x" * 9_000)] * 40, outcomes)
        await asyncio.sleep(0.005)
    house.publish([event(2)], outcomes)
    await house.ingress.drain(0.05)
    await house.ingress.close()
    release()
    assert len(outcomes) == module.IN_FLIGHT + 2
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert isinstance(outcomes[-1], Draining)


async def test_a_bus_that_hangs_leaves_nobody_without_an_answer() -> None:
    house = House(deadline=0.3)
    await house.start()
    release = house.bus.hold("append")
    outcomes: list[Outcome] = []
    began = time.monotonic()
    for number in range(IN_FLIGHT + 3):
        house.publish([event(number, b"x" * 9000) for _ in range(30)], outcomes)
        await asyncio.sleep(0)
    await eventually(lambda: len(outcomes) == IN_FLIGHT + 3)
    assert time.monotonic() - began < 0.3 + GRACE + 2 * SWEEP
    kinds = [type(outcome) for outcome in outcomes]
    # What the bus was not given is not stored; what it was given may be, and holds its room.
    assert kinds == [BusUnavailable] * 3 + [OutcomeUnknown] * IN_FLIGHT
    assert b"linkspan_ingress_waiting_bytes 0.0" not in house.metrics.render()
    release()
    await eventually(lambda: b"linkspan_ingress_waiting_bytes 0.0" in house.metrics.render())
    assert set(await house.stored()) == {str(number) for number in range(IN_FLIGHT)}
    assert len(outcomes) == IN_FLIGHT + 3, "answered once"
    await house.close()


async def test_time_that_was_waited_before_counts(house: House) -> None:
    with pytest.raises(BusUnavailable, match="too long"):
        await house.ingress.submit("t", [event()], ANONYMOUS, waited=5.1)
    house.bus.hold("append")
    outcomes: list[Outcome] = []
    house.ingress.publish("t", [event()], ANONYMOUS, outcomes.append, waited=4.9)
    await eventually(lambda: outcomes, 2)
    assert isinstance(outcomes[0], OutcomeUnknown)


async def test_the_bus_is_told_the_deadline_of_whoever_came_last(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    async def append(topic: str, events: Sequence[Event], deadline: float) -> Sequence[tuple[int, int]]:
        told.append(deadline - time.monotonic())
        return [(0, 0)] * len(events)

    monkeypatch.setattr(house.bus, "append", append)
    outcomes: list[Outcome] = []
    house.ingress.publish("t", [event()], ANONYMOUS, outcomes.append, waited=3)
    house.ingress.publish("t", [event()], ANONYMOUS, outcomes.append, waited=1)
    await eventually(lambda: len(outcomes) == 2)
    assert told == [pytest.approx(4, abs=0.5)]


async def test_one_event_without_a_key_in_a_compacted_topic_costs_only_its_own_publish(house: House) -> None:
    await house.bus.alter_topic("t", TopicSettings(cleanup="compact"))
    outcomes: list[Outcome] = []
    for one in (event(1, subject="a"), event(2), event(3, subject="a")):
        house.publish([one], outcomes)
    await eventually(lambda: len(outcomes) == 3)
    assert [isinstance(outcome, InvalidEvent) for outcome in outcomes] == [False, True, False]
    assert outcomes[1].faults[0].where == "events[0]"  # type: ignore[union-attr]  # an error, see above
    assert await house.stored() == ["1", "3"]
