"""The vector of a reader that goes from exact cursors to coarse ones, and on."""

from __future__ import annotations

import pytest

from gateway.delivery import writer
from gateway.delivery.cursor import FIRST, TIME_MARGIN, decode_cursor, lane_tag, topic_hash
from gateway.delivery.writer import CursorWriter

pytestmark = pytest.mark.timeout(30)
NOW = 1_700_000_000_000


def coarse(count: int = 300, **times: int) -> tuple[CursorWriter, list[str]]:
    names = sorted((f"topic-{n}" for n in range(count)), key=topic_hash)
    made = CursorWriter(wild=True)
    made.begin(times.get("after", 0), times.get("before", NOW))
    for name in names:
        made.add(name, "e", 0)
    assert made.coarse
    return made, names


def test_floors_travel_with_exact_cursors() -> None:
    made = CursorWriter()
    made.begin(40, 90)
    made.add("a", "e", 1)
    assert decode_cursor(made.cursor()).floor_ms == 40
    made.settle(TIME_MARGIN + 70)
    made.add("b", "e", 1)
    assert decode_cursor(made.cursor()).floor_ms == 70


def test_a_coarse_cursor_says_how_far_the_lanes_before_and_behind_the_place_are() -> None:
    made, names = coarse(after=5000)
    made.turn(names[10], 0, NOW + 50_000, wrapped=False)
    made.move(names[10], 0, 77, NOW + 10)
    cursor = decode_cursor(made.cursor())
    assert cursor.sweep is not None
    assert cursor.active == (topic_hash(names[10]), 0)
    assert (cursor.sweep.offset, cursor.sweep.before_ms, cursor.sweep.after_ms) == (77, NOW, 5000)
    made.turn(names[3], 0, NOW + 50_000, wrapped=True)
    cursor = decode_cursor(made.cursor())
    assert cursor.sweep is not None
    assert (cursor.sweep.before_ms, cursor.sweep.after_ms) == (NOW + 20_000, NOW)
    assert cursor.sweep.listed[lane_tag(names[10], "e", 0)][0] == 77
    made.settle(NOW + 90_000)
    cursor = decode_cursor(made.cursor())
    assert cursor.sweep is not None
    assert (cursor.sweep.before_ms, cursor.sweep.after_ms, cursor.sweep.listed) == (NOW + 60_000, NOW + 60_000, {})


def test_the_cursors_of_a_block_know_how_new_its_events_are() -> None:
    made, names = coarse()
    made.turn(names[0], 0, NOW, wrapped=False)
    before = made.cursor()
    made.block(names[0], 0, [], 9, NOW + 4000)
    found = decode_cursor(made.block(names[0], 0, [], 9, NOW + 4000)._prefix.at(9)).sweep
    assert found is not None
    assert NOW + 4000 <= found.newest_ms <= NOW + 5000
    assert made.cursor() == before


def test_a_coarse_cursor_stands_at_the_first_and_at_the_last_lane() -> None:
    made = CursorWriter()
    made.begin(0, 0)
    for _ in range(600):
        made.add("t", "e", 0)
    for place in (0, 599):
        made.turn("t", place, 0, wrapped=False)
        made.seek("t", place, 5, 0)
        cursor = decode_cursor(made.cursor())
        assert cursor.active == (topic_hash("t"), place)
        assert cursor.sweep is not None


def test_lanes_come_and_go_while_cursors_are_coarse() -> None:
    made, names = coarse()
    assert made.place == FIRST
    made.turn(names[0], 0, NOW, wrapped=False)
    made.move(names[0], 0, 3, NOW)
    assert made.limit_of(names[0], 0) is None
    made.drop(names[0])
    assert decode_cursor(made.cursor()).active == (topic_hash(names[0]), 0)
    made.add("later", "e", 0)
    made.move("later", 0, 2, NOW)
    assert made.offset("later", 0) == 2
    for name in [*names[1:], "later"]:
        made.drop(name)
    assert decode_cursor(made.cursor()).sweep is not None
    assert made.limit_of("gone", 0) is None


def test_offsets_too_large_for_an_exact_cursor_make_it_coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_COARSE_FROM", 10**6)
    made = CursorWriter()
    for _ in range(500):
        made.add("t", "e", 2**50)
    assert not made.coarse
    assert decode_cursor(made.cursor()).sweep is not None
    assert made.coarse
