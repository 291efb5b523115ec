"""Appending to Kafka: idempotent, in order per partition, with a deadline of our own.

Events are encoded into batches that queue per partition (see `lanes`, `parcels`). Each broker has
one sender: it takes a batch of every partition that the broker leads and that has none on the
wire, sends them in one request, and sorts the answers. What arrives meanwhile fills the next ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from gateway.bus.contract import Position, TopicChange
from gateway.bus.kafka import errors, messages, wire
from gateway.bus.kafka.admin import Admin, Config
from gateway.bus.kafka.answers import Then, settle, unencodable
from gateway.bus.kafka.calls import Call, too_large, unavailable
from gateway.bus.kafka.cluster import Cluster
from gateway.bus.kafka.errors import Unreachable
from gateway.bus.kafka.lanes import Lane
from gateway.bus.kafka.messages import Produced
from gateway.bus.kafka.metadata import TopicMeta
from gateway.bus.kafka.parcels import Form, Oversize, ProducerId
from gateway.bus.partitioner import Partitioner, check_keys
from gateway.errors import LinkspanError, OutcomeUnknown, UnknownTopic
from gateway.event import Event

log = structlog.get_logger("kafka")

#: Bytes in one produce request, far below the broker's socket.request.max.bytes.
REQUEST_BYTES = 16 * 1024 * 1024
_BACKOFF = 0.1
_SWEEP = 0.1
#: Seconds between two looks for topics whose settings are stale.
_LOOK = 1.0


class Producing:
    """`memory` bounds the bytes of appends under way; beyond it they are refused at once."""

    def __init__(self, cluster: Cluster, admin: Admin, *, memory: int, deadline: float) -> None:
        self._cluster, self._admin = cluster, admin
        self._memory, self._deadline = memory, deadline
        self._partitioner = Partitioner()
        self._producer: ProducerId | None = None
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._ready: dict[int, dict[Lane, None]] = {}
        self._homeless: dict[Lane, None] = {}
        self._active: dict[Lane, None] = {}
        self._wire: dict[int, tuple[wire.Connection, list[Lane]]] = {}
        self._senders: dict[int, asyncio.Task[None]] = {}
        self._wake: dict[int, asyncio.Event] = {}
        self._pending: dict[str, list[Call]] = {}
        self._resolvers: dict[str, asyncio.Task[None]] = {}
        self._used: dict[str, float] = {}
        self._calls: dict[Call, None] = {}
        self._tending: list[asyncio.Task[None]] = []
        self._closed = self._stopped = False
        self.held = 0
        """Bytes of the appends under way."""

    def start(self) -> None:
        self._cluster.on_changes.append(self._on_changes)
        self._tending = [
            asyncio.create_task(self._tend(), name="kafka appends"),
            asyncio.create_task(self._keep_settings(), name="kafka topic settings"),
        ]

    async def close(self, patience: float) -> None:
        """Let the appends under way finish, at most `patience` seconds; answer the rest."""
        self._closed = True
        waiting = [call.future for call in self._calls]
        if waiting:
            await asyncio.wait(waiting, timeout=patience)
        self._stopped = True
        tasks = [*self._tending, *self._senders.values(), *self._resolvers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for call in list(self._calls):
            call.give_up(self._closing_error(call))
        self._calls.clear()

    def _closing_error(self, call: Call) -> LinkspanError:
        flights = [lane.flight for lane in self._active if lane.flight is not None]
        if any(part.call is call for flight in flights for part in flight.parts):
            return OutcomeUnknown("the gateway stopped before Kafka answered")
        return unavailable("the gateway stopped before Kafka took it")

    # -- taking calls -------------------------------------------------------------------

    async def append(self, topic: str, events: Sequence[Event], deadline: float | None = None) -> Sequence[Position]:
        """See `Bus.append`."""
        if not events:
            return []
        return await self.accept(topic, events, deadline).future

    def accept(self, topic: str, events: Sequence[Event], deadline: float | None = None) -> Call:
        """Queue the events. Synchronous, so that calls are stored in the order in which they come."""
        if self._closed:
            raise unavailable("the bus is closed")
        if self._cluster.down_for() > self._deadline:
            raise unavailable(self._cluster.reason)
        if self.held >= self._memory:
            raise unavailable(f"{self.held} bytes of appends wait for Kafka already")
        end = time.monotonic() + self._deadline
        end = end if deadline is None else min(end, deadline)
        call = Call(topic, events, end, asyncio.get_running_loop().create_future())
        meta = self._cluster.metadata.topics.get(topic)
        config = self._admin.config(meta) if meta is not None else None
        if meta is not None and config is not None and topic not in self._pending:
            self._place(call, meta, config)
            self._calls[call] = None
            call.future.add_done_callback(lambda _: self._release(call))
        else:
            self._calls[call] = None
            call.future.add_done_callback(lambda _: self._release(call))
            self._pending.setdefault(topic, []).append(call)
            if topic not in self._resolvers:
                self._resolvers[topic] = asyncio.create_task(self._resolve(topic), name=f"kafka topic {topic}")
        return call

    def _release(self, call: Call) -> None:
        self.held -= call.weight
        self._calls.pop(call, None)

    def _place(self, call: Call, meta: TopicMeta, config: Config) -> None:
        """Encode the call's events into their lanes; all of them or, with an error, none."""
        if config.cleanup == "compact":
            check_keys(call.events, call.topic)
        self._used[call.topic] = time.monotonic()
        lanes: list[Lane] = []
        form = Form(config.compression, config.max_bytes)
        try:
            for partition, places in self._partitioner.split(call.events, len(meta.partitions)).items():
                lane = self._lanes.get((call.topic, partition))
                if lane is None:
                    lane = self._lanes[call.topic, partition] = Lane(call.topic, partition)
                lanes.append(lane)
                call.weight += lane.add(call, places, form)
        except Exception as error:
            for lane in lanes:
                lane.take_back({call})
            call.weight = 0
            if isinstance(error, Oversize):
                raise too_large(call.events, config.max_bytes) from None
            raise unencodable(error) from error
        self.held += call.weight
        for lane in lanes:
            self._active[lane] = None
            self._offer(lane)

    async def _resolve(self, topic: str) -> None:
        """Find out what is not known about a topic; then place the calls that wait for it, in order."""
        try:
            while self._pending.get(topic):
                fault = await self._learn(topic)
                meta = self._cluster.metadata.topics.get(topic)
                config = self._admin.config(meta) if meta is not None else None
                if meta is not None and config is not None:
                    self._place_pending(topic, meta, config)
                elif fault is not None:
                    for call in self._pending.pop(topic):
                        call.give_up(fault)
                else:
                    await asyncio.sleep(_BACKOFF)
        finally:
            del self._resolvers[topic]
            if not self._pending.get(topic):
                self._pending.pop(topic, None)

    async def _learn(self, topic: str) -> LinkspanError | None:
        fresh = topic in self._cluster.metadata.topics or await self._cluster.refreshed()
        if topic not in self._cluster.metadata.topics:
            return UnknownTopic(topic) if fresh else None
        try:
            await self._admin.load([topic])
        except Unreachable as error:
            log.info("kafka topic settings cannot be had", topic=topic, reason=str(error))
        return None

    def _place_pending(self, topic: str, meta: TopicMeta, config: Config) -> None:
        for call in self._pending.pop(topic, []):
            try:
                if not call.future.done():
                    self._place(call, meta, config)
            except LinkspanError as error:
                call.fail(call.left, error)

    # -- who sends what -----------------------------------------------------------------

    def _offer(self, lane: Lane) -> None:
        """Hand a lane that has something to send to the sender of its leader."""
        if lane.busy or lane.idle or self._stopped:
            return
        node = self._cluster.metadata.leader(*lane.key)
        if node < 0 or node not in self._cluster.metadata.brokers:
            self._homeless[lane] = None
            return
        self._ready.setdefault(node, {})[lane] = None
        if node not in self._senders:
            self._wake[node] = asyncio.Event()
            self._senders[node] = asyncio.create_task(self._send(node), name=f"kafka sender {node}")
        self._wake[node].set()

    def _on_changes(self, changes: list[tuple[str, TopicChange]]) -> None:
        for topic, change in changes:
            if change is not TopicChange.PARTITIONS:
                self._topic_gone(topic, change)
        for node, (connection, lanes) in self._wire.items():
            if any(self._cluster.metadata.leader(*lane.key) not in (node, -1) for lane in lanes):
                # A broker that lost the lead may be hung or cut off: do not wait for its answer.
                connection.close()
        waiting = [lane for lanes in self._ready.values() for lane in lanes] + list(self._homeless)
        self._ready.clear()
        self._homeless.clear()
        for lane in waiting:
            self._offer(lane)

    def _topic_gone(self, topic: str, change: TopicChange) -> None:
        for key in [key for key in self._lanes if key[0] == topic]:
            lane = self._lanes[key]
            if change is TopicChange.DELETED:
                self._fail_deleted(lane)
            elif lane.flight is None:
                lane.producer = None  # the new partition knows nothing of our sequence
            if lane.idle and not lane.busy:
                self._drop_lane(lane)

    def _drop_lane(self, lane: Lane) -> None:
        del self._lanes[lane.key]
        self._active.pop(lane, None)
        self._homeless.pop(lane, None)
        for lanes in self._ready.values():
            lanes.pop(lane, None)

    async def _tend(self) -> None:
        """Answer calls whose deadline is over. It asks Kafka for nothing: a Kafka that hangs must not stop it."""
        while True:
            await asyncio.sleep(_SWEEP)
            self._expire(time.monotonic())
            if self._homeless:
                self._cluster.refresh_soon()

    async def _keep_settings(self) -> None:
        """Keep the settings of topics in use fresh."""
        while True:
            await asyncio.sleep(_LOOK)
            if self._cluster.ready:
                await self._refresh_settings(time.monotonic())

    async def _refresh_settings(self, now: float) -> None:
        self._used = {topic: at for topic, at in self._used.items() if now - at < 60}
        stale = self._admin.stale(self._used)
        if stale:
            try:
                await self._admin.load(stale)
            except Unreachable as error:
                log.info("kafka topic settings cannot be had", reason=str(error))

    def _expire(self, now: float) -> None:
        why = self._cluster.reason or f"Kafka did not take it within {self._deadline:g} s"
        late = OutcomeUnknown(f"Kafka did not answer within {self._deadline:g} s: the events may be stored yet")
        for lane in list(self._active):
            if lane.idle and not lane.busy:
                del self._active[lane]
            if lane.flight is not None:
                for part in lane.flight.parts:
                    if part.call.deadline < now:
                        part.call.give_up(late)
                if lane.deadline() < now and not lane.busy:
                    lane.abandon(late)
                    self._producer = None
            lane.drop(unavailable(why), now)
        for topic, calls in list(self._pending.items()):
            for call in calls:
                if call.deadline < now:
                    call.give_up(unavailable(why))
            self._pending[topic] = [call for call in calls if not call.future.done()]
        for call in [call for call in self._calls if call.deadline < now]:
            call.give_up(late)

    # -- sending ------------------------------------------------------------------------

    async def _send(self, node: int) -> None:
        ready, wake = self._ready, self._wake[node]
        while True:
            if not ready.get(node):
                wake.clear()
                await wake.wait()
                continue
            try:
                connection = await self._cluster.connection(node, "produce")
                producer = await self._identity(node)
            except Unreachable as error:
                log.debug("kafka broker cannot be reached", node=node, reason=str(error))
                self._cluster.refresh_soon()
                await asyncio.sleep(_BACKOFF)
                ready[node] = {lane: None for lane in ready.get(node, {}) if not lane.idle}
                continue
            lanes = self._take(node, producer)
            if lanes:
                await self._request(node, connection, lanes)

    async def _identity(self, node: int) -> ProducerId:
        if self._producer is None:
            code, number, epoch = await self._cluster.call(node, "produce", messages.init_producer_id())
            if code:
                raise Unreachable(f"broker {node} gives no producer id: {errors.name_of(code)}")
            if self._producer is None:
                self._producer = ProducerId(number, epoch)
        return self._producer

    def _take(self, node: int, producer: ProducerId) -> list[Lane]:
        """Take the next batch of each lane that the node leads; they are busy until answered."""
        now, size = time.monotonic(), 0
        taken: list[Lane] = []
        ready = self._ready.pop(node, {})
        for lane in ready:
            if lane.idle or lane.busy:
                continue
            if size > REQUEST_BYTES or now < lane.not_before:
                self._later(lane, max(0.0, lane.not_before - now))
                continue
            parcel = lane.flight or lane.take_off(producer)
            lane.busy = True
            taken.append(lane)
            size += len(parcel.batch)
        return taken

    def _later(self, lane: Lane, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._offer, lane)

    async def _request(self, node: int, connection: wire.Connection, lanes: list[Lane]) -> None:
        batches: dict[str, list[tuple[int, bytearray]]] = {}
        for lane in lanes:
            assert lane.flight is not None
            batches.setdefault(lane.key[0], []).append((lane.key[1], lane.flight.batch))
        timeout = self._cluster.timeout
        request = messages.produce(batches, round(timeout * 1000))
        answer: dict[tuple[str, int], Produced] = {}
        self._wire[node] = (connection, lanes)
        try:
            answer = await wire.exchange(connection, request, timeout)
        except Unreachable as error:
            log.info("kafka broke off an append; it is sent again", reason=str(error), batches=len(lanes))
            self._cluster.refresh_soon()
        finally:
            del self._wire[node]
            for lane in lanes:
                lane.busy = False
        for lane in lanes:
            self._act(lane, settle(lane, answer.get(lane.key)))

    def _act(self, lane: Lane, then: Then) -> None:
        """Do what an answer asks for, and offer what the lane has next."""
        topic = lane.key[0]
        if Then.NEW_PRODUCER in then:
            self._producer = None
        if Then.NEW_SETTINGS in then:
            self._admin.outdate(topic)
        if Then.REFRESH in then:
            self._cluster.refresh_soon()
            if topic not in self._cluster.metadata.topics:
                self._fail_deleted(lane)
        if Then.WAIT in then:
            lane.not_before = time.monotonic() + _BACKOFF
            self._later(lane, _BACKOFF)
        else:
            self._offer(lane)

    def _fail_deleted(self, lane: Lane) -> None:
        topic = lane.key[0]
        lane.drop(UnknownTopic(topic))
        if lane.flight is not None and not lane.busy:
            lane.abandon(OutcomeUnknown(f"topic {topic!r} was deleted meanwhile"))
            self._producer = None
