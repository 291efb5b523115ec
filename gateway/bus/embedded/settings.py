"""A topic's settings file: one checksummed line, twice, replaced atomically.

Two copies in one file: a damaged sector in one of them is found, reported and mended from the
other when the topic is opened.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal

import msgspec

from gateway.bus.contract import Compression, TopicInfo, TopicSettings
from gateway.bus.embedded.folder import write_file
from gateway.bus.settings import SettingBounds, refuse, setting_faults
from gateway.errors import BusUnavailable, CorruptData

FILE = "topic"
FORMAT = 1
MAX_PARTITIONS = 1024
DAY_MS = 24 * 3600 * 1000
BOUNDS = SettingBounds(MAX_PARTITIONS, 1, "the embedded log keeps one copy, more need Kafka", retention=1)
#: Kafka's own: one partition, a week, no limit of size.
DEFAULTS = TopicSettings(
    partitions=1, replication=1, retention_ms=7 * DAY_MS, retention_bytes=-1, cleanup="delete", compression="none"
)


class TopicFile(msgspec.Struct, frozen=True):
    """What is stored of a topic. Sizes in bytes, times in milliseconds, -1: no limit."""

    format: int
    name: str
    epoch: str
    partitions: int
    retention_ms: int
    retention_bytes: int
    cleanup: Literal["delete", "compact"]
    compression: Compression

    def info(self, max_event_bytes: int) -> TopicInfo:
        return TopicInfo(
            self.name, self.epoch, self.partitions, 1, self.retention_ms, self.retention_bytes,
            self.cleanup, self.compression, max_event_bytes,
        )  # fmt: skip


def new_topic(name: str, epoch: str, asked: TopicSettings, defaults: TopicSettings) -> TopicFile:
    """Settings of a new topic. Raises InvalidSetting."""
    refuse(setting_faults(asked, None, BOUNDS))
    merged = _merge(_merge(DEFAULTS, defaults), asked)
    return msgspec.convert({"format": FORMAT, "name": name, "epoch": epoch, **_plain(merged)}, TopicFile)


def altered(topic: TopicFile, asked: TopicSettings) -> TopicFile:
    """The settings with what is asked changed. Raises InvalidSetting."""
    refuse(setting_faults(asked, topic.info(0), BOUNDS))
    changes = {name: value for name, value in _plain(asked).items() if name != "replication" and value is not None}
    return msgspec.structs.replace(topic, **changes)


def encode_topic(topic: TopicFile) -> bytes:
    body = msgspec.json.encode(topic)
    return (b"%08x %s\n" % (zlib.crc32(body), body)) * 2


def decode_topic(data: bytes) -> tuple[TopicFile | None, int | None]:
    """The settings and the position of a damaged copy, if any; None when both are damaged.

    Raises BusUnavailable when it was written by a newer format.
    """
    size = len(data) // 2
    copies = [_decode_line(data[:size]), _decode_line(data[size:])]
    good = copies[0] or copies[1]
    if good is None:
        return None, 0
    expected = encode_topic(good)
    if expected == data:
        return good, None
    return good, next((at for at, byte in enumerate(expected) if data[at : at + 1] != bytes((byte,))), len(expected))


def _decode_line(line: bytes) -> TopicFile | None:
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    fields = msgspec.json.decode(body)
    if fields.get("format") != FORMAT:
        raise BusUnavailable(f"the data folder has format {fields.get('format')}, this version reads {FORMAT}")
    return msgspec.convert(fields, TopicFile)


def load_topic(folder: Path) -> tuple[TopicFile, int | None]:
    """Read a topic folder's settings. Raises CorruptData when neither copy holds."""
    path = folder / FILE
    topic, damaged = decode_topic(path.read_bytes() if path.exists() else b"")
    if topic is None:
        raise CorruptData(f"the settings of topic {folder.name!r} cannot be read ({path})", file=str(path), position=0)
    return topic, damaged


def store_topic(folder: Path, topic: TopicFile) -> None:
    """Write the settings durably; a crash leaves the old or the new ones."""
    write_file(folder / FILE, encode_topic(topic))


def _merge(below: TopicSettings, above: TopicSettings) -> TopicSettings:
    return msgspec.structs.replace(below, **{k: v for k, v in _plain(above).items() if v is not None})


def _plain(settings: TopicSettings) -> dict[str, object]:
    return msgspec.structs.asdict(settings)
