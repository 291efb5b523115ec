"""What the loop and the writer thread say to each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from gateway.bus.embedded.header import SegmentHeader
from gateway.errors import LinkspanError
from gateway.event import Event

if TYPE_CHECKING:
    from gateway.bus.embedded.topic_writer import TopicWriter


class Outgoing(msgspec.Struct, gc=False):
    """One encoded batch on its way to the disk; the writer sets `position`.

    `places` are the events' places in the append call; None for the events: nobody follows.
    """

    partition: int
    base_offset: int
    next_offset: int
    timestamp_ms: int
    body: bytearray
    events: Sequence[Event] | None
    places: list[int]
    position: int = -1


class Append(msgspec.Struct):
    """The batches of one append call: they go into the same commit.

    `generation` is the topic's when the offsets were assigned: after a failure all appends
    of that generation fail, since their offsets follow on the lost ones.
    """

    topic: TopicWriter
    generation: int
    batches: list[Outgoing]
    size: int
    done: Any


class Roll(msgspec.Struct):
    """Begin a new segment, unless the active one is empty."""

    topic: TopicWriter
    done: Any = None


class Probe(msgspec.Struct):
    """After a failure: would an append of this size work?"""

    topic: TopicWriter
    size: int
    done: Any = None


class Grow(msgspec.Struct):
    """The topic has more partitions."""

    topic: TopicWriter
    partitions: int


class Finish(msgspec.Struct):
    """Close the topic's file after what is queued."""

    topic: TopicWriter
    done: Any = None


class Committed(msgspec.Struct):
    topic: TopicWriter
    appends: list[Append]


class Rolled(msgspec.Struct):
    """The active segment is closed; the new one has this header."""

    topic: TopicWriter
    path: Path
    header: SegmentHeader


class Failed(msgspec.Struct):
    """Nothing of these appends is stored (or, with OutcomeUnknown, it may be)."""

    topic: TopicWriter
    appends: list[Append]
    error: LinkspanError


class Done(msgspec.Struct):
    """A Roll, Probe or Finish was carried out, or could not be."""

    item: Roll | Probe | Finish
    error: LinkspanError | None = None


Item: TypeAlias = Append | Roll | Probe | Grow | Finish
Outcome: TypeAlias = Committed | Rolled | Failed | Done
