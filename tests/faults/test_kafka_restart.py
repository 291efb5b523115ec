"""Kafka goes away and comes back under load: nothing acknowledged is lost, nothing stored twice.

Prints what was acknowledged, lost, unknown and refused (see with `pytest -s`).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from gateway.bus.contract import Bus, TopicChange, TopicSettings
from gateway.bus.kafka import KafkaBus
from gateway.errors import BusUnavailable, OutcomeUnknown
from tests.conftest import eventually
from tests.harness.events import READ_BYTES, Sink, event, events, ids, read_topic
from tests.harness.kafka import KafkaServer

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

CALLERS, SIZE = 6, 50


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    """A Kafka of this module's own, not started yet."""
    server = KafkaServer()
    yield server
    server.close()


@pytest.fixture
async def bus(server: KafkaServer) -> AsyncIterator[KafkaBus]:
    await server.up()
    bus = KafkaBus(server.bootstrap, refresh=0.5, request_timeout=3)
    await bus.start()
    await eventually(lambda: bus.health().ready)
    yield bus
    await bus.close()


class Load:
    """Callers that append numbered events until told to stop, and what each append ended with."""

    def __init__(self, bus: Bus, topic: str) -> None:
        self._bus, self._topic = bus, topic
        self.stopping = False
        self.numbers = 0
        self.acknowledged: dict[int, tuple[int, int]] = {}
        self.unknown: set[int] = set()
        self.refused: set[int] = set()
        self.half_refused = 0
        self.slowest = 0.0

    async def more(self) -> None:
        """Wait until appends succeed (again)."""
        enough = len(self.acknowledged) + 2000
        await eventually(lambda: len(self.acknowledged) > enough, 30, "appends succeed")

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._caller(), name=f"caller {number}")

    async def _caller(self) -> None:
        while not self.stopping:
            batch = events(SIZE, self.numbers)
            self.numbers += SIZE
            began = time.monotonic()
            try:
                positions = await self._bus.append(self._topic, batch)
            except OutcomeUnknown as error:
                # What it names as stored counts as acknowledged.
                known = error.detail.get("positions") or [None] * SIZE
                for number, position in zip(ids(batch), known, strict=True):
                    if position is None:
                        self.unknown.add(number)
                    else:
                        self.acknowledged[number] = position
            except BusUnavailable as error:
                self.refused.update(ids(batch))
                self.half_refused += "positions" in error.detail
                await asyncio.sleep(0.02)
            else:
                self.acknowledged.update(zip(ids(batch), positions, strict=True))
            self.slowest = max(self.slowest, time.monotonic() - began)


