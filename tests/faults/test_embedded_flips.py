"""One flipped bit, anywhere in any file: `verify` finds its place, it is never served, the rest stays readable.

Any file but `lock`, which holds no data: the number of the process that has the folder open.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.embedded.frame import Frame
from gateway.bus.embedded.header import decode_header
from gateway.bus.embedded.scan import walk
from gateway.bus.embedded.verify import Finding, verify
from gateway.errors import CorruptData
from tests.faults.embedded_scratch import scratch
from tests.harness.events import events, read_topic

SOAK = bool(os.environ.get("LINKSPAN_SOAK"))
#: Every how many bytes a bit is flipped; a soak flips one in every byte.
STEP_VERIFIED = 1 if SOAK else 41
STEP_SERVED = 3 if SOAK else 151
TOPICS = {
    "plain": TopicSettings(partitions=2, retention_ms=-1),
    "packed": TopicSettings(partitions=1, retention_ms=-1, compression="zstd"),
    "latest": TopicSettings(partitions=1, cleanup="compact"),
}
Place = tuple[str, int, int]
"""Topic, partition, offset."""


async def opened(folder: Path) -> EmbeddedBus:
    bus = EmbeddedBus(folder, maintenance_interval=3600, segment_bytes=12 * 1024, memory=1)
    await bus.start()
    return bus


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with scratch(tmp_path) as folder:
        yield folder


@pytest.fixture
async def whole(place: Path) -> Path:
    """A log that was closed in good order: several segments and indexes, compressed, compacted, partitions mixed."""
    folder = place / "whole"
    bus = await opened(folder)
    for name, settings in TOPICS.items():
        await bus.create_topic(name, settings)
        for number in range(0, 150, 15):
            await bus.append(name, events(15, first=number, size=60))
    await bus.maintain()
    await bus.append("latest", events(15, first=150, size=60))
    await bus.close()
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "topics").rglob("*") if path.is_file())


def findings(folder: Path) -> list[Finding]:
    return [found for found in verify(folder) if isinstance(found, Finding)]


def flips(folder: Path, step: int) -> Iterator[tuple[Path, int]]:
    """Flip a bit, let the caller look, flip it back: in every `step`th byte of all files, from a random one on."""
    chance = random.Random()
    for path in files(folder):
        whole = path.read_bytes()
        for position in range(chance.randrange(min(step, len(whole))), len(whole), step):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            yield path, position
            path.write_bytes(whole)


def frames(path: Path) -> list[Frame]:
    data = path.read_bytes()

    def read(position: int, size: int) -> bytes:
        return data[position : position + size]

    header, _ = decode_header(read)
    assert header is not None
    found = [piece.frame for piece in walk(read, header.data_start, len(data), header.salt)]
    assert None not in found
    return [frame for frame in found if frame is not None]


def place_of(whole: Path, path: Path, position: int) -> set[int]:
    """Where a finding may say that this flipped bit is: its byte, or the batch around it; the start of an index."""
    if path.suffix == ".idx":
        return {0, position}
    if path.suffix == ".log":
        for frame in frames(whole / path):
            if frame.position <= position < frame.end:
                return {frame.position}
    return {position}


def test_nothing_is_found_in_a_log_without_damage(whole: Path) -> None:
    assert findings(whole) == []
    suffixes = {path.suffix for path in files(whole)}
    assert suffixes == {"", ".log", ".idx"}
    assert len(files(whole)) > 12


@pytest.mark.timeout(1200 if SOAK else 60)
def test_verify_finds_a_flipped_bit_in_its_place(whole: Path, place: Path) -> None:
    copy = place / "copy"
    shutil.copytree(whole, copy)
    count = 0
    for path, position in flips(copy, STEP_VERIFIED):
        count += 1
        found = findings(copy)
        where = f"a bit of byte {position} of {path.relative_to(copy)}: {found}"
        damage = [each for each in found if each.damage]
        assert damage, where
        assert {each.file for each in damage} == {str(path)}, where
        assert {each.position for each in damage} & place_of(whole, path.relative_to(copy), position), where
        assert len(damage) == 1, where
    assert count > 500


class Reading(msgspec.Struct):
    """What was served, by place, and what was reported as lost instead."""

    served: dict[Place, bytes]
    lost: dict[Place, CorruptData]


async def read_all(folder: Path) -> Reading:
    reading = Reading({}, {})
    bus = await opened(folder)
    try:
        for name in TOPICS:
            for partition, bounds in enumerate(await bus.bounds(name)):
                offset = bounds.first
                while offset < bounds.next:
                    try:
                        batches = await bus.read(name, partition, offset, 4096)
                    except CorruptData as error:
                        lost = range(error.detail["offset"], max(error.detail["next_offset"], offset + 1))
                        reading.lost |= {(name, partition, each): error for each in lost}
                        offset = lost.stop
                        continue
                    for batch in batches:
                        for each in batch.events:
                            shown = msgspec.msgpack.encode((each.attributes, each.data, each.key, each.timestamp_ms))
                            reading.served[name, partition, each.offset] = shown
                        offset = batch.next_offset
    finally:
        await bus.close()
    return reading


@pytest.mark.timeout(1200 if SOAK else 60)
async def test_a_flipped_bit_is_never_served_and_the_rest_stays_readable(whole: Path, place: Path) -> None:
    shutil.copytree(whole, place / "pattern")
    right = await read_all(whole)
    assert not right.lost
    count = 0
    for path, position in flips(place / "pattern", STEP_SERVED):
        count += 1
        name = path.relative_to(place / "pattern")
        copy = place / "copy"
        shutil.copytree(place / "pattern", copy)
        reading = await read_all(copy)
        where = f"a bit of byte {position} of {name}"
        stored = frames(whole / name) if path.suffix == ".log" else []
        batch = [frame for frame in stored if frame.position <= position < frame.end]
        topic = path.parent.name
        gone = {
            (topic, frame.partition, offset)
            for frame in batch
            for offset in range(frame.base_offset, frame.next_offset)
        }
        assert reading.served == {at: each for at, each in right.served.items() if at not in gone}, where
        assert reading.lost.keys() >= gone & right.served.keys(), where
        for error in reading.lost.values():
            assert error.detail["file"].endswith(path.name), where
            assert error.detail["position"] == batch[0].position, where
        shutil.rmtree(copy)
    assert count > 100


async def test_appends_go_on_behind_a_damaged_batch(whole: Path) -> None:
    path = max((whole / "topics" / "packed").glob("*.log"))
    last = frames(path)[-1]
    data = bytearray(path.read_bytes())
    data[last.batch_at + 70] ^= 4
    path.write_bytes(data)
    bus = await opened(whole)
    assert await bus.append("packed", events(2, first=500)) == [(0, 150), (0, 151)]
    with pytest.raises(CorruptData) as found:
        await bus.read("packed", 0, last.base_offset, 4096)
    detail = found.value.detail
    assert (detail["file"], detail["position"]) == (str(path), last.position)
    assert (detail["partition"], detail["offset"], detail["next_offset"]) == (0, last.base_offset, last.next_offset)
    [batch] = await bus.read("packed", 0, detail["next_offset"], 4096)
    assert [each.offset for each in batch.events] == [150, 151]
    await bus.close()


async def test_a_topic_whose_settings_are_lost_is_refused_and_the_others_are_served(whole: Path) -> None:
    path = whole / "topics" / "plain" / "topic"
    path.write_bytes(bytes(len(path.read_bytes())))
    assert [(each.file, each.position) for each in findings(whole)] == [(str(path), 0)]
    bus = await opened(whole)
    assert await bus.topics() == ["latest", "packed"]
    with pytest.raises(CorruptData, match="settings"):
        await bus.bounds("plain")
    assert "plain" in " ".join(bus.health().degraded)
    assert bus.health().ready
    assert bus.health().reasons == ()
    assert len(await read_topic(bus, "packed")) == 150
    await bus.close()


async def test_a_segment_that_is_gone_is_found_and_its_offsets_are_told_to_readers(whole: Path) -> None:
    before, gone, *_ = sorted((whole / "topics" / "plain").glob("*.log"))
    lost = {
        ("plain", frame.partition, offset)
        for frame in frames(gone)
        for offset in range(frame.base_offset, frame.next_offset)
    }
    end, right = before.stat().st_size, await read_all(whole)
    gone.unlink()
    gone.with_suffix(".idx").unlink()
    found = findings(whole)
    assert {(each.file, each.position, each.damage) for each in found} == {(str(before), end, True)}
    firsts = {partition: min(each[2] for each in lost if each[1] == partition) for _, partition, _ in lost}
    assert {each.partition: each.offset for each in found} == firsts
    reading = await read_all(whole)
    assert reading.lost.keys() == lost
    assert reading.served.keys() == right.served.keys() - lost


def test_an_index_that_compaction_left_behind_is_no_damage(whole: Path) -> None:
    indexes = sorted((whole / "topics" / "plain").glob("*.idx"))
    indexes[0].write_bytes(indexes[1].read_bytes())  # of a segment with another salt
    assert findings(whole) == []
