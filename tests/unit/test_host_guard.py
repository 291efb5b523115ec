"""No web page reaches a gateway that is not its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import HostNotAllowed, Kind, OriginNotAllowed
from gateway.operate.host_guard import HostGuard

LOOPBACK = HostGuard(["127.0.0.1"])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8080", "localhost", "LOCALHOST:1", "localhost.", "[::1]:8080", "[::1]", "a.localhost:80",
     None],
)  # fmt: skip
def test_loopback_names_are_allowed_with_any_port(host: str | None) -> None:
    LOOPBACK.check(host, None)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", " ", "a b",
     "10.0.0.1",
     "127.0.0.1:8080@evil.example", "evil.example#localhost", "[::1", "::1", "localhost:x", "localhost\n"],
)  # fmt: skip
def test_a_rebound_name_is_refused(host: str) -> None:
    with pytest.raises(HostNotAllowed) as caught:
        LOOPBACK.check(host, None)
    assert (caught.value.code, caught.value.kind) == ("host_not_allowed", Kind.FORBIDDEN)
    assert "allowed_hosts" in str(caught.value)


def test_the_bound_host_is_allowed_and_others_are_not() -> None:
    guard = HostGuard(["192.168.1.5"])
    guard.check("192.168.1.5:80", None)
    with pytest.raises(HostNotAllowed):
        guard.check("192.168.1.6", None)


def test_a_gateway_bound_everywhere_answers_to_any_address_but_to_no_name() -> None:
    guard = HostGuard(["0.0.0.0"])
    guard.check("10.1.2.3:8080", None)
    guard.check("[fd00::1]:8080", None)
    with pytest.raises(HostNotAllowed):
        guard.check("evil.example", None)


def test_configured_hosts_are_allowed() -> None:
    guard = HostGuard(["0.0.0.0"], ["gate.example", "b.example:8443", "*.c.example"])
    for host in ("gate.example", "GATE.example.:99", "b.example:8443", "x.c.example:1", "x.y.c.example"):
        guard.check(host, None)
    for host in ("b.example", "b.example:1", "c.example", "xc.example", "gate.example.evil"):
        with pytest.raises(HostNotAllowed):
            guard.check(host, None)
    HostGuard([], ["*"]).check("any.thing at all", None)


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5", "http://127.0.0.1:8080", None]
)
def test_pages_of_this_machine_are_allowed(origin: str | None) -> None:
    LOOPBACK.check("127.0.0.1:8080", origin)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "file://", "http://localhost.evil.example", "http://localhost@evil.example",
     "http://evil.example/localhost", "chrome-extension://abc", "ftp://localhost", "http://localhost:80:80"],
)  # fmt: skip
def test_a_foreign_page_is_refused(origin: str) -> None:
    with pytest.raises(OriginNotAllowed) as caught:
        LOOPBACK.check("127.0.0.1:8080", origin)
    assert caught.value.code == "origin_not_allowed"


def test_a_page_of_the_door_itself_is_allowed_behind_a_proxy_that_ends_tls_too() -> None:
    guard = HostGuard(["0.0.0.0"], ["gate.example"])
    guard.check("gate.example", "https://gate.example")
    guard.check("gate.example:443", "https://gate.example")
    guard.check("gate.example:8080", "http://gate.example:8080")
    with pytest.raises(OriginNotAllowed):
        guard.check("gate.example:8080", "http://gate.example:9090")
    with pytest.raises(OriginNotAllowed):
        guard.check(None, "https://gate.example")


def test_configured_origins_are_allowed() -> None:
    guard = HostGuard(
        ["127.0.0.1"], (), ["https://App.example/", "https://*.b.example", "https://*.c.example:8443", "null"]
    )
    for origin in ("https://app.example", "https://x.b.example", "https://x.c.example:8443", "null"):
        guard.check("localhost", origin)
    for origin in ("http://app.example", "https://b.example", "https://x.b.example:1", "https://x.c.example"):
        assert isinstance(guard.refusal("localhost", origin), OriginNotAllowed)
    HostGuard(["127.0.0.1"], (), ["*"]).check("localhost", "anything")


def test_the_host_is_judged_before_the_origin() -> None:
    # A rebound name is its own origin: the origin alone would look right.
    assert isinstance(LOOPBACK.refusal("evil.example", "http://evil.example"), HostNotAllowed)


@given(st.text(max_size=60), st.text(max_size=60))
def test_nothing_makes_it_raise_anything_else(host: str, origin: str) -> None:
    LOOPBACK.refusal(host, origin)
    HostGuard(["::"], ["*.a"], ["https://*.a"]).refusal(host, origin)
