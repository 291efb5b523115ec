"""TLS for every listener: certificates that are read again when their files change.

Open connections keep the certificate that they began with; handshakes that begin after a
change get the new one. A new file that is broken is told about, and the old one stays.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from typing import Any, Final

import structlog

from gateway.config.model import TlsSettings
from gateway.operate.metrics import Metrics

POLL_SECONDS: Final = 2.0

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_Fingerprint = tuple[tuple[int, int, int] | None, ...]


def build_context(settings: TlsSettings, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """A server context. Raises ValueError, which names the file that is at fault."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    asked: list[bool] = []

    def no_pass_phrase() -> str:
        # Without this, OpenSSL asks at the terminal and the start hangs.
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(settings.certificate, settings.key, password=no_pass_phrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        if asked:
            raise ValueError(f"the key {settings.key} is encrypted; write it without a pass phrase") from None
        raise ValueError(_certificate_fault(settings, error)) from None
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(settings.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise ValueError(f"{settings.client_ca} holds no certificate that can be read ({_reason(error)})") from None
        context.verify_mode = ssl.CERT_REQUIRED
        # A resumed session would skip the check against a client_ca that was changed meanwhile.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def _certificate_fault(settings: TlsSettings, error: Exception) -> str:
    reason = _reason(error)
    if reason == "KEY_VALUES_MISMATCH":
        return f"the key {settings.key} does not belong to the certificate {settings.certificate}"
    return f"cannot use the certificate {settings.certificate} with the key {settings.key} ({reason})"


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)


class _Served:
    """One listener's context: the outer one is what sockets hold, `current` is what handshakes get."""

    def __init__(self, settings: TlsSettings, alpn: tuple[str, ...]) -> None:
        self.settings, self.alpn = settings, alpn
        self.files = tuple(f for f in (settings.certificate, settings.key, settings.client_ca) if f is not None)
        self.fingerprint = self.look()
        self.outer = build_context(settings, alpn)
        self.current = self.outer
        # Called for every ClientHello, with or without a server name. A context cannot take a
        # certificate authority back, so a new context is swapped in rather than the old one changed.
        self.outer.sni_callback = self._swap

    def _swap(self, connection: ssl.SSLObject, server_name: str | None, context: ssl.SSLContext) -> None:
        if self.current is not self.outer:
            connection.context = self.current

    def look(self) -> _Fingerprint:
        """What changes when a file is written, renamed over or linked elsewhere."""
        return tuple(_stat(file) for file in self.files)


def _stat(file: os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class TlsContexts:
    """All TLS contexts of a gateway and the task that keeps them fresh."""

    def __init__(self, metrics: Metrics, *, poll: float = POLL_SECONDS) -> None:
        self._poll = poll
        self._served: dict[tuple[TlsSettings, tuple[str, ...]], _Served] = {}
        self._log: Any = structlog.get_logger("linkspan.tls")
        name, help_ = "linkspan_tls_reloads_total", "Certificates read again after their files changed."
        self._reloaded = metrics.counter(name, help_, result="ok")
        self._failed = metrics.counter(name, help_, result="failed")

    def context(self, settings: TlsSettings, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        """The context for a listener; the same settings share one. Raises ValueError as `build_context`."""
        key = (settings, tuple(alpn))
        if key not in self._served:
            self._served[key] = _Served(*key)
        return self._served[key].outer

    def reload_changed(self) -> None:
        """Look at every file once and take what has changed. A broken file is logged once per change."""
        for served in self._served.values():
            now = served.look()
            if now == served.fingerprint:
                continue
            served.fingerprint = now
            try:
                served.current = build_context(served.settings, served.alpn)
            except ValueError as error:
                self._failed.inc()
                self._log.error("certificate_not_reloaded", error=str(error), serving="the previous certificate")
            else:
                self._reloaded.inc()
                self._log.info("certificate_reloaded", certificate=str(served.settings.certificate))

    async def watch(self) -> None:
        """Look every `poll` seconds, until cancelled. Run it as one task of the gateway."""
        while True:
            await asyncio.sleep(self._poll)
            self.reload_changed()
