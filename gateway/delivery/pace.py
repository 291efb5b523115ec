"""How those who catch up share the loop with the live edge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: Seconds after a flush for which the live edge counts as busy.
BUSY = 0.05
#: How much longer than its own work whoever catches up leaves the loop to others meanwhile.
REST = 2.5


class Pace:
    """One turn at a time. While the live edge is busy each turn is followed by a rest, so that all
    who catch up together take a bounded share of the loop; else turns follow each other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turns = asyncio.Semaphore(1)
        self._flushed = -BUSY

    def flushed(self) -> None:
        """The live edge has just written to somebody."""
        self._flushed = self._clock()

    async def turn(self, work: Callable[[], None]) -> None:
        """Do a piece of work, which may raise, when it is this one's turn."""
        async with self._turns:
            began = self._clock()
            work()
            now = self._clock()
            busy = now - self._flushed < BUSY
            await asyncio.sleep(REST * (now - began) if busy else 0)
