"""The operator's listener, asked over real sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trustme

from gateway.config.model import AdminSettings, TlsSettings
from gateway.operate.admin import AdminServer
from gateway.operate.health import Health, Phase
from gateway.operate.metrics import Metrics
from gateway.operate.tls import build_context


class _Address(msgspec.Struct):
    listener: str
    port: int


class _Gateway:
    """What the admin listener is told by the rest of a gateway."""

    def __init__(self) -> None:
        self.health = Health()
        self.metrics = Metrics()
        self.addresses = [_Address("http", 8080)]

    def server(self, settings: AdminSettings, tls: ssl.SSLContext | None = None) -> AdminServer:
        return AdminServer(
            settings, health=self.health, metrics=self.metrics, listeners=lambda: self.addresses,
            views=lambda: [{"scope": "t"}], debug=lambda: {"version": "1.2.3", "folder": Path("/d")}, tls=tls,
        )  # fmt: skip


@pytest.fixture
def gateway() -> _Gateway:
    return _Gateway()


@pytest.fixture
async def client(gateway: _Gateway) -> AsyncIterator[httpx.AsyncClient]:
    server = gateway.server(AdminSettings(port=0))
    ((host, port),) = await server.start()
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
        yield client
    await server.close()
    await server.close()


async def test_live_is_true_while_the_loop_answers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"live": True})


async def test_ready_says_why_not(gateway: _Gateway, client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False, "phase": "starting", "reasons": [{"part": "gateway", "message": "starting"}],
        "degraded": [],
    }  # fmt: skip
    gateway.health.phase = Phase.SERVING
    gateway.health.watch("bus", lambda: ["no broker answers"])
    answer = await client.get("/health/ready")
    assert answer.json()["reasons"] == [{"part": "bus", "message": "no broker answers"}]
    gateway.health.unwatch("bus")
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


async def test_metrics_come_in_the_format_that_is_asked_for(gateway: _Gateway, client: httpx.AsyncClient) -> None:
    gateway.metrics.counter("linkspan_events_total", "Events.").inc()
    plain = await client.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "linkspan_events_total 1.0" in plain.text
    opened = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


async def test_listeners_shows_the_bound_addresses(client: httpx.AsyncClient) -> None:
    assert (await client.get("/listeners")).json() == [{"listener": "http", "port": 8080}]
    assert (await client.get("/views")).json() == [{"scope": "t"}]


async def test_debug_shows_the_process(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/debug")).json()
    assert (shown["version"], shown["folder"]) == ("1.2.3", "/d")
    process = shown["process"]
    assert process["memory_rss_bytes"] > 0
    assert process["tasks"] >= 1
    assert process["loop"] == "uvloop"
    assert sum(process["tasks_by_name"].values()) == process["tasks"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/metrics/", "//metrics", "/health"])
async def test_an_unknown_path_lists_what_there_is(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "/health/ready" in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_it_is_read_only(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/metrics")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert (await client.head("/health/live")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [({"Host": "evil.example"}, "host_not_allowed"), ({"Origin": "https://evil.example"}, "origin_not_allowed")],
)
async def test_web_pages_cannot_reach_it(client: httpx.AsyncClient, headers: dict[str, str], code: str) -> None:
    answer = await client.get("/debug", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, code)


async def test_a_port_in_use_is_told_and_nothing_is_left(gateway: _Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = gateway.server(AdminSettings(port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="in use"):
            await server.start()
        await server.close()


async def test_it_speaks_tls(gateway: _Gateway, tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = TlsSettings(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    server = gateway.server(AdminSettings(port=0, tls=tls), build_context(tls))
    ((host, port),) = await server.start()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with httpx.AsyncClient(verify=trust) as client:
        answer: Any = await client.get(f"https://{host}:{port}/health/live")
        assert answer.json() == {"live": True}
    await server.close()
