"""From the bytes of a request to what the client wants, and its refusals."""

from __future__ import annotations

import pytest

from gateway.errors import Forbidden, InvalidInput, LinkspanError, Unauthenticated
from gateway.operate.host_guard import HostGuard
from protocols.websocket.handshake import CLOUDEVENTS, NATIVE, Opening, open_handshake
from protocols.websocket.problem import HandshakeError, status_of
from protocols.websocket.wire import window_bits
from tests.unit.websocket_support import handshake

GUARD = HostGuard(("127.0.0.1",))
DEFLATE: dict[str, str | None] = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}


def opened(
    subprotocol: str | None = NATIVE, path: str = "/v1/ws", headers: dict[str, str | None] | None = None
) -> Opening:
    return open_handshake(handshake(subprotocol, path, headers), GUARD, compression=True)


def refused(head: bytes) -> LinkspanError:
    with pytest.raises(LinkspanError) as error:
        open_handshake(head, GUARD, compression=True)
    return error.value


def test_the_answer_is_that_of_the_specification() -> None:
    # The key and the accept value are the example of RFC 6455, 1.3.
    lines = opened().accept().decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 101 Switching Protocols"
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines
    assert "Sec-WebSocket-Protocol: linkspan.v1" in lines
    assert not any(line.startswith("Sec-WebSocket-Extensions") for line in lines)


def test_the_first_subprotocol_of_the_client_that_is_spoken_is_taken() -> None:
    assert opened(f"{NATIVE}, {CLOUDEVENTS}").wish.subprotocol == NATIVE
    assert opened(f"mqtt,{CLOUDEVENTS}, {NATIVE}", "/v1/ws?to=t").wish.subprotocol == CLOUDEVENTS


@pytest.mark.parametrize("offered", [None, "mqtt", "graphql-ws, mqtt"])
def test_without_a_common_subprotocol_both_are_named(offered: str | None) -> None:
    error = refused(handshake(offered))
    assert status_of(error) == 400
    assert NATIVE in error.message
    assert CLOUDEVENTS in error.message
    assert error.detail["subprotocols"] == [NATIVE, CLOUDEVENTS]


def test_compression_is_agreed_to_without_context_unless_it_is_off() -> None:
    made = opened(headers=DEFLATE)
    assert window_bits(made.extensions) == 15
    assert (
        b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
        in made.accept()
    )
    off = open_handshake(handshake(headers=DEFLATE), GUARD, compression=False)
    assert window_bits(off.extensions) == 0
    assert b"Extensions" not in off.accept()


def test_a_window_that_cannot_be_had_is_left_out_and_another_offer_taken() -> None:
    offered = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9"
    assert window_bits(opened(headers={"Sec-WebSocket-Extensions": offered}).extensions) == 9


@pytest.mark.parametrize(
    ("path", "status", "hint"),
    [
        ("/", 404, "/v1/ws"),
        ("/v1/topics", 404, "HTTP listener"),
        ("/v1/ws/", 404, "slash"),
        ("/mqtt", 501, "MQTT"),
    ],
)
def test_other_paths_say_where_to_go(path: str, status: int, hint: str) -> None:
    error = refused(handshake(path=path))
    assert (status_of(error), hint in error.message) == (status, True)


@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "DELETE"])
def test_other_methods_are_refused(method: str) -> None:
    error = refused(handshake(method=method))
    assert isinstance(error, HandshakeError)
    assert (error.status, error.headers) == (405, (("Allow", "GET"),))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upgrade": None}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Upgrade": "h2c"}, 426),
        ({"Sec-WebSocket-Version": "8"}, 400),
        ({"Sec-WebSocket-Version": None}, 400),
        ({"Sec-WebSocket-Key": "short"}, 400),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Extensions": "=="}, 400),
        ({"Sec-WebSocket-Protocol": "a b"}, 400),
        ({"Content-Length": "5"}, 400),
        ({"Transfer-Encoding": "chunked"}, 400),
    ],
)
def test_what_is_no_websocket_handshake_is_told_why(headers: dict[str, str | None], status: int) -> None:
    error = refused(handshake(headers=headers))
    assert status_of(error) == status
    assert error.message


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET /v1/ws HTTP/2.0\r\n\r\n", 400),
        (b"GET /v1/ws HTTP/1.1\r\nbad header\r\n\r\n", 400),
        ("GET /v1/ws?from=ü HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(), 400),
        (b"GET /v1/ws?from=" + b"x" * 9000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
        (handshake().replace(b"Host:", b"Host: 127.0.0.1\r\nHost:"), 400),
    ],
)
def test_bytes_that_are_no_request_are_refused(head: bytes, status: int) -> None:
    assert status_of(refused(head)) == status


def test_foreign_hosts_and_pages_are_refused_before_anything_else() -> None:
    assert isinstance(refused(handshake(headers={"Host": "evil.example"}, path="/nowhere")), Forbidden)
    assert isinstance(refused(handshake(headers={"Origin": "https://evil.example"})), Forbidden)
    assert opened(headers={"Origin": "http://127.0.0.1:3000", "Host": "localhost:8081"}).wish.subprotocol == NATIVE


# Who asks


def test_a_token_comes_in_a_header_or_in_the_query() -> None:
    assert opened().wish.token is None
    assert opened(headers={"Authorization": "Bearer abc"}).wish.token == "abc"
    assert opened(path="/v1/ws?access_token=abc").wish.token == "abc"
    assert opened(CLOUDEVENTS, "/v1/ws?to=t&access_token=abc").wish.token == "abc"


@pytest.mark.parametrize("credentials", ["Basic abc", "Bearer", "Bearer  "])
def test_other_credentials_are_refused(credentials: str) -> None:
    assert isinstance(refused(handshake(headers={"Authorization": credentials})), Unauthenticated)


def test_two_tokens_are_one_too_many() -> None:
    error = refused(handshake(path="/v1/ws?access_token=a", headers={"Authorization": "Bearer a"}))
    assert error.faults[0].where == "access_token"


# What is asked


def test_cloudevents_take_what_to_read_and_where_to_publish_from_the_query() -> None:
    wish = opened(CLOUDEVENTS, "/v1/ws?from=signals/**&from=news/*&start=-5m&to=signals").wish
    assert [str(source) for source in wish.sources] == ["signals/**", "news/*"]
    assert (wish.start.kind, wish.to) == ("back", "signals")
    assert opened(CLOUDEVENTS, "/v1/ws?from=a").wish.start.kind == "latest"


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("", "from"),
        ("?start=earliest&to=t", "start"),
        ("?form=t", "form"),
        ("?from=t&limit=3", "limit"),
        ("?from=t&start=latest&start=latest", "start"),
        ("?from=", "from"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_by_name(query: str, where: str) -> None:
    error = refused(handshake(CLOUDEVENTS, f"/v1/ws{query}"))
    assert isinstance(error, InvalidInput)
    assert error.faults[0].where == where


@pytest.mark.parametrize("query", ["?from=a+b", "?from=_internal", "?to=a/b", "?to=_x", "?from=t&start=yesterday"])
def test_illegal_addresses_and_positions_are_refused(query: str) -> None:
    assert status_of(refused(handshake(CLOUDEVENTS, f"/v1/ws{query}"))) == 400


def test_linkspan_v1_asks_in_messages_not_in_the_query() -> None:
    assert refused(handshake(path="/v1/ws?from=t")).faults[0].where == "from"
