"""Where a reader stands in more partitions than a cursor has room for. Pure.

Lanes have a fixed order, and a reader sweeps through it, round after round: it reads each lane
to its end before the next. Between the **place** of the sweep and two append times everything
is said:

    before the place   a lane stands where `before_ms` leads to (`Bus.offset_for_time`)
    behind the place   where `after_ms` does, the `before_ms` of the round before
    listed             lanes that stand further on, since what was delivered of them is newer
                       than that: they are told exactly, for as long as there is room; the
                       place is in any case

`before_ms` is at least TIME_MARGIN older than the moment from which the ends of the lanes are
known, so that what it leads to does not change any more: no event that is older will come.
Hence resuming skips nothing, and repeats nothing of a lane that is listed or has nothing newer.
The list holds what was delivered within about the last 30 seconds, some 400 lanes of it.

A reader that wants no repeats asks `limit_of` before it reads a lane: one that finds no room in
the list any more is read up to `before_ms` only, the rest when it is old enough.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from gateway.delivery.cursor import EPOCH, MAX_HEAD, Order, age_of, listed_entry, number

#: Room for the list, in bytes: what the rest of a cursor's head can need is taken off.
LIST_BYTES = MAX_HEAD - 64
#: An entry that is to come needs at most so much, and what is listed grows by less.
_ENTRY, _GROWTH = 16, 128
#: Seconds above which ages are counted anew, to stay in one byte.
_AGES = 60


class Spot(msgspec.Struct, eq=False):
    """Where one lane stands. `newest_ms`: no event before `offset` was appended later."""

    order: Order
    epoch: bytes
    tag: int
    offset: int
    newest_ms: int


class Swept:
    """See the module. `before_ms` is at least `after_ms`; no lane is before `place` yet."""

    def __init__(self, after_ms: int, before_ms: int, place: Order) -> None:
        self.after_ms, self.before_ms, self.place = after_ms, max(after_ms, _whole(before_ms)), place
        self._here: Spot | None = None
        self._spots: dict[Order, Spot] = {}
        self._tags: Counter[int] = Counter()
        self._entries: dict[Spot, bytes] = {}
        self._used = 0
        self._base = self.before_ms // 1000
        self._pruned = (self.after_ms, self.before_ms)

    def add(self, spot: Spot) -> None:
        """A lane that stands where its time leads to, or further on."""
        self._spots[spot.order] = spot
        self._tags[spot.tag] += 1
        if spot.order == self.place:
            self._here = spot
        self._list(spot)

    def drop(self, spot: Spot) -> None:
        """The lane's topic is gone. The place stays where it is."""
        self._tags[spot.tag] -= 1
        del self._spots[spot.order]
        self._unlist(spot)
        if self._here is spot:
            self._here = None

    def moved(self, spot: Spot) -> None:
        """The lane stands elsewhere: at the live edge, where all lanes share one time, it is the
        place then; during a sweep it should be the place already."""
        if self.before_ms == self.after_ms:
            self.place, self._here = spot.order, spot
        self._list(spot)

    def turn(self, spot: Spot, wrapped: bool, horizon_ms: int) -> None:
        """The sweep comes to this lane; those that it passed are at their ends.

        `wrapped`: a new round begins. What is older than `horizon_ms` is known to be stored.
        """
        if wrapped:
            self.after_ms, self.before_ms = self.before_ms, max(self.before_ms, _whole(horizon_ms))
        self.place, self._here = spot.order, spot
        if wrapped and self._pruned != (self.after_ms, self.before_ms):
            self._refresh()

    def settle(self, horizon_ms: int) -> None:
        """All lanes are at their ends, and what is older than `horizon_ms` is known to be stored."""
        horizon_ms = max(self.before_ms, _whole(horizon_ms))
        if (self.after_ms, self.before_ms) != (horizon_ms, horizon_ms):
            self.after_ms = self.before_ms = horizon_ms
            self._refresh()

    def late(self, horizon_ms: int) -> bool:
        """Whether a round that begins now would read further than this one does."""
        return self.before_ms < _whole(horizon_ms)

    def limit_of(self, spot: Spot) -> int | None:
        """The append time before which the lane may be read; None: to its end."""
        if spot in self._entries:
            return None
        if self._used > LIST_BYTES - _GROWTH - _ENTRY:
            self._prune()
        fits = self._used <= LIST_BYTES - _GROWTH - _ENTRY and self._tags[spot.tag] == 1
        return None if fits else self.before_ms

    def body(self, spot: Spot | None, newest_ms: int) -> bytes:
        """All of a cursor but the offset of `spot`, which is the place, or another lane at the live edge.

        `newest_ms`: no event before the offset that will be set is newer.
        """
        place, epoch, before = self.place, bytes(EPOCH), self.before_ms
        if spot is not None:
            before = before if spot.order == place else self.after_ms
            place, epoch = spot.order, spot.epoch
        times = (number(before), number(self.after_ms), number(self._base))
        here = (epoch, place[0], number(place[1]), number(age_of(newest_ms, self._base)))
        return b"".join((*times, *here, number(len(self._entries)), *self._entries.values()))

    @property
    def here(self) -> Spot | None:
        """The lane at the place; None when there is none (yet, or any more)."""
        return self._here

    # Inside

    def _time_of(self, spot: Spot) -> int:
        # The place needs the list once it was passed.
        return self.before_ms if spot.order <= self.place else self.after_ms

    def _list(self, spot: Spot) -> None:
        if spot.newest_ms < self._time_of(spot) or self._tags[spot.tag] > 1:
            self._unlist(spot)
            return
        entry = listed_entry(spot.tag, spot.offset, spot.newest_ms, self._base)
        used = self._used - len(self._entries.get(spot, b"")) + len(entry)
        if used > LIST_BYTES and self._pruned != (self.after_ms, self.before_ms):
            self._prune()
            used = self._used - len(self._entries.get(spot, b"")) + len(entry)
        if used > LIST_BYTES:
            self._unlist(spot)
        else:
            self._entries[spot], self._used = entry, used

    def _unlist(self, spot: Spot) -> None:
        self._used -= len(self._entries.pop(spot, b""))

    def _prune(self) -> None:
        """Drop those from the list that their times lead to by now."""
        self._pruned = (self.after_ms, self.before_ms)
        for spot in [spot for spot in self._entries if spot.newest_ms < self._time_of(spot)]:
            self._unlist(spot)

    def _refresh(self) -> None:
        """The times changed: some need the list no more, and others find room."""
        self._prune()
        if self.before_ms // 1000 - self._base > _AGES:
            self._base = self.before_ms // 1000
            self._entries.clear()
            self._used = 0
        for spot in self._spots.values():
            if spot.newest_ms >= self.after_ms and spot not in self._entries:
                self._list(spot)


def _whole(ms: int) -> int:
    # Times that change once a second leave lists and prefixes as they are in between.
    return ms // 1000 * 1000
