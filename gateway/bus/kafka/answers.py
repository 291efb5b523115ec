"""What an answer to a produce request means for the batch and its calls.

`settle` moves the batch on (stored, again, divided, refused, unknown) and says what else is to
be done. No I/O here.
"""

from __future__ import annotations

from enum import Flag, auto

from gateway.bus.kafka import errors
from gateway.bus.kafka.calls import unavailable
from gateway.bus.kafka.lanes import Lane
from gateway.bus.kafka.messages import Produced
from gateway.bus.kafka.parcels import Parcel
from gateway.errors import Fault, InvalidEvent, LinkspanError, OutcomeUnknown, TooLarge


class Then(Flag):
    """What follows from an answer."""

    NOTHING = 0
    WAIT = auto()
    """Before the lane sends again."""
    REFRESH = auto()
    """The metadata is wrong."""
    NEW_PRODUCER = auto()
    """The sequence is lost."""
    NEW_SETTINGS = auto()
    """The topic's settings are other than we thought."""


def settle(lane: Lane, produced: Produced | None) -> Then:
    """Apply the answer for the lane's batch; None: there was none, and its fate is open."""
    flight = lane.flight
    assert flight is not None
    code = produced.code if produced is not None else errors.NETWORK_EXCEPTION
    placed = produced is not None and produced.base_offset >= 0
    if produced is not None and placed and code == errors.NONE:
        store(lane.key, lane.landed(), produced)
        return Then.NOTHING
    if code in errors.UNDECIDED or (placed and code in errors.REFUSED_FOR_NOW):
        lane.doubtful = True
        return Then.WAIT | Then.REFRESH
    if code in errors.REFUSED_FOR_NOW:
        # A batch that was in doubt stays so: it may have been stored before this refusal.
        if not lane.doubtful:
            lane.turn_back()
        return Then.WAIT | Then.REFRESH if code in errors.MOVED else Then.WAIT
    if code in errors.SEQUENCE_LOST:
        if lane.doubtful:
            lane.abandon(OutcomeUnknown("Kafka lost track of what was sent: the events may be stored"))
        else:
            lane.turn_back()
            lane.producer = None
        return Then.WAIT | Then.NEW_PRODUCER
    if code in (errors.DUPLICATE_SEQUENCE, errors.NONE):
        # Stored by an earlier attempt, so long ago that the broker forgot where.
        for part in lane.landed().parts:
            part.call.fail(len(part.places), OutcomeUnknown("stored, but Kafka does not say where"))
        return Then.NOTHING
    return _refused(lane, flight, code, produced)


def _refused(lane: Lane, flight: Parcel, code: int, produced: Produced | None) -> Then:
    """Refused for good. If it may be the fault of one call among several, try them singly."""
    if lane.doubtful:
        # Brokers refuse before they look for duplicates. Were it stored, other events in its
        # sequence would be taken for it.
        lane.abandon(OutcomeUnknown(f"Kafka refuses ({errors.name_of(code)}) what it may have stored before"))
        return Then.WAIT | Then.NEW_PRODUCER | (Then.NEW_SETTINGS if code in errors.TOO_LARGE else Then.NOTHING)
    if code in errors.TOO_LARGE:
        if flight.count > 1:
            lane.divide(flight.count // 2)
        else:
            lane.refuse(TooLarge("the event is larger than Kafka takes for this topic"))
        return Then.NEW_SETTINGS
    if len(flight.parts) > 1:
        lane.divide()
    else:
        lane.refuse(refusal(code, produced, flight))
    return Then.NOTHING


def store(key: tuple[str, int], parcel: Parcel, produced: Produced) -> None:
    """Write down where the events of a stored batch stand, in their calls."""
    partition, offset = key[1], produced.base_offset
    for part in parcel.parts:
        positions = part.call.positions
        for place in part.places:
            positions[place] = (partition, offset)
            offset += 1
        part.call.store(len(part.places))


def refusal(code: int, produced: Produced | None, parcel: Parcel) -> LinkspanError:
    """Why Kafka refused a batch for good, for its publisher."""
    said = produced.message if produced is not None and produced.message else errors.name_of(code)
    if code not in (errors.INVALID_RECORD, errors.INVALID_TIMESTAMP):
        return unavailable(f"Kafka refuses: {said} ({errors.name_of(code)})")
    culprits = produced.culprits if produced is not None else ()
    places = [parcel.parts[0].places[culprit] for culprit in culprits if culprit < parcel.count]
    faults = tuple(Fault(f"events[{place}]", said, place) for place in places[:20])
    return InvalidEvent(f"Kafka refuses: {said}", faults=faults)


def unencodable(error: Exception) -> LinkspanError:
    """An event that no door should have let through."""
    return InvalidEvent(f"the event cannot be encoded: {error}")
