"""Scopes: all subscriptions to the same topics share one reader of the live edge.

A scope takes what its stream has, matches it against the subjects of its subscriptions, and
serves each view's block to the members. All of it is synchronous, in steps of a few
milliseconds, so that sockets and other topics get their turn in between; what comes meanwhile
waits and goes out together in the next flush.

**Coalescing.** When nothing was written lately, a batch is written at once. After a flush the
next one waits LINGER times as long as that one took, at most MAX_LINGER, unless PLENTY is
waiting for each write: under load blocks grow until writing takes a bounded share of the time.

**Members join and leave between flushes at one place**, the vector of offsets up to which the
scope has served. Who joins stands there exactly; who leaves takes the place along.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from auth.principal import Principal
from gateway.address import Pattern
from gateway.delivery.cursor import Cursor
from gateway.delivery.figures import ScopeFigures
from gateway.delivery.form import EndCause, Form
from gateway.delivery.matching import Collected, Matcher, Target
from gateway.delivery.outcome import Delivery, EndOfStream
from gateway.delivery.pace import Pace
from gateway.delivery.reader import ReadRequest
from gateway.delivery.stream import Stream
from gateway.delivery.view import View, Write
from gateway.errors import LinkspanError

if TYPE_CHECKING:
    from gateway.delivery.session import Session

#: How much longer than a flush took the next one waits, and the most that it waits, in seconds.
LINGER = 4.0
MAX_LINGER = 0.009
#: Bytes of events for each write that are worth a flush of their own.
PLENTY = 32 * 1024
#: Bytes of events that a view gets in one flush, about, and that one flush takes for all of them.
MOST, MOST_OF_ALL = 128 * 1024, 2 * 2**20
LEAST = 4 * 1024
#: Seconds of matching, filtering and transforming that one flush may take, about.
MATCH_SECONDS = 0.02
#: Members that are written to in one step, and the seconds after which the loop gets its turn.
STEP_MEMBERS = 125
STEP_SECONDS = 0.002

_log = structlog.get_logger("linkspan.delivery")


class Place(msgspec.Struct, frozen=True, eq=False):
    """A vector of offsets, and the text that resumes there."""

    cursor: Cursor
    text: str


class Scope:
    """See the module. `label` names it in metrics; `ended` is called once, when the last session
    has left or the stream has ended."""

    def __init__(
        self,
        label: str,
        figures: Callable[[], ScopeFigures],
        pace: Pace,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        sources: tuple[Pattern, ...],
        principal: Principal,
        ended: Callable[[Scope], None],
    ) -> None:
        self.label, self._make_figures, self._pace, self._ended = label, figures, pace, ended
        self._spawn = spawn
        self._figures: ScopeFigures | None = None
        self.sources, self.principal = sources, principal
        self._stream: Stream | None = None
        self._matcher = Matcher()
        #: All sessions of the scope, and those that wait to become members.
        self.sessions: dict[Session, None] = {}
        self._joining: dict[Session, None] = {}
        self._leaving: dict[Session, None] = {}
        self._job: Iterator[None] | None = None
        self._place: Place | None = None
        self._before = ""
        # As the last flush went: what is worth another one, and what one may take.
        self._plenty, self._most = PLENTY, MOST
        self._due = 0.0
        # What is scheduled, and whether it is a flush that lingers.
        self._timer: asyncio.Handle | None = None
        self._lingering = False
        self._following: asyncio.Task[None] | None = None
        self._over = False
        self.members = 0

    def open(self, stream: Stream) -> None:
        """Begin with a stream that stands at the live edge."""
        if self._over:
            stream.end("closed")
            return
        self._stream = stream
        self._figures = self.figures
        self._look()

    @property
    def opened(self) -> bool:
        return self._stream is not None

    @property
    def stream(self) -> Stream:
        assert self._stream is not None
        return self._stream

    @property
    def figures(self) -> ScopeFigures:
        """What is counted of it, from when it first has something to count."""
        if self._figures is None:
            self._figures = self._make_figures()
        return self._figures

    def counted_in(self, figures: ScopeFigures) -> bool:
        return self._figures is figures

    @property
    def idle(self) -> bool:
        """Whether everything that is known to exist was served."""
        stream = self._stream
        return stream is not None and self._job is None and stream.live and not stream.waiting

    @property
    def linger(self) -> float:
        """Seconds until the next flush may begin; 0 for at once."""
        return max(0.0, self._due - time.monotonic())

    @property
    def views(self) -> list[View]:
        return self._matcher.views

    # Sessions

    def view_of(self, request: ReadRequest, form: Form) -> View:
        """The view of a subscription, made when there is none."""
        return self._matcher.view_of(request, form)

    def tidy(self, view: View) -> None:
        """Drop a view without members."""
        self._matcher.tidy(view)

    def place(self) -> Place:
        """Up to where everything was served. The same object until that moves."""
        if self._place is None:
            self._place = Place(self.stream.place(), self.stream.cursor)
        return self._place

    @property
    def cursor(self) -> str:
        """Resumes after all that every member has had."""
        return self.stream.cursor if self._job is None else self._before

    def join(self, session: Session, stream: Stream) -> bool:
        """Make the session a member if its stream stands where this scope does; else it may
        become one after the next flush, see `Session.rejoin`."""
        if self._stream is None:
            return False
        if self._job is None and not stream.waiting and stream.beside(self.stream):
            self._joining.pop(session, None)
            self.admit(session)
            return True
        self._joining[session] = None
        return False

    def admit(self, session: Session) -> None:
        """It has had everything up to the place, and becomes a member."""
        view = self.view_of(session.request, session.form)
        view.members[session] = session.sink.write
        session.view = view
        view.target.members += 1
        self.members += 1

    def between_flushes(self, session: Session) -> bool:
        """Whether a session that was away may return now; else it is asked after the flush."""
        if self._stream is not None and self._job is None:
            return True
        self._joining[session] = None
        return False

    def may_leave(self, session: Session) -> bool:
        """Whether a member whose sink is full may leave now; else it is asked after the flush,
        which it gets whole."""
        if self._job is None:
            return True
        self._leaving[session] = None
        return False

    def leave(self, session: Session) -> None:
        """A member is one no longer. To be told what it misses it leaves between flushes."""
        view = session.view
        if view is not None:
            del view.members[session]
            view.target.members -= 1
            self.members -= 1
            session.view = None
            self.tidy(view)

    def forget(self, session: Session) -> None:
        """The session has ended; with the last one the scope ends."""
        self.leave(session)
        self._joining.pop(session, None)
        self._leaving.pop(session, None)
        self.sessions.pop(session, None)
        if not self.sessions:
            self._finish()

    # When to flush

    def woken(self) -> None:
        """The stream may have something new."""
        stream = self._stream
        if stream is None or self._job is not None or self._following is not None:
            return
        self._place = None
        plenty = stream.waiting >= self._plenty
        if self._timer is not None:
            if not (self._lingering and plenty):
                return
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        left = 0.0 if plenty else self._due - time.monotonic()
        self._lingering = left > 0
        self._timer = loop.call_later(left, self._flush) if self._lingering else loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._timer, self._lingering = None, False
        if self._stream is None:
            return
        if not self._stream.live:
            self._following = self._spawn(self._follow(), f"follow {self.label}")
            return
        delivery = self._take()
        if delivery is not None:
            self._job = self._serve(delivery)
            self._step(time.monotonic())

    def _take(self) -> Delivery | None:
        self._before = self.stream.cursor
        try:
            return self.stream.take(self._most)
        except EndOfStream as end:
            self._end(end.reason)
            return None

    def _step(self, began: float) -> None:
        """Serve for a few milliseconds, then let the loop turn."""
        loop, job = asyncio.get_running_loop(), self._job
        if job is None:
            return
        # Not the loop's clock: that stands still within a turn.
        until = time.monotonic() + STEP_SECONDS
        for _ in job:
            if time.monotonic() >= until:
                loop.call_soon(self._step, began)
                return
        self._between()
        # What was written goes to the sockets at the end of this turn of the loop: that counts.
        self._timer = loop.call_soon(self._settle, began)

    def _settle(self, began: float) -> None:
        self._timer = None
        now = time.monotonic()
        self._due = now + min(MAX_LINGER, LINGER * (now - began))
        self._look()

    def _look(self) -> None:
        if self._stream is not None and (self._stream.waiting or not self._stream.live):
            self.woken()

    async def _follow(self) -> None:
        """The tail left something out, or came faster than it could be served: from the log."""
        try:
            while self._stream is not None:
                self._before = self._stream.cursor
                delivery = await self._stream.known(None, self._most)
                if delivery is None:
                    break
                self._job = self._serve(delivery)
                until = time.monotonic() + STEP_SECONDS
                for _ in self._job:
                    if time.monotonic() >= until:
                        await asyncio.sleep(0)
                        until = time.monotonic() + STEP_SECONDS
                self._between()
                await asyncio.sleep(0)
        except EndOfStream as end:
            self._end(end.reason)
        except LinkspanError as error:
            self._end("failed", error)
        finally:
            self._following = None
        self._look()

    # Serving

    def _serve(self, delivery: Delivery) -> Iterator[None]:
        """Write a delivery to all members that want some of it, in steps."""
        self._place = None
        if delivery.gaps:
            cursor = None if delivery.events else delivery.cursor
            for view in self.views:
                yield from self._write(view, view.notice(delivery.gaps, cursor), 0)
        touched: dict[Target, None] = {}
        now, began = time.time() * 1000, time.monotonic()
        deliveries = 0
        for part in delivery.slices:
            found = self._matcher.match(part, touched)
            self.figures.served(found, now - part.newest_ms)
            deliveries += found
        self._weigh(len(delivery.events), deliveries, touched, time.monotonic() - began)
        for target in touched:
            collected, target.collected = target.collected, Collected()
            for view in list(target.views.values()):
                if view.away:
                    view.miss(collected)
                block = self._block(view, collected, delivery.cursor) if view.members else None
                if block is not None:
                    yield from self._write(view, block, collected.count)

    def _block(self, view: View, collected: Collected, cursor: str) -> bytes | None:
        try:
            return view.block(collected, cursor)
        except Exception as error:  # noqa: BLE001
            # A form's defect ends its own subscribers, and no others.
            _log.exception("view_failed", scope=self.label, form=str(view.form.key), error=repr(error))
            for session in list(view.members):
                session.end("failed")
            return None

    def _weigh(self, events: int, deliveries: int, touched: dict[Target, None], seconds: float) -> None:
        """Judge by this flush what the next one is worth, and how much it may take. `seconds`: how
        long matching took, which is done in one piece."""
        slow = self._most * MATCH_SECONDS / seconds if seconds > MATCH_SECONDS else MOST_OF_ALL
        if deliveries:
            writes = sum(target.members for target in touched)
            largest = max(target.collected.count for target in touched)
            self._most = min(MOST_OF_ALL, MOST * events // largest)
            self._plenty = min(self._most, PLENTY * writes * events // deliveries)
        self._most = max(LEAST, min(self._most, int(slow)))

    def _write(self, view: View, block: bytes, events: int) -> Iterator[None]:
        members = list(view.members.items())
        view.deliveries += events * len(members)
        view.bytes += len(block) * len(members)
        self.figures.wrote(events, len(members), len(block))
        if len(members) <= STEP_MEMBERS:
            _write_all(members, block)
            yield
            return
        for at in range(0, len(members), STEP_MEMBERS):
            # Some may have ended since the first step.
            _write_all([member for member in members[at : at + STEP_MEMBERS] if member[0].view is view], block)
            yield

    def _between(self) -> None:
        """A flush has ended: members whose sinks are full leave, those who caught up join."""
        self._job = None
        self._pace.flushed()
        leaving, self._leaving = self._leaving, {}
        for session in leaving:
            session.leave_if_full()
        for session in list(self._joining):
            if self._stream is None or self._stream.waiting:
                break
            del self._joining[session]
            session.rejoin()

    # The end

    def _end(self, cause: EndCause, error: LinkspanError | None = None) -> None:
        """The stream has ended, and with it all its members; others end by their own streams."""
        ended = [session for view in self.views for session in (*view.members, *view.away)]
        self._finish()
        for session in ended:
            session.end(cause, error)

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        stream, self._stream = self._stream, None
        self._job = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if stream is not None:
            stream.end("closed")
        if self._following is not None and self._following is not asyncio.current_task():
            self._following.cancel()
        self._ended(self)


def _write_all(members: list[tuple[Session, Write]], block: bytes) -> None:
    done = 0
    while done < len(members):
        try:
            for _, write in members[done:] if done else members:
                done += 1
                write(block)
        except Exception as error:  # noqa: BLE001
            # One member's broken wire must not keep the block from the others.
            _log.info("member_lost", reason=repr(error))
            members[done - 1][0].lost()
