"""Request bodies: bounded in size, in time, and together in memory.

A body that is already there when its request is handled, as small ones are, costs one call.
Others wait for their share of the budget before they are read, so that many clients with large
bodies cannot fill the memory: until then TCP holds them back.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.plugin import Limits, Unavailable
from protocols.http.problem import BodyTooLarge, ExpectationFailed, Malformed, TooSlow, UnsupportedCoding

#: Bodies up to this size need no share of the budget.
SMALL = 64 * 1024
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_ACCEPTED = (("Accept-Encoding", "gzip, deflate"),)


class Budget:
    """Bytes that bodies under way may hold together, given out in the order asked for."""

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, amount: int, seconds: float) -> None:
        """Wait for `amount` (at most `size`). Raises Unavailable when there is none in time."""
        if not self._waiting and amount <= self.free:
            self.free -= amount
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give(amount)  # it was granted in the very moment of giving up
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
                self._grant()
            if isinstance(error, TimeoutError):
                raise Unavailable("too many large requests are under way; try again later") from None
            raise

    def give(self, amount: int) -> None:
        self.free += amount
        self._grant()

    def _grant(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free:
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self.free -= amount
                turn.set_result(None)


class BodyReader:
    """Reads the bodies of one listener."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.body
        self._seconds = limits.request_timeout
        self._patience = limits.publish_deadline
        self.budget = Budget(max(limits.body, limits.memory // 4))

    async def read(self, request: BaseRequest) -> bytes:
        """The whole body, inflated when it has a Content-Encoding.

        Raises BodyTooLarge (by Content-Length before anything is read), TooSlow, Malformed,
        UnsupportedCoding, ExpectationFailed, Unavailable (no memory for it now), and
        ConnectionError when the client went away.
        """
        coding = request.headers.get("Content-Encoding")
        payload = request.content
        if payload.is_eof() and coding is None:
            body = payload.read_nowait()
            if len(body) > self._limit:
                raise self._too_large()
            return body
        bits = self._window_bits(coding)
        length = request.content_length
        if length is not None and length > self._limit:
            raise self._too_large()
        self._expect(request)
        share = length if length is not None and bits is None else self._limit
        if length is not None and length <= SMALL and bits is None:
            share = 0
        if share:
            await self.budget.take(share, self._patience)
        try:
            body = await self._receive(request)
            return body if bits is None else self._inflate(body, bits)
        finally:
            if share:
                self.budget.give(share)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"a body has at most {self._limit} bytes", limit=self._limit)

    def _window_bits(self, coding: str | None) -> int | None:
        if coding is None or coding.strip().lower() in ("", "identity"):
            return None
        bits = _WINDOW_BITS.get(coding.strip().lower())
        if bits is None:
            raise UnsupportedCoding(
                f"the content encoding {coding[:40]!r} is not understood; gzip and deflate are", headers=_ACCEPTED
            )
        return bits

    def _expect(self, request: BaseRequest) -> None:
        """Send 100 (RFC 9110, 10.1.1): only now, so that a refused body is never sent."""
        expect = request.headers.get("Expect")
        if expect is None:
            return
        if expect.strip().lower() != "100-continue":
            raise ExpectationFailed(f"the expectation {expect[:40]!r} cannot be met")
        if request.version >= (1, 1) and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _receive(self, request: BaseRequest) -> bytes:
        payload, parts, size = request.content, [], 0
        try:
            async with asyncio.timeout(self._seconds):
                while part := await payload.readany():
                    parts.append(part)
                    size += len(part)
                    if size > self._limit:
                        raise self._too_large()
        except TimeoutError:
            raise TooSlow(f"the body did not arrive within {self._seconds:g} s") from None
        except (RequestPayloadError, HttpProcessingError) as error:
            if request.transport is None:
                raise ConnectionResetError("the client went away within its request") from error
            raise Malformed("the body's transfer coding is broken") from error
        return b"".join(parts)

    def _inflate(self, body: bytes, bits: int) -> bytes:
        """Bounded: what grows beyond the limit is refused before it is there."""
        inflater = zlib.decompressobj(bits)
        try:
            plain = inflater.decompress(body, self._limit + 1)
        except zlib.error:
            raise Malformed("the body is not what its Content-Encoding says") from None
        if len(plain) > self._limit:
            raise self._too_large()
        if not inflater.eof or inflater.unused_data:
            raise Malformed("the compressed body is cut off or has something behind it")
        return plain
