"""TLS with real handshakes: versions, client certificates, and certificates that change."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from gateway.config.model import TlsSettings
from gateway.operate.metrics import Metrics
from gateway.operate.tls import TlsContexts, build_context
from tests.conftest import eventually

HOST = "gate.example"


class Files:
    """Certificate files of a server, which can be replaced as a tool would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.issue()

    def issue(self, authority: trustme.CA | None = None) -> None:
        leaf = (authority or self.authority).issue_cert(HOST)
        self.put("cert.pem", leaf.cert_chain_pems[0].bytes())
        self.put("key.pem", leaf.private_key_pem.bytes())

    def put(self, name: str, data: bytes) -> None:
        (self.folder / "new").write_bytes(data)
        os.replace(self.folder / "new", self.folder / name)

    def settings(self, **more: object) -> TlsSettings:
        files = {"certificate": self.folder / "cert.pem", "key": self.folder / "key.pem"}
        return TlsSettings.model_validate({**files, **more})

    def client(self, *authorities: trustme.CA) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for authority in authorities or (self.authority,):
            authority.configure_trust(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def contexts() -> TlsContexts:
    return TlsContexts(Metrics(process=False))


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[Callable[..., object]]:
    """A server that says hello; what comes out connects to it and gives (serial number, ALPN, version)."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"hello")
            await writer.drain()
            await reader.read()
        finally:
            writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]

    async def connect(client: ssl.SSLContext, name: str = HOST) -> tuple[object, object, object]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        try:
            assert await reader.readexactly(5) == b"hello"
            tls = writer.get_extra_info("ssl_object")
            certificate = tls.getpeercert()
            return certificate.get("serialNumber"), tls.selected_alpn_protocol(), tls.version()
        finally:
            writer.close()
            await writer.wait_closed()

    try:
        yield connect
    finally:
        server.close()
        await server.wait_closed()


async def refused(connect: Callable[..., object], client: ssl.SSLContext) -> bool:
    try:
        await connect(client)  # type: ignore[misc]
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return True
    return False


async def test_a_client_that_trusts_the_authority_is_served(files: Files, contexts: TlsContexts) -> None:
    async with serving(contexts.context(files.settings(), ("h2", "http/1.1"))) as connect:
        client = files.client()
        client.set_alpn_protocols(["http/1.1"])
        _, alpn, version = await connect(client)  # type: ignore[misc]
        assert (alpn, version) == ("http/1.1", "TLSv1.3")
        assert await refused(connect, files.client(trustme.CA()))


async def test_old_versions_are_refused(files: Files, contexts: TlsContexts) -> None:
    client = files.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(contexts.context(files.settings())) as connect:
        assert (await connect(client))[2] == "TLSv1.2"  # type: ignore[misc]
    async with serving(contexts.context(files.settings(min_version="1.3"))) as connect:
        assert await refused(connect, client)


async def test_a_changed_certificate_is_served_to_new_handshakes(files: Files, contexts: TlsContexts) -> None:
    async with serving(contexts.context(files.settings())) as connect:
        before = (await connect(files.client()))[0]  # type: ignore[misc]
        contexts.reload_changed()
        assert (await connect(files.client()))[0] == before  # type: ignore[misc]
        files.issue()
        contexts.reload_changed()
        after = (await connect(files.client()))[0]  # type: ignore[misc]
        assert after != before
        # A client without a server name gets the new one too.
        nameless = files.client()
        nameless.check_hostname = False
        assert (await connect(nameless, ""))[0] == after  # type: ignore[misc]


async def test_a_watching_task_finds_the_change_by_itself(files: Files) -> None:
    metrics = Metrics(process=False)
    contexts = TlsContexts(metrics, poll=0.01)
    contexts.context(files.settings())
    task = asyncio.create_task(contexts.watch())
    try:
        files.issue()
        reloads = metrics.counter(
            "linkspan_tls_reloads_total", "Certificates read again after their files changed.", result="ok"
        )
        await eventually(lambda: reloads.value >= 1)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_broken_file_keeps_the_old_certificate_and_is_told_once(files: Files) -> None:
    metrics = Metrics(process=False)
    contexts = TlsContexts(metrics)
    async with serving(contexts.context(files.settings())) as connect:
        before = (await connect(files.client()))[0]  # type: ignore[misc]
        files.put("cert.pem", b"junk")
        contexts.reload_changed()
        contexts.reload_changed()
        assert (await connect(files.client()))[0] == before  # type: ignore[misc]
        (files.folder / "key.pem").unlink()
        contexts.reload_changed()
        assert (await connect(files.client()))[0] == before  # type: ignore[misc]
        assert b'linkspan_tls_reloads_total{result="failed"} 2.0' in metrics.render()
        files.issue()
        contexts.reload_changed()
        assert (await connect(files.client()))[0] != before  # type: ignore[misc]


async def test_client_certificates_are_demanded_and_a_changed_authority_counts(
    files: Files, contexts: TlsContexts
) -> None:
    old, new = trustme.CA(), trustme.CA()
    files.put("clients.pem", old.cert_pem.bytes())

    def client(authority: trustme.CA | None) -> ssl.SSLContext:
        context = files.client()
        if authority is not None:
            authority.issue_cert("device@example.org").configure_cert(context)
        return context

    async with serving(contexts.context(files.settings(client_ca=files.folder / "clients.pem"))) as connect:
        assert not await refused(connect, client(old))
        assert await refused(connect, client(new))
        assert await refused(connect, client(None))
        files.put("clients.pem", new.cert_pem.bytes())
        contexts.reload_changed()
        assert not await refused(connect, client(new))
        assert await refused(connect, client(old))
        assert await refused(connect, client(None))


def test_equal_settings_share_a_context(files: Files, contexts: TlsContexts) -> None:
    assert contexts.context(files.settings()) is contexts.context(files.settings())
    assert contexts.context(files.settings()) is not contexts.context(files.settings(), ("h2",))


def test_what_cannot_be_used_is_named(files: Files) -> None:
    with pytest.raises(ValueError, match=r"cannot use the certificate .*none\.pem"):
        build_context(files.settings(certificate=files.folder / "none.pem"))
    files.put("key.pem", trustme.CA().issue_cert(HOST).private_key_pem.bytes())
    with pytest.raises(ValueError, match="does not belong to the certificate"):
        build_context(files.settings())
    files.issue()
    files.put("clients.pem", b"junk")
    with pytest.raises(ValueError, match="holds no certificate"):
        build_context(files.settings(client_ca=files.folder / "clients.pem"))


def test_an_encrypted_key_is_refused_instead_of_asking_at_the_terminal(files: Files) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((files.folder / "key.pem").read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"hunter2"),
    )
    files.put("key.pem", encrypted)
    with pytest.raises(ValueError, match="is encrypted"):
        build_context(files.settings())
