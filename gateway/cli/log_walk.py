"""The walk behind `linkspan log verify`: every byte of an embedded log, read only.

It tells damage from a torn write as recovery does: what no good batch follows, beyond the
place that an index file vouches for, was a write under way and was never acknowledged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from gateway.bus.embedded.header import SegmentHeader, decode_header
from gateway.bus.embedded.index import SegmentIndex, decode_index
from gateway.bus.embedded.recovery import reader, where
from gateway.bus.embedded.scan import Piece, zeros
from gateway.bus.embedded.segment import INDEX_SUFFIX, LOG_SUFFIX, build_index
from gateway.bus.embedded.settings import FILE, decode_topic

Progress = Callable[[int, int], None]
"""(bytes walked, bytes in all)."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """Damage in one place; offsets where the frame's header still says them."""

    file: str
    position: int
    message: str
    partition: int | None = None
    offset: int | None = None
    next_offset: int | None = None


class Report(msgspec.Struct):
    """`findings` is damage; `notes` is what is no loss, such as a torn write at the very end."""

    topics: int = 0
    segments: int = 0
    bytes: int = 0
    findings: list[Finding] = []
    notes: list[Finding] = []


def walk_log(data: Path, progress: Progress) -> Report:
    """Check the settings, headers, batches and indexes of every topic. Raises OSError, BusUnavailable."""
    folders = sorted(entry for entry in (data / "topics").iterdir() if entry.is_dir() and entry.name[0] != "~")
    total = sum(file.stat().st_size for folder in folders for file in folder.glob(f"*{LOG_SUFFIX}"))
    report = Report()
    for folder in folders:
        report.topics += 1
        _settings(folder, report)
        segments = [(path, _header(path, report)) for path in sorted(folder.glob(f"*{LOG_SUFFIX}"))]
        _note_lost_segments(folder, [path for path, _ in segments], report)
        for at, (path, header) in enumerate(segments):
            following = segments[at + 1][1] if at + 1 < len(segments) else None
            if header is not None:
                _segment(path, header, None if following is None else following.base, report)
            report.segments += 1
            report.bytes += path.stat().st_size
            progress(report.bytes, total)
    return report


def _settings(folder: Path, report: Report) -> None:
    path = folder / FILE
    topic, damaged = decode_topic(path.read_bytes() if path.exists() else b"")
    if topic is None or damaged is not None:
        both = "both copies of the topic's settings are" if topic is None else "a copy of the topic's settings is"
        report.findings.append(Finding(str(path), damaged or 0, f"{both} damaged"))


def _note_lost_segments(folder: Path, paths: Sequence[Path], report: Report) -> None:
    if not paths:
        report.findings.append(Finding(str(folder), 0, "the topic has no segment left"))
    for before, after in pairwise(int(path.stem) for path in paths if path.stem.isdigit()):
        # Compaction merges segments under the last one's name; the header then says so.
        if after - before != 1:
            report.notes.append(Finding(str(folder), 0, f"no segment {before + 1} to {after - 1} (merged or lost)"))


def _header(path: Path, report: Report) -> SegmentHeader | None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header, damaged = decode_header(reader(fd))
        if header is None and zeros(reader(fd), 0, os.fstat(fd).st_size):
            report.notes.append(Finding(str(path), 0, "a new segment that was never finished"))
        elif header is None or damaged is not None:
            both = "both copies of the segment's header are" if header is None else "a copy of the header is"
            report.findings.append(Finding(str(path), damaged or 0, f"{both} damaged"))
        return header
    finally:
        os.close(fd)


def _segment(path: Path, header: SegmentHeader, until: Sequence[int] | None, report: Report) -> None:
    known = _known_end(path, header, report)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size, read = os.fstat(fd).st_size, reader(fd)
        index, damage, rest = build_index(read, header, size, until)
        lost = [piece for piece in rest if piece.position < known]
        report.findings += [_damage(path, piece) for piece in (*damage, *lost)]
        if size < known:
            report.findings.append(Finding(str(path), size, f"the segment is cut short: {known - size} bytes are gone"))
        elif not lost and _incomplete(index, header, until):
            report.findings.append(Finding(str(path), index.end, "the segment ends before its successor begins"))
        elif not lost and rest and not zeros(read, index.end, size):
            report.notes.append(Finding(str(path), index.end, f"a torn write of {size - index.end} bytes at the end"))
    finally:
        os.close(fd)


def _known_end(path: Path, header: SegmentHeader, report: Report) -> int:
    """Up to where the index file says that the segment was complete; 0 without one."""
    beside = path.with_suffix(INDEX_SUFFIX)
    if not beside.exists():
        return 0
    index = decode_index(beside.read_bytes(), header.salt)
    if index is None:
        report.findings.append(Finding(str(beside), 0, "the index is damaged (it is made anew from its segment)"))
        return 0
    return index.end


def _incomplete(index: SegmentIndex, header: SegmentHeader, until: Sequence[int] | None) -> bool:
    # Compaction takes last events away, too: then the offsets need not meet.
    if header.compacted or until is None:
        return False
    return any(at < end for at, end in zip(index.next, until, strict=False))


def _damage(path: Path, piece: Piece) -> Finding:
    what = "no batch can be read" if piece.frame is None else "a batch fails its checksum"
    return Finding(str(path), piece.position, f"{what} ({piece.end - piece.position} bytes)", **where(piece.frame))
