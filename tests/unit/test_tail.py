"""The hub: one tail for all, followed while somebody wants it, true about topics and edges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.address import parse_pattern
from gateway.bus.contract import Batch, Bounds, BusHealth, TopicChange, TopicSettings
from gateway.bus.memory import MemoryBus
from gateway.delivery import tail as tail_module
from gateway.delivery.follow import Block, TopicTail
from gateway.delivery.handover import GapReason
from gateway.delivery.select import Selection
from gateway.delivery.tail import TailHub
from gateway.errors import BusUnavailable, InvalidSetting, Unavailable, UnknownTopic
from tests.conftest import eventually
from tests.unit.reading_support import event

pytestmark = pytest.mark.timeout(30)


class Listener:
    """A follower that writes down what it is told."""

    def __init__(self, *wanted: str) -> None:
        self.wanted = wanted
        self.blocks: list[Block] = []
        self.told: list[tuple[str, ...]] = []
        self.healths: list[bool] = []
        self.oldest = -1

    def on_block(self, block: Block) -> None:
        self.blocks.append(block)

    def wants(self, topic: str) -> Selection | None:
        return everything(topic) if topic in self.wanted else None

    def on_appeared(self, tail: TopicTail) -> None:
        self.told.append(("appeared", tail.name, str(tail.next)))

    def on_gone(self, topic: str, reason: GapReason) -> None:
        self.told.append((reason, topic))

    def on_edge(self, tail: TopicTail) -> None:
        self.told.append(("edge", tail.name, str(tail.next)))

    def on_health(self, health: BusHealth) -> None:
        self.healths.append(health.ready)

    def let_go(self) -> bool:
        self.told.append(("let go",))
        return True


def everything(topic: str) -> Selection:
    return Selection(topic, [parse_pattern("**")])


class Rig:
    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.hub = TailHub(self.bus)

    async def listener(self, *topics: str, wants: tuple[str, ...] = (), pattern: str = "**") -> Listener:
        listener = Listener(*wants)
        self.hub.register(listener)
        for topic in topics:
            await self.hub.join(topic, listener, Selection(topic, [parse_pattern(pattern)]))
        return listener


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(tail_module, "RETRY", 0.01)
    rig = Rig()
    await rig.bus.create_topic("t", TopicSettings(partitions=2))
    rig.hub.start()
    rig.hub.start()
    yield rig
    await rig.hub.close()
    await rig.bus.close()


async def test_a_topic_is_followed_from_the_first_follower_to_the_last(rig: Rig) -> None:
    first, second = await rig.listener("t"), await rig.listener("t")
    assert rig.hub.followed == ["t"]
    rig.hub.unregister(first)
    rig.hub.unregister(first)
    await rig.bus.append("t", [event("a")])
    assert (len(first.blocks), len(second.blocks)) == (0, 1)
    rig.hub.unregister(second)
    assert rig.hub.followed == []
    assert rig.bus.calls["follow"] == 1


async def test_followers_with_equal_selections_get_the_very_same_block(rig: Rig) -> None:
    first, second = await rig.listener("t", pattern="t/x"), await rig.listener("t", pattern="*/x")
    third = await rig.listener("t", pattern="t/y")
    fourth = await rig.listener("t", pattern="t/x")
    await rig.bus.append("t", [event("a", "x"), event("b", "x")])
    assert first.blocks[0] is fourth.blocks[0]
    assert first.blocks[0].events == second.blocks[0].events
    assert third.blocks[0].events == []
    assert third.blocks[0].size == 0
    assert first.blocks[0].size == first.blocks[0].batch.size
    assert third.blocks[0].number > first.blocks[0].number


async def test_joining_tells_where_the_topic_ends(rig: Rig) -> None:
    await rig.bus.append("t", [event(str(n), key=str(n).encode()) for n in range(10)])
    listener = Listener()
    rig.hub.register(listener)
    tail = await rig.hub.join("t", listener, everything("t"))
    assert tail.next == [bound.next for bound in await rig.bus.bounds("t")]
    assert tail.epoch == await rig.hub.epoch("t")
    assert rig.hub.is_current(tail)


async def test_a_join_that_fails_leaves_nothing_behind(rig: Rig) -> None:
    listener = Listener()
    rig.hub.register(listener)
    with pytest.raises(UnknownTopic):
        await rig.hub.join("nowhere", listener, everything("nowhere"))
    rig.bus.fail_next("bounds", BusUnavailable("away"))
    with pytest.raises(BusUnavailable):
        await rig.hub.join("t", listener, everything("t"))
    assert rig.hub.followed == []
    await rig.hub.join("t", listener, everything("t"))
    assert rig.hub.followed == ["t"]


async def test_a_follower_that_leaves_while_it_joins_is_not_waited_for(rig: Rig) -> None:
    release = rig.bus.hold("follow")
    listener = Listener()
    rig.hub.register(listener)
    joining = asyncio.create_task(rig.hub.join("t", listener, everything("t")))
    await asyncio.sleep(0)
    rig.hub.unregister(listener)
    release()
    with pytest.raises(UnknownTopic):
        await joining
    assert rig.hub.followed == []


async def test_a_topic_that_is_deleted_while_it_is_joined_is_unknown(rig: Rig) -> None:
    release = rig.bus.hold("bounds")
    listener = Listener()
    rig.hub.register(listener)
    joining = asyncio.create_task(rig.hub.join("t", listener, everything("t")))
    await eventually(lambda: rig.bus.calls.get("bounds"))
    await rig.bus.delete_topic("t")
    release()
    with pytest.raises(UnknownTopic):
        await joining


async def test_nothing_is_followed_before_the_start_and_after_the_end() -> None:
    bus = MemoryBus()
    hub = TailHub(bus)
    listener = Listener()
    hub.register(listener)
    with pytest.raises(Unavailable):
        await hub.join("t", listener, everything("t"))
    await hub.close()


async def test_those_who_ask_for_the_edge_together_share_an_answer_that_is_not_older(rig: Rig) -> None:
    release = rig.bus.hold("bounds")
    first = asyncio.create_task(rig.hub.edge("t"))
    second = asyncio.create_task(rig.hub.edge("t"))
    await eventually(lambda: rig.bus.calls.get("bounds") == 1)
    await rig.bus.append("t", [event("a", key=b"1")])
    third = asyncio.create_task(rig.hub.edge("t"))
    await eventually(lambda: rig.bus.calls.get("bounds") == 2)
    release()
    assert await first is await second
    assert await third is not await first
    assert sum(bound.next for bound in await third) == 1


async def test_a_topic_that_appears_is_joined_by_those_who_want_it(rig: Rig) -> None:
    heard: list[tuple[str, TopicChange]] = []
    rig.hub.listen(lambda topic, change: heard.append((topic, change)))
    eager, other = await rig.listener(wants=("u",)), await rig.listener()
    await rig.bus.create_topic("u", TopicSettings())
    assert heard == [("u", TopicChange.CREATED)]
    await eventually(lambda: eager.told == [("appeared", "u", "[0]")])
    assert other.told == []
    await rig.bus.append("u", [event("a")])
    assert len(eager.blocks) == 1


async def test_a_topic_that_appears_while_the_bus_fails_is_joined_later(rig: Rig) -> None:
    eager = await rig.listener(wants=("u",))
    rig.bus.fail_next("bounds", BusUnavailable("away"))
    await rig.bus.create_topic("u", TopicSettings())
    await eventually(lambda: eager.told == [("appeared", "u", "[0]")])


async def test_a_topic_that_cannot_be_looked_at_is_given_up(rig: Rig) -> None:
    eager = await rig.listener(wants=("u",))
    rig.bus.fail_next("bounds", InvalidSetting("odd"))
    await rig.bus.create_topic("u", TopicSettings())
    await eventually(lambda: not rig.hub._tasks)
    assert eager.told == []


async def test_a_topic_that_grows_or_goes_is_told(rig: Rig) -> None:
    listener = await rig.listener("t")
    await rig.bus.alter_topic("t", TopicSettings(partitions=4))
    await eventually(lambda: listener.told == [("appeared", "t", "[0, 0, 0, 0]")])
    await rig.bus.delete_topic("t")
    assert listener.told[1:] == [("deleted", "t")]
    assert rig.hub.followed == []
    rig.hub.on_topic("t", TopicChange.PARTITIONS)
    rig.hub.on_topic("t", TopicChange.DELETED)
    assert len(listener.told) == 2


async def test_a_topic_with_another_epoch_is_another_topic(rig: Rig) -> None:
    listener = await rig.listener("t", wants=("t",))
    rig.hub.on_topic("t", TopicChange.CREATED)
    await eventually(lambda: not rig.hub._tasks)
    assert ("recreated", "t") not in listener.told
    listener.told.clear()
    tails, rig.bus._tails = rig.bus._tails, []
    await rig.bus.append("t", [event("a", key=b"0"), event("b", key=b"1")])
    await rig.bus.delete_topic("t")
    rig.bus._tails = tails
    await rig.bus.create_topic("t", TopicSettings())
    await eventually(lambda: listener.told == [("recreated", "t"), ("appeared", "t", "[0]")])


async def test_batches_of_partitions_that_are_not_known_yet_raise_the_edge(rig: Rig) -> None:
    listener = await rig.listener("t")
    rig.hub.on_batch(Batch("t", 5, 0, 3, [], 0))
    rig.hub.on_batch(Batch("other", 0, 0, 3, [], 0))
    assert len(listener.blocks) == 1
    tail = await rig.hub.join("t", listener, everything("t"))
    assert tail.next == [0, 0, 0, 0, 0, 3]
    tail.raise_to([Bounds(0, 1)])
    assert tail.next[0] == 1


async def test_when_the_bus_is_back_followers_learn_where_topics_end(rig: Rig) -> None:
    listener = await rig.listener("t")
    rig.bus.lose_tail()
    await rig.bus.append("t", [event("a", key=b"0")])
    rig.bus.away("cable")
    assert rig.hub.health.ready is False
    rig.bus.back()
    await eventually(lambda: listener.told)
    assert listener.told[0] in (("edge", "t", "[1, 0]"), ("edge", "t", "[0, 1]"))
    assert listener.healths == [False, True]
    assert rig.hub.health.ready is True


async def test_over_the_bound_those_with_the_oldest_blocks_let_go_first(rig: Rig) -> None:
    rig.hub.resize(2000)
    listeners = [await rig.listener("t") for _ in range(3)]
    block = Block(Batch("t", 0, 0, 1, [event("a")], 4000), [event("a")], 1)
    for number, listener in enumerate(listeners):
        listener.oldest = 5 - number if number else -1
    rig.hub.hold(block)
    rig.hub.hold(block)
    assert rig.hub.queued == 4500
    rig.hub.on_batch(Batch("t", 0, 1, 2, [], 0))
    assert [listener.told for listener in listeners] == [[], [("let go",)], [("let go",)]]
    rig.hub.release(block)
    assert rig.hub.queued == 4500
    rig.hub.release(block)
    assert rig.hub.queued == 0


async def test_a_table_is_woken_by_whatever_may_have_changed_its_topic(rig: Rig) -> None:
    woken: list[int] = []
    with pytest.raises(UnknownTopic):
        await rig.hub.wake_on("nowhere", lambda: None)
    stop = await rig.hub.wake_on("t", lambda: woken.append(1))

    async def wakes(change: Callable[[], object]) -> None:
        woken.clear()
        result = change()
        if asyncio.iscoroutine(result):
            await result
        await eventually(lambda: woken)

    await wakes(lambda: rig.bus.append("t", [event("a")]))
    await wakes(lambda: rig.bus.alter_topic("t", TopicSettings(partitions=3)))
    await wakes(rig.bus.away)
    await wakes(rig.bus.back)
    await wakes(lambda: rig.bus.delete_topic("t"))
    await wakes(lambda: rig.bus.create_topic("t", TopicSettings()))
    await wakes(lambda: rig.bus.append("t", [event("a")]))
    rig.hub._relieve()
    stop()
    assert rig.hub.followed == []
