"""Who wants an event of a topic, by its subject: literal subjects in a dict, patterns in a trie.

A look-up costs what it finds: 100,000 literal subjects cost no more than 100. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from gateway.address import Pattern

T = TypeVar("T", bound=Hashable)
Segments = tuple[str, ...] | None

#: Results of the trie that are remembered; emptied when full.
_REMEMBERED = 10_000


class _Node(Generic[T]):
    """A place in the trie: `here` are the values whose pattern ends at it."""

    __slots__ = ("here", "next")

    def __init__(self) -> None:
        self.next: dict[str, _Node[T]] = {}
        self.here: dict[T, None] = {}


class SubjectIndex(Generic[T]):
    """Values by the patterns of one topic. A value with several patterns is found once."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        #: Values that want every event.
        self.all: dict[T, None] = {}
        self._exact: dict[str | None, tuple[T, ...]] = {}
        self._root: _Node[T] = _Node()
        self._patterns = 0
        self._known: dict[str | None, tuple[T, ...]] = {}

    @property
    def narrow(self) -> bool:
        """Whether any value wants only some of the events."""
        return bool(self._exact) or self._patterns > 0

    def add(self, value: T, patterns: tuple[Pattern, ...]) -> None:
        """Patterns that do not match the topic do nothing. A value is added once."""
        subjects = _subjects(self._topic, patterns)
        if ("**",) in subjects:
            self.all[value] = None
            return
        for segments in subjects:
            if _is_literal(segments):
                subject = None if segments is None else "/".join(segments)
                self._exact[subject] = (*self._exact.get(subject, ()), value)
            else:
                node = self._root
                for segment in segments or ():
                    node = node.next.setdefault(segment, _Node())
                node.here[value] = None
                self._patterns += 1
                self._known.clear()

    def remove(self, value: T, patterns: tuple[Pattern, ...]) -> None:
        """The same patterns as it was added with."""
        self.all.pop(value, None)
        for segments in _subjects(self._topic, patterns):
            if _is_literal(segments):
                subject = None if segments is None else "/".join(segments)
                left = tuple(other for other in self._exact.get(subject, ()) if other != value)
                if left:
                    self._exact[subject] = left
                else:
                    self._exact.pop(subject, None)
            elif _prune(self._root, segments or (), value):
                self._patterns -= 1
                self._known.clear()

    def match(self, subject: str | None) -> tuple[T, ...]:
        """Those that want an event with this subject (None: it has none), beside `all`."""
        exact = self._exact.get(subject, ())
        if not self._patterns:
            return exact
        wild = self._known.get(subject)
        if wild is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            wild = self._known[subject] = self._walk(subject)
        if exact and wild:
            return tuple(dict.fromkeys(exact + wild))
        return exact or wild

    def _walk(self, subject: str | None) -> tuple[T, ...]:
        # All places that the segments so far can lead to, by identity: at most as many as the
        # trie has nodes, so that patterns with many "**" cannot blow up.
        places = _closed({id(self._root): self._root})
        for segment in () if subject is None else subject.split("/"):
            after: dict[int, _Node[T]] = {}
            for node, repeats in places.values():
                for name in (segment, "*"):
                    found = node.next.get(name)
                    if found is not None and name != "**":
                        after[id(found)] = found
                if repeats:
                    after[id(node)] = node
            places = _closed(after, {key: node for key, (node, repeats) in places.items() if repeats})
        found_values: dict[T, None] = {}
        for node, _ in places.values():
            found_values.update(node.here)
        return tuple(found_values)


def _closed(
    nodes: dict[int, _Node[T]], repeating: dict[int, _Node[T]] | None = None
) -> dict[int, tuple[_Node[T], bool]]:
    """The nodes and those that a `**` leads to without a segment; True where it may take more."""
    closed: dict[int, tuple[_Node[T], bool]] = {}
    stack = [(node, bool(repeating) and key in (repeating or {})) for key, node in nodes.items()]
    while stack:
        node, repeats = stack.pop()
        known = closed.get(id(node))
        if known is not None and (known[1] or not repeats):
            continue
        closed[id(node)] = (node, repeats)
        star = node.next.get("**")
        if star is not None:
            stack.append((star, True))
    return closed


def _subjects(topic: str, patterns: tuple[Pattern, ...]) -> dict[Segments, None]:
    """The patterns as patterns of subjects of this topic."""
    found: dict[Segments, None] = {}
    for pattern in patterns:
        if not pattern.matches_topic(topic):
            continue
        segments = pattern.segments
        if pattern.topic != "**":
            found[segments] = None
            continue
        # "**" may end at the topic, take segments of the subject as well, or be nothing at all.
        tail = (segments or ())[1:] if segments and segments[0] == "**" else segments or ()
        found["**", *tail] = None
        if tail[:1] in ((topic,), ("*",)):
            found[tail[1:] or None] = None
    return found


def _is_literal(segments: Segments) -> bool:
    return segments is None or not {"*", "**"}.intersection(segments)


def _prune(node: _Node[T], segments: tuple[str, ...], value: T) -> bool:
    """Take the value away, and places that lead nowhere then. False when it was not there."""
    if not segments:
        if value not in node.here:
            return False
        del node.here[value]
        return True
    below = node.next.get(segments[0])
    if below is None or not _prune(below, segments[1:], value):
        return False
    if not below.here and not below.next:
        del node.next[segments[0]]
    return True
