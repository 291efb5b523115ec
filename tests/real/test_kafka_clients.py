"""Kafka as others use it: what they write we read, what we write they read."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from gateway.bus.contract import Bounds, Compression, TopicSettings
from gateway.bus.kafka import KafkaBus
from gateway.event import Event
from tests.conftest import eventually
from tests.harness.events import READ_BYTES, Sink, event, events, ids, read_partition, read_topic
from tests.harness.kafka import KafkaServer

pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]

CODECS: tuple[Compression, ...] = ("none", "gzip", "snappy", "lz4", "zstd")


@pytest.fixture
async def bus(kafka: KafkaServer) -> AsyncIterator[KafkaBus]:
    bus = KafkaBus(kafka.bootstrap, refresh=0.3)
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
async def topic(bus: KafkaBus, request: pytest.FixtureRequest) -> str:
    """A topic of one partition, named after the test."""
    name = "clients-" + "".join(char if char.isalnum() else "-" for char in request.node.name)[:200]
    await bus.create_topic(name, TopicSettings(partitions=1))
    return name


async def produce(kafka: KafkaServer, topic: str, count: int, codec: Compression, **options: Any) -> None:
    """Write numbered raw records with another client."""
    kind = None if codec == "none" else codec
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, compression_type=kind, **options) as producer:
        sent = [await producer.send(topic, f"{number} ".encode() * 50, partition=0) for number in range(count)]
        await asyncio.gather(*sent)


async def kcat(kafka: KafkaServer, *arguments: str, data: bytes = b"") -> bytes:
    """Run librdkafka's command line."""
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not installed: apt-get install kcat")
    process = await asyncio.create_subprocess_exec(
        "kcat", "-b", kafka.bootstrap, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(data), 20)
    assert process.returncode == 0, errors.decode()
    return output


@pytest.mark.parametrize("codec", CODECS)
async def test_batches_of_another_client_are_read_in_every_codec(
    kafka: KafkaServer, bus: KafkaBus, topic: str, codec: Compression
) -> None:
    await produce(kafka, topic, 300, codec, enable_idempotence=codec == "gzip")
    stored = await read_topic(bus, topic)
    assert [each.data for each in stored] == [f"{number} ".encode() * 50 for number in range(300)]
    middle = await bus.read(topic, 0, 150, READ_BYTES)
    assert middle[0].events[0].data == b"150 " * 50


@pytest.mark.parametrize("codec", CODECS)
async def test_batches_of_librdkafka_are_read_in_every_codec(
    kafka: KafkaServer, bus: KafkaBus, topic: str, codec: Compression
) -> None:
    lines = b"".join(f"key-{number % 3}:{number} {'x' * 100}\n".encode() for number in range(300))
    await kcat(kafka, "-P", "-t", topic, "-z", codec, "-K", ":", data=lines)
    stored = await read_topic(bus, topic)
    assert [each.data for each in stored] == [f"{number} {'x' * 100}".encode() for number in range(300)]
    assert stored[4].key == b"key-1"


async def test_a_raw_record_gets_attributes_made_of_its_place(kafka: KafkaServer, bus: KafkaBus, topic: str) -> None:
    headers = [("trace", b"\xff\xfe"), ("ce_BAD", b"x"), ("ce_note", b"kept"), ("ce_time", b"yesterday")]
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"\x00raw", key=b"k")
        await producer.send_and_wait(topic, None, key=b"k", headers=headers, timestamp_ms=1_700_000_000_123)
    first, second = await read_topic(bus, topic)
    assert (first.data, first.key) == (b"\x00raw", b"k")
    assert second.data is None
    assert second.attributes == {
        "id": f"{topic}-0-1",
        "source": f"//kafka/{topic}",
        "type": "io.linkspan.kafka.message",
        "specversion": "1.0",
        "time": "2023-11-14T22:13:20.123Z",
        "note": "kept",
    }


async def test_a_structured_event_of_another_client_is_that_event(
    kafka: KafkaServer, bus: KafkaBus, topic: str
) -> None:
    inner = {"specversion": "1.0", "id": "7", "source": "//x", "type": "t", "subject": "a/b", "data": {"price": 1.5}}
    kind = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, json.dumps(inner).encode(), headers=kind)
        await producer.send_and_wait(topic, b'{"specversion": "1.0", "id": ', headers=kind)
    good, bad = await read_topic(bus, topic)
    assert (good.attributes["id"], good.subject) == ("7", "a/b")
    assert json.loads(good.data or b"") == {"price": 1.5}
    assert good.attributes.get("datacontenttype", "application/json") == "application/json"
    assert bad.data == b'{"specversion": "1.0", "id": '
    assert bad.attributes["id"] == f"{topic}-0-1"


