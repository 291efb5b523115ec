"""The bytes of RFC 6455, both ways. Here alone the library that parses them is known.

The library parses frames, answers pings and leads the closing handshake. Frames of data are
made here, since those of a fan-out are written without asking it. No I/O.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence

from websockets.exceptions import PayloadTooBig
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import CTRL_OPCODES, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.typing import ExtensionParameter

PING = b"\x89\x00"
#: Bytes; a shorter message gains less by compression than it costs.
WORTH_COMPRESSING = 512
_LEVEL = 1
_SYNC = b"\x00\x00\xff\xff"
_MAX_REASON = 123

_TEXT, _BINARY, _CONT = Opcode.TEXT, Opcode.BINARY, Opcode.CONT
# It tells of every connection; who wants to see them looks at the gateway's metrics.
_log = logging.getLogger("linkspan.websocket.wire")
_log.setLevel(logging.ERROR)


def text_head(size: int, first: int = 0x81) -> bytes:
    """What comes before a text message of `size` bytes in one frame (RFC 6455, 5.2)."""
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return b"%c\x7e%b" % (first, size.to_bytes(2, "big"))
    return b"%c\x7f%b" % (first, size.to_bytes(8, "big"))


def text_frame(payload: bytes) -> bytes:
    """A whole text message in one frame, uncompressed."""
    return text_head(len(payload)) + payload


def compressed_frame(payload: bytes, window_bits: int) -> bytes:
    """A whole text message in one frame, compressed without regard to others (RFC 7692, 7.2.1)."""
    if len(payload) < WORTH_COMPRESSING:
        return text_frame(payload)
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window_bits)
    packed = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
    # 0x40: RSV1, "this message is compressed".
    return text_head(len(packed) - len(_SYNC), 0xC1) + packed[: -len(_SYNC)]


class BoundedDeflate(PerMessageDeflate):
    """Inflates up to the size that a message may have, and no further."""

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        # To zlib 0 means "without bound": a fragment behind a message that is full already.
        if max_size == 0 and frame.opcode not in CTRL_OPCODES:
            raise PayloadTooBig(None, 0)
        return super().decode(frame, max_size=max_size)


class Deflate(ServerPerMessageDeflateFactory):
    """Agrees to permessage-deflate, each message by itself both ways (RFC 7692, 7.1.1).

    What is sent is then the same for everybody, and a connection keeps no window of 32 KiB.
    """

    def __init__(self) -> None:
        super().__init__(server_no_context_takeover=True, client_no_context_takeover=True)

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        answer, agreed = super().process_request_params(params, accepted_extensions)
        return answer, BoundedDeflate(True, True, agreed.remote_max_window_bits, agreed.local_max_window_bits)


class Message:
    """One message of the client. `text` is False for a binary one."""

    __slots__ = ("data", "text")

    def __init__(self, data: bytes, text: bool) -> None:
        self.data, self.text = data, text


class Wire:
    """One connection after its handshake."""

    __slots__ = ("_parts", "_protocol", "_text")

    def __init__(self, extensions: Sequence[Extension], max_message: int) -> None:
        protocol = self._protocol = Protocol(SERVER, state=OPEN, max_size=max_message, logger=_log)
        protocol.extensions = list(extensions)
        self._parts: bytearray | None = None
        self._text = False

    def receive(self, data: bytes) -> list[Message]:
        """The messages that are complete with `data`; control frames are answered in `take_output`.

        What is no WebSocket ends the connection: `take_output` holds the close frame, and
        nothing is received any more.
        """
        protocol = self._protocol
        protocol.receive_data(data)
        frames = protocol.events_received()
        if len(frames) == 1:
            frame = frames[0]
            assert isinstance(frame, Frame)
            if frame.fin and (frame.opcode is _TEXT or frame.opcode is _BINARY):
                return [Message(bytes(frame.data), frame.opcode is _TEXT)]
        return [message for frame in frames if (message := self._add(frame)) is not None]  # type: ignore[arg-type]

    def _add(self, frame: Frame) -> Message | None:
        opcode = frame.opcode
        if opcode is _CONT:
            # Put together at once: a million fragments of a byte are not kept as such.
            assert self._parts is not None
            self._parts += frame.data
            if not frame.fin:
                return None
            message, self._parts = Message(bytes(self._parts), self._text), None
            return message
        if opcode is not _TEXT and opcode is not _BINARY:
            return None
        if frame.fin:
            return Message(bytes(frame.data), opcode is _TEXT)
        self._parts, self._text = bytearray(frame.data), opcode is _TEXT
        return None

    def take_output(self) -> bytes:
        """What is to be written: whole frames."""
        protocol = self._protocol
        return b"".join(protocol.data_to_send()) if protocol.writes else b""

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; the frame is in `take_output`. No effect once it has begun."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, shortened(reason))

    def fail(self, code: int, reason: str) -> None:
        """As `close`, and nothing more is received."""
        if self._protocol.state is OPEN:
            self._protocol.fail(code, shortened(reason))

    @property
    def open(self) -> bool:
        """Whether messages may be sent: our close frame is not out. One that answers the client's
        waits in `take_output` until what came before it in the same read was answered."""
        protocol = self._protocol
        return protocol.state is OPEN or (protocol.close_rcvd_then_sent is True and bool(protocol.writes))

    @property
    def over(self) -> bool:
        """Whether the closing handshake is complete, or the client broke it off: the socket is to be closed."""
        return self._protocol.eof_sent

    @property
    def clean(self) -> bool:
        """Whether the client's close frame has come."""
        return self._protocol.close_rcvd is not None

    @property
    def close_code(self) -> int:
        """The code that the connection ends with, ours before the client's; 1006: neither sent one."""
        protocol = self._protocol
        told = protocol.close_sent or protocol.close_rcvd
        return 1006 if told is None else int(told.code)


def window_bits(extensions: Sequence[Extension]) -> int:
    """The window that the client can inflate, 9 to 15 bits; 0: compression was not agreed on."""
    for extension in extensions:
        if isinstance(extension, PerMessageDeflate):
            return extension.local_max_window_bits
    return 0


def shortened(reason: str) -> str:
    """A close reason in at most 123 bytes of UTF-8 (RFC 6455, 5.5)."""
    return reason.encode()[:_MAX_REASON].decode(errors="ignore")
