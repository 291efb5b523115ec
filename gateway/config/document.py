"""A configuration as plain data that remembers where each key stood."""

from __future__ import annotations

from typing import Any

from gateway.config.faults import ConfigFault, KeyPath, Place, path_text


class Document:
    """Mappings, lists and scalars (`value`), the place of every key, and the faults found so far.

    `hidden` holds the paths whose values came from the environment or from a file: they may be
    secrets, so no message repeats them.
    """

    def __init__(self, source: str, line: int = 1) -> None:
        self.source = source
        self.value: dict[str, Any] = {}
        self.faults: list[ConfigFault] = []
        self.hidden: set[KeyPath] = set()
        self._places: dict[KeyPath, Place] = {(): Place(source, line)}

    def mark(self, path: KeyPath, place: Place) -> None:
        self._places[path] = place

    def mark_once(self, path: KeyPath, place: Place) -> None:
        """Mark a mapping that came into being by a key in it, unless it was named before."""
        self._places.setdefault(path, place)

    def replace(self, path: KeyPath, place: Place) -> None:
        """The value at `path` is about to come from `place`: forget what is known of the old one."""
        for known in [known for known in self._places if known[: len(path)] == path]:
            del self._places[known]
        self.faults = [fault for fault in self.faults if not _within(fault.path, path_text(path))]
        self.mark(path, place)

    def place(self, path: KeyPath) -> Place:
        """Where `path` stands, or else the nearest key around it."""
        while path not in self._places:
            path = path[:-1]
        return self._places[path]

    def fault(self, path: KeyPath, message: str, suggestion: str | None = None, *, place: Place | None = None) -> None:
        """Note a fault at `path`; `place` overrides where it is shown."""
        self.faults.append(ConfigFault(place or self.place(path), path_text(path), message, suggestion))

    def faulty(self, path: KeyPath) -> bool:
        """Whether something was already found wrong with exactly this key."""
        text = path_text(path)
        return any(fault.path == text for fault in self.faults)


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))
