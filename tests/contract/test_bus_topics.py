"""What every bus promises about its topics; see `gateway.bus.contract`."""

from __future__ import annotations

import pytest

from gateway.bus.contract import Bounds, Bus, TopicHealth, TopicSettings
from gateway.errors import InvalidAddress, InvalidEvent, InvalidSetting, OffsetOutOfRange, TopicExists, UnknownTopic
from tests.conftest import eventually
from tests.contract.conftest import Rig
from tests.harness.events import READ_BYTES, event, events, ids, read_partition, read_topic

pytestmark = pytest.mark.timeout(60)

HOUR = 3_600_000


async def test_a_topic_is_made_as_it_is_asked_for(bus: Bus, topic: str) -> None:
    settings = TopicSettings(
        partitions=3,
        replication=1,
        retention_ms=HOUR,
        retention_bytes=50_000_000,
        cleanup="compact",
        compression="gzip",
    )
    made = await bus.create_topic(topic, settings)
    assert made == await bus.describe_topic(topic)
    assert (made.name, made.partitions, made.replication) == (topic, 3, 1)
    assert (made.retention_ms, made.retention_bytes, made.cleanup) == (HOUR, 50_000_000, "compact")
    assert made.compression == "gzip"
    assert made.max_event_bytes >= 1000_000
    assert len(await bus.bounds(topic)) == 3


async def test_what_is_not_asked_for_is_the_buss_default(bus: Bus, rig: Rig, topic: str) -> None:
    made = await bus.create_topic(topic, TopicSettings())
    assert (made.partitions, made.replication, made.cleanup) == (rig.defaults, 1, "delete")
    assert (made.retention_ms, made.retention_bytes) == (7 * 24 * HOUR, -1)


async def test_times_and_sizes_may_have_no_limit(bus: Bus, topic: str) -> None:
    made = await bus.create_topic(topic, TopicSettings(retention_ms=-1, retention_bytes=-1))
    assert (made.retention_ms, made.retention_bytes) == (-1, -1)


async def test_a_topic_that_is_there_is_not_made_again(bus: Bus, topic: str) -> None:
    made = await bus.create_topic(topic, TopicSettings(partitions=2))
    with pytest.raises(TopicExists, match=topic):
        await bus.create_topic(topic, TopicSettings(partitions=5))
    assert await bus.describe_topic(topic) == made


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ü", "x" * 250, "a\n"])
async def test_a_name_that_kafka_would_refuse_is_refused(bus: Bus, name: str) -> None:
    with pytest.raises(InvalidAddress):
        await bus.create_topic(name, TopicSettings())


@pytest.mark.parametrize(
    "settings",
    [
        TopicSettings(partitions=0),
        TopicSettings(partitions=-3),
        TopicSettings(replication=0),
        TopicSettings(replication=5),
        TopicSettings(retention_ms=-2),
        TopicSettings(retention_bytes=-2),
    ],
    ids=str,
)
async def test_settings_that_cannot_hold_are_refused(bus: Bus, topic: str, settings: TopicSettings) -> None:
    with pytest.raises(InvalidSetting) as caught:
        await bus.create_topic(topic, settings)
    assert caught.value.faults == bus.setting_faults(settings) != ()
    with pytest.raises(UnknownTopic):
        await bus.describe_topic(topic)
    before = await bus.create_topic(topic, TopicSettings(partitions=2))
    with pytest.raises(InvalidSetting) as caught:
        await bus.alter_topic(topic, settings)
    assert caught.value.faults == bus.setting_faults(settings, before) != ()
    assert await bus.describe_topic(topic) == before


