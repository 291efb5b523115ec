"""Encoded events and blocks, shared by subscribers that catch up over the same range, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from gateway.delivery.form import Encode, Form
from gateway.delivery.outcome import Delivery
from gateway.delivery.select import Selection
from gateway.event import Event

#: What a part takes beside its bytes.
_OVERHEAD = 60

_Range = tuple[str, Hashable, int, int, int, int]
_Key = tuple[Hashable, _Range, str]


class Encodings:
    """Least recently used dropped first. Pure but for the functions that encode."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._found: OrderedDict[_Key, tuple[list[bytes], int]] = OrderedDict()
        self.bytes = 0
        #: Events that were encoded, and those whose encoding was there already.
        self.encoded = 0
        self.shared = 0

    def block(self, form: Form, selection: Callable[[str], Selection | None], delivery: Delivery) -> bytes:
        """The events of a delivery, at least one, as one block."""
        slices = delivery.slices
        chosen = [selection(part.topic) for part in slices]
        if len(slices) == 1 and chosen[0] is not None:
            key = (form.key, _range(chosen[0], delivery.events), delivery.cursor)
            known = self._found.get(key)
            if known is not None:
                self._found.move_to_end(key)
                self.shared += len(delivery.events)
                return known[0][0]
            block = self._block(form, chosen, delivery)
            self._keep(key, [block])
            return block
        return self._block(form, chosen, delivery)

    def _block(self, form: Form, chosen: list[Selection | None], delivery: Delivery) -> bytes:
        parts: list[bytes] = []
        for part, selection in zip(delivery.slices, chosen, strict=True):
            # Without a selection its topic went meanwhile: nobody else will want these.
            parts += self.parts(form.encode, selection, part.events) if selection else form.encode(part.events)
        return form.block(parts, delivery.cursors, delivery.cursor)

    def parts(self, encode: Encode, selection: Selection, events: Sequence[Event]) -> list[bytes]:
        """One part for each of the events, which are of one partition and chosen by the selection."""
        key = (encode, _range(selection, events), "")
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
        for key in [key for key in self._found if key[1][0] == topic]:
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


def _range(selection: Selection, events: Sequence[Event]) -> _Range:
    first, last = events[0], events[-1]
    return (first.topic, selection.key, first.partition, first.offset, last.offset, len(events))
