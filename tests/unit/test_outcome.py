"""The end of a stream says why, to people and to programs."""

from __future__ import annotations

from gateway.delivery.handover import Gap
from gateway.delivery.outcome import EndOfStream, ReadStats, joined


def test_the_end_of_a_stream_names_its_reason() -> None:
    end = EndOfStream("deleted")
    assert end.reason == "deleted"
    assert str(end) == "the stream ended: deleted"


def test_counters_begin_at_nothing_and_are_not_shared() -> None:
    first, second = ReadStats(), ReadStats()
    first.handover.joined += 1
    assert (second.handover.joined, second.events, second.gaps) == (0, 0, 0)


def test_gaps_that_follow_on_each_other_for_one_reason_are_one() -> None:
    told = [
        Gap("t", 0, 353, 354, "corrupt"),
        Gap("t", 1, 354, 355, "corrupt"),
        Gap("t", 0, 354, 360, "corrupt"),
        Gap("t", 0, 360, 361, "retention"),
        Gap("t", 0, 362, 363, "retention"),
        Gap("u", 0, 7, 7, "retention"),
        Gap("u", 0, 7, 9, "retention"),
    ]
    assert joined(told) == [Gap("t", 0, 353, 360, "corrupt"), told[1], *told[3:]]
    assert joined([]) == []
