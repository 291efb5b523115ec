"""A configuration as plain data that remembers where each key stood."""

from __future__ import annotations

from typing import Any

from gateway.config.faults import ConfigFault, KeyPath, Place, path_text


class Document:
    """Mappings, lists and scalars (`value`), the place of every key, and the faults found so far.

    `hidden` holds the paths whose values came from the environment or from a file: they may be
    secrets, so no message repeats them. `slips` holds, by
    mapping, what its unknown keys may have meant (None: anything).
    """

    def __init__(self, source: str, line: int = 1) -> None:
        self.source = source
        self.value: dict[str, Any] = {}
        self.faults: list[ConfigFault] = []
        self.hidden: set[KeyPath] = set()
        self.slips: dict[KeyPath, set[str | None]] = {}
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

    def slip(self, path: KeyPath, message: str, meant: str | None) -> None:
        """Note the fault that nobody knows the key at `path`, which may be a slip of `meant`."""
        self.fault(path, message, meant)
        self.slips.setdefault(path[:-1], set()).add(meant)

    def faulty(self, path: KeyPath) -> bool:
        """Whether something was already found wrong with exactly this key."""
        text = path_text(path)
        return any(fault.path == text for fault in self.faults)

    def spelled(self, path: KeyPath) -> KeyPath:
        """`path` as it stands here: one entry may be written as a list of one."""
        for at, part in enumerate(path):
            if isinstance(self._given(path[:at]), list) and not isinstance(part, int):
                return self.spelled((*path[:at], 0, *path[at:]))
        return path

    def known(self, path: KeyPath) -> bool:
        """Whether the value at `path` is what its writer meant, so that conclusions hold.

        It is not when a fault was found with it or with what is around it, nor when it is left to its
        default beside an unknown key that may be a slip of its name.
        """
        faulty = {fault.path for fault in self.faults}
        path = self.spelled(path)
        for at, part in enumerate(path):
            here = path[: at + 1]
            slipped = not self.slips.get(path[:at], set()).isdisjoint((part, None))
            if path_text(here) in faulty or (slipped and self._given(here) is None):
                return False
        return True

    def _given(self, path: KeyPath) -> Any:
        value: Any = self.value
        for part in path:
            if isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                value = value.get(part) if isinstance(value, dict) else None
        return value


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))
