"""Server-sent events, parsed without I/O (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Message(NamedTuple):
    """One dispatched event; `id` is the last event id at that point ("" while there is none)."""

    event: str
    data: str
    id: str


class SseParser:
    """Bytes in, messages out. `last_id` and `retry` (seconds) are what a reconnect needs."""

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry: float | None = None
        self._buffer = b""
        self._event = ""
        self._data: list[str] = []
        self._begun = False

    def feed(self, chunk: bytes) -> list[Message]:
        """Messages completed by this chunk; an unfinished one waits for the next."""
        buffer = self._buffer + chunk
        if not self._begun and buffer:
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(buffer):
                self._buffer = buffer
                return []
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
            self._begun = True
        # A CR at the very end may be the first half of a CRLF.
        end = len(buffer) - 1 if buffer.endswith(b"\r") else len(buffer)
        lines = _LINE_END.split(buffer[:end])
        self._buffer = lines.pop() + buffer[end:]
        messages = []
        for line in lines:
            message = self._take(line)
            if message is not None:
                messages.append(message)
        return messages

    def _take(self, line: bytes) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.decode(errors="replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\x00" not in value:
            self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value) / 1000
        return None

    def _dispatch(self) -> Message | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        if not data:
            return None
        return Message(event or "message", "\n".join(data), self.last_id)
