"""The client side of the HTTP door, on the standard library alone: a command starts fast.

Blocking calls, one connection, kept alive. `follow` is a stream that outlives its connections:
it resumes with `Last-Event-ID`, so that nothing is skipped or repeated.
"""

from __future__ import annotations

import http.client
import json
import random
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from gateway.cli.output import CANNOT_CONNECT, FAILED, REFUSED, WRONG_USE, CommandError
from gateway.cli.sse import Message, SseParser

Query = Sequence[tuple[str, str]]

#: Seconds of silence after which a stream counts as dead; the door sends a comment far more often.
SILENCE = 60.0
BACKOFF_FIRST, BACKOFF_MAX = 0.25, 10.0
_READ = 64 * 1024


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise CommandError("the answer is not JSON: is this a Linkspan HTTP listener?") from None


class ConnectionLost(CommandError):
    """The gateway cannot be reached, or went away before it had answered."""

    def __init__(self, message: str) -> None:
        super().__init__(message, CANNOT_CONNECT, code="cannot_connect", retriable=True)


def problem(status: int, body: bytes) -> CommandError:
    """The error that an answer of 400 or above stands for (RFC 9457)."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        told = {}
    code = str(told.get("code", f"http_{status}"))
    message = str(told.get("detail") or told.get("title") or f"the gateway answered {status}")
    faults = told.get("faults") or told.get("errors") or ()
    refused = 400 <= status < 500 and code != "not_available"
    return CommandError(
        message,
        REFUSED if refused else FAILED,
        code=code,
        faults=[fault for fault in faults if isinstance(fault, dict)],
        retriable=status == 429 or status >= 500,
        told=True,
    )


def trusting(ca: Path | None) -> ssl.SSLContext:
    """A context that trusts the authorities in a PEM file, or the system's. Raises CommandError."""
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        reason = "holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise CommandError(f"--ca {ca}: {reason}", WRONG_USE, code="wrong_use") from None


class Client:
    """`ca` names a PEM file to trust for `https://` in place of the system's authorities."""

    def __init__(self, url: str, token: str | None = None, ca: Path | None = None, timeout: float = 30.0) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise CommandError(f"{url!r} is not an http:// or https:// address", WRONG_USE, code="wrong_use")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._host, self._port = parts.hostname, port
        self._tls = trusting(ca) if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/") + "/v1"
        self._token, self._timeout = token, timeout
        self._connection: http.client.HTTPConnection | None = None
        # Kept beside: http.client lets go of its socket while an answer without a length is still read.
        self._sock: socket.socket | None = None
        #: Where the last stream stands (an opaque cursor), and the pause it asked for before a reconnect.
        self.last_id = ""
        self.retry = BACKOFF_FIRST

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Answer:
        """One request, whole answer. Raises CommandError for what is no success."""
        headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
        response = self._send(method, path, query, body, headers)
        try:
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionLost(f"{self.url} went away: {error}") from None
        if answer.status >= 400:
            raise problem(answer.status, answer.body)
        return answer

    def stream(
        self, path: str, *, query: Query = (), last_id: str = "", on_open: Callable[[], object] | None = None
    ) -> Iterator[list[Message]]:
        """One connection of server-sent events, in the lots that they arrive in.

        `on_open` is called once the start position is fixed: what is published after that comes.
        Ends when the gateway ends the stream; raises ConnectionLost when it breaks.
        """
        parser = SseParser(last_id)
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        response = self._send("GET", path, query, None, headers, timeout=SILENCE)
        if response.status >= 400:
            body = response.read()
            response.close()
            self.close()
            raise problem(response.status, body)
        if on_open:
            on_open()
        try:
            while chunk := response.read1(_READ):
                messages = parser.feed(chunk)
                # The position also moves without messages: past events that were not asked for.
                self.last_id = parser.last_id
                self.retry = BACKOFF_FIRST if parser.retry is None else parser.retry
                if messages:
                    yield messages
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # ValueError and AttributeError: `close` came from another thread meanwhile.
            raise ConnectionLost(f"the stream from {self.url} broke: {error}") from None
        finally:
            # The socket belongs to the response: the stream ends with its connection.
            response.close()
            self.close()

    def follow(
        self,
        path: str,
        *,
        query: Query = (),
        limit: int | None = None,
        on_open: Callable[[], object] | None = None,
        on_lost: Callable[[CommandError, float], object] | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> Iterator[list[Message]]:
        """`stream`, resumed after each loss with growing pauses, until `limit` events came.

        The first connection has to succeed; after it only an answer that says no ends this.
        """
        self.last_id = ""
        left, pause, begun = limit, 0.0, False
        while left is None or left > 0:
            asked = [*query, *([("limit", str(left))] if left is not None else [])]
            lost: CommandError = ConnectionLost(f"{self.url} ended the stream")
            try:
                for messages in self.stream(path, query=asked, last_id=self.last_id, on_open=on_open):
                    begun, pause = True, 0.0
                    if left is not None:
                        left -= sum(message.event == "message" for message in messages)
                    yield messages
                begun = True
            except CommandError as error:
                if not begun or not error.retriable:
                    raise
                lost = error
            if left is None or left > 0:
                pause = min(pause * 2, BACKOFF_MAX) if pause else min(self.retry, BACKOFF_MAX)
                if on_lost:
                    on_lost(lost, pause)
                wait(pause * random.uniform(0.75, 1.25))

    def close(self) -> None:
        """Let go of the connection; a read under way in another thread ends. Idempotent."""
        connection, self._connection = self._connection, None
        sock, self._sock = self._sock, None
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                sock.close()  # the other side was faster
        if connection is not None:
            connection.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | None,
        headers: dict[str, str],
        timeout: float | None = None,
    ) -> http.client.HTTPResponse:
        target = self._prefix + path + (f"?{urlencode(query, safe='/*')}" if query else "")
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = self._connect(timeout or self._timeout)
        try:
            connection.request(method, target, body=body, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            # A gateway that refuses a body early says why before it closes: the answer is still there.
            return self._answer(connection)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionLost(f"{self.url} went away: {error}") from None
        return self._answer(connection)

    def _answer(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        try:
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            told = str(error) or type(error).__name__
            raise ConnectionLost(f"{self.url} did not answer: {told}") from None

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            # Readable while nothing was asked: the gateway closed the idle connection.
            if not select.select([connection.sock], [], [], 0)[0]:
                connection.sock.settimeout(timeout)
                return connection
            self.close()
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            hint = "" if "hostname" in error.verify_message.lower() else " (--ca FILE names another authority)"
            raise ConnectionLost(f"cannot trust {self.url}: {error.verify_message}{hint}") from None
        except (OSError, UnicodeError) as error:
            raise ConnectionLost(f"cannot connect to {self.url}: {error}") from None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._sock = connection, connection.sock
        return connection
