"""Addresses and patterns: `topic/subject...`, the same from every protocol.

A topic is a legal Kafka name; names that begin with `_` are internal. A subject is the
rest: segments of any UTF-8 without `/ + # *` as a whole wildcard and without control
characters; segments may be empty. Patterns have one language inside: `*` is one
segment, `**` zero or more, anywhere; `+` and `#` are accepted for them.
Doors convert their own spelling; what they hand in is this.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.automaton import Automaton
from gateway.errors import InvalidAddress
from routing.addresses import WILDCARDS, parse_segments, topic_fault
from routing.attributes import subject_fault

_WILD = frozenset(("*", "**"))


def check_topic(name: str, *, internal: bool = False) -> str:
    """Return `name` if it is a legal topic name, else raise InvalidAddress.

    Names that begin with `_` are refused unless `internal`; `.` and `..` are not legal
    in Kafka.
    """
    fault = topic_fault(name, internal=internal)
    if fault:
        raise InvalidAddress(fault)
    return name


def check_subject(subject: str) -> str:
    """Return `subject` if it is legal, else raise InvalidAddress."""
    fault = subject_fault(subject)
    if fault:
        raise InvalidAddress(f"subject {subject[:80]!r}: {fault}")
    return subject


def split_address(address: str) -> tuple[str, str | None]:
    """`signals/equities/AAPL` -> `("signals", "equities/AAPL")`; no slash: no subject.

    Raises InvalidAddress; wildcards are not part of an address.
    """
    topic, slash, subject = address.partition("/")
    check_topic(topic)
    return topic, check_subject(subject) if slash else None


class Pattern(msgspec.Struct, frozen=True):
    """A parsed address pattern: one topic segment and the subject's segments.

    `segments` is None for "events without a subject" (`t` alone); `("**",)` matches any
    subject and none (`t/**`). Segments are literal, `*` or `**`.
    """

    topic: str
    segments: tuple[str, ...] | None

    def __str__(self) -> str:
        return self.topic if self.segments is None else "/".join((self.topic, *self.segments))

    @property
    def literal_topic(self) -> bool:
        """True when the topic is named, not matched."""
        return self.topic not in ("*", "**")

    def matches_topic(self, topic: str) -> bool:
        """Whether events of `topic` can match; wildcards never match internal topics."""
        if self.topic == "*" or self.topic == "**":
            return not topic.startswith(("_", "$"))
        return topic == self.topic

    def matches(self, topic: str, subject: str | None) -> bool:
        """Whether an event of `topic` with `subject` (None: it has none) matches."""
        return any(matches_subject(segments, subject) for segments in subject_patterns(topic, (self,)))


def parse_pattern(text: str, *, internal: bool = False) -> Pattern:
    """Parse `signals/equities/+`, `signals/**`, `+/equities/#`, `**`.

    `a/**/**` collapses to `a/**`. Raises InvalidAddress, with the place of the fault.
    """
    topic, slash, rest = text.partition("/")
    if topic in WILDCARDS:
        topic = WILDCARDS[topic]
    else:
        check_topic(topic, internal=internal)
    return Pattern(topic, parse_subject_pattern(rest) if slash else None)


def parse_subject_pattern(text: str) -> tuple[str, ...]:
    """Parse the subject part of a pattern into its segments."""
    try:
        return parse_segments(text)
    except ValueError as error:
        raise InvalidAddress(f"pattern {text[:80]!r}, {error}") from None


def matches_subject(segments: tuple[str, ...] | None, subject: str | None) -> bool:
    """Whether a subject matches the segments of a pattern (see `Pattern`). For many subjects or
    patterns an `Automaton` is kept."""
    if segments is None:
        return subject is None
    if subject is None:
        return segments == ("**",)
    return Automaton((segments,)).matches(subject)


def subject_patterns(topic: str, patterns: Iterable[Pattern]) -> dict[tuple[str, ...] | None, None]:
    """The patterns as patterns of subjects of this topic, in their order; those of others are left out."""
    found: dict[tuple[str, ...] | None, None] = {}
    for pattern in patterns:
        if not pattern.matches_topic(topic):
            continue
        tail = pattern.segments
        if pattern.topic != "**":
            found[tail] = None
            continue
        # "**" may end at the topic, take segments of the subject as well, or be nothing at all.
        tail = tail or ()
        while tail[:1] == ("**",):
            tail = tail[1:]
        found["**", *tail] = None
        if tail[:1] in ((topic,), ("*",)):
            found[tail[1:] or None] = None
    return found


def is_literal(segments: tuple[str, ...] | None) -> bool:
    """Whether a pattern of subjects matches one subject alone (None: events without)."""
    return segments is None or not _WILD.intersection(segments)
