"""A Kafka in the test's own process that fails on demand: what a real one does once in a month.

It speaks the requests that the bus sends, keeps batches in memory and checks sequence numbers as
a real broker does. `script` says what happens to the next requests of a kind. That what it
speaks is Kafka's protocol is shown by the tests against the real one.
"""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections import defaultdict, deque
from collections.abc import Callable

from gateway.bus.kafka.wire import INT16, INT32, INT64, NO_TAGS, Cursor, array, string, uarray, uvarint
from gateway.bus.records import read_batch_header, set_base_offset

KEYS = {
    0: "Produce",
    1: "Fetch",
    2: "ListOffsets",
    3: "Metadata",
    18: "ApiVersions",
    19: "CreateTopics",
    20: "DeleteTopics",
    22: "InitProducerId",
    32: "DescribeConfigs",
    37: "CreatePartitions",
    44: "IncrementalAlterConfigs",
}
FLEXIBLE = {"Metadata", "Fetch"}
NO_ERROR = INT16.pack(0)


class FakePartition:
    def __init__(self, leader: int) -> None:
        self.leader, self.leader_epoch = leader, 0
        self.replicas: tuple[int, ...] = (leader,)
        self.in_sync: tuple[int, ...] = (leader,)
        self.first = self.next = 0
        self.batches: list[bytes] = []
        self.aborted: list[tuple[int, int]] = []
        self.sequences: dict[tuple[int, int], tuple[int, int, int]] = {}

    def put(self, batch: bytes | bytearray) -> int:
        """Append whatever batch, as a broker does; the result is its base offset."""
        stored = bytearray(batch)
        set_base_offset(stored, self.next)
        base, self.next = self.next, self.next + read_batch_header(stored).last_offset_delta + 1
        self.batches.append(bytes(stored))
        return base

    def produce(self, batch: bytes) -> tuple[int, int]:
        """(error code, base offset), with the duplicate and order checks of an idempotent producer."""
        producer, epoch, sequence, count = struct.unpack_from(">qhii", batch, 43)
        last = self.sequences.get((producer, epoch))
        if last is not None:
            before, length, base = last
            if sequence == before:
                return 0, base
            if sequence != before + length:
                return 45, -1
        base = self.put(batch)
        self.sequences[producer, epoch] = (sequence, count, base)
        return 0, base


class FakeTopic:
    def __init__(self, partitions: int, leaders: list[int]) -> None:
        self.id = uuid.uuid4().bytes
        self.partitions = [FakePartition(leaders[number % len(leaders)]) for number in range(partitions)]
        self.configs = {
            "retention.ms": "604800000",
            "retention.bytes": "-1",
            "cleanup.policy": "delete",
            "compression.type": "producer",
            "max.message.bytes": "1048588",
        }


Step = Callable[[bytes], bytes | None] | str | int
"""An error code for all of the request; `drop` (unseen), `lose` (done, but not answered), `hang`."""


