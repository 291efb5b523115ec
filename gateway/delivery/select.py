"""Which events of a topic a reader wants: its patterns, compiled once for each topic.

Several patterns are one selection, so an event that matches more than one is delivered once.
Equal selections are equal objects' keys: readers that share one are served from one result.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.address import Pattern
from gateway.bus.binding import subject_of
from gateway.event import Event

_REMEMBERED = 10_000


class Selection:
    """The events of one topic that match any of some patterns. Hashable by what it selects."""

    __slots__ = ("_general", "_known", "_literal", "everything", "key", "topic")

    def __init__(self, topic: str, patterns: Sequence[Pattern]) -> None:
        self.topic = topic
        relevant = [pattern for pattern in patterns if pattern.matches_topic(topic)]
        self.everything = any(map(_is_everything, relevant))
        literal = frozenset(map(_subject, filter(_is_literal, relevant)))
        general = frozenset(p for p in relevant if not _is_literal(p))
        self._literal = literal
        self._general = tuple(general)
        self.key: object = True if self.everything else (literal, general)
        # Subjects repeat, so each is matched once. Emptied when full rather than kept in
        # order of use: a miss costs little.
        self._known: dict[str | None, bool] = {}

    def __hash__(self) -> int:
        return hash((self.topic, self.key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and (self.topic, self.key) == (other.topic, other.key)

    def select(self, events: list[Event]) -> list[Event]:
        """The matching events in order; the same list when that is all of them."""
        if self.everything or not events:
            return events
        if self._general:
            found = [event for event in events if self.matches(subject_of(event))]
        else:
            literal = self._literal
            found = [event for event in events if subject_of(event) in literal]
        return events if len(found) == len(events) else found

    def matches(self, subject: str | None) -> bool:
        """Whether an event of the topic with this subject (None: it has none) is wanted."""
        known = self._known.get(subject)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = subject in self._literal or any(p.matches(self.topic, subject) for p in self._general)
            self._known[subject] = known
        return known


def _is_everything(pattern: Pattern) -> bool:
    if pattern.topic == "**":
        return all(segment == "**" for segment in pattern.segments or ())
    return pattern.segments == ("**",)


def _is_literal(pattern: Pattern) -> bool:
    # A topic of "**" takes part in matching the subject (see Pattern.matches).
    return pattern.topic != "**" and (pattern.segments is None or not {"*", "**"}.intersection(pattern.segments))


def _subject(pattern: Pattern) -> str | None:
    return None if pattern.segments is None else "/".join(pattern.segments)
