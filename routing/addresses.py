"""Patterns of addresses, and where they meet: what routes read from, and what they write to. Pure.

The language is a topic, then the subject's segments, `*` for one and `**` for any number, `+` and `#`
for the same. What a route writes to is a pattern as well, with a hole for each field of its
template; a route can cause another where the two meet.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

import msgspec

from routing.attributes import MAX_SEGMENTS, SEGMENT_ILLEGAL

MAX_TOPIC = 249

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")
WILDCARDS = {"*": "*", "+": "*", "**": "**", "#": "**"}


class Hole(msgspec.Struct, frozen=True):
    """Text that is not known yet, between two texts that are."""

    before: str = ""
    after: str = ""

    def may_be(self, text: str) -> bool:
        long_enough = len(text) >= len(self.before) + len(self.after)
        return long_enough and text.startswith(self.before) and text.endswith(self.after)


Segment: TypeAlias = str | Hole
"""A literal, `*`, `**`, or a text with a hole, which is one segment."""


class Address(msgspec.Struct, frozen=True):
    """A pattern. `segments` None: events without a subject; `("**",)`: any subject, and none."""

    topic: Segment
    segments: tuple[Segment, ...] | None

    def matches(self, topic: str, subject: str | None) -> bool:
        """Whether an event's address is one of these."""
        return meet(self, Address(topic, None if subject is None else tuple(subject.split("/"))))


def topic_fault(name: str, *, internal: bool = False) -> str | None:
    """Say what is wrong with the name of a topic, or None. Names that begin with `_` are for
    `internal` ones; `.` and `..` are not legal in Kafka."""
    if not _TOPIC.match(name) or name in (".", ".."):
        return f"{name[:80]!r} is not a topic name: 1 to {MAX_TOPIC} of the characters A-Z a-z 0-9 . _ -"
    if name[0] == "_" and not internal:
        return f"topic {name[:80]!r} is internal: names that begin with '_' are reserved"
    return None


def parse_address(text: str) -> Address:
    """Read a pattern such as `signals/equities/*`. Raises ValueError that says what is wrong."""
    topic, slash, rest = text.partition("/")
    if topic in WILDCARDS:
        topic = WILDCARDS[topic]
    else:
        fault = topic_fault(topic)
        if fault:
            raise ValueError(fault)
    return Address(topic, parse_segments(rest) if slash else None)


def parse_segments(text: str) -> tuple[str, ...]:
    """The subject part of a pattern; `a/**/**` collapses to `a/**`. Raises ValueError as `parse_address`."""
    segments: list[str] = []
    for place, segment in enumerate(text.split("/"), 1):
        wild = WILDCARDS.get(segment)
        if len(segment) > 2 and not segment.strip("*"):
            raise ValueError(f"segment {place}: '*' is one segment, '**' any number; {segment[:20]!r} is neither")
        if wild is None and SEGMENT_ILLEGAL.search(segment):
            raise ValueError(f"segment {place}: '+' and '#' stand alone, and there are no control characters")
        if wild == "**" and segments and segments[-1] == "**":
            continue
        segments.append(segment if wild is None else wild)
    if len(segments) > MAX_SEGMENTS:
        raise ValueError(f"a pattern has at most {MAX_SEGMENTS} segments")
    return tuple(segments)


def meet(one: Address, other: Address) -> bool:
    """Whether there may be an address that both are patterns of."""
    if one.topic == "**" or other.topic == "**":
        # "**" may be the topic and any part of the subject: compared as one path.
        return _paths_meet(_path(one), _path(other)) and _visible(one, other)
    if not _visible(one, other) or not _same(one.topic, other.topic):
        return False
    if one.segments is None or other.segments is None:
        return all(each in (None, ("**",)) for each in (one.segments, other.segments))
    return _paths_meet(one.segments, other.segments)


def _path(address: Address) -> tuple[Segment, ...]:
    return (address.topic, *(address.segments or ()))


def _visible(one: Address, other: Address) -> bool:
    """Wildcards never match internal topics."""
    wild = {"*", "**"} & {one.topic, other.topic} if isinstance(one.topic, str) and isinstance(other.topic, str) else ()
    return not wild or not any(str(each.topic).startswith(("_", "$")) for each in (one, other))


def _same(one: Segment, other: Segment) -> bool:
    if one == "*" or other == "*":
        return True
    if isinstance(one, Hole):
        # Two holes may hold anything between what is known of both.
        return one.may_be(other) if isinstance(other, str) else _holes_meet(one, other)
    return other.may_be(one) if isinstance(other, Hole) else one == other


def _holes_meet(one: Hole, other: Hole) -> bool:
    before, after = sorted((one.before, other.before), key=len), sorted((one.after, other.after), key=len)
    return before[1].startswith(before[0]) and after[1].endswith(after[0])


def _paths_meet(one: Sequence[Segment], other: Sequence[Segment]) -> bool:
    """Row by row over both: what is left of each may meet what is left of the other."""

    @lru_cache(None)
    def from_(i: int, j: int) -> bool:
        if i == len(one) or j == len(other):
            return all(segment == "**" for segment in (*one[i:], *other[j:]))
        if one[i] == "**":
            return from_(i + 1, j) or from_(i, j + 1)
        if other[j] == "**":
            return from_(i, j + 1) or from_(i + 1, j)
        return _same(one[i], other[j]) and from_(i + 1, j + 1)

    return from_(0, 0)
