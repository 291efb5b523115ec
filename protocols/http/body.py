"""Request bodies: bounded in size, in time, and together in memory.

A body that is already there when its request is handled, as small ones are, costs one call.
Others are charged to a budget as their bytes arrive: a client that announces much and sends
little holds little. Where the budget is full, TCP holds the others back; see `budget`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator

from aiohttp.web import BaseRequest, RequestPayloadError

from gateway.plugin import Limits
from protocols.http.budget import GRAIN, Budget, Share
from protocols.http.connection import HttpConnection
from protocols.http.problem import BodyTooLarge, Crowded, ExpectationFailed, Malformed, TooSlow, UnsupportedCoding

#: Bytes of each body that are not charged to the budget.
SMALL = GRAIN
#: Bytes that are inflated at once, and pieces after which the event loop runs on.
PIECE, BREATH = 64 * 1024, 16
#: A gzip body may have several members (RFC 1952, 2.2); each costs a table of its own.
MAX_MEMBERS = 10_000
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_ACCEPTED = (("Accept-Encoding", "gzip, deflate"),)


class BodyReader:
    """Reads the bodies of one listener."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.body
        self._seconds = limits.request_timeout
        self.budget = Budget(limits.memory // 4, limits.publish_deadline, spare=limits.body)

    async def read(self, request: BaseRequest) -> bytes:
        """The whole body, inflated when it has a Content-Encoding.

        Raises BodyTooLarge (by Content-Length before anything is read), TooSlow, Malformed,
        UnsupportedCoding, ExpectationFailed, Crowded (no memory for it now), and
        ConnectionError when the client went away.
        """
        coding, expect = request.headers.get("Content-Encoding"), request.headers.get("Expect")
        payload = request.content
        if expect is not None and expect.strip().lower() != "100-continue":
            raise ExpectationFailed(f"the expectation {expect[:40]!r} cannot be met")
        if payload.is_eof() and coding is None:
            body = payload.read_nowait()
            _check_whole(request)
            if len(body) > self._limit:
                raise self._too_large()
            return body
        bits = self._window_bits(coding)
        length = request.content_length
        if length is not None and length > self._limit:
            raise self._too_large()
        if expect is not None and not payload.is_eof():
            _go_on(request)
        return await self._receive(request, None if bits is None else Inflater(bits))

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

    async def _receive(self, request: BaseRequest, inflater: Inflater | None) -> bytes:
        task, given_way = asyncio.current_task(), False

        def give_way() -> None:
            nonlocal given_way
            if task is not None and not given_way:
                given_way = True
                task.cancel()

        try:
            with self.budget.share(give_way) as share:
                async with asyncio.timeout(self._seconds) as clock:
                    return await self._collect(request, inflater, share, clock)
        except asyncio.CancelledError:
            # Another reason to cancel may have come in the same moment: then it counts.
            if not given_way or task is None or task.uncancel():
                raise
            raise Crowded("the body arrived too slowly while others waited for its memory; try again later") from None
        except TimeoutError:
            raise TooSlow(f"the body did not arrive within {self._seconds:g} s") from None
        except RequestPayloadError as error:
            raise ConnectionResetError("the client went away within its request") from error
        except zlib.error:
            raise Malformed("the body is not what its Content-Encoding says") from None

    async def _collect(
        self, request: BaseRequest, inflater: Inflater | None, share: Share, clock: asyncio.Timeout
    ) -> bytes:
        payload, parts, size, count = request.content, list[bytes](), 0, 0
        while part := await payload.readany():
            for piece in (part,) if inflater is None else inflater.pieces(part):
                size += len(piece)
                if size > self._limit:
                    raise self._too_large()
                if size > SMALL + share.held:
                    await _charge(share, size - SMALL - share.held, clock)
                parts.append(piece)
                count += 1
                if inflater is not None and count % BREATH == 0:
                    await asyncio.sleep(0)
        _check_whole(request)
        if inflater is not None:
            inflater.finish()
        return b"".join(parts)


class Inflater:
    """Inflates what arrives in pieces of at most `PIECE`. Raises Malformed and zlib.error."""

    def __init__(self, bits: int) -> None:
        self._bits, self._members = bits, 1
        self._member = zlib.decompressobj(bits)

    def pieces(self, part: bytes) -> Iterator[bytes]:
        while part:
            if self._member.eof:
                self._next()
            yield self._member.decompress(part, PIECE)
            part = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finish(self) -> None:
        """Nothing comes any more. zlib holds nothing back: it reads the checksum after it gave all."""
        if not self._member.eof:
            raise Malformed("the compressed body is cut off")

    def _next(self) -> None:
        if self._bits != _WINDOW_BITS["gzip"]:
            raise Malformed("the compressed body has something behind it")
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise Malformed(f"the body has more than {MAX_MEMBERS} gzip members")
        self._member = zlib.decompressobj(self._bits)


def _check_whole(request: BaseRequest) -> None:
    if isinstance(request.protocol, HttpConnection) and request.protocol.broken is request.content:
        raise Malformed("the body's transfer coding is broken")


def _go_on(request: BaseRequest) -> None:
    """Send 100 (RFC 9110, 10.1.1): only now, so that a refused body is never sent."""
    if request.version >= (1, 1) and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _charge(share: Share, amount: int, clock: asyncio.Timeout) -> None:
    """Grow by whole grains. The client's time does not run while it is we who hold it back."""
    loop, until = asyncio.get_running_loop(), clock.when()
    began = loop.time()
    clock.reschedule(None)
    await share.grow(-(-amount // GRAIN) * GRAIN)
    clock.reschedule(None if until is None else until + loop.time() - began)
