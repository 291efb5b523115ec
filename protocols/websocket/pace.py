"""How fast a connection is read and written: several reasons may stop its reading, each is a bit."""

from __future__ import annotations

import asyncio
from enum import IntFlag
from typing import TYPE_CHECKING

from protocols.websocket.limits import Bucket

if TYPE_CHECKING:
    from protocols.websocket.door import Door

#: Bytes of answers that may wait for a client that takes nothing; then it is not read either.
REPLIES = 64 * 1024


class Hold(IntFlag):
    """Why a connection is not read."""

    OPENING = 1
    """Its handshake is not answered yet."""
    RATE = 2
    """It sent more than `publish_rate` lets it."""
    INGRESS = 4
    """The log does not keep up, or the answers to what it published are awaited before a drain."""
    UNREAD = 8
    """It takes none of its answers."""
    WAITING = 16
    """A topic is being looked up."""
    TURN = 32
    """The rest of what was read has to wait until others had their turn."""


EVERY_HOLD = Hold(63)


class Paced(asyncio.Protocol):
    """The half of a connection that knows its transport. `heard`: when something came last, by the door's clock."""

    __slots__ = ("_backlog", "_bucket", "_gone", "_holds", "_transport", "door", "heard", "paused")

    def __init__(self, door: Door) -> None:
        self.door = door
        self.paused = False
        self.heard = 0.0
        self._gone = False
        self._holds = self._backlog = 0
        self._bucket: Bucket | None = None
        self._transport: asyncio.Transport

    def bound(self, size: int) -> None:
        """Pause writing once more than so many bytes wait."""
        if not self._gone:
            self._transport.set_write_buffer_limits(high=size)

    def lost(self) -> None:
        """The transport is closed: nothing can be asked of it any more."""
        self._gone = True
        self._holds = 0

    def hold(self, reason: Hold) -> None:
        """Do not read for this reason, too."""
        if self._gone:
            return
        if not self._holds:
            self._transport.pause_reading()
        self._holds |= reason

    def release(self, reason: Hold) -> None:
        """This reason is gone; with the last one reading goes on."""
        if self._holds:
            self._holds &= ~reason
            if not self._holds:
                self.heard = self.door.now
                self._transport.resume_reading()

    def slow_down(self, bucket: Bucket, size: int) -> None:
        """Rest for as long as `size` bytes are beyond the rate."""
        loop = asyncio.get_running_loop()
        pause = bucket.take(size, loop.time())
        if pause:
            self.hold(Hold.RATE)
            loop.call_later(pause, self.release, Hold.RATE)

    def yield_to_ingress(self) -> None:
        """Rest while more waits for the log than may."""
        ingress = self.door.gateway.ingress
        if not ingress.writable and not self._holds & Hold.INGRESS:
            self.hold(Hold.INGRESS)
            ingress.when_writable(self._ingress_writable)

    def _ingress_writable(self) -> None:
        if not self.door.draining:
            self.release(Hold.INGRESS)

    def write_frames(self, frames: bytes) -> None:
        """Answers and control frames, as many as there is room for: whoever takes none is not read either."""
        self._transport.write(frames)
        if self.paused:
            self._backlog += len(frames)
            if self._backlog > REPLIES:
                self.hold(Hold.UNREAD)

    def taken(self) -> None:
        """There is room again."""
        self.paused = False
        self._backlog = 0
        self.heard = self.door.now
        self.release(Hold.UNREAD)
