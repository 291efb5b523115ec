"""One TCP connection: from its first byte through handshake and messages to its end.

Everything that arrives is handled synchronously; there is no task, queue or timer of its own.
Blocks of events go to the transport without passing here: everything written is whole frames.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, cast

from gateway.plugin import ANONYMOUS, Draining, LinkspanError, Principal, Unavailable, now_rfc3339
from gateway.plugin import Connection as Described
from protocols.websocket.alive import seconds_since_ack
from protocols.websocket.closing import Code
from protocols.websocket.cloudevents import CloudEventsDialect
from protocols.websocket.dialect import Dialect
from protocols.websocket.handshake import END, NATIVE, Opening, open_handshake
from protocols.websocket.limits import Bucket
from protocols.websocket.native import NativeDialect
from protocols.websocket.pace import EVERY_HOLD, Hold, Paced
from protocols.websocket.problem import HeadersTooLarge, InternalError, Malformed, TooSlow, answer, status_of
from protocols.websocket.wire import PING, Message, Wire, text_frame, window_bits

if TYPE_CHECKING:
    from protocols.websocket.door import Door

#: Seconds that a closing handshake may take, and that a client may go on sending what is thrown away.
CLOSING = 5.0
LINGER = 2.0
#: Bytes that a connection may have handled in one turn of the loop: they can hold thousands of frames.
TURN = 32 * 1024
#: Seconds by which the kernel's clock for acknowledgements may be off.
INEXACT = 0.05
_AWAY = "the gateway is shutting down; connect to another instance, or again later"


class State(IntEnum):
    HEAD = 0
    """The request is not complete."""
    OPENING = 1
    """Its subscription is being opened."""
    OPEN = 2
    CLOSING = 3
    """A close frame was written."""
    ENDING = 4
    """Nothing more is written, and what comes is thrown away."""
    CLOSED = 5


class Connection(Paced):
    """See the module."""

    __slots__ = (
        "_deadline", "_dialect", "_head", "_held", "_id", "_pending", "_pinged", "_since", "_state", "_subprotocol",
        "_task", "_unsent", "_wire", "principal", "window_bits",
    )  # fmt: skip

    def __init__(self, door: Door) -> None:
        super().__init__(door)
        self.principal: Principal = ANONYMOUS
        self.window_bits = 0
        self._state = State.HEAD
        self._pinged = self._deadline = 0.0
        self._pending = self._unsent = 0
        self._head = self._id = self._since = self._subprotocol = ""
        self._wire: Wire | None = None
        self._dialect: Dialect | None = None
        self._held: list[bytes] | None = None
        self._task: asyncio.Task[None] | None = None

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self.door.limits.stream_buffer)
        self.door.add(self)
        self.heard = asyncio.get_running_loop().time()
        self._deadline = self.heard + self.door.handshake_timeout

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = State.CLOSED
        self.lost()
        self.door.remove(self)
        self._stop()
        if self._wire is not None:
            self.door.gateway.connections.remove(self._id)
            self.door.counters.closed(self._wire.close_code)
            self.door.counters.open[self._subprotocol].dec()

    def eof_received(self) -> None:
        """The client sends no more: the transport closes itself, once it has written what is left."""
        self._stop()
        self._leave(CLOSING, State.ENDING)

    def pause_writing(self) -> None:
        self.paused = True
        if self._state is State.OPEN:
            self._unsent, self._deadline = self._transport.get_write_buffer_size(), self.door.now
        if self._dialect is not None:
            self._dialect.pause()

    def resume_writing(self) -> None:
        self.taken()
        if self._dialect is not None:
            self._dialect.resume()

    def data_received(self, data: bytes) -> None:
        self.heard = self.door.now
        if len(data) <= TURN:
            self._handle(data)
        else:
            self.hold(Hold.TURN)
            self._take_turns(data, 0)
        if self._bucket is not None and self._state is State.OPEN:
            self.slow_down(self._bucket, len(data))

    def _take_turns(self, data: bytes, begin: int) -> None:
        end = begin + TURN
        self._handle(data[begin:end])
        if end < len(data) and self._state < State.ENDING:
            asyncio.get_running_loop().call_soon(self._take_turns, data, end)
        else:
            self.release(Hold.TURN)

    def _handle(self, data: bytes) -> None:
        """Never raises: a defect of ours ends this connection alone."""
        try:
            if self._state is State.OPEN:
                self._received(data)
            elif self._state is State.HEAD:
                self._head_received(data)
            elif self._state is State.CLOSING and self._wire is not None:
                self._wire.receive(data)
                self._flush()
        except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
            self.failed(error)

    # The handshake

    def _head_received(self, data: bytes) -> None:
        before = len(self._head)
        self._head += data.decode("latin-1")
        end = self._head.find(END, max(0, before - len(END)))
        size = len(self._head) if end < 0 else end + len(END)
        try:
            if size > self.door.limits.header:
                raise HeadersTooLarge(f"a handshake has at most {self.door.limits.header} bytes")
            if end >= 0:
                head, self._head = self._head, ""
                self._asked(head[:size].encode("latin-1"), early=len(head) > size)
        except LinkspanError as error:
            self._refuse(error)

    def _asked(self, head: bytes, *, early: bool) -> None:
        """A whole request is there. Raises LinkspanError."""
        door = self.door
        if door.draining:
            raise Draining(_AWAY)
        if door.full:
            raise Unavailable("this gateway has as many connections as it takes; try again later")
        opening = open_handshake(head, door.guard, compression=door.settings.compression)
        if early:
            # RFC 6455, 4.1: the client waits for the answer before it sends more.
            raise Malformed("something was sent behind the handshake, before it was answered")
        wish = opening.wish
        self.principal = door.gateway.authenticate(wish.token)
        self.window_bits, self._subprotocol = window_bits(opening.extensions), wish.subprotocol
        if wish.subprotocol == NATIVE:
            self._dialect = NativeDialect(self)
            self._accept(opening)
            return
        self._dialect = CloudEventsDialect(self, wish)
        self._state = State.OPENING
        self.hold(Hold.OPENING)
        self._task = door.spawn(self._prepare(opening, self._dialect), "websocket handshake")

    async def _prepare(self, opening: Opening, dialect: Dialect) -> None:
        try:
            await dialect.prepare()
        except LinkspanError as error:
            self._refuse(error)
        except Exception as error:  # noqa: BLE001  # told, and the client gets its answer
            self.failed(error)
        else:
            if self._state is State.OPENING:
                self._accept(opening)
        finally:
            self._task = None

    def _accept(self, opening: Opening) -> None:
        door = self.door
        self._wire = Wire(opening.extensions, door.settings.max_message)
        self._state = State.OPEN
        self._since = now_rfc3339()
        self._id = door.gateway.connections.add("websocket", self)
        door.counters.handshake(101)
        door.counters.open[self._subprotocol].inc()
        if door.settings.publish_rate is not None:
            self._bucket = Bucket(door.settings.publish_rate, self.heard)
        self._transport.write(opening.accept())
        if self._dialect is not None:
            self._dialect.begin()
        self.release(Hold.OPENING)

    def _refuse(self, error: LinkspanError) -> None:
        """Answer the handshake with an error, and end the connection once the client has seen it."""
        if self._state not in (State.HEAD, State.OPENING):
            return
        self.door.counters.handshake(status_of(error))
        self._stop()
        self._transport.write(answer(error))
        self._hang_up()

    # Messages

    def _received(self, data: bytes) -> None:
        wire, dialect = self._wire, self._dialect
        assert wire is not None
        assert dialect is not None
        for message in wire.receive(data):
            self._take(message, dialect)
        if self._held is None:
            dialect.settle()
        self._flush()
        self._yield()

    def _yield(self) -> None:
        if self._pending and self._state is State.OPEN:
            self.yield_to_ingress()

    def _take(self, message: Message, dialect: Dialect) -> None:
        data = message.data
        if self._state is not State.OPEN:
            return
        if not message.text:
            self.close(Code.UNSUPPORTED, f"{self._subprotocol} has text messages only")
        elif not data.isascii() and not _is_utf8(data):
            self.close(Code.NOT_UTF8, "a text message is UTF-8")
        elif self._held is not None:
            self._held.append(data)
        else:
            dialect.take(data)

    def wait_for(self, work: Callable[[], Awaitable[object]], then: Callable[[LinkspanError | None], None]) -> None:
        """Take no message before `work` is done and `then` was called with its error: none overtakes another."""
        self._held = []
        self.hold(Hold.WAITING)
        self._task = self.door.spawn(self._wait(work, then), "websocket topic")

    async def _wait(self, work: Callable[[], Awaitable[object]], then: Callable[[LinkspanError | None], None]) -> None:
        failed: LinkspanError | None = None
        try:
            await work()
        except LinkspanError as error:
            failed = error
        except Exception as error:  # noqa: BLE001  # told, and the client does not wait for ever
            self.failed(error)
        self._task = None
        held, self._held = self._held or [], None
        if self._state is not State.OPEN or self._dialect is None:
            return
        then(failed)
        for at, data in enumerate(held):
            self._dialect.take(data)
            if self._held is not None:  # it had to wait itself
                self._held += held[at + 1 :]
                return
        self._dialect.settle()
        if self._held is None:
            self.release(Hold.WAITING)
        self._yield()

    # What dialects call

    @property
    def write(self) -> Callable[[bytes], object]:
        """The transport's own method, for whole frames."""
        return self._transport.write

    @property
    def open(self) -> bool:
        """Whether messages may be sent."""
        return self._state is State.OPEN and self._wire is not None and self._wire.open

    def send(self, payload: bytes) -> None:
        """One text message; dropped when the connection is closing."""
        if self.open:
            self.write_frames(text_frame(payload))

    def publishing(self) -> None:
        """Events were given to the ingress; `published` follows."""
        self._pending += 1

    def published(self) -> None:
        """They were answered, and the client too."""
        self._pending -= 1
        if not self._pending and self.door.draining:
            self.drain()

    # The end

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; no effect before the connection is open, and when it has begun."""
        if self._state is State.OPEN and self._wire is not None:
            self._stop()
            self._wire.close(code, reason)
            self._flush()
            self._leave(CLOSING)

    def failed(self, error: Exception) -> None:
        """A defect: it goes to the log, and this connection ends."""
        self.door.gateway.logger.error("websocket_failed", client=self._id, exc_info=error)
        self._refuse(InternalError("something went wrong in the gateway; its log says what"))
        self.close(Code.INTERNAL, "something went wrong in the gateway; its log says what")

    def drain(self) -> None:
        """Tell the client to reconnect elsewhere, once what it published is answered."""
        if self._state is State.OPEN and self._pending:
            self.hold(Hold.INGRESS)
        else:
            self._refuse(Draining(_AWAY))
            self.close(Code.RESTART, "the gateway is shutting down; reconnect and resume with the last cursor")

    def abort(self) -> None:
        """Cut the socket."""
        if self._state is not State.CLOSED:
            self._stop()
            self._state = State.ENDING
            self._transport.abort()

    def _stop(self) -> None:
        """End everything that could still write."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._dialect is not None:
            self._dialect.close()
        self._held = None

    def _leave(self, seconds: float, state: State = State.CLOSING) -> None:
        """From now on only what belongs to the end is read; at last the socket is cut."""
        self._state = state
        self._deadline = self.door.now + seconds
        self.release(EVERY_HOLD & ~Hold.TURN)

    def _hang_up(self) -> None:
        """Nothing more will be written. The client's bytes are still read, so that the last of ours reach it."""
        self._leave(LINGER, State.ENDING)
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _flush(self) -> None:
        """Write the answers to control frames; follow the closing handshake."""
        wire = self._wire
        assert wire is not None
        output = wire.take_output()
        if not wire.open and self._state is State.OPEN:
            self._stop()
            self._leave(CLOSING)
        if output:
            self.write_frames(output)
        if wire.over and self._state is State.CLOSING:
            if wire.clean:
                self._leave(LINGER, State.ENDING)
                self._transport.close()
            else:
                self.door.counters.faults.inc()
                self._hang_up()

    # Whether it is there

    def check(self, now: float) -> None:
        """Called about once a second."""
        if self._state is State.OPEN:
            if self.paused:
                self._check_slow(now)
            elif self._holds:
                self.heard = now  # it is we who do not listen
            elif now - self.heard >= self.door.settings.ping_interval:
                self._check_silent(now)
        elif now >= self._deadline:
            if self._state is State.HEAD or self._state is State.OPENING:
                self._refuse(TooSlow("the handshake took too long"))
            else:
                self._transport.abort()

    def _check_silent(self, now: float) -> None:
        settings = self.door.settings
        asked = now - self._pinged
        if self._pinged > self.heard:
            if asked < settings.ping_timeout:
                return
            acknowledged = seconds_since_ack(self._transport)
            gone = acknowledged is None or acknowledged > asked + INEXACT
            if gone or now - self.heard >= settings.slow_timeout:
                self._cut(Code.NO_ANSWER, "no answer to a ping")
                return
        self._pinged = now
        self.door.counters.pings.inc()
        self.write_frames(PING)

    def _check_slow(self, now: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent, self._deadline = unsent, now
        elif now - self._deadline >= self.door.settings.slow_timeout:
            self._cut(Code.TOO_SLOW, "nothing of what was sent was taken for too long")

    def _cut(self, code: Code, reason: str) -> None:
        self.close(code, reason)
        self._deadline = self.door.now + LINGER

    # What operators see (gateway.plugin.Connections)

    def describe(self, id: str) -> Described:
        peer: Any = self._transport.get_extra_info("peername")
        shown = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "")
        return Described(id=id, protocol="websocket", peer=shown, principal=self.principal.id, since=self._since)

    def disconnect(self) -> None:
        self.close(Code.DISCONNECTED, "an operator ended the connection")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
