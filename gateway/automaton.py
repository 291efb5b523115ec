"""Matching a subject against many patterns at once, whatever the patterns are. Pure.

A state is how far a pattern has been matched; the set of all states is one integer, a bit for
each. A segment of the subject moves all of them with four operations on that integer, so no
pattern can make matching go back and try again, and a hundred cost little more than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Segments = tuple[str, ...]


class Automaton:
    """Finds which of some patterns match a subject. Patterns are as those of `Pattern.segments`."""

    __slots__ = ("_accepting", "_any", "_places", "_repeating", "_start", "_steps")

    def __init__(self, patterns: Iterable[Segments]) -> None:
        literal: dict[str, int] = {}
        self._start = self._any = self._repeating = self._accepting = 0
        self._places: dict[int, int] = {}
        bit = 1
        for place, segments in enumerate(patterns):
            self._start |= bit
            for segment in segments:
                if segment == "**":
                    self._repeating |= bit
                    continue
                if segment == "*":
                    self._any |= bit
                else:
                    literal[segment] = literal.get(segment, 0) | bit
                bit <<= 1
            self._accepting |= bit
            self._places[bit.bit_length()] = place
            bit <<= 1
        self._steps = {segment: bits | self._any for segment, bits in literal.items()}

    def matches(self, subject: str) -> bool:
        """Whether any pattern matches."""
        return bool(self._reached(subject))

    def places(self, subject: str) -> Iterator[int]:
        """The patterns that match, by their places in what the automaton was made of."""
        reached = self._reached(subject)
        while reached:
            lowest = reached & -reached
            yield self._places[lowest.bit_length()]
            reached ^= lowest

    def _reached(self, subject: str) -> int:
        states, step, any_, repeating = self._start, self._steps.get, self._any, self._repeating
        for segment in subject.split("/"):
            states = (states & step(segment, any_)) << 1 | states & repeating
            if not states:
                break
        return states & self._accepting
