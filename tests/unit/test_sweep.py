"""What a coarse cursor says of lanes, against a model of logs whose append times are out of order.

The model resumes as the resolver does: a lane that is listed where the list says, the place where
the cursor says, any other where its time leads to.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery import sweep
from gateway.delivery.cursor import (
    COARSE,
    FIRST,
    MAX_CURSOR,
    TIME_MARGIN,
    Cursor,
    Prefix,
    decode_cursor,
    enclose,
    lane_tag,
    topic_hash,
)
from gateway.delivery.sweep import LIST_BYTES, Spot, Swept

pytestmark = pytest.mark.timeout(60)
NOW = 1_000_000_000


def spot(n: int, offset: int = 0, newest: int = -1) -> Spot:
    return Spot((topic_hash(f"t{n}"), 0), b"epoc", lane_tag(f"t{n}", "e", 0), offset, newest)


def cursor_of(swept: Swept) -> Cursor:
    here = swept.here
    body = swept.body(here, -1 if here is None else here.newest_ms)
    text = Prefix.of(enclose(COARSE, False, body)).at(0 if here is None else here.offset)
    assert len(text) <= MAX_CURSOR
    return decode_cursor(text)


def test_a_cursor_lists_what_its_times_do_not_lead_to() -> None:
    swept = Swept(NOW, NOW, FIRST)
    spots = [spot(n) for n in range(4)]
    for each in spots:
        swept.add(each)
    for n, newest in enumerate((NOW - 1, NOW, NOW + 5000)):
        spots[n].offset, spots[n].newest_ms = 10 + n, newest
        swept.moved(spots[n])
    found = cursor_of(swept).sweep
    assert found is not None
    assert (found.before_ms, found.after_ms, found.offset) == (NOW, NOW, 12)
    assert {tag: offset for tag, (offset, _) in found.listed.items()} == {spots[1].tag: 11, spots[2].tag: 12}
    assert NOW + 5000 <= found.listed[spots[2].tag][1] < NOW + 6000


def test_times_in_whole_seconds_stay_the_same_however_often_they_are_written() -> None:
    swept = Swept(NOW, NOW, FIRST)
    first = spot(1, 5, NOW + 1234)
    swept.add(first)
    for n in range(5):
        found = cursor_of(swept).sweep
        assert found is not None
        newest = found.listed[first.tag][1]
        assert newest == NOW + 1999
        swept = Swept(NOW - 700 * n, NOW - 300 * n, FIRST)
        first = spot(1, 5, newest)
        swept.add(first)


def test_the_list_forgets_what_grew_old() -> None:
    swept = Swept(NOW, NOW, FIRST)
    for n in range(10):
        swept.add(spot(n, 3, NOW + n * 1000))
    assert len(cursor_of(swept).sweep.listed) == 10  # type: ignore[union-attr]
    swept.settle(NOW + 5500)
    assert len(cursor_of(swept).sweep.listed) == 5  # type: ignore[union-attr]
    swept.settle(NOW + 100_000)
    assert cursor_of(swept).sweep.listed == {}  # type: ignore[union-attr]


def test_a_lane_that_finds_no_room_has_a_limit_until_others_grew_old() -> None:
    swept = Swept(0, NOW, FIRST)
    spots = sorted((spot(n) for n in range(600)), key=lambda each: each.order)
    for each in spots:
        swept.add(each)
    free = 0
    for each in spots:
        swept.turn(each, False, NOW)
        limit = swept.limit_of(each)
        assert limit in (None, NOW)
        free += limit is None
        each.offset, each.newest_ms = 1000, NOW + 10 if limit is None else NOW - 1
        swept.moved(each)
    assert 370 < free < 430
    assert len(cursor_of(swept).sweep.listed) == free  # type: ignore[union-attr]
    swept.turn(spots[0], True, NOW + 100_000)
    assert all(swept.limit_of(each) is None for each in spots)
    assert not swept.late(NOW + 100_999)
    assert swept.late(NOW + 101_000)


def test_lanes_whose_tags_are_equal_are_never_listed() -> None:
    swept = Swept(0, NOW, FIRST)
    one, other = spot(1, 1, NOW), spot(2, 1, NOW)
    other.tag = one.tag
    swept.add(one)
    assert swept.limit_of(one) is None
    swept.add(other)
    swept.moved(one)
    assert swept.limit_of(one) == swept.limit_of(other) == NOW
    swept.drop(other)
    swept.moved(one)
    assert swept.limit_of(one) is None


def test_a_place_whose_topic_went_is_still_a_place() -> None:
    swept = Swept(0, NOW, FIRST)
    one, other = sorted((spot(1), spot(2)), key=lambda each: each.order)
    swept.add(one)
    swept.add(other)
    swept.turn(one, False, NOW)
    swept.drop(one)
    found = cursor_of(swept)
    assert found.active == one.order
    assert swept.here is None
    assert found.sweep is not None
    assert (found.sweep.before_ms, found.sweep.after_ms, found.sweep.epoch) == (NOW, 0, bytes(4))


class Model:
    """Lanes of (append time) lists, and a reader that sweeps through them."""

    def __init__(self, lanes: int) -> None:
        self.now = NOW
        self.logs: list[list[int]] = [[] for _ in range(lanes)]
        self.had = [0] * lanes
        self.ring: list[int] = []
        self.resume(Swept(0, self.now - TIME_MARGIN, FIRST), [0] * lanes, [-1] * lanes)

    def resume(self, swept: Swept, offsets: list[int], newest: list[int]) -> None:
        self.swept = swept
        self.spots = [spot(n, *at) for n, at in enumerate(zip(offsets, newest, strict=True))]
        for each in self.spots:
            swept.add(each)
        self.order = sorted(range(len(offsets)), key=lambda n: self.spots[n].order)
        self.ring = [n for n in self.order if self.spots[n].order >= swept.place]

    def led_to(self, lane: int, since: int) -> int:
        return next((at for at, when in enumerate(self.logs[lane]) if when >= since), len(self.logs[lane]))

    def read(self, count: int, obey: bool) -> None:
        """The next lane of the round: all of it, or in the last turn some."""
        wrapped = not self.ring
        self.ring = self.ring or list(self.order)
        lane = self.ring[0]
        each, log = self.spots[lane], self.logs[lane]
        self.swept.turn(each, wrapped, self.now - TIME_MARGIN)
        limit = self.swept.limit_of(each) if obey else None
        end = len(log)
        if limit is not None:
            young = (at for at in range(each.offset, end) if log[at] >= limit)
            end = next(young, end)
        to = end if count > 3 else min(end, each.offset + count)
        if to > each.offset:
            each.newest_ms = max([each.newest_ms, *log[each.offset : to]])
            each.offset = to
            self.had[lane] = max(self.had[lane], to)
            self.swept.moved(each)
        if to == end:
            del self.ring[0]

    def reopen(self, exact: bool) -> None:
        cursor = cursor_of(self.swept)
        found = cursor.sweep
        assert found is not None
        offsets, newest = [], []
        for lane, each in enumerate(self.spots):
            time = found.before_ms if each.order < cursor.active else found.after_ms
            known = found.listed.get(each.tag, (self.led_to(lane, time), -1))
            if each.order == cursor.active:
                known = found.offset, found.newest_ms
            assert known[0] <= self.had[lane], "an event would be skipped"
            assert known[0] == self.had[lane] or not exact, "an event would be repeated"
            offsets.append(known[0])
            newest.append(known[1])
        self.resume(Swept(found.after_ms, found.before_ms, cursor.active), offsets, newest)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), st.integers(0, 25_000)),
        st.tuples(st.just("read"), st.integers(0, 6), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 6), st.just(0)),
        st.tuples(st.just("time"), st.integers(0, 40_000), st.just(0)),
        st.tuples(st.just("reopen"), st.just(0), st.just(0)),
    ),
    min_size=10,
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(STEPS, st.sampled_from([0, 145, 160, LIST_BYTES]), st.booleans())
def test_resuming_skips_nothing_and_repeats_nothing_where_limits_were_kept(
    steps: list[tuple[str, int, int]], room: int, obey: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "LIST_BYTES", room)
        model = Model(3)
        for what, a, b in steps:
            if what == "append":
                model.logs[a].append(model.now - b)  # clocks differ by less than the margin
            elif what == "time":
                model.now += a
            elif what == "read":
                model.read(a, obey)
            else:
                model.reopen(exact=obey or room == LIST_BYTES)
        model.reopen(exact=obey or room == LIST_BYTES)
