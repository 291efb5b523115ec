"""A topic's writer with the offsets that the loop would keep, and a system whose calls fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded.messages import (
    Append,
    Outcome,
    Outgoing,
)
from gateway.bus.embedded.recovery import create_topic_files, open_topic
from gateway.bus.embedded.settings import new_topic
from gateway.bus.embedded.topic_writer import TopicWriter
from gateway.bus.records import encode_records, set_base_offset
from tests.harness.events import events


class Broken:
    """Makes calls of the operating system fail, on demand and counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def fail(
        self, name: str, number: int, times: int = 10**9, after: int = 0, first: Callable[..., Any] | None = None
    ) -> None:
        """Let `os.<name>` fail with an error number; `first` is done in place of the real call before."""
        real, calls = getattr(os, name), [0]

        def failing(*arguments: Any) -> Any:
            calls[0] += 1
            if after < calls[0] <= after + times:
                if first is not None:
                    first(real, *arguments)
                raise OSError(number, os.strerror(number))
            return real(*arguments)

        self._monkeypatch.setattr(os, name, failing)

    def mend(self) -> None:
        self._monkeypatch.undo()


class Topic:
    """A topic's writer with the offsets that the loop would keep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.exists():
            create_topic_files(folder, new_topic("t", "e", TopicSettings(), TopicSettings()))
        self.opened = open_topic(folder)
        self.writer: TopicWriter = self.opened.writer
        self.next = self.opened.next[0]
        self.generation = 0

    def append(self, count: int = 3, size: int = 20) -> Append:
        made = events(count, first=self.next, size=size)
        body = encode_records(made, 1000)
        set_base_offset(body, self.next)
        out = Outgoing(0, self.next, self.next + count, 1000, body, made, list(range(count)))
        self.next += count
        return Append(self.writer, self.generation, [out], len(body) + 36, None)

    def commit(self, *appends: Append) -> list[Outcome]:
        return self.writer.commit(list(appends), sync=True)

    def recovered(self) -> int:
        """What another process would find: the next offset."""
        again = open_topic(self.folder)
        again.writer.close()
        return again.next[0]


def kinds(outcomes: list[Outcome]) -> list[type]:
    return [type(outcome) for outcome in outcomes]
