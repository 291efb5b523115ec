"""The end of a stream says why, to people and to programs."""

from __future__ import annotations

from gateway.delivery.outcome import EndOfStream, ReadStats


def test_the_end_of_a_stream_names_its_reason() -> None:
    end = EndOfStream("deleted")
    assert end.reason == "deleted"
    assert str(end) == "the stream ended: deleted"


def test_counters_begin_at_nothing_and_are_not_shared() -> None:
    first, second = ReadStats(), ReadStats()
    first.handover.joined += 1
    assert (second.handover.joined, second.events, second.gaps) == (0, 0, 0)
