"""What a write under way leaves behind when it is cut off, at every byte of it: cut at the next start, never served."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.bus.contract import Bounds, TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.embedded.frame import Frame
from gateway.bus.embedded.header import decode_header
from gateway.bus.embedded.scan import walk
from gateway.bus.embedded.verify import Finding, verify
from tests.faults.embedded_scratch import scratch
from tests.harness.events import event, events, ids, read_topic


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with scratch(tmp_path) as folder:
        yield folder


async def opened(folder: Path) -> EmbeddedBus:
    bus = EmbeddedBus(folder, maintenance_interval=3600, segment_bytes=128 * 1024)
    await bus.start()
    return bus


async def killed_log(folder: Path, calls: int, count: int = 3) -> Path:
    """The files of a log whose process was killed after so many appends, preallocated space and all."""
    bus = await opened(folder / "alive")
    await bus.create_topic("t", TopicSettings())
    for call in range(calls):
        await bus.append("t", events(count, first=call * count))
    shutil.copytree(folder / "alive", folder / "killed")
    await bus.close()
    return folder / "killed"


def segment_of(folder: Path) -> Path:
    return max((folder / "topics" / "t").glob("*.log"))


def frames_of(path: Path) -> list[Frame]:
    data = path.read_bytes()

    def read(position: int, size: int) -> bytes:
        return data[position : position + size]

    header, _ = decode_header(read)
    assert header is not None
    pieces = walk(read, header.data_start, len(data), header.salt)
    return [piece.frame for piece in pieces if piece.frame is not None]


def findings(folder: Path) -> list[Finding]:
    return [found for found in verify(folder) if isinstance(found, Finding)]


def cut_off(data: bytes, at: int, end: int) -> bytes:
    return data[:at]


def never_written(data: bytes, at: int, end: int) -> bytes:
    """The rest is preallocated space."""
    return data[:at] + bytes(len(data) - at)


def hole(data: bytes, at: int, end: int) -> bytes:
    """Written out of order: all but a few bytes have arrived."""
    return data[:at] + bytes(min(8, end - at)) + data[min(at + 8, end) :]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("tear", [cut_off, never_written, hole])
async def test_a_write_torn_at_any_byte_is_cut_and_appends_go_on(
    place: Path, tear: Callable[[bytes, int, int], bytes]
) -> None:
    path = segment_of(await killed_log(place, 4, count=1))
    whole, last = path.read_bytes(), frames_of(path)[-1]
    for at in range(last.position, last.end):
        torn = tear(whole, at, last.end)
        if torn[last.position : last.end] == whole[last.position : last.end]:
            continue  # there were zeros anyway
        path.write_bytes(torn)
        bus = await opened(place / "killed")
        try:
            assert await bus.bounds("t") == [Bounds(0, 3)], f"torn at {at}"
            assert await bus.append("t", [event(100)]) == [(0, 3)]
            assert ids(await read_topic(bus, "t")) == [0, 1, 2, 100]
        finally:
            await bus.close()
        for index in path.parent.glob("*.idx"):
            index.unlink()


async def test_a_torn_end_is_no_damage_to_verify_and_is_gone_after_the_next_start(place: Path) -> None:
    folder = await killed_log(place, 4)
    path = segment_of(folder)
    last = frames_of(path)[-1]
    path.write_bytes(never_written(path.read_bytes(), last.end - 20, last.end))
    [found] = findings(folder)
    assert (found.kind, found.position, found.damage) == ("torn", last.position, False)
    bus = await opened(folder)
    await bus.close()
    assert findings(folder) == []


async def test_a_cut_through_several_batches_keeps_those_before_it(place: Path) -> None:
    folder = await killed_log(place, 20)
    path = segment_of(folder)
    frames = frames_of(path)
    for keep in (1, 7, 19):
        path.write_bytes(path.read_bytes()[: frames[keep].position + 50])
        copy = place / f"copy-{keep}"
        shutil.copytree(folder, copy)
        bus = await opened(copy)
        assert ids(await read_topic(bus, "t")) == list(range(3 * keep))
        await bus.close()
        path.write_bytes((place / "alive" / path.relative_to(folder)).read_bytes())


async def test_space_that_was_only_preallocated_is_no_data(place: Path) -> None:
    folder = await killed_log(place, 1)
    path = segment_of(folder)
    assert path.read_bytes().endswith(bytes(50_000)), "nothing was preallocated"
    assert findings(folder) == []
    bus = await opened(folder)
    assert await bus.bounds("t") == [Bounds(0, 3)]
    await bus.close()


async def test_what_the_log_once_closed_in_good_order_is_not_taken_for_torn(place: Path) -> None:
    bus = await opened(place / "alive")
    await bus.create_topic("t", TopicSettings())
    for call in range(4):
        await bus.append("t", events(3, first=3 * call))
    await bus.close()
    path = segment_of(place / "alive")
    last = frames_of(path)[-1]
    data = bytearray(path.read_bytes())
    data[last.end - 5] ^= 1
    path.write_bytes(data)
    bus = await opened(place / "alive")
    # Its offsets were acknowledged: they are lost and reported, and nothing else gets them.
    assert await bus.bounds("t") == [Bounds(0, 12)]
    assert await bus.append("t", [event(100)]) == [(0, 12)]
    await bus.close()


async def test_an_index_from_an_earlier_close_does_not_hide_what_came_after_it(place: Path) -> None:
    folder = place / "alive"
    bus = await opened(folder)
    await bus.create_topic("t", TopicSettings())
    await bus.append("t", events(3))
    await bus.close()
    [index] = (folder / "topics" / "t").glob("*.idx")
    early = index.read_bytes()
    bus = await opened(folder)
    count = 3
    while len(list((folder / "topics" / "t").glob("*.log"))) < 3:
        await bus.append("t", events(50, first=count, size=200))
        count += 50
    await bus.close()
    # As when it was killed before the index of the segment that it had closed was written.
    index.write_bytes(early)
    bus = await opened(folder)
    assert ids(await read_topic(bus, "t")) == list(range(count))
    await bus.close()


@pytest.mark.parametrize("leftover", [b"", bytes(100), bytes(4096), b"LSPSEGM1"])
async def test_a_segment_that_was_never_finished_is_removed(place: Path, leftover: bytes) -> None:
    folder = await killed_log(place, 2)
    path = segment_of(folder)
    path.with_name("00000000000000000002.log").write_bytes(leftover)
    bus = await opened(folder)
    assert ids(await read_topic(bus, "t")) == list(range(6))
    assert await bus.append("t", [event(100)]) == [(0, 6)]
    await bus.close()
