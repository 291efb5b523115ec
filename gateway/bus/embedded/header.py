"""The header of a segment file: what the segment is, and where each partition stood when it began.

It is written twice in the first bytes of the file, so that one damaged sector loses nothing.
Because the next offsets of all partitions stand here, the first readable offset survives a
restart even when retention removed everything, and offsets never go back; and because the
header of the next segment says where its predecessor ended, bytes of a failed write that were
left behind there are never served.
"""

from __future__ import annotations

import zlib

import msgspec

from gateway.bus.embedded.scan import Read
from gateway.errors import BusUnavailable

MAGIC = b"LSPSEGM1"
FORMAT = 1
_PREFIX = len(MAGIC) + 8
_SMALLEST_SLOT = 2048
_LARGEST_SLOT = 1024 * 1024


class SegmentHeader(msgspec.Struct, frozen=True):
    """`base` holds the next offset of each partition at the start of the segment.

    `previous_newest_ms` is the newest timestamp in the segment before (-1: none), so that
    retention and the time index need no look into closed segments. `slot` is the size of
    each of the two copies; data begin after the second.
    """

    format: int
    topic: str
    epoch: str
    sequence: int
    salt: int
    base: list[int]
    created_ms: int
    previous_newest_ms: int = -1
    compacted: bool = False
    slot: int = _SMALLEST_SLOT

    @property
    def data_start(self) -> int:
        return 2 * self.slot

    def base_of(self, partition: int) -> int:
        """Partitions that came later begin at 0."""
        return self.base[partition] if partition < len(self.base) else 0


def encode_header(header: SegmentHeader) -> bytes:
    """Both copies, padded: exactly `data_start` bytes of the header that `decode_header` returns."""
    slot = _SMALLEST_SLOT
    while True:
        body = msgspec.json.encode(msgspec.structs.replace(header, slot=slot))
        if len(body) + _PREFIX <= slot:
            break
        slot *= 2
    copy = MAGIC + zlib.crc32(body).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
    return copy.ljust(slot, b"\0") * 2


def decode_header(read: Read) -> tuple[SegmentHeader | None, int | None]:
    """The header, and the first position in it that is damaged, if any. None when no copy holds.

    Raises BusUnavailable when it was written by a newer format.
    """
    header = _decode_copy(read, 0)
    slot = _SMALLEST_SLOT
    while header is None and slot <= _LARGEST_SLOT:
        header = _decode_copy(read, slot)
        slot *= 2
    if header is None:
        return None, 0
    expected, found = encode_header(header), read(0, header.data_start)
    if expected == found:
        return header, None
    return header, next((at for at, byte in enumerate(expected) if found[at : at + 1] != bytes((byte,))), 0)


def _decode_copy(read: Read, at: int) -> SegmentHeader | None:
    prefix = read(at, _PREFIX)
    if prefix[: len(MAGIC)] != MAGIC or len(prefix) < _PREFIX:
        return None
    size = int.from_bytes(prefix[12:16], "big")
    body = read(at + _PREFIX, size) if size <= _LARGEST_SLOT else b""
    if len(body) != size or zlib.crc32(body) != int.from_bytes(prefix[8:12], "big"):
        return None
    kind = msgspec.json.decode(body)
    if kind.get("format") != FORMAT:
        raise BusUnavailable(f"the data folder has format {kind.get('format')}, this version reads {FORMAT}")
    return msgspec.convert(kind, SegmentHeader)
