"""Who wants an event of a topic, by its subject: literal subjects in a dict, patterns in a trie.

A look-up costs what it finds: 100,000 literal subjects cost no more than 100. Patterns that
could be at many places of the trie at once are in automata instead. Those that want only events
with one of some texts in an attribute are found by that text, wherever their pattern is. Pure.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from gateway.address import Pattern, is_literal, subject_patterns
from gateway.automaton import Automaton
from routing.attributes import Value, canonical
from routing.filters.predicates import Equality, symbol_of

T = TypeVar("T", bound=Hashable)
#: Results of the trie that are remembered; emptied when full.
_REMEMBERED = 10_000
_REMEMBERED_LENGTH = 256
#: Segments of a pattern that begins with "**", at most, for it to have a place in the trie.
_SHORT = 4
#: Segments of the patterns of one automaton: its tables have the square of that in bits.
_GROUP_SEGMENTS = 2048


class _Node(Generic[T]):
    """A place in the trie: `here` are the values whose pattern ends at it."""

    __slots__ = ("here", "next")

    def __init__(self) -> None:
        self.next: dict[str, _Node[T]] = {}
        self.here: dict[T, None] = {}


class _Group(Generic[T]):
    """Patterns that share an automaton, which is made anew after they changed."""

    __slots__ = ("_automaton", "_values", "segments", "wanted")

    def __init__(self) -> None:
        self.wanted: dict[tuple[str, ...], dict[T, None]] = {}
        self.segments = 0
        self._automaton: Automaton | None = None
        self._values: list[dict[T, None]] = []

    def add(self, segments: tuple[str, ...], value: T) -> None:
        if segments not in self.wanted:
            self.wanted[segments] = {}
            self.segments += len(segments)
            self._automaton = None
        self.wanted[segments][value] = None

    def remove(self, segments: tuple[str, ...]) -> None:
        del self.wanted[segments]
        self.segments -= len(segments)
        self._automaton = None

    def find(self, subject: str, found: dict[T, None]) -> None:
        if self._automaton is None:
            self._automaton = Automaton(self.wanted)
            self._values = list(self.wanted.values())
        for place in self._automaton.places(subject):
            found.update(self._values[place])


class _Spot(Generic[T]):
    """Values with the same pattern, by the attribute's text that they want."""

    __slots__ = ("_wanted",)

    def __init__(self) -> None:
        self._wanted: dict[str, dict[str, dict[T, None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def add(self, value: T, equality: Equality) -> None:
        name, texts = equality
        wanted = self._wanted.setdefault(name, {})
        for text in texts:
            wanted.setdefault(text, {})[value] = None

    def remove(self, value: T, equality: Equality) -> None:
        name, texts = equality
        wanted = self._wanted.get(name, {})
        for text in texts:
            values = wanted.get(text, {})
            values.pop(value, None)
            if not values:
                wanted.pop(text, None)
        if not wanted:
            self._wanted.pop(name, None)

    def find(self, attributes: Mapping[str, Value], found: list[T]) -> None:
        """Whose text the event has. There may be more names asked for than an event has."""
        wanted = self._wanted
        for name in wanted if len(wanted) <= len(attributes) else wanted.keys() & attributes.keys() | _MADE_UP:
            texts = wanted.get(name)
            text = attributes.get(name)
            if type(text) is not str:
                if text is not None:
                    text = canonical(text)
                elif name == "symbol":
                    text = symbol_of(attributes)
            if texts is not None and text in texts:
                found += texts[text]


class SubjectIndex(Generic[T]):
    """Values by the patterns of one topic. A value with several patterns is found once."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        #: Values that want every event.
        self.all: dict[T, None] = {}
        self._exact: dict[str | None, tuple[T, ...]] = {}
        self._root: _Node[T] = _Node()
        # Patterns that would be costly in the trie (see `_roams`).
        self._groups: dict[_Group[T], None] = {}
        self._group_of: dict[tuple[str, ...], _Group[T]] = {}
        self._patterns = 0
        self._known: dict[str | None, tuple[T, ...]] = {}
        # Values with an equality: where their patterns are, and the spots by these.
        self._selective: SubjectIndex[_Spot[T]] | None = None
        self._spots: dict[tuple[str, ...] | None, _Spot[T]] = {}

    @property
    def narrow(self) -> bool:
        """Whether any value wants only some of the events."""
        return bool(self._exact) or self._patterns > 0 or self._selective is not None

    @property
    def selective(self) -> bool:
        """Whether any value wants only events with some text in an attribute."""
        return self._selective is not None

    def add(self, value: T, patterns: tuple[Pattern, ...], equality: Equality | None = None) -> None:
        """Patterns that do not match the topic do nothing. A value is added once.

        With an `equality` it is found only by `match_event`, and only for events whose attribute
        has one of the texts (the symbol as `symbol_of` tells it).
        """
        subjects = subject_patterns(self._topic, patterns)
        if equality is not None:
            for segments in _fewest(subjects):
                self._spot(segments).add(value, equality)
            return
        if ("**",) in subjects:
            self.all[value] = None
            return
        for segments in subjects:
            if segments is None or is_literal(segments):
                subject = None if segments is None else "/".join(segments)
                self._exact[subject] = (*self._exact.get(subject, ()), value)
                continue
            if _roams(segments):
                self._group(segments).add(segments, value)
            else:
                node = self._root
                for segment in segments:
                    node = node.next.setdefault(segment, _Node())
                node.here[value] = None
            self._patterns += 1
            self._known.clear()

    def remove(self, value: T, patterns: tuple[Pattern, ...], equality: Equality | None = None) -> None:
        """The same patterns and equality as it was added with."""
        subjects = subject_patterns(self._topic, patterns)
        if equality is not None:
            for segments in _fewest(subjects):
                self._remove_selective(segments, value, equality)
            return
        self.all.pop(value, None)
        for segments in subjects:
            if segments is None or is_literal(segments):
                subject = None if segments is None else "/".join(segments)
                left = tuple(other for other in self._exact.get(subject, ()) if other != value)
                if left:
                    self._exact[subject] = left
                else:
                    self._exact.pop(subject, None)
            elif self._remove_roaming(segments, value) or _prune(self._root, segments, value):
                self._patterns -= 1
                self._known.clear()

    def match(self, subject: str | None) -> tuple[T, ...]:
        """Those that want an event with this subject (None: it has none), beside `all`; those with
        an equality are not among them."""
        exact = self._exact.get(subject, ())
        if not self._patterns:
            return exact
        wild = self._known.get(subject)
        if wild is None:
            wild = self._walk(subject)
            if subject is None or len(subject) <= _REMEMBERED_LENGTH:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[subject] = wild
        if exact and wild:
            return tuple(dict.fromkeys(exact + wild))
        return exact or wild

    def match_event(self, attributes: Mapping[str, Value]) -> Sequence[T]:
        """Those that want an event, beside `all`: by its subject, and by the text of an attribute."""
        subject = attributes.get("subject")
        plain = self.match(subject)  # type: ignore[arg-type]  # a subject is a string
        selective = self._selective
        if selective is None:
            return plain
        found = list(plain)
        for spot in selective.all:
            spot.find(attributes, found)
        spots = selective.match(subject)  # type: ignore[arg-type]
        for spot in spots:
            spot.find(attributes, found)
        # A value that wants every subject is nowhere else.
        return found if len(spots) < 2 else list(dict.fromkeys(found))

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
        if subject is not None:
            for group in self._groups:
                group.find(subject, found_values)
        return tuple(found_values)

    def _spot(self, segments: tuple[str, ...] | None) -> _Spot[T]:
        spot = self._spots.get(segments)
        if spot is None:
            spot = self._spots[segments] = _Spot()
            if self._selective is None:
                self._selective = SubjectIndex(self._topic)
            self._selective.add(spot, (Pattern(self._topic, segments),))
        return spot

    def _remove_selective(self, segments: tuple[str, ...] | None, value: T, equality: Equality) -> None:
        spot, selective = self._spots.get(segments), self._selective
        if spot is None or selective is None:
            return
        spot.remove(value, equality)
        if not spot:
            del self._spots[segments]
            selective.remove(spot, (Pattern(self._topic, segments),))
            if not self._spots:
                self._selective = None

    def _group(self, segments: tuple[str, ...]) -> _Group[T]:
        """The group of a pattern; a new pattern goes where there is room."""
        group = self._group_of.get(segments)
        if group is None:
            room = _GROUP_SEGMENTS - len(segments)
            group = next((group for group in self._groups if group.segments <= room), None) or _Group()
            self._groups[group] = None
            self._group_of[segments] = group
        return group

    def _remove_roaming(self, segments: tuple[str, ...], value: T) -> bool:
        """False when it was not there."""
        group = self._group_of.get(segments)
        if group is None or value not in group.wanted[segments]:
            return False
        del group.wanted[segments][value]
        if not group.wanted[segments]:
            group.remove(segments)
            del self._group_of[segments]
            if not group.wanted:
                del self._groups[group]
        return True


#: An attribute that events without it may have all the same.
_MADE_UP = frozenset({"symbol"})


def _fewest(subjects: Iterable[tuple[str, ...] | None]) -> list[tuple[str, ...] | None]:
    """The subjects that matter: one for everything covers the others."""
    each = list(subjects)
    return [("**",)] if ("**",) in each else each


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


def _roams(segments: tuple[str, ...]) -> bool:
    """Whether it could be at many places at once, in the trie, while a subject is looked up.

    Those with a `**` in front of a few segments stay there: they are at few places, which they
    share with others of their kind.
    """
    inner = segments[:-1] if segments[-1] == "**" else segments
    return "**" in inner[1:] or (inner[:1] == ("**",) and len(inner) > _SHORT)


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
