"""Memory that requests share: who waits for a part of it, and who has to give it back.

A share grows with what its request really holds, so a client that sends or takes little costs
only that. While somebody waits, a share that has not moved for a while is told to give way,
the largest first: nobody waits behind a client that has stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from protocols.http.problem import Crowded

#: Bytes by which a share grows, and which count as progress.
GRAIN = 64 * 1024
#: Seconds without progress after which a share gives way, if somebody waits.
STALL = 1.0
#: Seconds between two looks for such shares.
SWEEP = 0.1


class Share:
    """What one request holds of a budget. Leave it as a context, or close it.

    `on_stall` is called when others wait and this one has not moved for `STALL` seconds; it has
    to bring the share to its end or to shrink it. `left`, where it is set, tells the bytes that
    the client still has to take.
    """

    __slots__ = ("_budget", "_moved", "_seen", "borrowed", "held", "left", "on_stall")

    def __init__(self, budget: Budget, on_stall: Callable[[], None] | None) -> None:
        self._budget, self.on_stall = budget, on_stall
        self.left: Callable[[], int] | None = None
        self.held = self.borrowed = 0
        self._moved, self._seen = 0.0, 0

    async def grow(self, amount: int) -> None:
        """Hold so much more, when there is room. Raises Crowded after the budget's patience."""
        await self._budget.take(self, amount)

    def settle(self, amount: int) -> None:
        """Hold just this, without waiting: what is there already is there."""
        self._budget.give(self, self.held - amount)
        self.moved()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self.on_stall = self.left = None
        self._budget.give(self, self.held)

    def moved(self) -> None:
        """The client made progress."""
        self._moved = asyncio.get_running_loop().time()
        if self.left is not None:
            self._seen = self.left()

    def stalled(self, now: float) -> bool:
        if self.left is not None:
            left = self.left()
            if self._seen - left >= GRAIN:
                self._seen, self._moved = left, now
        return now - self._moved >= STALL

    def __enter__(self) -> Share:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Budget:
    """`size` bytes for all shares together, and `spare` bytes for one of them.

    Small requests pass large ones. The spare is for whoever waits and came first: without it,
    shares that all wait for each other's bytes would wait for ever.
    """

    def __init__(self, size: int, patience: float, spare: int = 0) -> None:
        self.size = self.free = size
        self._patience, self._spare = patience, spare
        self._shares: dict[Share, None] = {}
        self._senior: Share | None = None
        self._waiting: dict[Share, tuple[int, asyncio.Future[None]]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def share(self, on_stall: Callable[[], None] | None = None) -> Share:
        return Share(self, on_stall)

    async def take(self, share: Share, amount: int) -> None:
        """See `Share.grow`. More than all there is counts as all there is."""
        if not self._spare:
            amount = min(amount, self.size)
        self._shares.setdefault(share)
        if amount <= self.free or share is self._senior:
            self._grant(share, amount)
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting[share] = (amount, turn)
        self._look()
        if self._sweeper is None and self._waiting:
            self._sweeper = loop.call_later(SWEEP, self._sweep)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except TimeoutError:
            raise Crowded("too many large requests are under way; try again later") from None
        finally:
            self._waiting.pop(share, None)

    def give(self, share: Share, amount: int) -> None:
        """Take back so much (less than 0: charge it) and let in who waits."""
        share.held -= amount
        if share.held <= 0:
            self._shares.pop(share, None)
        else:
            self._shares.setdefault(share)
        lent = min(share.borrowed, max(0, amount))
        share.borrowed -= lent
        self.free += amount - lent
        if share is self._senior and share.held <= 0:
            self._senior = None
        self._look()

    def _grant(self, share: Share, amount: int) -> None:
        share.held += amount
        if share is self._senior:
            share.borrowed += amount
        else:
            self.free -= amount
        share.moved()

    def _look(self) -> None:
        """Let in who fits; who came first and does not fit gets the spare."""
        if not self._waiting:
            return
        for share, (amount, turn) in list(self._waiting.items()):
            if amount <= self.free and not turn.done():
                self._let_in(share, amount, turn)
        if self._spare and self._senior is None:
            for share in self._shares:  # in the order in which they began
                if share in self._waiting:
                    self._senior = share
                    self._let_in(share, *self._waiting[share])
                    break

    def _let_in(self, share: Share, amount: int, turn: asyncio.Future[None]) -> None:
        del self._waiting[share]
        if not turn.done():
            self._grant(share, amount)
            turn.set_result(None)

    def _sweep(self) -> None:
        self._sweeper = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        now, worst = loop.time(), None
        for share in self._shares:
            stuck = share not in self._waiting and share.on_stall is not None and share.stalled(now)
            if stuck and (worst is None or share.held > worst.held):
                worst = share
        if worst is not None and worst.on_stall is not None:
            worst.on_stall()
        self._sweeper = loop.call_later(SWEEP, self._sweep)
