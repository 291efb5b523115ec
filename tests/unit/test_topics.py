"""The topic service: idempotent, fresh where it must be, from memory where it may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from auth.principal import ANONYMOUS, Principal
from gateway import topics as module
from gateway.bus.contract import TopicChange, TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.bus.tables import Table
from gateway.errors import BusUnavailable, Forbidden, InvalidAddress, InvalidSetting, TopicExists, UnknownTopic
from gateway.topics import TABLE, TopicDefaults, Topics
from tests.conftest import eventually
from tests.unit.test_tables import follow_of

pytestmark = pytest.mark.timeout(20)
NONE = TopicSettings()
PLAIN = TopicDefaults()


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus()
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
async def topics(bus: MemoryBus) -> AsyncIterator[Topics]:
    table = Table(bus, TABLE, follow_of(bus), "//test")
    table.start()
    topics = Topics(bus, table, lambda who, topic: who.id != "nobody")
    topics.start()
    yield topics
    await topics.close()
    await table.close()


async def test_put_makes_a_topic_once_and_brings_it_to_its_settings(bus: MemoryBus, topics: Topics) -> None:
    view, created = await topics.put("t", TopicSettings(partitions=2, retention_ms=1000), PLAIN, ANONYMOUS)
    assert created
    assert view.info.partitions == 2
    altered = bus.calls.get("alter_topic", 0)
    _, created = await topics.put("t", TopicSettings(partitions=2), PLAIN, ANONYMOUS)
    assert not created
    assert bus.calls.get("alter_topic", 0) == altered
    view, _ = await topics.put("t", TopicSettings(partitions=3), PLAIN, ANONYMOUS)
    assert (view.info.partitions, view.info.retention_ms) == (3, 1000)
    with pytest.raises(InvalidSetting):
        await topics.put("t", TopicSettings(partitions=1), PLAIN, ANONYMOUS)


async def test_defaults_are_kept_and_go_with_the_topic(topics: Topics) -> None:
    await topics.put("t", NONE, TopicDefaults("my.type"), ANONYMOUS)
    assert (await topics.get("t", ANONYMOUS)).defaults.type == "my.type"
    await topics.patch("t", TopicSettings(retention_ms=5), None, ANONYMOUS)
    assert topics.require("t").defaults.type == "my.type"
    await topics.patch("t", NONE, TopicDefaults("other"), ANONYMOUS)
    assert topics.require("t").defaults.type == "other"
    await topics.delete("t", ANONYMOUS)
    await topics.put("t", NONE, PLAIN, ANONYMOUS)
    assert topics.require("t").defaults.type is None


async def test_putting_again_keeps_what_is_not_named(topics: Topics) -> None:
    await topics.put("t", TopicSettings(retention_ms=1000), TopicDefaults("my.type"), ANONYMOUS)
    view, _ = await topics.put("t", TopicSettings(compression="zstd"), None, ANONYMOUS)
    assert (view.defaults.type, view.info.retention_ms, view.info.compression) == ("my.type", 1000, "zstd")
    view, _ = await topics.put("t", NONE, PLAIN, ANONYMOUS)
    assert (view.defaults.type, view.info.retention_ms) == (None, 1000)


async def test_defaults_of_an_earlier_topic_of_that_name_do_not_apply(bus: MemoryBus, topics: Topics) -> None:
    await topics.put("t", NONE, TopicDefaults("old"), ANONYMOUS)
    await bus.delete_topic("t")
    await bus.create_topic("t", NONE)
    topics.on_topic("t", TopicChange.CREATED)
    assert (await topics.ensure("t", ANONYMOUS)).defaults.type is None


async def test_a_default_type_that_no_event_may_have_is_refused(topics: Topics) -> None:
    with pytest.raises(InvalidSetting) as caught:
        await topics.put("t", TopicSettings(partitions=0), TopicDefaults(""), ANONYMOUS)
    assert [fault.where for fault in caught.value.faults] == ["partitions", "defaults.type"]
    assert await topics.names() == []


async def test_unknown_internal_and_illegal_names(bus: MemoryBus, topics: Topics) -> None:
    with pytest.raises(UnknownTopic):
        await topics.get("absent", ANONYMOUS)
    with pytest.raises(UnknownTopic):
        await topics.ensure("absent", ANONYMOUS)
    asked = bus.calls["describe_topic"]
    with pytest.raises(UnknownTopic):
        await topics.ensure("absent", ANONYMOUS)
    assert bus.calls["describe_topic"] == asked, "an unknown name is not asked for again at once"
    for name in ("_linkspan.topics", "a/b", "", "."):
        with pytest.raises(InvalidAddress):
            await topics.get(name, ANONYMOUS)
    with pytest.raises(UnknownTopic):
        topics.require("absent")


async def test_a_topic_made_elsewhere_is_known_once_the_bus_tells(bus: MemoryBus, topics: Topics) -> None:
    with pytest.raises(UnknownTopic):
        await topics.ensure("t", ANONYMOUS)
    await bus.create_topic("t", NONE)
    topics.on_topic("t", TopicChange.CREATED)
    assert topics.known("t") is None
    await topics.ensure("t", ANONYMOUS)
    assert topics.known("t") is not None
    topics.on_topic("t", TopicChange.DELETED)
    assert topics.known("t") is None


async def test_who_may_not_manage_is_refused_and_sees_nothing(topics: Topics) -> None:
    await topics.put("t", NONE, PLAIN, ANONYMOUS)
    nobody = Principal("nobody")
    with pytest.raises(Forbidden):
        await topics.get("t", nobody)
    assert await topics.list(nobody) == []
    assert [view.info.name for view in await topics.list(ANONYMOUS)] == ["t"]
    assert await topics.names() == ["t"]
    assert (await topics.health("t", ANONYMOUS)).offline == ()


async def test_a_topic_that_another_instance_made_meanwhile_is_brought_to_the_settings(
    bus: MemoryBus, topics: Topics
) -> None:
    await bus.create_topic("t", TopicSettings(partitions=1))
    bus.fail_next("describe_topic", UnknownTopic("t"))
    bus.fail_next("create_topic", TopicExists("topic 't' exists"))
    view, created = await topics.put("t", TopicSettings(partitions=2), PLAIN, ANONYMOUS)
    assert not created
    assert view.info.partitions == 2


async def test_many_who_ask_at_once_cost_one_look(bus: MemoryBus, topics: Topics) -> None:
    await bus.create_topic("t", NONE)
    before = bus.calls.get("describe_topic", 0)
    await asyncio.gather(*(topics.ensure("t", ANONYMOUS) for _ in range(20)))
    assert bus.calls["describe_topic"] == before + 1


async def test_views_follow_what_others_change(bus: MemoryBus, topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFRESH", 0.01)
    await topics.close()
    topics.start()
    await topics.put("t", NONE, PLAIN, ANONYMOUS)
    await bus.alter_topic("t", TopicSettings(retention_ms=77))
    await eventually(lambda: topics.require("t").info.retention_ms == 77)
    bus.fail_next("describe_topic", BusUnavailable("away"))
    await bus.delete_topic("t")
    await eventually(lambda: topics.known("t") is None)


async def test_an_unreadable_row_counts_as_none(bus: MemoryBus, topics: Topics) -> None:
    await topics.put("t", NONE, TopicDefaults("my.type"), ANONYMOUS)
    await topics._table.put("t", b"{")
    assert topics.require("t").defaults.type is None
