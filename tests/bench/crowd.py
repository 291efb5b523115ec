"""Many subscribers in one process: opened one after another, then read by one epoll.

What a subscriber costs here is taken from the server beside it, so a read is a system call, a
stride over the bytes that came and no more.
"""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from tests.bench.share import Share
from tests.bench.stream import (
    Broken,
    Counter,
    Exact,
    SseReader,
    Tracker,
    WebSocketReader,
    client_frame,
    last_stamp,
    stamps,
)

TOPIC = "bench"
BUFFER = 256 * 1024
SAMPLED = 16
PER_ADDRESS = 20_000
Opened = tuple[socket.socket, Exact]
Filters = Sequence[dict[str, Any]]


def dial(port: int, number: int = 0, receive_buffer: int = 0) -> socket.socket:
    """A connected socket; other source addresses once the ports of one are used up."""
    made = socket.socket()
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.settimeout(30)
    if number >= PER_ADDRESS:
        made.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        made.bind((f"127.0.0.{1 + number // PER_ADDRESS}", 0))
    made.connect(("127.0.0.1", port))
    return made


def _receive(made: socket.socket, until: re.Pattern[bytes]) -> tuple[bytes, bytes]:
    """What matched, and what came after it."""
    data = b""
    while (found := until.search(data)) is None:
        more = made.recv(65536)
        if not more:
            raise Broken(f"closed by the server: {data[:300]!r}")
        data += more
    return data[: found.end()], data[found.end() :]


HEAD = re.compile(rb"\r\n\r\n")
ANSWER = re.compile(rb'^\x81.{1,3}\{[^\n]*"(?:ok|error)"[^\n]*\}', re.DOTALL)


def upgrade(made: socket.socket, port: int) -> None:
    """A WebSocket that speaks `linkspan.v1`."""
    made.sendall(
        f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: linkspan.v1\r\n\r\n".encode()
    )
    head, _ = _receive(made, HEAD)
    if not head.startswith(b"HTTP/1.1 101 ") or b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" not in head:
        raise Broken(f"no WebSocket: {head[:300]!r}")


def open_websocket(made: socket.socket, port: int, subject: str, filters: Filters = ()) -> Opened:
    """Subscribed as sid 1."""
    upgrade(made, port)
    request = {"id": 1, "subscribe": {"from": [f"{TOPIC}/{subject}"], "filters": filters}}
    made.sendall(client_frame(json.dumps(request).encode()))
    answer, rest = _receive(made, ANSWER)
    if b'"ok"' not in answer or rest:
        raise Broken(f"not subscribed: {answer + rest!r}")
    return made, WebSocketReader()


def open_sse(made: socket.socket, port: int, subject: str, filters: Filters = ()) -> Opened:
    query = urlencode([("subject", subject), *(("filter", each["expr"]) for each in filters)], safe="*/")
    made.sendall(
        f"GET /v1/topics/{TOPIC}/events?{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Accept: text/event-stream\r\n\r\n".encode()
    )
    head, rest = _receive(made, HEAD)
    if not head.startswith(b"HTTP/1.1 200 ") or b"transfer-encoding: chunked" not in head.lower():
        raise Broken(f"no event stream: {head[:300]!r}")
    reader = SseReader()
    if reader.feed(rest):
        raise Broken("an event before one was published")
    return made, reader


class Open(Protocol):
    """Subscribe over a connection to the port, to a subject of the topic."""

    def __call__(self, made: socket.socket, port: int, subject: str, filters: Filters = ()) -> Opened: ...


OPEN: dict[str, Open] = {"ws": open_websocket, "sse": open_sse}


class Crowd:
    """Subscriber i gets its share of the events.

    `got` counts the events of each; an event has at least `floor` bytes. At first everything
    is parsed and checked; `count_only` ends that, and from then on only marks are counted.
    """

    def __init__(self, opened: list[Opened], share: Share, epoll: select.epoll, floor: int) -> None:
        self.share = share
        self._count = Counter(floor).count
        self.got = [0] * len(opened)
        self.trackers = [Tracker(0, 1) for _ in opened]
        self.reads = self.closed = 0
        self.latencies: list[int] = []
        self.measuring = self.every = False
        self._sockets = [made for made, _ in opened]
        self._readers: list[Exact] | None = [reader for _, reader in opened]
        self._buffer = bytearray(BUFFER)
        self._epoll = epoll
        self._by_fd = {made.fileno(): (index, made.recv_into) for index, made in enumerate(self._sockets)}
        for made in self._sockets:
            made.setblocking(False)
            epoll.register(made.fileno(), select.EPOLLIN)

    @property
    def total(self) -> int:
        return sum(self.got)

    def slowest(self) -> int:
        """How many events everyone has, of all that were published; on average if each has its own."""
        return self.share.reached(self.got)

    def count_only(self) -> None:
        self._readers = None

    def read(self, ready: list[tuple[int, int]]) -> None:
        """Read once from each of `ready` that is one of the crowd."""
        by_fd, buffer, got = self._by_fd, self._buffer, self.got
        for fd, _ in ready:
            if (who := by_fd.get(fd)) is None:
                continue
            index, receive = who
            size = receive(buffer)
            if not size:
                self._lost(fd)
            self.reads += 1
            if self._readers is not None:
                self._parse(index, bytes(buffer[:size]))
            else:
                got[index] += self._count(buffer, size)
            if self.measuring and not index % SAMPLED:
                self._sample(size)

    def _parse(self, index: int, data: bytes) -> None:
        assert self._readers is not None
        for number in self._readers[index].feed(data):
            self.got[index] += 1
            self.trackers[index].add(self.share.rank(index, number))

    def _sample(self, size: int) -> None:
        now = time.monotonic_ns()
        if self.every:
            self.latencies += [now - due for due in stamps(self._buffer, size)]
        elif (due := last_stamp(self._buffer, size)) is not None:
            self.latencies.append(now - due)

    def _lost(self, fd: int) -> None:
        self.closed += 1
        self._epoll.unregister(fd)
        del self._by_fd[fd]

    def close(self) -> None:
        for made in self._sockets:
            made.close()
