"""Kafka's wire format, as far as we speak it ourselves, and a connection to one broker.

The connection is aiokafka's (framing, TLS, SASL, version look-up); requests and responses are
ours: newer versions than the library knows (topic ids, Metadata 10, Fetch 13), no copies of
record data, and no object per field. Types are named as in Kafka's protocol guide; versions
marked "flexible" there use compact lengths (`u...`) and end every structure with tags.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterable
from io import BytesIO
from typing import Any, Protocol

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError

from gateway.bus.kafka.errors import Unreachable

INT16 = struct.Struct(">h")
INT32 = struct.Struct(">i")
INT64 = struct.Struct(">q")
NO_TAGS = b"\x00"
_HEADER = struct.Struct(">hhi")


class Connection(Protocol):
    """What we use of the library's connection, which has no types."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    def connected(self) -> bool: ...
    def send(self, request: Request) -> Awaitable[Any]: ...
    def close(self) -> asyncio.Future[None] | None: ...


class Cursor:
    """Reads primitive types one after another. A short buffer raises struct.error or IndexError."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def int8(self) -> int:
        self.at += 1
        value = self.data[self.at - 1]
        return value - 256 if value > 127 else value

    def int16(self) -> int:
        self.at += 2
        return int(INT16.unpack_from(self.data, self.at - 2)[0])

    def int32(self) -> int:
        self.at += 4
        return int(INT32.unpack_from(self.data, self.at - 4)[0])

    def int64(self) -> int:
        self.at += 8
        return int(INT64.unpack_from(self.data, self.at - 8)[0])

    def uvarint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def take(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length : self.at]

    def uuid(self) -> bytes:
        return self.take(16)

    def string(self) -> str | None:
        length = self.int16()
        return None if length < 0 else self.take(length).decode()

    def ustring(self) -> str | None:
        length = self.uvarint()
        return None if length == 0 else self.take(length - 1).decode()

    def count(self) -> int:
        """The length of an array; a null one counts 0."""
        return max(0, self.int32())

    def ucount(self) -> int:
        return max(0, self.uvarint() - 1)

    def uint32s(self) -> tuple[int, ...]:
        """A compact array of int32."""
        length = self.ucount()
        self.at += 4 * length
        return struct.unpack_from(f">{length}i", self.data, self.at - 4 * length)

    def tags(self) -> None:
        """Skip the tagged fields at the end of a flexible structure."""
        for _ in range(self.uvarint()):
            self.uvarint()
            length = self.uvarint()
            self.at += length


def uvarint(value: int) -> bytes:
    """An unsigned varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: str | None) -> bytes:
    if text is None:
        return b"\xff\xff"
    data = text.encode()
    return INT16.pack(len(data)) + data


def array(items: Iterable[bytes]) -> bytes:
    parts = list(items)
    return INT32.pack(len(parts)) + b"".join(parts)


def uarray(items: Iterable[bytes]) -> bytes:
    parts = list(items)
    return uvarint(len(parts) + 1) + b"".join(parts)


class Request:
    """One request as the connection takes it; `decode` turns the response's body into ours.

    It answers to the names that the library calls on its own requests: `prepare`,
    `build_request_header`, `encode`, `parse_response_header`, `RESPONSE_TYPE.decode`.
    """

    __slots__ = ("body", "correlation_id", "flexible", "key", "name", "parse", "version")

    def __init__(
        self, name: str, key: int, version: int, body: bytes, parse: Callable[[Cursor], Any], *, flexible: bool = False
    ) -> None:
        self.name, self.key, self.version, self.body, self.flexible = name, key, version, body, flexible
        self.parse = parse
        self.correlation_id = 0

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Request:
        oldest, newest = versions.get(self.key, (0, -1))
        if not oldest <= self.version <= newest:
            raise KafkaError(f"Kafka 3.1 or newer is needed: this one does not know {self.name} version {self.version}")
        return self

    def build_request_header(self, *, correlation_id: int, client_id: str) -> _Encoded:
        header = _HEADER.pack(self.key, self.version, correlation_id) + string(client_id)
        return _Encoded(header + NO_TAGS if self.flexible else header)

    def encode(self) -> bytes:
        return self.body

    def parse_response_header(self, buffer: BytesIO) -> Request:
        cursor = Cursor(buffer.getvalue())
        self.correlation_id = cursor.int32()
        if self.flexible:
            cursor.tags()
        buffer.seek(cursor.at)
        return self

    @property
    def RESPONSE_TYPE(self) -> Request:  # noqa: N802  # the library's name
        return self

    def decode(self, buffer: BytesIO) -> Any:
        return self.parse(Cursor(buffer.getvalue(), buffer.tell()))

    def __repr__(self) -> str:
        return f"{self.name} v{self.version}"


class _Encoded:
    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def encode(self) -> bytes:
        return self._data


async def connect(host: str, port: int, client_id: str, timeout: float, options: dict[str, Any]) -> Connection:
    """Open a connection and authenticate. Raises Unreachable with a reason for people."""
    try:
        async with asyncio.timeout(timeout):
            connection: Connection = await create_conn(
                host,
                port,
                client_id=client_id,
                request_timeout_ms=round(timeout * 1000),
                # Below the broker's ten minutes, so that it is we who close an idle connection.
                max_idle_ms=540_000,
                **options,
            )
            return connection
    except TimeoutError as error:
        raise Unreachable(f"{host}:{port} does not answer within {timeout:g} s") from error
    except (OSError, KafkaError) as error:
        raise Unreachable(f"{host}:{port}: {str(error) or type(error).__name__}") from error


async def exchange(connection: Connection, request: Request, timeout: float) -> Any:
    """Send a request and wait for its response. Raises Unreachable; then the connection is closed.

    Whether the broker acted on it is then unknown.
    """
    try:
        async with asyncio.timeout(timeout):
            return await connection.send(request)
    except TimeoutError as error:
        connection.close()
        raise Unreachable(f"{connection.host}:{connection.port} did not answer {request.name} in time") from error
    except (OSError, KafkaError) as error:
        connection.close()
        raise Unreachable(f"{connection.host}:{connection.port}: {str(error) or type(error).__name__}") from error
