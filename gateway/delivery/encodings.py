"""Encoded events, shared by subscribers that catch up over the same range, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

from gateway.delivery.form import Encode
from gateway.delivery.select import Selection
from gateway.event import Event

#: What a part takes beside its bytes.
_OVERHEAD = 60

_Key = tuple[Encode, str, Hashable, int, int, int, int]


class Encodings:
    """Least recently used dropped first. Pure but for the functions that encode."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._found: OrderedDict[_Key, tuple[list[bytes], int]] = OrderedDict()
        self.bytes = 0
        #: Events that were encoded, and those whose encoding was there already.
        self.encoded = 0
        self.shared = 0

    def parts(self, encode: Encode, selection: Selection, events: Sequence[Event]) -> list[bytes]:
        """One part for each of the events, which are of one partition and chosen by the selection."""
        first, last = events[0], events[-1]
        key = (encode, first.topic, selection.key, first.partition, first.offset, last.offset, len(events))
        known = self._found.get(key)
        if known is not None:
            self._found.move_to_end(key)
            self.shared += len(events)
            return known[0]
        parts = encode(events)
        self.encoded += len(events)
        self._keep(key, parts)
        return parts

    def forget(self, topic: str) -> None:
        """The topic was deleted or made anew: its offsets mean other events now."""
        for key in [key for key in self._found if key[1] == topic]:
            self._drop(key)

    def _keep(self, key: _Key, parts: list[bytes]) -> None:
        size = sum(map(len, parts)) + _OVERHEAD * len(parts)
        if size > self.max_bytes:
            return
        self._found[key] = (parts, size)
        self.bytes += size
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._found)))

    def _drop(self, key: _Key) -> None:
        _, size = self._found.pop(key)
        self.bytes -= size