async def test_altering_changes_what_is_named_and_nothing_else(bus: Bus, topic: str) -> None:
    settings = TopicSettings(partitions=2, retention_ms=HOUR, retention_bytes=1_000_000_000, compression="lz4")
    before = await bus.create_topic(topic, settings)
    await bus.append(topic, events(20))
    after = await bus.alter_topic(topic, TopicSettings(retention_bytes=2_000_000_000))
    assert (after.retention_bytes, after.retention_ms, after.compression) == (2_000_000_000, HOUR, "lz4")
    assert (after.partitions, after.cleanup, after.epoch) == (2, "delete", before.epoch)
    after = await bus.alter_topic(topic, TopicSettings(compression="none", cleanup="compact"))
    assert (after.compression, after.cleanup) == ("none", "compact")
    assert (after.retention_bytes, after.retention_ms) == (2_000_000_000, HOUR)
    assert after == await bus.describe_topic(topic)
    await bus.append(topic, events(20, 20))
    assert sorted(ids(await read_topic(bus, topic))) == list(range(40))


async def test_altering_nothing_changes_nothing(bus: Bus, topic: str) -> None:
    before = await bus.create_topic(topic, TopicSettings(partitions=2))
    assert await bus.alter_topic(topic, TopicSettings()) == before
    assert await bus.alter_topic(topic, TopicSettings(partitions=2, replication=1)) == before


async def test_partitions_grow_and_never_shrink(bus: Bus, topic: str) -> None:
    before = await bus.create_topic(topic, TopicSettings(partitions=2))
    await bus.append(topic, events(20))
    grown = await bus.alter_topic(topic, TopicSettings(partitions=4))
    assert (grown.partitions, grown.epoch) == (4, before.epoch)
    with pytest.raises(InvalidSetting, match="grow") as caught:
        await bus.alter_topic(topic, TopicSettings(partitions=3, retention_ms=HOUR))
    assert [fault.where for fault in caught.value.faults] == ["partitions"]
    assert await bus.describe_topic(topic) == grown
    positions = await bus.append(topic, events(80, 20, subjects=40))
    assert {partition for partition, _ in positions} == {0, 1, 2, 3}
    assert sorted(ids(await read_topic(bus, topic))) == list(range(100))


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_is_written_and_read(bus: Bus, topic: str, compression: str) -> None:
    settings = TopicSettings(partitions=1, compression=compression)  # type: ignore[arg-type]  # one of them each
    await bus.create_topic(topic, settings)
    await bus.append(topic, events(200, size=300))
    assert ids(await read_topic(bus, topic)) == list(range(200))


async def test_a_deleted_topic_is_gone_and_made_anew_it_is_another(bus: Bus, topic: str) -> None:
    first = await bus.create_topic(topic, TopicSettings(partitions=2))
    await bus.append(topic, events(20))
    await bus.delete_topic(topic)
    assert topic not in await bus.topics()
    with pytest.raises(UnknownTopic):
        await bus.describe_topic(topic)
    with pytest.raises(UnknownTopic):
        await bus.append(topic, [event()])
    with pytest.raises(UnknownTopic):
        await bus.delete_topic(topic)
    with pytest.raises(UnknownTopic):
        await bus.alter_topic(topic, TopicSettings(retention_ms=HOUR))
    second = await bus.create_topic(topic, TopicSettings(partitions=1))
    assert second.epoch != first.epoch
    assert await bus.bounds(topic) == [Bounds(0, 0)]
    assert list(await bus.append(topic, [event(1)])) == [(0, 0)]
    assert ids(await read_topic(bus, topic)) == [1]


async def test_topics_are_listed_in_order_without_the_internal_ones(bus: Bus, topic: str) -> None:
    for name in (f"{topic}.b", f"{topic}.a", f"_{topic}"):
        await bus.create_topic(name, TopicSettings())
    listed, all_ = await bus.topics(), await bus.topics(internal=True)
    assert listed == sorted(listed)
    assert all_ == sorted(all_)
    assert {f"{topic}.a", f"{topic}.b"} <= set(listed)
    assert not any(name.startswith("_") for name in listed)
    assert f"_{topic}" in all_


async def test_on_one_machine_all_is_well(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=2))
    assert await bus.topic_health(topic) == TopicHealth()
    assert bus.health().ready
    assert bus.health().reasons == ()


