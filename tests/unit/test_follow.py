"""Blocks and followed topics keep count."""

from __future__ import annotations

from gateway.address import parse_pattern
from gateway.bus.contract import Batch, Bounds, BusHealth
from gateway.delivery.follow import Block, TopicTail, Waker
from gateway.delivery.select import Selection
from tests.unit.reading_support import event


def of(pattern: str) -> Selection:
    return Selection("t", [parse_pattern(pattern)])


def test_a_block_weighs_its_share_of_the_batch() -> None:
    events = [event(str(n)) for n in range(4)]
    batch = Batch("t", 0, 0, 4, events, 400)
    assert [Block(batch, events[:n], 1).size for n in (0, 1, 4)] == [0, 100, 400]
    assert Block(Batch("t", 0, 0, 1, [], 0), [], 1).size == 0


def test_followers_with_equal_selections_are_one_group() -> None:
    tail = TopicTail("t")
    wakers = [Waker("t", lambda: None) for _ in range(3)]
    for waker, pattern in zip(wakers, ("t/a", "t/a", "t/b"), strict=True):
        tail.enter(waker, of(pattern))
    assert [len(group) for group in tail.groups.values()] == [2, 1]
    tail.enter(wakers[2], of("t/a"))
    assert [len(group) for group in tail.groups.values()] == [3]
    for waker in (*wakers, wakers[0]):
        tail.leave(waker)
    assert (tail.members, tail.groups) == ({}, {})


def test_the_edge_of_a_topic_only_grows() -> None:
    tail = TopicTail("t")
    tail.advance(2, 5)
    tail.advance(2, 3)
    tail.raise_to([Bounds(0, 4), Bounds(1, 1), Bounds(0, 2)])
    assert tail.next == [4, 1, 5]


def test_a_waker_wants_its_topic_back_only_when_it_went() -> None:
    woken: list[int] = []
    waker = Waker("t", lambda: woken.append(1))
    assert waker.wants("t") is None
    waker.on_gone("t", "deleted")
    assert waker.wants("u") is None
    assert waker.wants("t") is not None
    waker.on_appeared(TopicTail("t"))
    assert waker.wants("t") is None
    waker.on_edge(TopicTail("t"))
    waker.on_health(BusHealth(True))
    waker.on_block(Block(Batch("t", 0, 0, 1, [], 0), [], 1))
    assert len(woken) == 5
    assert waker.let_go() is False
