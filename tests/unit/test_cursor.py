"""Cursors: small, quick, told from damaged ones, and never beyond what was delivered."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery.cursor import (
    MAX_CURSOR,
    Cursor,
    JoinedCursors,
    TopicMark,
    decode_cursor,
    epoch_hash,
    topic_hash,
)
from gateway.delivery.writer import CursorWriter
from gateway.errors import InvalidPosition
from gateway.event import Event

pytestmark = pytest.mark.timeout(60)
OFFSETS = st.integers(0, 2**63 - 1)
TOPICS = st.dictionaries(
    st.text("abcdef.-", min_size=1, max_size=20), st.lists(OFFSETS, min_size=1, max_size=8), min_size=1, max_size=8
)


def events(*offsets: int) -> list[Event]:
    return [Event({}, offset=offset) for offset in offsets]


def writer_of(topics: dict[str, list[int]], *, wild: bool = False) -> CursorWriter:
    writer = CursorWriter(wild)
    for topic, offsets in topics.items():
        for offset in offsets:
            writer.add(topic, f"epoch of {topic}", offset)
    return writer


def marks_of(topics: dict[str, list[int]]) -> dict[bytes, TopicMark]:
    return {
        topic_hash(topic): TopicMark(epoch_hash(f"epoch of {topic}"), tuple(offsets))
        for topic, offsets in topics.items()
    }


@given(TOPICS, st.booleans())
def test_a_cursor_says_where_every_lane_stands(topics: dict[str, list[int]], wild: bool) -> None:
    text = writer_of(topics, wild=wild).cursor()
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    cursor = decode_cursor(text)
    assert cursor.marks == marks_of(topics)
    assert cursor.wild is wild


@given(TOPICS, st.data())
def test_moves_in_any_order_give_the_same_as_a_fresh_vector(topics: dict[str, list[int]], data: st.DataObject) -> None:
    writer = writer_of({topic: [0] * len(offsets) for topic, offsets in topics.items()})
    lanes = [(topic, partition) for topic, offsets in topics.items() for partition in range(len(offsets))]
    for topic, partition in data.draw(st.permutations(lanes)):
        writer.cursor()
        writer.move(topic, partition, topics[topic][partition], 0)
        assert writer.offset(topic, partition) == topics[topic][partition]
    assert decode_cursor(writer.cursor()).marks == marks_of(topics)


@given(TOPICS, st.data())
def test_the_cursors_of_a_block_stand_behind_each_of_its_events(
    topics: dict[str, list[int]], data: st.DataObject
) -> None:
    writer = writer_of(topics)
    topic = data.draw(st.sampled_from(sorted(topics)))
    partition = data.draw(st.integers(0, len(topics[topic]) - 1))
    cursors = writer.block(topic, partition, events(5, 6, 9), 12, 0)
    for text, offset in zip(cursors, (6, 7, 12), strict=True):
        expected = {**topics, topic: [*topics[topic][:partition], offset, *topics[topic][partition + 1 :]]}
        cursor = decode_cursor(text)
        assert cursor.marks == marks_of(expected)
        assert cursor.active == (topic_hash(topic), partition)
    assert cursors[-1] == cursors[2] == list(cursors)[2]
    assert cursors[:2] == list(cursors)[:2]


def test_cursors_of_a_block_do_not_change_when_the_reader_goes_on() -> None:
    writer = writer_of({"a": [1], "b": [1]})
    cursors = writer.block("a", 0, events(1, 2), 3, 0)
    expected = list(cursors)
    writer.move("b", 0, 9, 0)
    writer.move("a", 0, 9, 0)
    assert list(cursors) == expected


def test_joined_cursors_are_those_of_the_blocks_one_after_the_other() -> None:
    writer = writer_of({"a": [0], "b": [0]})
    first = writer.block("a", 0, events(0, 1), 2, 0)
    writer.move("a", 0, 2, 0)
    second = writer.block("b", 0, events(3), 4, 0)
    joined = JoinedCursors([first, second])
    assert list(joined) == [*first, *second] == [joined[0], joined[1], joined[-1]]
    assert joined[1:] == [first[1], second[0]]
    assert len(joined) == 3
    assert len(JoinedCursors([])) == 0
    with pytest.raises(IndexError):
        joined[3]


def test_a_lane_never_moves_back_except_by_seek() -> None:
    writer = writer_of({"a": [5]})
    writer.move("a", 0, 3, 0)
    assert writer.offset("a", 0) == 5
    writer.seek("a", 0, 3, 0)
    assert writer.offset("a", 0) == 3
    writer.move("gone", 0, 3, 0)  # a topic that was dropped meanwhile is nothing to complain about


def test_topics_come_and_go() -> None:
    writer = CursorWriter(wild=True)
    assert decode_cursor(writer.cursor()) == Cursor(True, (b"", 0), 0, {})
    writer.add("a", "1", 5)
    writer.add("b", "1", 6)
    writer.drop("a")
    writer.drop("a")
    assert list(decode_cursor(writer.cursor()).marks) == [topic_hash("b")]
    writer.add("a", "2", 0)
    assert decode_cursor(writer.cursor()).marks[topic_hash("a")] == TopicMark(epoch_hash("2"), (0,))
    writer.drop("b")
    writer.drop("a")
    assert decode_cursor(writer.cursor()).marks == {}


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 400), st.integers(1, 6), OFFSETS, st.booleans())
def test_a_cursor_is_always_under_4_kb(topics: int, partitions: int, offset: int, wild: bool) -> None:
    writer = writer_of({f"topic-{n}": [offset] * partitions for n in range(topics)}, wild=wild)
    text = writer.cursor()
    assert len(text) <= MAX_CURSOR
    assert all(len(each) <= MAX_CURSOR for each in writer.block("topic-0", 0, events(1, 2), 3, 0))
    assert decode_cursor(text).wild is wild
    assert (decode_cursor(text).sweep is not None) is writer.coarse


@given(TOPICS, st.data())
def test_a_changed_cursor_is_refused(topics: dict[str, list[int]], data: st.DataObject) -> None:
    text = writer_of(topics).cursor()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCabc019_-").filter(lambda c: c != text[at]))
    with pytest.raises(InvalidPosition):
        decode_cursor(text[:at] + other + text[at + 1 :])
    with pytest.raises(InvalidPosition):
        decode_cursor(text[:at])


def forged(body: bytes) -> str:
    body += bytes(-(len(body) + 4) % 3)
    return urlsafe_b64encode(body + crc32(body).to_bytes(4, "big")).decode()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\x02\0" + bytes(20), "version 2"),
        (b"\x01\0" + b"\xff" * 40, "contents"),
        (b"\x01\0\0\x05\0\x01" + b"n" * 6 + b"e" * 4 + b"\x01\0" + bytes(9), "contents"),
        (b"\x01\0\0\0\x07\x01" + b"n" * 6 + b"e" * 4 + b"\x01\0" + bytes(9), "contents"),
        (b"\x01\0\0\0\0\x01" + b"n" * 3 + bytes(8), "contents"),
    ],
)
def test_a_forged_cursor_is_refused_or_says_nothing_harmful(body: bytes, says: str) -> None:
    with pytest.raises(InvalidPosition, match=says):
        decode_cursor(forged(body))


@given(st.binary(max_size=200))
def test_forged_contents_never_do_anything_but_decode_or_be_refused(body: bytes) -> None:
    try:
        cursor = decode_cursor(forged(b"\x01" + body))
    except InvalidPosition:
        return
    assert all(offset < 2**63 for mark in cursor.marks.values() for offset in mark.offsets)