async def test_another_client_reads_our_events_by_the_kafka_binding(
    kafka: KafkaServer, bus: KafkaBus, topic: str
) -> None:
    attributes: dict[str, str | int | bool] = {"id": "1", "source": "//s", "type": "t", "specversion": "1.0"}
    attributes |= {"subject": "a/ü", "priority": 4}
    await bus.append(topic, [Event({**attributes, "datacontenttype": "text/plain"}, b"hello")])
    place = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap) as consumer:
        consumer.assign([place])
        await consumer.seek_to_beginning()
        record = await consumer.getone()
    assert dict(record.headers) == {
        "ce_id": b"1", "ce_source": b"//s", "ce_type": b"t", "ce_specversion": b"1.0",
        "ce_subject": "a/ü".encode(), "ce_priority": b"4", "content-type": b"text/plain",
    }  # fmt: skip
    assert (record.key, record.value) == ("a/ü".encode(), b"hello")


@pytest.mark.parametrize("codec", CODECS)
async def test_librdkafka_reads_our_batches_in_every_codec_and_checks_them(
    kafka: KafkaServer, bus: KafkaBus, topic: str, codec: Compression
) -> None:
    await bus.alter_topic(topic, TopicSettings(compression=codec))
    await bus.append(topic, events(300, size=100))
    output = await kcat(
        kafka, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-X", "check.crcs=true", "-f", "%o %s\n"
    )
    expected = [f"{number} {str(number).ljust(100, '.')}" for number in range(300)]
    assert output.decode().splitlines() == expected


async def test_events_of_aborted_transactions_are_neither_read_nor_tailed(
    kafka: KafkaServer, bus: KafkaBus, topic: str
) -> None:
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    producers = [
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{topic}-{name}") for name in "ab"
    ]
    for producer in producers:
        await producer.start()
    first, second = producers
    # Two transactions that overlap, one of which is aborted; then one that is aborted between ours.
    await first.begin_transaction()
    await second.begin_transaction()
    for number in range(10):
        await first.send_and_wait(topic, b"aborted", partition=0)
        await second.send_and_wait(topic, b"committed %d" % number, partition=0)
    await first.abort_transaction()
    await second.commit_transaction()
    await bus.append(topic, events(5))
    await first.begin_transaction()
    await first.send_and_wait(topic, b"aborted", partition=0)
    await first.abort_transaction()
    await first.begin_transaction()
    await first.send_and_wait(topic, b"committed 10", partition=0)
    await first.commit_transaction()
    for producer in producers:
        await producer.stop()
    await bus.append(topic, events(5, 5))

    wanted = [b"committed %d" % number for number in range(10)]
    wanted += (
        [each.value or b"" for each in events(5)] + [b"committed 10"] + [each.value or b"" for each in events(5, 5)]
    )
    end = await eventually(lambda: _end_of(bus, topic, wanted))
    stored = await read_topic(bus, topic)
    assert [each.data for each in stored] == wanted
    assert [each.data for each in await read_partition(bus, topic, 0, start=7)] == wanted[3:]
    await eventually(lambda: len(sink.events(topic)) >= len(wanted))
    assert [each.data for each in sink.events(topic)] == wanted
    assert sink.faults == []
    assert isinstance(end, int)
    assert stored[-1].offset < end  # a marker may come last
    await tail.close()


async def _end_of(bus: KafkaBus, topic: str, wanted: list[bytes]) -> int:
    """The end of the topic once all transactions have ended in it: markers come a little later."""
    bounds = (await bus.bounds(topic))[0]
    stored = [each.data for each in await read_topic(bus, topic)]
    return bounds.next if stored and stored[-1] == wanted[-1] else 0


async def test_what_stands_behind_an_open_transaction_waits_for_its_end(
    kafka: KafkaServer, bus: KafkaBus, topic: str
) -> None:
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic)
    await producer.start()
    await bus.append(topic, [event(0)])
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"open", partition=0)
    await bus.append(topic, [event(1)])
    await eventually(lambda: ids(sink.events(topic)) == [0])
    assert ids(await read_topic(bus, topic)) == [0]
    assert await bus.bounds(topic) == [Bounds(0, 1)]
    await producer.abort_transaction()
    await producer.stop()
    await eventually(lambda: ids(sink.events(topic)) == [0, 1])
    assert ids(await read_topic(bus, topic)) == [0, 1]
    await tail.close()


async def test_records_that_others_deleted_are_out_of_range(kafka: KafkaServer, bus: KafkaBus, topic: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

    await bus.append(topic, events(100))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=60)})
    await admin.close()
    assert await bus.bounds(topic) == [Bounds(60, 100)]
    assert ids(await read_topic(bus, topic)) == list(range(60, 100))


async def test_where_the_broker_sets_the_time_its_time_holds(kafka: KafkaServer, bus: KafkaBus, topic: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    name = topic + ".log-append"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    configs = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs)])
    await admin.close()
    await eventually(lambda: _listed(bus, name))
    await bus.append(name, events(10))
    stored = await read_topic(bus, name)
    (stamp,) = {each.timestamp_ms for each in stored}
    assert await bus.offset_for_time(name, 0, stamp) == 0
    assert await bus.offset_for_time(name, 0, stamp + 1) == 10


async def _listed(bus: KafkaBus, name: str) -> bool:
    return name in await bus.topics()
