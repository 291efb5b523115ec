"""What is wrong with a configuration: where, what, and what may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

KeyPath: TypeAlias = tuple[str | int, ...]


class Place(msgspec.Struct, frozen=True, order=True):
    """A file and its line (1 is the first), or a command line flag (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class ConfigFault(msgspec.Struct, frozen=True):
    """One fault; `str()` is `file:line: key.path: message (did you mean ...?)`. Never holds a secret."""

    place: Place
    path: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        key = f"{self.path}: " if self.path and not self.place.source.endswith(f" {self.path}") else ""
        hint = f" (did you mean {self.suggestion!r}?)" if self.suggestion else ""
        return _printable(f"{self.place}: {key}{self.message}{hint}")


class ConfigError(Exception):
    """The configuration cannot be used; `faults` holds everything that is wrong with it, by line."""

    def __init__(self, faults: Iterable[ConfigFault]) -> None:
        # Flags have line 0 and come last: they were written after the file.
        self.faults = tuple(sorted(set(faults), key=lambda f: (f.place.line == 0, f.place, f.path, f.message)))
        super().__init__("\n".join(map(str, self.faults)))


def path_text(path: KeyPath) -> str:
    """`("topics", "a.b", 0)` -> `topics."a.b"[0]`: what `--set` takes, except for the index."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = f'"{part}"' if not part or "." in part or any(c in part for c in ' "=\n') else part
            text += f".{quoted}" if text else quoted
    return text


def _printable(text: str) -> str:
    # A key of the file may hold anything, and this is shown on terminals.
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def closest(word: object, candidates: Iterable[str]) -> str | None:
    """The candidate that `word` is probably a slip of, or None."""
    if not isinstance(word, str):
        return None
    options: Sequence[str] = list(candidates)
    folded = {option.lower(): option for option in reversed(options)}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None
