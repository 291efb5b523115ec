"""Publishing from within the epoll loop: at a rate, or as fast as the slowest subscriber follows."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable

from tests.bench.share import Share
from tests.bench.stream import Broken, event_text


class Connection:
    """One request at a time; `free` while none is under way. `whole`: the length of an answer, 0
    while there is more to come."""

    def __init__(self, made: socket.socket, epoll: select.epoll, whole: Callable[[bytes], int]) -> None:
        made.setblocking(False)
        self._socket, self._epoll, self._whole = made, epoll, whole
        self._pending, self._answer = memoryview(b""), b""
        self.free = True
        self.fd = made.fileno()
        epoll.register(self.fd, select.EPOLLIN)

    def send(self, request: bytes) -> None:
        self.free = False
        self._pending = memoryview(request)
        self._write()

    def ready(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._write()
        if mask & ~select.EPOLLOUT:
            self._read()

    def _write(self) -> None:
        # Without room in the socket epoll says when there is some.
        with contextlib.suppress(BlockingIOError):
            self._pending = self._pending[self._socket.send(self._pending) :]
        more = select.EPOLLOUT if self._pending else 0
        self._epoll.modify(self.fd, select.EPOLLIN | more)

    def _read(self) -> None:
        self._answer += self._socket.recv(65536)
        length = self._whole(self._answer)
        if length and len(self._answer) != length:
            raise Broken(f"more than an answer: {self._answer[:500]!r}")
        if length:
            self._answer, self.free = b"", True

    def close(self) -> None:
        self._socket.close()


class Feed:
    """Numbers, stamps and publishes events over one connection or several.

    `rate` 0: batches of `batch` while the slowest subscriber is at most `window` events behind,
    stamped when they are sent. Else events a second, up to `batch` in a request where
    several are due, each stamped with the time at which it was due.
    """

    def __init__(
        self, connections: list[Connection], request: Callable[[list[bytes]], bytes], *, share: Share, size: int,
        batch: int, rate: float, window: int, slowest: Callable[[], int],
    ) -> None:  # fmt: skip
        if not rate and window < batch:
            raise ValueError("the window must hold a batch")
        self.sent = 0
        self._connections, self._request = connections, request
        self._share, self._size = share, size
        self._batch, self._rate, self._window, self._slowest = batch, rate, window, slowest
        self._base = self._began = self._first = 0

    def begin(self) -> None:
        """The clock of the rate starts now."""
        self._began, self._first = time.monotonic_ns(), self.sent

    def step(self, now: int) -> float:
        """Publish what is due at `now`, if a connection is free; the seconds after which to ask again."""
        wait = 0.05
        for connection in self._connections:
            if connection.free:
                count, wait = self._due(now)
                if count <= 0:
                    return wait
                self._post(connection, count, now)
        return wait

    def _due(self, now: int) -> tuple[int, float]:
        if self._rate:
            due = int((now - self._began) * self._rate / 1e9) - (self.sent - self._first)
            return min(self._batch, due), (self._time(self.sent) - now) / 1e9
        if self.sent + self._batch > self._base + self._window:
            self._base = self._slowest()
        return (self._batch if self.sent + self._batch <= self._base + self._window else 0), 0.05

    def _time(self, number: int) -> int:
        """When an event is due."""
        return self._began + int((number - self._first + 1) * 1e9 / self._rate)

    def publish(self, count: int) -> None:
        """Publish `count` events now, in one request, over a connection that is free."""
        connection = next(connection for connection in self._connections if connection.free)
        self._post(connection, count, time.monotonic_ns())

    def _post(self, connection: Connection, count: int, now: int) -> None:
        numbers = range(self.sent, self.sent + count)
        share, paced = self._share, self._rate and self._began
        texts = [
            event_text(
                number,
                self._time(number) if paced else now,
                f"s/{number % share.views}",
                self._size,
                share.price(number),
            )
            for number in numbers
        ]
        self.sent += count
        connection.send(self._request(texts))

    @property
    def quiet(self) -> bool:
        return all(connection.free for connection in self._connections)
