"""From a fetch response to batches: whole ones only, committed ones only, checked. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.bus.contract import Batch
from gateway.bus.kafka.messages import Fetched
from gateway.bus.records import HEADER_SIZE, BatchHeader, decode_records, read_batch_header
from gateway.errors import CorruptData


def decode(fetched: Fetched, topic: str, partition: int, offset: int, budget: int = 2**31) -> tuple[list[Batch], int]:
    """The batches from `offset` on, in order, and how many bytes they took in the response.

    It stops once they weigh `budget`: what is 1 MiB on the wire may be 50 MiB of events. Raises
    CorruptData for a damaged batch if no readable one precedes it; else the next call will.
    """
    batches: list[Batch] = []
    weight = end = 0
    try:
        for batch, end in each(fetched, topic, partition, offset):  # noqa: B007
            batches.append(batch)
            weight += batch.size
            if weight >= budget:
                break
    except CorruptData:
        if not batches:
            raise
    return batches, end


def each(fetched: Fetched, topic: str, partition: int, offset: int) -> Iterator[tuple[Batch, int]]:
    """One batch after the other, with where it ends in the response; events' offsets are >= `offset`.

    Control batches and those of aborted transactions come without events: they move the reader
    on. A batch that the broker cut off at the end is left out. Raises CorruptData at a damaged one.
    """
    data = fetched.records
    aborts = _Aborts(fetched.aborted)
    at = 0
    while len(data) - at >= HEADER_SIZE:
        try:
            header = read_batch_header(data, at)
            if at + header.size > len(data):
                return
            end = at + header.size
            hidden = aborts.covers(header) or header.control
            if header.next_offset > offset:
                yield _decode(data[at:end], header, hidden, topic, partition).since(offset), end
        except CorruptData as error:
            # Where not even the header can be read, nobody knows where the next batch begins.
            for key, value in (("topic", topic), ("partition", partition), ("next_offset", offset + 1)):
                error.detail.setdefault(key, value)
            raise
        at, offset = end, max(offset, header.next_offset)


def _decode(batch: bytes, header: BatchHeader, hidden: bool, topic: str, partition: int) -> Batch:
    if hidden:
        return Batch(topic, partition, header.base_offset, header.next_offset, [], header.size, header.max_timestamp)
    return decode_records(batch, topic, partition)


class _Aborts:
    """Which producers are inside an aborted transaction at the batch that is looked at.

    A transaction begins at its first offset and ends at its producer's next control batch
    (KIP-98, "READ_COMMITTED").
    """

    def __init__(self, aborted: tuple[tuple[int, int], ...]) -> None:
        self._coming = sorted(((first, producer) for producer, first in aborted), reverse=True)
        self._open: set[int] = set()

    def covers(self, header: BatchHeader) -> bool:
        """Whether the batch belongs to an aborted transaction. Call it for each batch in order."""
        while self._coming and self._coming[-1][0] < header.next_offset:
            self._open.add(self._coming.pop()[1])
        if header.control:
            self._open.discard(header.producer_id)
            return False
        return header.transactional and header.producer_id in self._open
