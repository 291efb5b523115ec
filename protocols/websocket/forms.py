"""How events look on a WebSocket: whole frames, made once for all subscribers of a view. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

import msgspec

from gateway.plugin import Event, Gap, encode_event, encode_events
from protocols.websocket.wire import compressed_frame, text_frame, text_head

#: Bytes of events in one frame, about: a client gets the first of many events early, and can
#: bound its messages.
FRAME = 256 * 1024

_encode = msgspec.json.Encoder().encode


class NativeForm:
    """`{"sid": ..., "events": [...], "cursor": "..."}` for the subscription `sid` (JSON text)."""

    __slots__ = ("_bits", "_start", "key")

    encode = staticmethod(encode_events)

    def __init__(self, sid: bytes, window_bits: int) -> None:
        self.key: Hashable = ("websocket linkspan.v1", sid, window_bits)
        self._bits = window_bits
        self._start = b'{"sid":%b,' % sid

    def block(self, parts: Sequence[bytes], cursors: Sequence[str], cursor: str) -> bytes:
        """As many events in a frame as FRAME bytes hold, at least one."""
        if sum(map(len, parts)) <= FRAME:
            return self._events(parts, cursor)
        frames = []
        for begin, end in _slices(parts):
            frames.append(self._events(parts[begin:end], cursor if end == len(parts) else cursors[end - 1]))
        return b"".join(frames)

    def gap(self, gap: Gap, cursor: str | None) -> bytes:
        told = b"" if cursor is None else b',"cursor":"%b"' % cursor.encode("ascii")
        return text_frame(b'%b"gap":%b%b}' % (self._start, _encode(gap), told))

    def _events(self, parts: Sequence[bytes], cursor: str) -> bytes:
        payload = b'%b"events":[%b],"cursor":"%b"}' % (self._start, b",".join(parts), cursor.encode("ascii"))
        return compressed_frame(payload, self._bits) if self._bits else text_frame(payload)


class CloudEventsForm:
    """Each event in a frame of its own, as `cloudevents.json` asks. `source` is that of our notices."""

    __slots__ = ("_bits", "_source", "key")

    encode = staticmethod(encode_events)

    def __init__(self, source: str, window_bits: int) -> None:
        self.key: Hashable = ("websocket cloudevents.json", source, window_bits)
        self._source, self._bits = source, window_bits

    def block(self, parts: Sequence[bytes], cursors: Sequence[str], cursor: str) -> bytes:
        if self._bits:
            return b"".join([compressed_frame(part, self._bits) for part in parts])
        pieces = [b""] * (2 * len(parts))
        pieces[::2] = [text_head(len(part)) for part in parts]
        pieces[1::2] = parts
        return b"".join(pieces)

    def gap(self, gap: Gap, cursor: str | None) -> bytes:
        """An event of the type `io.linkspan.gap`; its id tells the gap, so that all see the same."""
        attributes: dict[str, str | int | bool] = {
            "specversion": "1.0",
            "id": f"gap-{gap.topic}-{gap.partition}-{gap.from_offset}-{gap.to_offset}",
            "source": self._source,
            "type": "io.linkspan.gap",
            "datacontenttype": "application/json",
        }
        data = msgspec.structs.asdict(gap) | ({} if cursor is None else {"cursor": cursor})
        return text_frame(encode_event(Event(attributes, _encode(data))))


@lru_cache(maxsize=4096)
def native_form(sid: bytes, window_bits: int) -> NativeForm:
    """Most clients number their subscriptions alike: they have the same form."""
    return NativeForm(sid, window_bits)


@lru_cache(maxsize=64)
def cloudevents_form(source: str, window_bits: int) -> CloudEventsForm:
    return CloudEventsForm(source, window_bits)


def _slices(parts: Sequence[bytes]) -> list[tuple[int, int]]:
    """Runs of parts of at most FRAME bytes each; a larger part stands alone."""
    found, begin, size = [], 0, 0
    for at, part in enumerate(parts):
        if size and size + len(part) > FRAME:
            found.append((begin, at))
            begin, size = at, 0
        size += len(part)
    found.append((begin, len(parts)))
    return found
