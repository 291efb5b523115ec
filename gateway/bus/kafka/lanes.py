"""One partition's way to Kafka: a queue of batches, and at most one on the wire.

With one batch on the wire order is kept whatever is repeated, and the producer's sequence is
known at every moment. A batch that Kafka certainly did not store goes back to the head of the
queue; one whose fate is open is repeated with the same bytes and sequence until it is known.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from gateway.bus.kafka.calls import Call
from gateway.bus.kafka.parcels import Form, Parcel, Part, ProducerId, repack
from gateway.errors import LinkspanError

_SEQUENCES = 2**31


class Lane:
    """`flight` is the batch that was put on the wire and is not known to be stored or refused;
    `doubtful` once an attempt ended without an answer: from then on a refusal proves nothing.
    `busy` while it is in a request, `not_before` when it may be tried again (monotonic).
    """

    __slots__ = ("busy", "doubtful", "flight", "key", "not_before", "producer", "queue", "sequence")

    def __init__(self, topic: str, partition: int) -> None:
        self.key = (topic, partition)
        self.queue: deque[Parcel] = deque()
        self.flight: Parcel | None = None
        self.doubtful = False
        self.busy = False
        self.not_before = 0.0
        self.producer: ProducerId | None = None
        self.sequence = 0

    @property
    def idle(self) -> bool:
        return self.flight is None and not self.queue

    def add(self, call: Call, places: Sequence[int], form: Form) -> int:
        """Encode events of a call at the end of the queue; the result is their bytes.

        Raises Oversize, and what encoding raises; the caller then takes the call back from
        all lanes.
        """
        weight = 0
        while places:
            last = self.queue[-1] if self.queue else None
            if last is None or not last.open or last.form != form:
                last = Parcel(form)
                self.queue.append(last)
            before = last.size
            taken = last.add(call, places)
            weight += last.size - before
            places = places[taken:]
            if places:
                self.queue.append(Parcel(form))
        return weight

    def take_back(self, calls: set[Call]) -> list[Part]:
        """Remove what is queued of some calls; the others' events are packed anew, in order."""
        removed: list[Part] = []
        queue: deque[Parcel] = deque()
        for parcel in self.queue:
            kept = [part for part in parcel.parts if part.call not in calls]
            if len(kept) == len(parcel.parts):
                if kept:
                    queue.append(parcel)
                continue
            removed += [part for part in parcel.parts if part.call in calls]
            queue.extend(repack(kept, parcel.form))
        self.queue = queue
        return removed

    def take_off(self, producer: ProducerId) -> Parcel:
        """Put the next batch on the wire."""
        if self.producer is not producer:
            self.producer, self.sequence = producer, 0
        self.flight = self.queue.popleft()
        self.flight.close(producer, self.sequence, time.time_ns() // 1_000_000)
        self.doubtful = False
        return self.flight

    def landed(self) -> Parcel:
        """The batch is stored: its sequence numbers are used up."""
        flight = self._end()
        self.sequence = (self.sequence + flight.count) % _SEQUENCES
        return flight

    def turn_back(self) -> None:
        """The batch is certainly not stored: it stands in the queue again, first."""
        self.queue.appendleft(self._end())

    def divide(self, most: int | None = None) -> None:
        """The batch is certainly not stored, and goes back in pieces: of at most `most` events,
        or one for each part."""
        flight = self._end()
        groups = [flight.parts] if most is not None else [[part] for part in flight.parts]
        pieces = [parcel for group in groups for parcel in repack(group, flight.form, 2**31 if most is None else most)]
        self.queue.extendleft(reversed(pieces))

    def refuse(self, error: LinkspanError) -> None:
        """The batch is refused for good: its events fail, the sequence stays."""
        for part in self._end().parts:
            part.call.fail(len(part.places), error)

    def abandon(self, error: LinkspanError) -> None:
        """Nobody will know what became of the batch: a new producer id is needed."""
        self.producer = None
        self.refuse(error)

    def drop(self, error: LinkspanError, before: float = float("inf")) -> None:
        """Fail what is queued of calls whose deadline is before `before`."""
        late = {part.call for parcel in self.queue for part in parcel.parts if part.call.deadline < before}
        for part in self.take_back(late) if late else ():
            part.call.fail(len(part.places), error)

    def deadline(self) -> float:
        """When the last call with events in the batch on the wire gives up."""
        return max(part.call.deadline for part in self.flight.parts) if self.flight is not None else 0.0

    def _end(self) -> Parcel:
        flight = self.flight
        assert flight is not None
        self.flight = None
        return flight