async def settle(bus: KafkaBus, load: Load, sink: Sink, topic: str, what: str) -> None:
    """Compare what callers were told with what is stored, and with what the tail showed."""
    stored = await read_topic(bus, topic)
    numbers = ids(stored)
    places = {number: (each.partition, each.offset) for number, each in zip(numbers, stored, strict=True)}
    lost = [number for number, place in load.acknowledged.items() if places.get(number) != place]
    landed = load.unknown & places.keys()
    twice = len(numbers) - len(places)
    print(  # noqa: T201  # the figures are what the test is for
        f"\n{what}: {len(load.acknowledged)} acknowledged, {len(lost)} lost, {twice} stored twice, "
        f"{len(load.unknown)} unknown ({len(landed)} of them stored), {len(load.refused)} refused, "
        f"slowest append {load.slowest:.1f} s"
    )
    assert lost == []
    assert twice == 0
    assert load.half_refused == 0
    assert not load.refused & places.keys(), "events were refused and stored all the same"
    for key in {each.key for each in stored}:
        mine = ids([each for each in stored if each.key == key])
        in_call = [
            [number for number in mine if number // SIZE == call] for call in {number // SIZE for number in mine}
        ]
        assert all(numbers == sorted(numbers) for numbers in in_call)
    await fill_gaps(bus, sink, topic)
    assert sink.faults == []
    shown = ids(sink.events(topic))
    assert sorted(shown) == sorted(numbers)


async def fill_gaps(bus: KafkaBus, sink: Sink, topic: str) -> None:
    """Wait until the tail is at the end; what it left out must be a gap that a listener can see."""
    bounds = await bus.bounds(topic)
    reached = [(topic, partition) for partition in range(len(bounds))]
    await eventually(lambda: all(sink.next.get(place, 0) >= bounds[place[1]].next for place in reached))
    ends = dict.fromkeys(range(len(bounds)), 0)
    for batch in [batch for batch in sink.batches if batch.topic == topic]:
        offset = ends[batch.partition]
        while offset < batch.base_offset:
            for missing in await bus.read(topic, batch.partition, offset, READ_BYTES):
                offset = missing.next_offset
                kept = [each for each in missing.events if each.offset < batch.base_offset]
                missing.events[:] = kept
                sink.batches.append(missing)
        ends[batch.partition] = batch.next_offset


async def tailed(bus: KafkaBus, topic: str) -> Sink:
    sink = Sink()
    await bus.create_topic(topic, TopicSettings(partitions=3))
    await bus.tail(sink).follow(topic)
    return sink


@pytest.mark.parametrize(("how", "rounds"), [("kill", 2), ("stop", 1)])
async def test_a_broker_restarted_under_load_loses_nothing(
    server: KafkaServer, bus: KafkaBus, how: str, rounds: int
) -> None:
    topic = f"restart-{how}"
    sink = await tailed(bus, topic)
    load = Load(bus, topic)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        for _ in range(rounds):
            await load.more()
            await asyncio.to_thread(getattr(server.node, how))
            await eventually(lambda: not bus.health().ready)
            await server.up()
            await eventually(lambda: bus.health().ready)
        await load.more()
        load.stopping = True
    await settle(bus, load, sink, topic, f"broker: {how}, {rounds} times")
    assert load.slowest < 5


async def test_an_outage_longer_than_the_deadline_is_refused_clearly_and_ridden_out(
    server: KafkaServer, bus: KafkaBus
) -> None:
    topic = "outage"
    sink = await tailed(bus, topic)
    load = Load(bus, topic)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await load.more()
        server.node.kill()
        await eventually(lambda: load.refused, what="appends are refused")
        assert not bus.health().ready
        assert "out of reach" in bus.health().reasons[0]
        # Once it has been away for longer than the deadline, nobody waits for it any more.
        await eventually(lambda: bus._cluster.down_for() > 3.2)
        began = time.monotonic()
        with pytest.raises(BusUnavailable, match="out of reach"):
            await bus.append(topic, [event()])
        with pytest.raises(BusUnavailable):
            await bus.bounds(topic)
        assert time.monotonic() - began < 1
        await server.up()
        await load.more()
        load.stopping = True
    await settle(bus, load, sink, topic, "broker away for longer than the deadline")
    assert [health.ready for health in sink.health if health.ready] != []
    assert [health.reasons for health in sink.health if not health.ready] != []
    assert load.slowest < 5


async def test_a_broker_that_hangs_makes_outcomes_unknown_and_in_time(server: KafkaServer, bus: KafkaBus) -> None:
    topic = "hang"
    sink = await tailed(bus, topic)
    load = Load(bus, topic)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        await load.more()
        server.node.signal(signal.SIGSTOP)
        await eventually(lambda: load.unknown, what="the outcome of some appends is unknown")
        server.node.signal(signal.SIGCONT)
        await load.more()
        load.stopping = True
    await settle(bus, load, sink, topic, "broker hung")
    assert load.slowest < 5


async def test_the_bus_starts_without_kafka_and_works_once_it_is_there(server: KafkaServer) -> None:
    server.node.kill()
    bus = KafkaBus(server.bootstrap, refresh=0.5, request_timeout=1)
    await bus.start()
    health = bus.health()
    assert not health.ready
    assert server.bootstrap in health.reasons[0]
    sink = Sink()
    bus.tail(sink)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(BusUnavailable, match=server.bootstrap):
            await bus.append("late", events(10))
        with pytest.raises(BusUnavailable):
            await bus.create_topic("late", TopicSettings())
        with pytest.raises(BusUnavailable):
            await bus.read("late", 0, 0, READ_BYTES)
    assert time.monotonic() - began < 5
    await server.up()
    await eventually(lambda: bus.health().ready)
    assert [each.ready for each in sink.health] == [True]
    await bus.create_topic("late", TopicSettings(partitions=1))
    await bus.append("late", events(10))
    assert ids(await read_topic(bus, "late")) == list(range(10))
    await eventually(lambda: ("late", TopicChange.CREATED) in sink.changes)
    await bus.close()


async def test_closing_while_kafka_is_away_answers_everybody_in_time(server: KafkaServer, bus: KafkaBus) -> None:
    await bus.create_topic("closing", TopicSettings(partitions=1))
    await bus.append("closing", [event(0)])
    server.node.kill()
    under_way = [asyncio.create_task(bus.append("closing", events(10, first))) for first in range(1, 101, 10)]
    await asyncio.sleep(0)
    began = time.monotonic()
    await bus.close()
    outcomes = await asyncio.gather(*under_way, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {BusUnavailable, OutcomeUnknown}
    assert time.monotonic() - began < 6
    await bus.close()
    with pytest.raises(BusUnavailable):
        await bus.append("closing", [event()])


async def test_what_listens_on_the_port_may_not_be_kafka() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for behaviour in (babble, silence):
        async with await asyncio.start_server(behaviour, "127.0.0.1", 0) as stranger:
            port = stranger.sockets[0].getsockname()[1]
            bus = KafkaBus(f"127.0.0.1:{port}", request_timeout=1)
            try:
                await bus.start()
                assert not bus.health().ready
                with pytest.raises(BusUnavailable):
                    await bus.append("any", [event()])
                await eventually(partial(_names, bus, port))
            finally:
                await bus.close()


def _names(bus: KafkaBus, port: int) -> bool:
    return f"127.0.0.1:{port}" in bus.health().reasons[0]
