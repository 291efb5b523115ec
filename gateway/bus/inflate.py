"""Kafka's compressions, with a bound of our own: what a batch claims to hold is its sender's word."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import cramjam
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode

from gateway.bus.contract import Compression

#: One batch never inflates beyond this, whatever its sender claims.
MAX_INFLATED = 64 * 1024 * 1024

CODECS: dict[Compression, int] = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
COMPRESS: dict[int, Callable[[bytes], bytes]] = {1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}
#: What a broken body raises, whichever codec.
BROKEN = (cramjam.DecompressionError, zlib.error, ValueError)
_XERIAL = b"\x82SNAPPY\x00"


def inflate(body: bytes, codec: int) -> bytes:
    """A compressed body, inflated within MAX_INFLATED. Raises one of BROKEN."""
    if codec not in _INFLATE:
        raise ValueError(f"unknown compression {codec}")
    return _INFLATE[codec](body)


def _gunzip(data: bytes) -> bytes:
    inflater = zlib.decompressobj(31)
    body = inflater.decompress(data, MAX_INFLATED)
    if not inflater.eof:
        raise ValueError(f"inflates beyond {MAX_INFLATED} bytes, or is cut short")
    return body


def _unsnappy(data: bytes) -> bytes:
    if not data.startswith(_XERIAL):
        return _unsnappy_block(data, MAX_INFLATED)
    at, parts, room = 16, [], MAX_INFLATED
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        parts.append(_unsnappy_block(data[at + 4 : end], room))
        room -= len(parts[-1])
        at = end
    return b"".join(parts)


def _unsnappy_block(block: bytes, room: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > room:
        raise ValueError(f"inflates beyond {MAX_INFLATED} bytes")
    return bytes(cramjam.snappy.decompress_raw(block))


def _grow(into: Callable[[bytes, bytearray], int]) -> Callable[[bytes], bytes]:
    """A decoder that tries ever larger buffers: cramjam has no bound of its own."""

    def inflate(data: bytes) -> bytes:
        room = min(MAX_INFLATED, max(64 * 1024, 8 * len(data)))
        while True:
            out = bytearray(room)
            try:
                return bytes(memoryview(out)[: into(data, out)])
            except cramjam.DecompressionError:
                if room >= MAX_INFLATED:
                    raise
                room = min(MAX_INFLATED, 4 * room)

    return inflate


_INFLATE: dict[int, Callable[[bytes], bytes]] = {
    1: _gunzip,
    2: _unsnappy,
    3: _grow(cramjam.lz4.decompress_into),
    4: _grow(cramjam.zstd.decompress_into),
}
