"""Which partition an event goes to: Kafka's own rule, so that both buses place events alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiokafka.partitioner import murmur2

from gateway.bus.binding import key_of
from gateway.columns import Columns
from gateway.errors import Fault, InvalidEvent
from gateway.event import Event
from routing.attributes import canonical


class Partitioner:
    """Kafka's default partitioner for keyed records, with the hashes of recent keys kept.

    murmur2 is pure Python (2 to 5 us), and a stream's keys repeat. Keyless events go round
    robin by call, so that the events of one call stay together.
    """

    def __init__(self, kept: int = 16384) -> None:
        self._hashes: dict[bytes, int] = {}
        self._kept = kept
        self._turn = 0

    def partition(self, key: bytes, partitions: int) -> int:
        """The partition of a key."""
        number = self._hashes.get(key)
        if number is None:
            if len(self._hashes) >= self._kept:
                self._hashes.clear()
            number = self._hashes[key] = murmur2(key) & 0x7FFFFFFF
        return number % partitions

    def split(self, events: Sequence[Event], partitions: int) -> dict[int, list[int]]:
        """The places of the events by partition, in order."""
        self._turn += 1
        spare = self._turn % partitions
        if partitions == 1:
            return {0: list(range(len(events)))}
        split: dict[int, list[int]] = {}
        for place, key in enumerate(_keys_of(events)):
            number = spare if key is None else self.partition(key, partitions)
            split.setdefault(number, []).append(place)
        return split


def check_keys(events: Sequence[Event], topic: str) -> None:
    """For a compacted topic: an event without a key would never be replaced by a later one.

    Raises InvalidEvent with every such event, up to 20.
    """
    keyless = [place for place, key in enumerate(_keys_of(events)) if key is None]
    if keyless:
        message = "needs a subject, a partitionkey or a key: the topic is compacted"
        faults = tuple(Fault(f"events[{place}]", message, place) for place in keyless[:20])
        raise InvalidEvent(
            f"{len(keyless)} of {len(events)} events cannot be kept in {topic!r}: {message}", faults=faults
        )


def _keys_of(events: Sequence[Event]) -> Iterable[bytes | None]:
    if isinstance(events, Columns) and events.intact:
        return [None if key is None else canonical(key).encode() for key in events.key_values()]
    return map(key_of, events)
