"""Topics: what is asked of Kafka, and what its answers mean."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.bus.contract import TopicHealth, TopicSettings
from gateway.bus.kafka import admin as module
from gateway.bus.kafka import errors
from gateway.bus.kafka.admin import Admin, config_entries, config_of
from gateway.bus.kafka.cluster import Cluster
from gateway.bus.kafka.reading import Reading
from gateway.errors import BusUnavailable, InvalidAddress, InvalidSetting, TopicExists, UnknownTopic
from tests.harness.fake_kafka import FakeKafka

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
async def fake() -> AsyncIterator[FakeKafka]:
    fake = FakeKafka(2)
    await fake.start()
    yield fake
    await fake.close()


@pytest.fixture
async def admin(fake: FakeKafka) -> AsyncIterator[Admin]:
    cluster = Cluster(fake.bootstrap, request_timeout=1, refresh=5)
    await cluster.start()
    yield Admin(cluster, Reading(cluster, 1.0), 1.0)
    await cluster.close()


def test_settings_are_read_as_kafka_spells_them() -> None:
    config = config_of(b"", {"cleanup.policy": "compact,delete", "compression.type": "uncompressed"}, 0.0)
    assert (config.cleanup, config.compression, config.max_bytes) == ("compact", "none", 1048588)
    assert config_of(b"", {"compression.type": "producer"}, 0.0).compression == "zstd"
    assert config_of(b"", {"compression.type": "gzip", "retention.ms": "5"}, 0.0).retention_ms == 5


def test_only_what_is_given_is_set() -> None:
    assert config_entries(TopicSettings()) == {}
    assert config_entries(TopicSettings(retention_ms=-1, retention_bytes=5, cleanup="compact", compression="none")) == {
        "retention.ms": "-1",
        "retention.bytes": "5",
        "cleanup.policy": "compact",
        "compression.type": "uncompressed",
    }


async def test_all_that_cannot_hold_is_refused_at_once_and_unasked(fake: FakeKafka, admin: Admin) -> None:
    wrong = TopicSettings(partitions=40_000, replication=9, retention_ms=-2)
    with pytest.raises(InvalidSetting) as caught:
        await admin.create("t", wrong)
    assert [fault.where for fault in caught.value.faults] == ["partitions", "replication", "retention.time"]
    assert "up" in caught.value.faults[1].message
    assert fake.count("CreateTopics") == 0


async def test_a_topic_is_created_described_changed_and_deleted(fake: FakeKafka, admin: Admin) -> None:
    info = await admin.create("t", TopicSettings(partitions=2, retention_ms=1000))
    assert (info.partitions, info.retention_ms, info.compression, info.epoch) == (
        2,
        1000,
        "zstd",
        fake.topics["t"].id.hex(),
    )
    info = await admin.alter("t", TopicSettings(partitions=3, compression="lz4"))
    assert (info.partitions, info.retention_ms, info.compression) == (3, 1000, "lz4")
    assert (await admin.alter("t", TopicSettings(partitions=3))).partitions == 3
    await admin.delete("t")
    with pytest.raises(UnknownTopic):
        await admin.describe("t")


async def test_defaults_are_left_to_the_broker(fake: FakeKafka, admin: Admin) -> None:
    assert (await admin.create("t", TopicSettings())).partitions == 1
    assert fake.topics["t"].configs["retention.ms"] == "604800000"


async def test_names_in_order_without_what_is_internal(fake: FakeKafka, admin: Admin) -> None:
    for name in ("b", "a", "_linkspan.acks", "__consumer_offsets"):
        fake.create(name)
    await admin._cluster.refreshed()
    assert admin.names(False) == ["a", "b"]
    assert admin.names(True) == ["__consumer_offsets", "_linkspan.acks", "a", "b"]


async def test_what_cannot_be_is_refused_before_anything_is_changed(fake: FakeKafka, admin: Admin) -> None:
    await admin.create("t", TopicSettings(partitions=2))
    before = dict(fake.topics["t"].configs)
    for settings in (
        TopicSettings(partitions=1, retention_ms=5),
        TopicSettings(replication=2, retention_ms=5),
        TopicSettings(partitions=0),
        TopicSettings(partitions=40_000),
        TopicSettings(retention_bytes=-7),
    ):
        with pytest.raises(InvalidSetting):
            await admin.alter("t", settings)
    fake.script["CreatePartitions"].append(errors.INVALID_PARTITIONS)
    with pytest.raises(InvalidSetting, match="said the broker"):
        await admin.alter("t", TopicSettings(partitions=9, retention_ms=5))
    assert fake.topics["t"].configs == before
    with pytest.raises(InvalidAddress):
        await admin.create("a b", TopicSettings())
    with pytest.raises(TopicExists):
        await admin.create("t", TopicSettings())


async def test_a_broker_that_breaks_off_is_asked_again_and_finds_its_own_work_done(
    fake: FakeKafka, admin: Admin
) -> None:
    fake.script["CreateTopics"] += ["drop", "drop", errors.NOT_CONTROLLER, "lose", "lose"]
    assert (await admin.create("t", TopicSettings())).name == "t"
    fake.script["DeleteTopics"] += ["lose", "lose"]
    await admin.delete("t")
    assert not fake.topics


async def test_a_controller_that_never_decides_is_unavailable(fake: FakeKafka, admin: Admin) -> None:
    fake.script["CreateTopics"] += [errors.NOT_CONTROLLER] * 50
    with pytest.raises(BusUnavailable, match="NOT_CONTROLLER"):
        await admin.create("t", TopicSettings())
    fake.create("t")
    fake.script["DescribeConfigs"] += [errors.REQUEST_TIMED_OUT] * 100
    with pytest.raises(BusUnavailable, match="settings cannot be had"):
        await admin.describe("t")


async def test_a_request_whose_result_does_not_show_is_unavailable(fake: FakeKafka, admin: Admin) -> None:
    fake.metadata_hidden = True
    with pytest.raises(BusUnavailable, match="does not show"):
        await admin.create("t", TopicSettings())


async def test_a_setting_that_is_not_applied_is_unavailable(fake: FakeKafka, admin: Admin) -> None:
    await admin.create("t", TopicSettings())
    fake.script["IncrementalAlterConfigs"].append(lambda _: fake.topics["t"].configs.__setitem__("x", "y"))
    original = fake._IncrementalAlterConfigs

    async def forgetful(*arguments: object) -> bytes:
        answer = await original(*arguments)  # type: ignore[arg-type]
        fake.topics["t"].configs["retention.ms"] = "1"
        return answer

    fake._IncrementalAlterConfigs = forgetful  # type: ignore[method-assign,assignment]
    with pytest.raises(BusUnavailable, match="does not apply"):
        await admin.alter("t", TopicSettings(retention_ms=5))


async def test_settings_are_asked_for_again_when_they_are_old(fake: FakeKafka, admin: Admin) -> None:
    await admin.create("t", TopicSettings())
    fake.topics["t"].configs["retention.ms"] = "77"
    assert (await admin.describe("t")).retention_ms == 604800000
    admin.outdate("t")
    admin.outdate("unknown")
    assert admin.stale(["t", "unknown"]) == ["t"]
    assert (await admin.describe("t")).retention_ms == 77
    await admin.load([])
    assert module.FRESH <= 10


async def test_settings_of_topics_that_are_gone_are_forgotten(fake: FakeKafka, admin: Admin) -> None:
    for name in ("a", "b"):
        await admin.create(name, TopicSettings())
    await admin.delete("a")
    await admin.load(["b"])
    assert list(admin._configs) == ["b"]


async def test_health_names_partitions_in_trouble(fake: FakeKafka, admin: Admin) -> None:
    topic = fake.create("t", 3)
    assert await admin.health("t") == TopicHealth()
    topic.partitions[1].replicas, topic.partitions[1].in_sync = (1, 2), (1,)
    topic.partitions[2].leader, topic.partitions[2].leader_epoch = -1, 1
    await admin._cluster.refreshed()
    assert await admin.health("t") == TopicHealth((1,), (2,))
