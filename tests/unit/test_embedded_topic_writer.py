"""After any failure nothing untrue is left in a topic's files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.embedded.messages import (
    Committed,
    Failed,
    Outcome,
    Rolled,
)
from gateway.bus.embedded.recovery import open_topic
from gateway.bus.embedded.topic_writer import ALLOCATE_FIRST
from gateway.errors import BusUnavailable, DiskFull, OutcomeUnknown
from tests.unit.embedded_writing import Broken, Topic, kinds


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    return Broken(monkeypatch)


@pytest.fixture
def topic(tmp_path: Path) -> Iterator[Topic]:
    made = Topic(tmp_path / "t")
    yield made
    made.writer.close()


def test_appends_of_one_commit_are_written_and_synced_once(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("pwritev", "fdatasync"):
        real = getattr(os, name)

        def noting(*arguments: Any, real: Any = real, name: str = name) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, noting)
    (committed,) = topic.commit(*(topic.append() for _ in range(20)))
    assert isinstance(committed, Committed)
    assert calls == ["pwritev", "fdatasync"]
    positions = [append.batches[0].position for append in committed.appends]
    assert positions == sorted(set(positions))
    assert topic.recovered() == 60


def test_more_buffers_than_one_call_takes_are_written_in_several(topic: Topic) -> None:
    assert kinds(topic.commit(*(topic.append(1) for _ in range(1200)))) == [Committed]
    assert topic.recovered() == 1200


def test_a_short_write_is_completed(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, buffers, at: real(fd, [b"".join(buffers)[:50]], at))
    assert kinds(topic.commit(topic.append(), topic.append())) == [Committed]
    assert topic.recovered() == 6


def test_the_file_is_preallocated_and_gives_back_the_rest_when_closed(topic: Topic) -> None:
    topic.commit(topic.append())
    path = topic.folder / "00000000000000000001.log"
    assert path.stat().st_size > ALLOCATE_FIRST
    topic.writer.close()
    assert path.stat().st_size < 10_000
    assert topic.recovered() == 3


def test_a_full_segment_is_followed_by_the_next(topic: Topic) -> None:
    topic.writer.segment_bytes = 6000
    assert kinds(topic.commit(topic.append())) == [Committed]
    rolled, committed = topic.commit(topic.append(size=1000))
    assert isinstance(rolled, Rolled)
    assert isinstance(committed, Committed)
    assert (rolled.header.sequence, rolled.header.base, rolled.header.previous_newest_ms) == (2, [3], 1000)
    assert topic.recovered() == 6


def test_a_disk_without_room_for_another_block_refuses_and_keeps_what_it_has(topic: Topic, broken: Broken) -> None:
    topic.commit(topic.append())
    broken.fail("posix_fallocate", errno.ENOSPC)
    (failed,) = topic.commit(topic.append(size=ALLOCATE_FIRST))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, DiskFull)
    broken.mend()
    topic.next, topic.generation = 3, 1
    assert kinds(topic.commit(topic.append(size=ALLOCATE_FIRST))) == [Committed]
    assert topic.recovered() == 6


def test_where_ample_room_is_lacking_just_enough_is_taken(topic: Topic, broken: Broken) -> None:
    broken.fail("posix_fallocate", errno.ENOSPC, times=1)
    assert kinds(topic.commit(topic.append())) == [Committed]


def test_all_appends_whose_offsets_follow_on_a_failed_one_fail_too(topic: Topic, broken: Broken) -> None:
    broken.fail("fdatasync", errno.EIO, times=1)
    assert kinds(topic.commit(topic.append())) == [Failed]
    (stale,) = topic.commit(topic.append())
    assert isinstance(stale, Failed)
    assert "Input/output error" in stale.error.message
    topic.next, topic.generation = 0, 1
    assert kinds(topic.commit(topic.append())) == [Rolled, Committed]
    assert topic.recovered() == 3


@pytest.mark.parametrize("name", ["pwritev", "fdatasync"])
def test_what_a_failed_write_left_is_erased_and_a_new_segment_begins(topic: Topic, broken: Broken, name: str) -> None:
    topic.commit(topic.append())
    broken.fail(name, errno.EIO, times=1, first=lambda real, *arguments: real(*arguments))
    (failed,) = topic.commit(topic.append())
    assert isinstance(failed, Failed)
    assert type(failed.error) is BusUnavailable
    assert topic.recovered() == 3, "the bytes had landed, and are gone"
    topic.next, topic.generation = 3, 1
    rolled, _ = topic.commit(topic.append())
    assert isinstance(rolled, Rolled)
    assert rolled.header.base == [3]
    assert topic.recovered() == 6


def test_no_room_in_the_middle_of_a_write_leaves_the_file_in_use(topic: Topic, broken: Broken) -> None:
    topic.commit(topic.append())
    broken.fail("pwritev", errno.ENOSPC, times=1, first=lambda real, fd, buffers, at: real(fd, buffers[:1], at))
    (failed,) = topic.commit(topic.append())
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, DiskFull)
    topic.next, topic.generation = 3, 1
    assert kinds(topic.commit(topic.append())) == [Committed]
    assert topic.recovered() == 6


def test_where_even_erasing_fails_the_outcome_is_unknown_and_the_next_segment_voids_it(
    topic: Topic, broken: Broken
) -> None:
    topic.commit(topic.append())
    broken.fail("fdatasync", errno.EIO, times=1)
    broken.fail("ftruncate", errno.EIO, times=2)
    (failed,) = topic.commit(topic.append(5))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, OutcomeUnknown)
    topic.next, topic.generation = 3, 1
    assert kinds(topic.commit(topic.append())) == [Rolled, Committed]
    assert topic.recovered() == 6
    again = open_topic(topic.folder)
    again.writer.close()
    assert again.segments[0].until == [3], "the five that were left behind are beyond its end"


def test_a_new_segment_that_cannot_be_made_refuses_the_append_and_is_tried_again(topic: Topic, broken: Broken) -> None:
    topic.writer.segment_bytes = 6000
    topic.commit(topic.append())
    broken.fail("fsync", errno.EIO, times=1)
    (failed,) = topic.commit(topic.append(size=1000))
    assert isinstance(failed, Failed)
    assert type(failed.error) is BusUnavailable
    assert len(list(topic.folder.glob("*.log"))) == 1
    topic.next, topic.generation = 3, 1
    assert kinds(topic.commit(topic.append(size=1000))) == [Rolled, Committed]
    assert topic.recovered() == 6


def test_beside_a_half_made_segment_nothing_is_appended(topic: Topic, broken: Broken) -> None:
    topic.writer.segment_bytes = 6000
    topic.commit(topic.append())
    broken.fail("fsync", errno.EIO, times=1)
    broken.fail("unlink", errno.EIO, times=1)
    topic.commit(topic.append(size=1000))
    broken.mend()
    topic.next, topic.generation = 3, 1
    topic.writer.segment_bytes = 10**6
    assert kinds(topic.commit(topic.append())) == [Rolled, Committed], "though the old one has room"
    assert topic.recovered() == 6


def test_a_roll_whose_old_segment_cannot_be_synced_fails(topic: Topic, broken: Broken) -> None:
    topic.writer.segment_bytes = 6000
    topic.commit(topic.append())
    broken.fail("fdatasync", errno.EIO, times=1)
    assert kinds(topic.commit(topic.append(size=1000))) == [Failed]
    topic.next, topic.generation = 3, 1
    assert kinds(topic.commit(topic.append())) == [Rolled, Committed]


def test_spare_room_of_a_closed_segment_that_cannot_be_given_back_is_no_failure(topic: Topic, broken: Broken) -> None:
    topic.writer.segment_bytes = 6000
    topic.commit(topic.append())
    broken.fail("ftruncate", errno.EIO, times=1)
    assert kinds(topic.commit(topic.append(size=1000))) == [Rolled, Committed]
    assert topic.recovered() == 6


def test_a_probe_tells_whether_an_append_would_work(topic: Topic, broken: Broken) -> None:
    outcomes: list[Outcome] = []
    broken.fail("posix_fallocate", errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        topic.writer.probe(ALLOCATE_FIRST, outcomes)
    broken.mend()
    broken.fail("fdatasync", errno.EIO, times=1)
    with pytest.raises(OSError, match="Input/output error"):
        topic.writer.probe(ALLOCATE_FIRST, outcomes)
    topic.writer.probe(ALLOCATE_FIRST, outcomes)
    topic.writer.probe(ALLOCATE_FIRST, outcomes)
    assert kinds(outcomes) == [Rolled], "after the failed sync"


def test_closing_twice_is_closing_once(topic: Topic) -> None:
    topic.writer.close()
    topic.writer.close()


def test_without_syncing_nothing_is_synced_until_a_segment_is_closed(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fdatasync", calls.append)
    topic.writer.commit([topic.append()], sync=False)
    assert calls == []
    topic.writer.roll()
    assert len(calls) == 1
