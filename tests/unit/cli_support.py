"""A scripted HTTP server for the command line's client, and running a command as a user does."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import structlog


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Scripted:
    """Answers each request by `answer(asked, handler)`; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self.answer: Callable[[Asked, BaseHTTPRequestHandler], None] = lambda asked, to: reply(to, {})


def reply(to: BaseHTTPRequestHandler, body: Any, status: int = 200, content_type: str = "application/json") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    to.send_response(status)
    to.send_header("Content-Type", content_type)
    to.send_header("Content-Length", str(len(data)))
    to.end_headers()
    to.wfile.write(data)


def stream(to: BaseHTTPRequestHandler, *chunks: bytes, end: bool = True) -> None:
    """A chunked answer of server-sent events; without `end` the connection breaks in the middle."""
    to.send_response(200)
    to.send_header("Content-Type", "text/event-stream")
    to.send_header("Transfer-Encoding", "chunked")
    to.end_headers()
    for chunk in chunks:
        to.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    to.wfile.write(b"0\r\n\r\n" if end else b"5\r\nab")
    to.close_connection = True


def sse(number: int, subject: str = "a/b", **more: Any) -> bytes:
    event = {
        "specversion": "1.0", "id": str(number), "source": "/s", "type": "t", "subject": subject, "data": {"n": number},
    } | more  # fmt: skip
    return b"id: c%d\ndata: %s\n\n" % (number, json.dumps(event).encode())


@contextmanager
def scripted(certificate: Path | None = None) -> Iterator[Scripted]:
    """`certificate`: a PEM file with its key, for TLS."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(self.command, self.path, dict(self.headers.items()), body)
            script.asked.append(asked)
            script.answer(asked, self)

        # The names that http.server looks for.
        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    script.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(capsys: Any, *words: str) -> tuple[int, str, str]:
    """Run `linkspan WORDS` in this process: exit code, stdout, stderr."""
    from gateway.cli.main import app

    handlers = list(logging.getLogger().handlers)
    try:
        app(list(words), standalone_mode=True)
        code: Any = 0
    except SystemExit as ended:
        code = ended.code
    finally:
        # `up` and `demo` set up logs on this test's stderr, which the next test does not have.
        structlog.reset_defaults()
        logging.getLogger().handlers[:] = handlers
    out = capsys.readouterr()
    return int(code or 0), out.out, out.err
