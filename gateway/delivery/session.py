"""One subscriber: member of a view at the live edge, or reading the log at its own pace.

    NEW ------begin------> LIVE <----join at one place---- CATCH_UP
                            | sink full                      ^ |
                            v                     sink empty | | sink full
                          PAUSED (a place in the log) -------+ v
                                                             PAUSED

A live session is a handful of references: it has no task, no queue and no stream. When its sink
is full it leaves its view and keeps nothing but the place up to which it was served. Once there
is room it opens a stream from that place, writes what that brings, a chunk at a time, and
becomes a member again when the stream stands where its scope does.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from auth.principal import Principal
from gateway.delivery.form import EndCause, Form, Overflow, Sink
from gateway.delivery.outcome import Delivery, EndOfStream
from gateway.delivery.reader import ReadRequest
from gateway.delivery.stream import Stream
from gateway.delivery.view import Absence, View
from gateway.errors import Expired, LinkspanError, UnknownTopic

if TYPE_CHECKING:
    from gateway.delivery.live import Views
    from gateway.delivery.scope import Place, Scope

#: Bytes that may wait in the sink of a session that catches up before it is full.
CATCH_UP_BUFFER = 16 * 1024

_log = structlog.get_logger("linkspan.delivery")


class Session:
    """See the module. Made by `Views.subscribe`; all calls are made on the loop."""

    __slots__ = (
        "_absence", "_begun", "_busy", "_closed", "_place", "_room", "_scope", "_stream", "_task",
        "_views", "_written", "form", "overflow", "paused", "principal", "request", "sink", "view",
    )  # fmt: skip

    def __init__(
        self, views: Views, scope: Scope, request: ReadRequest, principal: Principal, form: Form, sink: Sink,
        overflow: Overflow,
    ) -> None:  # fmt: skip
        self._views, self._scope, self.request, self.principal = views, scope, request, principal
        self.form, self.sink, self.overflow = form, sink, overflow
        self.view: View | None = None
        self._stream: Stream | None = None
        self._place: Place | None = None
        self._written = ""
        self._absence: Absence | None = None
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._begun = self._busy = self._closed = self.paused = False
        scope.sessions[self] = None

    # What its door calls

    def begin(self) -> None:
        """Deliver from now on. The door has sent its answer."""
        self._begun = True
        if not self.paused:
            self._go_on()

    def pause(self) -> None:
        """The sink is full. What is written already stays written."""
        self.paused = True
        if self.view is not None and self._scope.may_leave(self):
            self._fall_behind()

    def resume(self) -> None:
        """The sink has room again."""
        self.paused = False
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        elif self._begun and not self._closed and self._task is None and self.view is None:
            self._go_on()

    def close(self) -> None:
        """Idempotent. Nothing is written any more."""
        if self._closed:
            return
        self._closed = True
        self._let_go()

    @property
    def live(self) -> bool:
        """Whether it is a member of its view; else it catches up, or waits for its sink."""
        return self.view is not None

    @property
    def lag(self) -> int:
        """Offsets between what was written and the live edge, as far as it is known."""
        return self._stream.lag if self._stream is not None else 0

    @property
    def cursor(self) -> str:
        """Resumes after all that was written."""
        if self._stream is not None:
            return self._written
        return self._scope.cursor if self._place is None else self._place.text

    # What its views call

    def start_from(self, stream: Stream) -> None:
        """The start position, as a stream that has it."""
        self._stream, self._written = stream, stream.cursor

    def start_at(self, place: Place) -> None:
        """The start position, as the place of the scope."""
        self._place = place

    def rejoin(self) -> None:
        """A flush has ended, and everything known was served: the moment to become a member."""
        if self._closed or self.paused or self._busy:
            return
        if self._absence is not None:
            self._return()
        elif self._stream is not None:
            self._join_now(self._stream)

    def end(self, cause: EndCause, error: LinkspanError | None = None) -> None:
        """It ends by itself, and tells its sink."""
        if not self._closed:
            self._closed = True
            self._let_go()
            self.sink.ended(cause, error)

    def lost(self) -> None:
        """Its sink does not take a write any more: the connection is going."""
        self.end("failed", None)

    # Leaving the live edge

    def leave_if_full(self) -> None:
        """A flush has ended that it was served in."""
        if self.paused and self.view is not None:
            self._fall_behind()

    def _fall_behind(self) -> None:
        scope = self._scope
        self._place = scope.place()
        scope.leave(self)
        self._views.overflows[self.overflow].value += 1
        _log.info("subscriber_slow", scope=scope.label, policy=self.overflow)
        if self.overflow == "disconnect":
            self.end("overflow")
        elif self.overflow != "catch-up":
            self._absence = Absence(self._views.buffer if self.overflow == "latest" else None)
            scope.view_of(self.request, self.form).away[self] = self._absence

    def _return(self) -> None:
        """Tell what was missed, write what was kept of it, and become a member."""
        absence, place = self._absence, self._place
        if absence is None or place is None or not self._scope.between_flushes(self):
            return
        scope, self._absence, self._place = self._scope, None, None
        view = scope.view_of(self.request, self.form)
        view.away.pop(self, None)
        try:
            self._make_good(view, absence, place)
        except Exception as error:  # noqa: BLE001
            # A form's defect ends its own subscribers, and no others.
            _log.exception("subscriber_failed", error=repr(error))
            self.end("failed")
        if self._closed:
            scope.tidy(view)
        else:
            scope.admit(self)
            self.leave_if_full()

    def _make_good(self, view: View, absence: Absence, place: Place) -> None:
        scope = self._scope
        if absence.missed:
            kept = absence.kept()
            dropped = absence.missed - len(kept)
            self._views.dropped[self.overflow].value += dropped
            _log.info("events_dropped", scope=scope.label, policy=self.overflow, events=dropped)
            cursor = scope.stream.cursor
            if dropped:
                gaps = scope.stream.gaps_since(place.cursor)
                self._write(view.notice(gaps, None if kept else cursor))
            if kept:
                # Until the last of them has come, only the old place tells which were kept.
                cursors = [place.text] * (len(kept) - 1) + [cursor]
                self._write(self.form.block(self.form.encode(kept), cursors, cursor))

    # Catching up

    def _go_on(self) -> None:
        if self._absence is not None:
            self._return()
        elif self._stream is None and self._scope.idle and self._place is self._scope.place():
            self._place = None
            self._scope.admit(self)
        else:
            self._task = self._views.spawn(self._catch_up(), "catch up")
            self._views.catching_up += 1

    async def _catch_up(self) -> None:
        me = asyncio.current_task()
        cause: EndCause | None = None
        fault: LinkspanError | None = None
        try:
            await self._pump()
        except EndOfStream as end:
            cause = end.reason
        except UnknownTopic:
            cause = "deleted"
        except Expired:
            cause = "recreated"
        except LinkspanError as error:
            cause, fault = "failed", error
        except Exception as error:  # noqa: BLE001
            # A defect ends this subscriber, and no other.
            _log.exception("subscriber_failed", error=repr(error))
            cause = "failed"
        if self._task is me:  # else it has joined, or was closed
            self._task_done()
            if cause is not None:
                self.end(cause, fault)

    def _task_done(self) -> None:
        if self._task is not None:
            self._task = None
            self._views.catching_up -= 1

    async def _pump(self) -> None:
        stream = self._stream
        if stream is None:
            assert self._place is not None
            self.start_from(stream := await self._views.resume(self, self._place))
            self._place = None
        self.sink.bound(CATCH_UP_BUFFER)
        while self._stream is stream:
            if self.paused:
                await self._wait_for_room()
                continue
            delivery = await stream.known(None, self._views.chunk)
            if self._stream is not stream:
                break  # it joined while a read was under way, at the place before it
            if delivery is not None:
                await self._take_turn(stream, delivery)
            elif self.request.limit is None:
                await self._views.reach(self._scope)
                if self._scope.join(self, stream):
                    self._joined(stream)
                elif stream.live and not stream.waiting:
                    await stream.wait(None)
            else:
                await stream.wait(None)

    async def _take_turn(self, stream: Stream, delivery: Delivery) -> None:
        """Few write at a time, so that those who catch up never keep the live edge waiting."""
        self._busy = True
        try:
            await self._views.pace.turn(partial(self._deliver, stream, delivery))
        finally:
            self._busy = False

    async def _wait_for_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room
        finally:
            self._room = None

    def _join_now(self, stream: Stream) -> None:
        """Between two flushes: take what is queued, which brings it to where the scope stands."""
        try:
            while stream.live and not self.paused and (delivery := stream.take()) is not None:
                self._deliver(stream, delivery)
        except EndOfStream:
            return  # its task finds the same
        if not self.paused and self._scope.join(self, stream):
            self._joined(stream)

    def _joined(self, stream: Stream) -> None:
        self._stream = None
        self._task_done()  # it waits for this stream, and finds that it is done
        stream.end("closed")
        self.sink.bound(self._views.buffer)
        self.leave_if_full()

    def _deliver(self, stream: Stream, delivery: Delivery) -> None:
        if self._closed:
            return
        form, events = self.form, delivery.events
        if delivery.gaps:
            cursor = None if events else delivery.cursor
            self._write(b"".join(form.gap(gap, cursor) for gap in delivery.gaps))
        if events:
            block = self._views.encodings.block(form, stream.selection, delivery)
            self._write(block)
            self._scope.figures.caught_up(len(events), len(block))
        self._written = delivery.cursor

    def _write(self, block: bytes) -> None:
        if self._closed:
            return
        try:
            self.sink.write(block)
        except Exception as error:  # noqa: BLE001
            # The connection is going, and has not said so yet.
            _log.info("member_lost", reason=repr(error))
            self.lost()

    def _let_go(self) -> None:
        scope = self._scope
        if self._absence is not None:
            view = scope.view_of(self.request, self.form)
            view.away.pop(self, None)
            scope.tidy(view)
        scope.forget(self)
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.end("closed")
        task = self._task
        self._task_done()
        if task is not None and task is not asyncio.current_task():
            task.cancel()