async def test_settings_outlive_the_process(rig: Rig, topic: str) -> None:
    if not rig.durable:
        pytest.skip("this bus forgets on purpose")
    bus = await rig.open()
    await bus.start()
    await bus.create_topic(topic, TopicSettings(partitions=1))
    altered = await bus.alter_topic(topic, TopicSettings(partitions=3, retention_ms=HOUR, compression="snappy"))
    gone = await bus.create_topic(topic + ".gone", TopicSettings())
    await bus.delete_topic(topic + ".gone")
    await bus.close()
    bus = await rig.open()
    await bus.start()
    assert await bus.describe_topic(topic) == altered
    assert topic + ".gone" not in await bus.topics()
    assert (await bus.create_topic(topic + ".gone", TopicSettings())).epoch != gone.epoch
    await bus.close()


async def test_a_compacted_topic_takes_only_events_with_a_key(bus: Bus, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=2, cleanup="compact"))
    mixed = [event(0, subject="s"), event(1), event(2, key=b"k"), event(3, partitionkey="p"), event(4)]
    with pytest.raises(InvalidEvent, match="compacted") as caught:
        await bus.append(topic, mixed)
    assert [fault.index for fault in caught.value.faults] == [1, 4]
    assert await read_topic(bus, topic) == []
    await bus.append(topic, [mixed[0], mixed[2], mixed[3]])
    assert sorted(ids(await read_topic(bus, topic))) == [0, 2, 3]
    await bus.alter_topic(topic, TopicSettings(cleanup="delete"))
    await bus.append(topic, [event(5)])
    await bus.alter_topic(topic, TopicSettings(cleanup="compact"))
    with pytest.raises(InvalidEvent):
        await bus.append(topic, [event(6)])
    assert sorted(ids(await read_topic(bus, topic))) == [0, 2, 3, 5]


async def test_compaction_keeps_the_last_event_of_every_key(bus: Bus, rig: Rig, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1, cleanup="compact"))
    await rig.quick_compaction(topic)
    last = {}
    for first in range(0, 1000, 100):
        positions = await bus.append(topic, appended := events(100, first, subjects=5, size=1000))
        last.update({each.key: (offset, each.data) for each, (_, offset) in zip(appended, positions, strict=True)})

    async def compacted() -> bool:
        # What is written now goes into the newest part of the log, so that the rest is closed.
        await bus.append(topic, [event(9999, key=b"filler", data=b"." * 1000)])
        await rig.tidy(bus, topic)
        return len(await read_partition(bus, topic, 0)) < 500

    await eventually(compacted, 30)
    left = await read_partition(bus, topic, 0)
    for key, newest in last.items():
        mine = [each for each in left if each.key == key]
        assert (mine[-1].offset, mine[-1].data) == newest
    # A reader that stands where something was removed goes on behind it.
    behind = await read_partition(bus, topic, 0, start=500)
    assert {offset for offset, _ in last.values()} <= {each.offset for each in behind}
    assert (await bus.bounds(topic))[0].next > 1000


async def test_retention_removes_the_oldest_and_a_reader_below_is_told(bus: Bus, rig: Rig, topic: str) -> None:
    await bus.create_topic(topic, TopicSettings(partitions=1, retention_ms=1))
    await bus.append(topic, events(200, size=1000))

    async def removed() -> bool:
        await bus.append(topic, events(20, 1000, size=1000))
        await rig.tidy(bus, topic)
        return (await bus.bounds(topic))[0].first > 0

    await eventually(removed, 30)
    with pytest.raises(OffsetOutOfRange) as caught:
        await bus.read(topic, 0, 0, READ_BYTES)
    assert 0 < caught.value.first <= caught.value.next
    await bus.alter_topic(topic, TopicSettings(retention_ms=-1))
    ((_, offset),) = await bus.append(topic, [event(7777)])
    assert ids(await read_partition(bus, topic, 0, start=offset)) == [7777]
    bounds = (await bus.bounds(topic))[0]
    assert bounds.first <= offset < bounds.next
