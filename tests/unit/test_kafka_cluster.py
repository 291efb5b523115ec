"""Finding Kafka, losing it and finding it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.bus.contract import BusHealth, TopicChange
from gateway.bus.kafka import messages
from gateway.bus.kafka.cluster import Cluster, parse_bootstrap
from gateway.bus.kafka.errors import Unreachable
from gateway.errors import InvalidSetting
from tests.conftest import eventually
from tests.harness.fake_kafka import FakeKafka

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
async def fake() -> AsyncIterator[FakeKafka]:
    fake = FakeKafka(2)
    await fake.start()
    yield fake
    await fake.close()


@pytest.fixture
async def cluster(fake: FakeKafka) -> AsyncIterator[Cluster]:
    cluster = Cluster(fake.bootstrap, request_timeout=2, refresh=0.1)
    await cluster.start()
    yield cluster
    await cluster.close()


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("a:1", [("a", 1)]),
        ("a, b:2,", [("a", 9092), ("b", 2)]),
        ("[::1]:7,[::2]", [("::1", 7), ("::2", 9092)]),
    ],
)
def test_bootstrap_addresses(text: str, addresses: list[tuple[str, int]]) -> None:
    assert parse_bootstrap(text) == addresses


@pytest.mark.parametrize("text", ["", ",", "a:", ":1", "a:x", "a:0", "a:70000"])
def test_bad_bootstrap_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidSetting):
        parse_bootstrap(text)


async def test_it_is_ready_when_it_knows_the_cluster(cluster: Cluster) -> None:
    health = cluster.health()
    assert (health.ready, health.reasons, health.detail["brokers"]) == (True, (), 2)
    assert cluster.down_for() == 0.0


async def test_changes_of_topics_are_told(fake: FakeKafka, cluster: Cluster) -> None:
    seen: list[tuple[str, TopicChange]] = []
    cluster.on_changes.append(seen.extend)
    topic = fake.create("t")
    await eventually(lambda: seen == [("t", TopicChange.CREATED)])
    topic.partitions.append(topic.partitions[0])
    await eventually(lambda: seen[1:] == [("t", TopicChange.PARTITIONS)])
    del fake.topics["t"]
    await eventually(lambda: seen[2:] == [("t", TopicChange.DELETED)])


async def test_a_topic_that_we_deleted_is_gone_at_once(fake: FakeKafka, cluster: Cluster) -> None:
    fake.create("t")
    assert await cluster.refreshed()
    seen: list[tuple[str, TopicChange]] = []
    cluster.on_changes.append(seen.extend)
    cluster.forget(cluster.metadata.topics["t"])
    assert seen == [("t", TopicChange.DELETED)]
    assert await cluster.refreshed()
    assert "t" not in cluster.metadata.topics


async def test_out_of_reach_at_start_it_goes_on_trying_and_says_why(fake: FakeKafka) -> None:
    await fake.stop(1)
    await fake.stop(2)
    told: list[BusHealth] = []
    cluster = Cluster(fake.bootstrap, request_timeout=2, refresh=0.1)
    cluster.on_ready.append(told.append)
    await cluster.start()
    try:
        assert not cluster.health().ready
        assert "127.0.0.1" in cluster.reason
        assert not await cluster.refreshed()
        with pytest.raises(Unreachable):
            await cluster.call_any(messages.metadata())
        await fake.open(2)
        await eventually(lambda: cluster.ready)
        assert [health.ready for health in told][-1]
    finally:
        await cluster.close()
    assert not await cluster.refreshed()


async def test_losing_all_brokers_is_told_once_and_so_is_their_return(fake: FakeKafka, cluster: Cluster) -> None:
    told: list[bool] = []
    cluster.on_ready.append(lambda health: told.append(health.ready))
    for node in (1, 2):
        await fake.stop(node)
    await eventually(lambda: told[:1] == [False])
    assert cluster.down_for() >= 0.0
    for node in (1, 2):
        await fake.open(node)
    await eventually(lambda: told[-1:] == [True])
    assert told.count(True) == 1


async def test_losing_one_broker_of_two_is_no_outage(fake: FakeKafka, cluster: Cluster) -> None:
    told: list[bool] = []
    cluster.on_ready.append(lambda health: told.append(health.ready))
    for node in (1, 2):
        await fake.stop(node)
        assert await cluster.refreshed()
        await cluster.call_any(messages.metadata())
        await fake.open(node)
    assert told == []


async def test_connections_are_kept_and_opened_anew_when_they_broke(fake: FakeKafka, cluster: Cluster) -> None:
    one, two = await asyncio.gather(cluster.connection(1, "read"), cluster.connection(1, "read"))
    assert one is two
    assert await cluster.connection(1, "tail") is not one
    fake.script["Metadata"].append("drop")
    with pytest.raises(Unreachable):
        await cluster.call(1, "read", messages.metadata())
    three = await cluster.connection(1, "read")
    assert three is not one
    with pytest.raises(Unreachable, match="broker 9"):
        await cluster.connection(9, "read")


async def test_who_waits_behind_others_for_a_connection_waits_no_longer(fake: FakeKafka, cluster: Cluster) -> None:
    fake.script["ApiVersions"] += ["hang"] * 10
    began = asyncio.get_running_loop().time()
    asked = [cluster.call(1, "read", messages.metadata(), timeout=0.5) for _ in range(4)]
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in told] == [Unreachable] * 4
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_a_broker_that_moved_is_found_at_its_new_address(fake: FakeKafka, cluster: Cluster) -> None:
    before = await cluster.connection(1, "read")
    await fake.stop(1)
    del fake.ports[1]
    await fake.open(1)
    await eventually(lambda: cluster.metadata.brokers[1][1] == fake.ports[1])
    after = await cluster.connection(1, "read")
    assert after.port == fake.ports[1] != before.port


async def test_a_broker_without_a_cluster_is_not_ready(fake: FakeKafka) -> None:
    fake.numbers = []
    cluster = Cluster(fake.bootstrap, request_timeout=2)
    await cluster.start()
    assert "has not joined" in cluster.reason
    await cluster.close()


async def test_unchanged_metadata_is_not_parsed_again(cluster: Cluster) -> None:
    assert await cluster.refreshed()
    before = cluster.metadata
    assert await cluster.refreshed()
    assert cluster.metadata is before