class FakeKafka:
    """Nodes 1..n on ports of their own."""

    def __init__(self, nodes: int = 1) -> None:
        self.numbers = list(range(1, nodes + 1))
        self.ports: dict[int, int] = {}
        self.topics: dict[str, FakeTopic] = {}
        self.script: dict[str, deque[Step]] = defaultdict(deque)
        self.seen: list[str] = []
        self.metadata_hidden = False
        self._servers: dict[int, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._producers = 1000

    async def start(self) -> None:
        for number in self.numbers:
            await self.open(number)

    async def open(self, number: int) -> None:
        """A node comes (back), on its old port."""
        server = await asyncio.start_server(
            lambda r, w: self._accept(number, r, w), "127.0.0.1", self.ports.get(number, 0)
        )
        self.ports[number] = server.sockets[0].getsockname()[1]
        self._servers[number] = server

    async def stop(self, number: int) -> None:
        """A node goes: its connections break, nothing listens."""
        self._servers.pop(number).close()
        await self._end([task for task in self._tasks if task.get_name() == f"fake node {number}"])

    async def close(self) -> None:
        for number in list(self._servers):
            await self.stop(number)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def create(self, name: str, partitions: int = 1) -> FakeTopic:
        self.topics[name] = FakeTopic(partitions, self.numbers)
        return self.topics[name]

    def count(self, request: str) -> int:
        return self.seen.count(request)

    # -- connections --------------------------------------------------------------------

    async def _accept(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(f"fake node {number}")
        self._tasks.add(task)
        try:
            while True:
                frame = await reader.readexactly(INT32.unpack(await reader.readexactly(4))[0])
                answer = await self._answer(number, frame)
                if answer is None:
                    return
                writer.write(INT32.pack(len(answer)) + answer)
        except (OSError, asyncio.IncompleteReadError):
            return  # the client went away
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, number: int, frame: bytes) -> bytes | None:
        cursor = Cursor(frame)
        name, _, correlation = KEYS[cursor.int16()], cursor.int16(), cursor.take(4)
        cursor.string()
        if name in FLEXIBLE:
            cursor.tags()
            correlation += NO_TAGS
        self.seen.append(name)
        step = self.script[name].popleft() if self.script[name] else None
        if step == "hang":
            await asyncio.Event().wait()
        if step == "drop":
            return None
        if callable(step):
            step(frame)
        body = await getattr(self, "_" + name)(number, cursor, step if isinstance(step, int) else 0)
        return None if step == "lose" else correlation + body

    # -- requests -----------------------------------------------------------------------

    async def _ApiVersions(self, _: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        return INT16.pack(code) + array(struct.pack(">hhh", key, 0, 20) for key in KEYS)

    async def _Metadata(self, _: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        brokers = uarray(
            INT32.pack(n) + _ustring("127.0.0.1") + INT32.pack(self.ports[n]) + b"\x00" + NO_TAGS for n in self.numbers
        )
        topics = {} if self.metadata_hidden else self.topics
        described = uarray(self._topic(name, topic) for name, topic in topics.items())
        return INT32.pack(0) + brokers + _ustring("fake") + INT32.pack(1) + described + INT32.pack(0) + NO_TAGS

    def _topic(self, name: str, topic: FakeTopic) -> bytes:
        partitions = uarray(
            INT16.pack(0)
            + struct.pack(">iii", number, each.leader, each.leader_epoch)
            + uarray(map(INT32.pack, each.replicas))
            + uarray(map(INT32.pack, each.in_sync))
            + uarray(())
            + NO_TAGS
            for number, each in enumerate(topic.partitions)
        )
        internal = bytes([name.startswith("__")])
        return NO_ERROR + _ustring(name) + topic.id + internal + partitions + INT32.pack(0) + NO_TAGS

    async def _InitProducerId(self, _: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        self._producers += 1
        return INT32.pack(0) + INT16.pack(code) + INT64.pack(self._producers) + INT16.pack(0)

    async def _Produce(self, node: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        cursor.string()
        cursor.take(6)  # acks, time-out
        topics = []
        for _ in range(cursor.count()):
            name, answers = cursor.string() or "", []
            for _ in range(cursor.count()):
                partition, batch = cursor.int32(), cursor.take(cursor.int32())
                result, base = code, -1
                if not code:
                    result, base = self._store(node, name, partition, batch)
                answers.append(
                    struct.pack(">ihqqq", partition, result, base, -1, 0) + array(()) + string("said the broker")
                )
            topics.append(string(name) + array(answers))
        return array(topics) + INT32.pack(0)

    def _store(self, node: int, name: str, partition: int, batch: bytes) -> tuple[int, int]:
        topic = self.topics.get(name)
        if topic is None or partition >= len(topic.partitions):
            return 3, -1
        if topic.partitions[partition].leader != node:
            return 6, -1
        if len(batch) > int(topic.configs["max.message.bytes"]):
            return 10, -1
        return topic.partitions[partition].produce(batch)

    async def _Fetch(self, node: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        cursor.int32()
        wait, _, _ = cursor.int32(), cursor.int32(), cursor.int32()
        cursor.take(9)
        wanted = []
        for _ in range(cursor.ucount()):
            topic = cursor.uuid()
            for _ in range(cursor.ucount()):
                partition, _, offset, _, _, size = struct.unpack(">iiqiqi", cursor.take(32))
                cursor.tags()
                wanted.append((topic, partition, offset, size))
            cursor.tags()
        end = asyncio.get_running_loop().time() + wait / 1000
        while not code:
            parts = [self._fetch_one(node, *each) for each in wanted]
            if any(part[1] for part in parts) or asyncio.get_running_loop().time() >= end:
                break
            await asyncio.sleep(0.005)
        else:
            parts = []
        topics = uarray(topic + uarray([part]) + NO_TAGS for (topic, *_), (part, _) in zip(wanted, parts, strict=False))
        return INT32.pack(0) + INT16.pack(code) + INT32.pack(0) + topics + NO_TAGS

    def _fetch_one(self, node: int, topic_id: bytes, partition: int, offset: int, size: int) -> tuple[bytes, bool]:
        topic = next((topic for topic in self.topics.values() if topic.id == topic_id), None)
        code, records, aborted, last, first = 0, b"", uarray(()), -1, -1
        if topic is None:
            code = 100
        else:
            log = topic.partitions[partition]
            last, first = log.next, log.first
            if log.leader != node:
                code = 6
            elif not log.first <= offset <= log.next:
                code = 1
            else:
                found = [batch for batch in log.batches if read_batch_header(batch).next_offset > offset]
                records = found[0] + b"".join(found[1:])[: max(0, size - len(found[0]))] if found else b""
                aborted = uarray(INT64.pack(p) + INT64.pack(f) + NO_TAGS for p, f in log.aborted)
        head = struct.pack(">ihqqq", partition, code, last, last, first) + aborted + INT32.pack(-1)
        return head + uvarint(len(records) + 1) + records + NO_TAGS, bool(records or code)

    async def _ListOffsets(self, node: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        cursor.take(5)
        topics = []
        for _ in range(cursor.count()):
            name, answers = cursor.string() or "", []
            for _ in range(cursor.count()):
                partition, _, when = cursor.int32(), cursor.int32(), cursor.int64()
                result, offset = code, -1
                if not code:
                    result, offset = self._offset(node, name, partition, when)
                answers.append(struct.pack(">ihqqi", partition, result, -1, offset, -1))
            topics.append(string(name) + array(answers))
        return INT32.pack(0) + array(topics)

    def _offset(self, node: int, name: str, partition: int, when: int) -> tuple[int, int]:
        if name not in self.topics:
            return 3, -1
        log = self.topics[name].partitions[partition]
        if log.leader != node:
            return 6, -1
        if when == -1:
            return 0, log.next
        if when == -2:
            return 0, log.first
        headers = map(read_batch_header, log.batches)
        return 0, next((header.base_offset for header in headers if header.max_timestamp >= when), -1)

    async def _CreateTopics(self, _: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        cursor.count()
        name, partitions, _ = cursor.string() or "", cursor.int32(), cursor.int16()
        cursor.count()
        if not code and name in self.topics:
            code = 36
        if not code:
            topic = self.create(name, max(1, partitions))
            for _ in range(cursor.count()):
                key, value = cursor.string() or "", cursor.string() or ""
                topic.configs[key] = value
        return INT32.pack(0) + array([string(name) + INT16.pack(code) + string("said the broker")])

    async def _CreatePartitions(self, _: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        cursor.count()
        name, count = cursor.string() or "", cursor.int32()
        cursor.take(8)
        if not code and not cursor.int8():
            partitions = self.topics[name].partitions
            partitions += [FakePartition(self.numbers[0]) for _ in range(count - len(partitions))]
        return INT32.pack(0) + array([string(name) + INT16.pack(code) + string("said the broker")])

    async def _DeleteTopics(self, _: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        cursor.count()
        name = cursor.string() or ""
        if not code and self.topics.pop(name, None) is None:
            code = 3
        return INT32.pack(0) + array([string(name) + INT16.pack(code)])

    async def _DescribeConfigs(self, _: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        answers = []
        for _ in range(cursor.count()):
            cursor.int8()
            name = cursor.string() or ""
            keys = [cursor.string() or "" for _ in range(cursor.count())]
            result = code or (0 if name in self.topics else 3)
            configs = self.topics[name].configs if not result else {}
            settings = array(
                string(key) + string(configs[key]) + b"\x00\x05\x00" + array(()) for key in keys if key in configs
            )
            answers.append(INT16.pack(result) + string(None) + b"\x02" + string(name) + settings)
        return INT32.pack(0) + array(answers)

    async def _IncrementalAlterConfigs(self, _: int, cursor: Cursor, code: int) -> bytes:  # noqa: N802
        cursor.count()
        cursor.int8()
        name = cursor.string() or ""
        for _ in range(cursor.count()):
            key, _, value = cursor.string() or "", cursor.int8(), cursor.string() or ""
            if not code:
                self.topics[name].configs[key] = value
        return INT32.pack(0) + array([INT16.pack(code) + string("said the broker") + b"\x02" + string(name)])


def _ustring(text: str) -> bytes:
    return uvarint(len(text) + 1) + text.encode()
