"""Which events of a topic a reader wants: its patterns, compiled once for each topic, and its filter.

Several patterns are one selection, so an event that matches more than one is delivered once.
Equal selections are equal objects' keys: readers that share one are served from one result.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from gateway.address import Pattern, is_literal, subject_patterns
from gateway.automaton import Automaton
from gateway.bus.binding import subject_of
from gateway.delivery.refine import Refinement
from gateway.event import Event

_REMEMBERED = 10_000
#: Longer subjects are matched each time rather than kept.
_REMEMBERED_LENGTH = 256


class Selection:
    """The events of one topic that match any of some patterns, refined. Hashable by what it selects."""

    __slots__ = ("_automaton", "_general", "_known", "_literal", "_refinement", "everything", "key", "topic")

    def __init__(self, topic: str, patterns: Sequence[Pattern], refinement: Refinement | None = None) -> None:
        self.topic, self._refinement = topic, refinement
        wanted = subject_patterns(topic, patterns)
        self.everything = ("**",) in wanted
        self._literal = frozenset(None if one is None else "/".join(one) for one in wanted if is_literal(one))
        self._general = frozenset(one for one in wanted if one is not None and not is_literal(one))
        self._automaton: Automaton | None = None
        subjects: Hashable = True if self.everything else (self._literal, self._general)
        self.key: Hashable = subjects if refinement is None else (subjects, refinement.key)
        # Subjects repeat, so each is matched once. Emptied when full rather than kept in
        # order of use: a miss costs little.
        self._known: dict[str | None, bool] = {}

    def __hash__(self) -> int:
        return hash((self.topic, self.key))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and (self.topic, self.key) == (other.topic, other.key)

    def select(self, events: list[Event]) -> list[Event]:
        """The wanted events in order, as they are to be delivered; the same list when that is all of them."""
        found = self.matching(events)
        return found if self._refinement is None else self._refinement.transformed(found)

    def matching(self, events: list[Event]) -> list[Event]:
        """The wanted events as they are."""
        found = self._addressed(events)
        return found if self._refinement is None else self._refinement.passing(found)

    def _addressed(self, events: list[Event]) -> list[Event]:
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
            known = self.everything or subject in self._literal or (subject is not None and self._finds(subject))
            if subject is None or len(subject) <= _REMEMBERED_LENGTH:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[subject] = known
        return known

    def _finds(self, subject: str) -> bool:
        # Made when first needed: a request over all topics makes a selection for each of them.
        if self._automaton is None:
            self._automaton = Automaton(self._general)
        return self._automaton.matches(subject)
