"""gateway/cli/client.py: requests, streams, and streams that outlive their connections."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.cli.client import Client, ConnectionLost, problem
from gateway.cli.output import CANNOT_CONNECT, FAILED, REFUSED, WRONG_USE, CommandError
from tests.conftest import wait_until
from tests.unit.cli_support import Asked, Scripted, reply, run, scripted, sse, stream


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


@pytest.fixture
def client(server: Scripted) -> Iterator[Client]:
    made = Client(server.url, "tok")
    yield made
    made.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_request_carries_the_token_and_the_query(server: Scripted, client: Client) -> None:
    server.answer = lambda asked, to: reply(to, {"ok": 1})
    assert client.request("GET", "/topics", query=[("from", "a/**"), ("start", "last:5")]).json() == {"ok": 1}
    asked = server.asked[0]
    assert asked.path == "/v1/topics?from=a/**&start=last%3A5"
    assert asked.headers["Authorization"] == "Bearer tok"


def test_one_connection_serves_many_requests(server: Scripted, client: Client) -> None:
    ports = []

    def answer(asked: Asked, to: BaseHTTPRequestHandler) -> None:
        ports.append(to.client_address[1])
        reply(to, {})

    server.answer = answer
    for _ in range(3):
        client.request("GET", "/topics")
    assert len(set(ports)) == 1


def test_an_idle_connection_that_the_gateway_closed_is_replaced(server: Scripted, client: Client) -> None:
    def answer(asked: Asked, to: BaseHTTPRequestHandler) -> None:
        reply(to, {})
        to.close_connection = True

    server.answer = answer
    for _ in range(3):
        client.request("POST", "/topics", body=b"{}")
        connection = client._connection
        assert connection is not None
        # The close is on its way behind the answer: a socket that can be read now has it.
        wait_until(lambda: connection.sock is None or select.select([connection.sock], [], [], 0)[0])  # noqa: B023
    assert len(server.asked) == 3


def test_a_problem_becomes_an_error_with_its_code_and_faults(server: Scripted, client: Client) -> None:
    body = {"code": "invalid_event", "detail": "one bad event", "faults": [{"where": "events[0].id", "message": "x"}]}
    server.answer = lambda asked, to: reply(to, body, 400, "application/problem+json")
    with pytest.raises(CommandError, match=r"one bad event\Z") as raised:
        client.request("POST", "/topics", body=b"[]")
    assert (raised.value.code, raised.value.told) == ("invalid_event", True)
    assert raised.value.exit_code == REFUSED
    assert raised.value.faults == [{"where": "events[0].id", "message": "x"}]


@pytest.mark.parametrize(
    ("status", "body", "exit_code", "retriable"),
    [
        (403, b'{"code": "forbidden"}', REFUSED, False),
        (429, b'{"code": "limit_exceeded"}', REFUSED, True),
        (400, b'{"code": "not_available"}', FAILED, False),
        (503, b"<html>", FAILED, True),
        (502, b'"text"', FAILED, True),
    ],
)
def test_refusals_and_failures_are_told_apart(status: int, body: bytes, exit_code: int, retriable: bool) -> None:
    error = problem(status, body)
    assert (error.exit_code, error.retriable) == (exit_code, retriable)


def test_an_answer_that_is_no_json_says_so(server: Scripted, client: Client) -> None:
    server.answer = lambda asked, to: reply(to, b"<html>")
    with pytest.raises(CommandError, match="not JSON"):
        client.request("GET", "/topics").json()


def test_nobody_there_is_exit_code_3() -> None:
    with pytest.raises(ConnectionLost, match="cannot connect to") as raised:
        Client(f"http://127.0.0.1:{free_port()}").request("GET", "/topics")
    assert raised.value.exit_code == CANNOT_CONNECT


def test_a_gateway_that_hangs_up_without_an_answer_is_exit_code_3(server: Scripted, client: Client) -> None:
    server.answer = lambda asked, to: setattr(to, "close_connection", True)
    with pytest.raises(ConnectionLost, match="did not answer"):
        client.request("GET", "/topics")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:port", "http://x:99999999"])
def test_an_illegal_url_is_wrong_use(url: str) -> None:
    with pytest.raises(CommandError) as raised:
        Client(url)
    assert raised.value.exit_code == WRONG_USE


def test_a_url_may_lack_its_scheme_and_have_a_path() -> None:
    assert Client("localhost:1234/base/").url == "http://localhost:1234/base"


def test_a_stream_yields_messages_until_the_gateway_ends_it(server: Scripted, client: Client) -> None:
    server.answer = lambda asked, to: stream(to, b": hello\n\n", sse(1) + sse(2), sse(3))
    opened: list[bool] = []
    lots = list(client.stream("/events", on_open=lambda: opened.append(True)))
    assert [message.id for lot in lots for message in lot] == ["c1", "c2", "c3"]
    assert opened == [True]
    assert server.asked[0].headers["Accept"] == "text/event-stream"


def test_following_resumes_after_a_break_with_the_last_event_id(server: Scripted, client: Client) -> None:
    def answer(asked: Asked, to: BaseHTTPRequestHandler) -> None:
        seen = asked.headers.get("Last-Event-ID")
        if seen is None:
            stream(to, sse(1), sse(2), end=False)
        else:
            stream(to, sse(3), sse(4))

    server.answer = answer
    lost: list[CommandError] = []
    lots = client.follow("/events", limit=4, on_lost=lambda error, pause: lost.append(error), wait=lambda _: None)
    assert [message.id for lot in lots for message in lot] == ["c1", "c2", "c3", "c4"]
    assert [asked.headers.get("Last-Event-ID") for asked in server.asked] == [None, "c2"]
    assert [asked.path for asked in server.asked] == ["/v1/events?limit=4", "/v1/events?limit=2"]
    assert len(lost) == 1


def test_following_waits_longer_after_each_loss_up_to_a_bound(server: Scripted, client: Client) -> None:
    calls = 0

    def answer(asked: Asked, to: BaseHTTPRequestHandler) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            stream(to, sse(1))
        elif calls < 10:
            reply(to, {"code": "unavailable"}, 503)
        else:
            stream(to, sse(2))

    server.answer = answer
    pauses: list[float] = []
    follow = client.follow("/events", limit=2, on_lost=lambda error, pause: pauses.append(pause), wait=lambda _: None)
    assert sum(len(lot) for lot in follow) == 2
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.25
    assert pauses[-1] == 10.0


def test_the_position_moves_without_messages_and_the_pause_is_the_gateways(server: Scripted, client: Client) -> None:
    def answer(asked: Asked, to: BaseHTTPRequestHandler) -> None:
        if "Last-Event-ID" in asked.headers:
            stream(to, sse(1))
        else:
            stream(to, b"retry: 3000\n\n", b"id: beyond\n\n")

    server.answer = answer
    pauses: list[float] = []
    list(client.follow("/events", limit=1, on_lost=lambda error, pause: pauses.append(pause), wait=lambda _: None))
    assert server.asked[1].headers["Last-Event-ID"] == "beyond"
    assert pauses == [3.0]


def test_following_ends_when_the_resumption_is_refused(server: Scripted, client: Client) -> None:
    def answer(asked: Asked, to: BaseHTTPRequestHandler) -> None:
        if "Last-Event-ID" in asked.headers:
            reply(to, {"code": "cursor_expired"}, 410)
        else:
            stream(to, sse(1))

    server.answer = answer
    with pytest.raises(CommandError) as raised:
        list(client.follow("/events", wait=lambda _: None))
    assert raised.value.code == "cursor_expired"


def test_following_needs_its_first_connection_to_succeed(server: Scripted, client: Client) -> None:
    server.answer = lambda asked, to: reply(to, {"code": "unavailable"}, 503)
    with pytest.raises(CommandError) as raised:
        list(client.follow("/events", wait=lambda _: None))
    assert raised.value.code == "unavailable"


def test_notices_do_not_count_towards_the_limit(server: Scripted, client: Client) -> None:
    server.answer = lambda asked, to: stream(to, b"event: gap\ndata: {}\n\n" + sse(1))
    assert [len(lot) for lot in client.follow("/events", limit=1, wait=lambda _: None)] == [2]


def test_closing_from_another_thread_ends_a_read(server: Scripted, client: Client) -> None:
    reading = threading.Event()
    release = threading.Event()

    def answer(asked: Asked, to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Type", "text/event-stream")
        to.end_headers()
        to.wfile.write(sse(1))
        to.wfile.flush()
        release.wait(10)
        to.close_connection = True

    server.answer = answer
    ended: list[BaseException | None] = []

    def read() -> None:
        try:
            for _ in client.stream("/events"):
                reading.set()
            ended.append(None)
        except CommandError as error:
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(10)
    client.close()
    thread.join(10)
    release.set()
    assert len(ended) == 1


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ca.pem`, and `leaf.pem` with its key for 127.0.0.1, signed by it."""
    folder = tmp_path_factory.mktemp("private")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "leaf.pem")
    return folder


