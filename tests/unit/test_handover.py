"""The hand-over neither skips nor repeats: stated against a model of a log with a lossy tail.

`LogAndReader` runs arbitrary interleavings of appends, tail pushes (late, lost or in time), reads
that begin and end apart, pauses of the consumer, overflows, seeks, retention, damaged batches
and topics that come, grow and go. Its invariant: what was delivered of a partition is exactly
its log from the start position on, in order, but for announced gaps.
"""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.bus.contract import Batch
from gateway.delivery.cursor import topic_hash
from gateway.delivery.handover import Gap, Handover, Read, State
from gateway.event import Event

pytestmark = pytest.mark.timeout(240)
Lane = tuple[str, int]


def a_batch(lane: Lane, offsets: list[int], base: int, end: int) -> Batch:
    events = [Event({}, topic=lane[0], partition=lane[1], offset=offset) for offset in offsets]
    return Batch(lane[0], lane[1], base, end, events, 10 * len(events))


class Log:
    """One partition as it really is."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.first = self.next = 0
        self.bad: set[int] = set()

    def read(self, offset: int, count: int) -> list[Batch]:
        found: list[Batch] = []
        for batch in self.batches:
            if batch.next_offset > offset and len(found) < count:
                if batch.base_offset in self.bad:
                    break
                found.append(batch.since(offset))
        return found


class LogAndReader(RuleBasedStateMachine):
    @initialize(sweep=st.booleans(), partitions=st.integers(1, 3), before=st.integers(0, 4))
    def begin(self, sweep: bool, partitions: int, before: int) -> None:
        self.handover = Handover(sweep=sweep)
        self.logs: dict[Lane, Log] = {}
        self.late: dict[Lane, deque[Batch]] = {}
        self.queue: deque[tuple[Lane, list[int], int]] = deque()  # handed over, not delivered
        self.delivered: dict[Lane, list[int]] = {}
        self.reached: dict[Lane, int] = {}
        self.expected_from: dict[Lane, int] = {}
        self.gaps: dict[Lane, list[Gap]] = {}
        self.history: dict[Lane, list[int]] = {}
        self.reading: tuple[Read, list[Batch]] | None = None
        for partition in range(partitions):
            lane = ("t", partition)
            self.make(lane)
            for _ in range(before):
                self.store(lane, 2, 0)
        for lane, log in self.logs.items():
            self.start(lane, log.next // 2, log.next)

    def make(self, lane: Lane) -> None:
        self.logs[lane], self.history[lane], self.late[lane] = Log(), [], deque()

    def start(self, lane: Lane, position: int, tail: int) -> None:
        self.delivered[lane], self.gaps[lane] = [], []
        self.reached[lane] = self.expected_from[lane] = position
        self.handover.add(*lane, position, tail)

    def store(self, lane: Lane, count: int, holes: int) -> Batch:
        log = self.logs[lane]
        base = log.next
        offsets = list(range(base, base + count))
        self.history[lane] += offsets
        batch = a_batch(lane, offsets, base, base + count + holes)
        log.batches.append(batch)
        log.next = batch.next_offset
        return batch

    def some_lane(self, pick: int) -> Lane:
        lanes = sorted(self.logs)
        return lanes[pick % len(lanes)]

    def take(self, batch: Batch) -> None:
        lane = (batch.topic, batch.partition)
        self.queue.append((lane, [event.offset for event in batch.events], batch.next_offset))

    @rule(pick=st.integers(0, 9), count=st.integers(0, 4), holes=st.integers(0, 2), how=st.sampled_from("nnnll-"))
    def append(self, pick: int, count: int, holes: int, how: str) -> None:
        """The tail has it now, later or never."""
        if not count and not holes:
            return
        lane = self.some_lane(pick)
        batch = self.store(lane, count, holes)
        if how == "l" or (how == "n" and self.late[lane]):
            self.late[lane].append(batch)
        elif how == "n":
            self.push(batch)

    def push(self, batch: Batch) -> None:
        part = self.handover.offer(batch)
        if part is not None:
            assert self.handover.state is State.LIVE
            self.take(part)

    @rule(pick=st.integers(0, 9), counts=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def append_in_time(self, pick: int, counts: list[int]) -> None:
        for count in counts:
            self.append(pick, count, 0, "n")

    @precondition(lambda self: self.handover.state is State.LIVE)
    @rule(pick=st.integers(0, 9))
    def the_tail_leaves_something_out(self, pick: int) -> None:
        self.tail_catches_up(pick, 99)
        for how in "-n":
            self.append(pick, 2, 0, how)

    @precondition(lambda self: self.handover.state is State.LIVE)
    @rule(pick=st.integers(0, 9))
    def the_consumer_begins_within_a_batch_that_is_late(self, pick: int) -> None:
        lane = self.some_lane(pick)
        self.append(pick, 4, 0, "l")
        self.seek(pick, 1.0)
        position = self.logs[lane].next - 2
        self.handover.seek(*lane, position)
        self.reached[lane] = self.expected_from[lane] = position

    @rule()
    def catch_up(self) -> None:
        for _ in range(200):
            if self.reading is not None:
                self.read_ends()
            elif self.handover.next_read() is None:
                return
            else:
                self.read_begins(3)

    @rule(pick=st.integers(0, 9), count=st.integers(1, 3))
    def tail_catches_up(self, pick: int, count: int) -> None:
        late = self.late[self.some_lane(pick)]
        for _ in range(min(count, len(late))):
            self.push(late.popleft())

    @rule(pick=st.integers(0, 9))
    def bounds_are_asked(self, pick: int) -> None:
        lane = self.some_lane(pick)
        self.handover.extend(*lane, self.logs[lane].next)

    @precondition(lambda self: self.reading is None)
    @rule(count=st.integers(1, 3))
    def read_begins(self, count: int) -> None:
        read = self.handover.next_read()
        assert (read is None) == (self.handover.state is State.LIVE)
        if read is not None:
            lane = (read.lane.topic, read.lane.partition)
            log = self.logs[lane]
            if read.offset < log.first:
                self.skip(lane, self.handover.skip(read, log.first, "retention"))
            elif (bad := self.damaged(log, read.offset)) is not None:
                self.skip(lane, self.handover.skip(read, bad.next_offset, "corrupt"))
            else:
                self.reading = (read, log.read(read.offset, count))

    def damaged(self, log: Log, offset: int) -> Batch | None:
        batch = next((batch for batch in log.batches if batch.next_offset > offset), None)
        return batch if batch is not None and batch.base_offset in log.bad else None

    def skip(self, lane: Lane, gap: Gap | None) -> None:
        # A gap is delivered in its turn, as events are.
        assert gap is not None
        while self.queue:
            self.consume(1)
        self.gaps[lane].append(gap)
        self.reached[lane] = gap.to_offset

    @precondition(lambda self: self.reading is not None)
    @rule()
    def read_ends(self) -> None:
        assert self.reading is not None
        (read, batches), self.reading = self.reading, None
        for batch in self.handover.accept(read, batches):
            self.take(batch)

    @rule(count=st.integers(1, 5))
    def consume(self, count: int) -> None:
        for _ in range(min(count, len(self.queue))):
            lane, offsets, end = self.queue.popleft()
            self.delivered[lane] += offsets
            self.reached[lane] = end

    @rule()
    def overflow(self) -> None:
        self.queue.clear()
        for lane, reached in self.reached.items():
            self.handover.seek(*lane, reached)

    @rule(pick=st.integers(0, 9), share=st.floats(0, 1))
    def seek(self, pick: int, share: float) -> None:
        """The consumer wants to begin elsewhere: what it had counts for nothing."""
        lane = self.some_lane(pick)
        log = self.logs[lane]
        self.overflow()
        position = log.first + int((log.next - log.first) * share)
        self.handover.seek(*lane, position)
        self.delivered[lane], self.gaps[lane] = [], []
        self.reached[lane] = self.expected_from[lane] = position

    @rule(pick=st.integers(0, 9), share=st.floats(0, 1))
    def retention(self, pick: int, share: float) -> None:
        log = self.logs[self.some_lane(pick)]
        log.first = max(log.first, int(log.next * share))
        log.batches = [batch.since(log.first) for batch in log.batches if batch.next_offset > log.first]

    @rule(pick=st.integers(0, 9), which=st.integers(0, 99))
    def damage(self, pick: int, which: int) -> None:
        log = self.logs[self.some_lane(pick)]
        if log.batches:
            log.bad.add(log.batches[which % len(log.batches)].base_offset)

    @precondition(lambda self: len(self.logs) < 6)
    @rule(topic=st.sampled_from("tuv"), before=st.integers(0, 3))
    def a_topic_or_partition_appears(self, topic: str, before: int) -> None:
        partition = sum(lane[0] == topic for lane in self.logs)
        self.make((topic, partition))
        for _ in range(before):
            self.store((topic, partition), 2, 0)
        self.start((topic, partition), 0, self.logs[topic, partition].next)

    @precondition(lambda self: len({lane[0] for lane in self.logs}) > 1)
    @rule(topic=st.sampled_from("tuv"))
    def a_topic_goes(self, topic: str) -> None:
        self.check()
        gone = self.handover.drop(topic)
        assert {(lane.topic, lane.partition) for lane in gone} == {lane for lane in self.logs if lane[0] == topic}
        for lane in [lane for lane in self.logs if lane[0] == topic]:
            for table in (self.logs, self.delivered, self.reached, self.gaps, self.history, self.late):
                del table[lane]
        self.queue = deque(entry for entry in self.queue if entry[0][0] != topic)

    @invariant()
    def check(self) -> None:
        for lane, delivered in self.delivered.items():
            start, end = self.expected_from[lane], self.reached[lane]
            missing = [o for gap in self.gaps[lane] for o in range(gap.from_offset, gap.to_offset)]
            expected = [o for o in self.history[lane] if start <= o < end and o not in missing]
            assert delivered == expected, lane

    @invariant()
    def live_means_nothing_known_is_left(self) -> None:
        behind = [lane for lane in self.handover.lanes() if lane.behind]
        assert (self.handover.state is State.LIVE) == (not behind)
        assert self.handover.lag == sum(lane.tail - lane.position for lane in behind)

    def teardown(self) -> None:
        """Left to itself it reaches the live edge, and then has everything."""
        if not hasattr(self, "handover"):
            return
        for lane in sorted(self.logs):
            while self.late[lane]:
                self.push(self.late[lane].popleft())
            self.bounds_are_asked(sorted(self.logs).index(lane))
        for _ in range(10_000):
            if self.reading is not None:
                self.read_ends()
            elif self.handover.next_read() is None:
                break
            else:
                self.read_begins(2)
        assert self.handover.state is State.LIVE
        self.consume(len(self.queue))
        self.check()
        for lane, log in self.logs.items():
            assert self.reached[lane] == log.next


LogAndReader.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestLogAndReader = LogAndReader.TestCase


def state(handover: Handover) -> State:
    return handover.state


def batches(count: int, lane: Lane = ("t", 0)) -> list[Batch]:
    return [a_batch(lane, [n], n, n + 1) for n in range(count)]


def test_a_reader_at_the_edge_is_live_at_once() -> None:
    handover = Handover()
    handover.add("t", 0, 5, 5)
    assert state(handover) is State.LIVE
    assert handover.next_read() is None


def test_a_tail_batch_that_reaches_over_the_position_is_cut() -> None:
    handover = Handover()
    handover.add("t", 0, 1, 1)
    part = handover.offer(a_batch(("t", 0), [0, 1, 2], 0, 3))
    assert part is not None
    assert [event.offset for event in part.events] == [1, 2]
    assert handover.offer(a_batch(("t", 0), [1, 2], 1, 3)) is None


def test_a_gap_in_the_tail_sends_the_reader_to_the_log() -> None:
    handover = Handover()
    handover.add("t", 0, 0, 0)
    assert handover.offer(batches(3)[2]) is None
    assert state(handover) is State.CATCH_UP
    assert handover.counts.fell_behind == 1
    read = handover.next_read()
    assert read is not None
    assert len(handover.accept(read, batches(3))) == 3
    assert state(handover) is State.LIVE
    assert handover.counts.joined == 1


def test_nobody_joins_before_all_lanes_are_there() -> None:
    handover = Handover()
    handover.add("t", 0, 0, 1)
    handover.add("t", 1, 0, 1)
    first = handover.next_read()
    assert first is not None
    handover.accept(first, batches(1))
    assert state(handover) is State.CATCH_UP
    assert handover.offer(a_batch(("t", 0), [1], 1, 2)) is None


def test_a_read_of_a_lane_that_moved_meanwhile_counts_for_nothing() -> None:
    handover = Handover()
    handover.add("t", 0, 0, 2)
    read = handover.next_read()
    assert read is not None
    handover.seek("t", 0, 1)
    assert handover.accept(read, batches(1)) == ()
    assert handover.skip(read, 5, "retention") is None
    handover.settle_for(read)
    assert state(handover) is State.CATCH_UP
    handover.drop("t")
    assert state(handover) is State.LIVE


def test_an_empty_read_leaves_the_lane_behind_and_lets_others_try() -> None:
    handover = Handover()
    handover.add("t", 0, 0, 2)
    handover.add("t", 1, 0, 2)
    read = handover.next_read()
    assert read is not None
    assert handover.accept(read, []) == []
    assert state(handover) is State.CATCH_UP
    other = handover.next_read()
    assert other is not None
    assert other.lane is not read.lane


def test_a_reader_that_waits_for_nothing_takes_an_empty_read_for_the_end() -> None:
    handover = Handover()
    handover.add("t", 0, 0, 2)
    read = handover.next_read()
    assert read is not None
    handover.settle_for(read)
    assert state(handover) is State.LIVE


def test_a_log_that_ends_below_the_position_is_said_to_have_lost() -> None:
    handover = Handover()
    handover.add("t", 0, 9, 12)
    read = handover.next_read()
    assert read is not None
    assert handover.skip(read, 3, "lost") == Gap("t", 0, 9, 3, "lost")
    assert state(handover) is State.LIVE


def test_batches_of_lanes_that_are_not_read_are_ignored() -> None:
    handover = Handover()
    assert handover.offer(batches(1)[0]) is None
    handover.extend("t", 0, 5)
    handover.seek("t", 0, 5)
    assert handover.drop("t") == []
    assert state(handover) is State.LIVE


@pytest.mark.parametrize("sweep", [False, True])
def test_reading_can_begin_at_any_lane(sweep: bool) -> None:
    handover = Handover(sweep=sweep)
    for partition in range(4):
        handover.add("t", partition, 0, 1)
    handover.start_at((topic_hash("t"), 2))
    order = []
    while (read := handover.next_read()) is not None:
        order.append(read.lane.partition)
        handover.accept(read, batches(1, ("t", read.lane.partition)))
    assert order == [2, 3, 0, 1]


def test_a_sweep_goes_on_when_a_busy_lane_reached_what_there_was_when_it_came() -> None:
    handover = Handover(sweep=True)
    handover.add("t", 0, 0, 2)
    handover.add("t", 1, 0, 1)
    seen = []
    for busy in range(4):
        read = handover.next_read()
        assert read is not None
        seen.append((read.lane.partition, read.offset))
        handover.accept(read, [a_batch(("t", read.lane.partition), [read.offset], read.offset, read.offset + 1)])
        handover.extend("t", 0, 3 + busy)
    assert seen == [(0, 0), (0, 1), (1, 0), (0, 2)]


def test_a_lane_that_is_held_counts_as_read_until_it_is_released() -> None:
    handover = Handover(sweep=True)
    handover.add("t", 0, 0, 3)
    read = handover.next_read()
    assert read is not None
    handover.accept(read, batches(1))
    handover.hold(read.lane)
    assert handover.holds()
    assert state(handover) is State.LIVE
    handover.extend("t", 0, 9)
    assert state(handover) is State.LIVE
    handover.release()
    assert state(handover) is State.CATCH_UP
    assert handover.lag == 8
    again = handover.next_read()
    assert again is not None
    assert (again.offset, again.wrapped) == (1, True)
    handover.hold(again.lane)
    handover.drop("t")
    assert not handover.holds()


def test_a_round_ends_when_all_that_were_behind_were_visited() -> None:
    handover = Handover(sweep=True)
    for partition in range(3):
        handover.add("t", partition, 0, 1)
    handover.start_at((topic_hash("t"), 1))
    visited = []
    for _ in range(3):
        read = handover.next_read()
        assert read is not None
        visited.append((read.lane.partition, read.wrapped))
        handover.accept(read, batches(1, ("t", read.lane.partition)))
        handover.extend("t", 1, 2)  # what comes meanwhile is for the next round
    assert visited == [(1, False), (2, False), (0, True)]
    last = handover.next_read()
    assert last is not None
    assert (last.lane.partition, last.wrapped) == (1, False)