def test_a_private_certificate_is_trusted_by_its_authority_alone(private: Path) -> None:
    with scripted(private / "leaf.pem") as server:
        client = Client(server.url, ca=private / "ca.pem")
        assert client.request("GET", "/topics").status == 200
        client.close()
        stranger = Client(server.url)
        with pytest.raises(ConnectionLost, match=r"cannot trust https://.*--ca FILE"):
            stranger.request("GET", "/topics")
        elsewhere = Client(server.url.replace("127.0.0.1", "localhost"), ca=private / "ca.pem")
        with pytest.raises(ConnectionLost, match=r"[Hh]ostname") as raised:
            elsewhere.request("GET", "/topics")
        assert "--ca" not in raised.value.message


def test_an_authority_that_is_none_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "junk").write_text("junk")
    for name, reason in {"junk": "holds no certificate", "none": "No such file"}.items():
        with pytest.raises(CommandError, match=reason) as raised:
            Client("https://127.0.0.1:1", ca=tmp_path / name)
        assert raised.value.exit_code == WRONG_USE
    Client("http://127.0.0.1:1", ca=tmp_path / "none")  # not used there, and may be set for all commands


def test_every_client_command_takes_the_authority(private: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(private / "leaf.pem") as server:
        server.answer = lambda asked, to: (
            stream(to, sse(1))
            if "event-stream" in asked.headers["Accept"]
            else reply(to, {"topics": [], "positions": [[0, 1]]})
        )
        commands = (["topics", "ls"], ["topics", "show", "t"], ["publish", "t", "x"], ["subscribe", "t/**", "-n", "1"])
        for words in commands:
            code, _, err = run(capsys, *words, "--url", server.url, "--ca", str(private / "ca.pem"))
            assert (code, err) == (0, ""), words
        monkeypatch.setenv("LINKSPAN_CA", str(private / "ca.pem"))
        monkeypatch.setenv("LINKSPAN_URL", server.url)
        for words in commands:
            assert run(capsys, *words)[0] == 0
