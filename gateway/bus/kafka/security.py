"""How to identify oneself to Kafka: TLS, client certificates, SASL."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec
from aiokafka.abc import AbstractTokenProvider

from gateway.errors import InvalidSetting

Mechanism = Literal["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"]


class KafkaSecurity(msgspec.Struct, frozen=True, kw_only=True):
    """Paths are PEM files. `verify=False` accepts any certificate and is for tests.

    `token` is called for each new connection with SASL mechanism `oauthbearer`.
    """

    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True
    mechanism: Mechanism | None = None
    username: str | None = None
    password: str | None = None
    token: Callable[[], Awaitable[str]] | None = None

    def __repr__(self) -> str:
        return f"KafkaSecurity(tls={self.tls}, mechanism={self.mechanism}, username={self.username})"


def connection_options(security: KafkaSecurity | None) -> dict[str, Any]:
    """The client library's words for it. Raises InvalidSetting when it does not fit together."""
    if security is None:
        return {"security_protocol": "PLAINTEXT"}
    options: dict[str, Any] = {}
    if security.mechanism is None:
        options["security_protocol"] = "SSL" if security.tls else "PLAINTEXT"
    else:
        options["security_protocol"] = "SASL_SSL" if security.tls else "SASL_PLAINTEXT"
        options["sasl_mechanism"] = security.mechanism.upper()
        _credentials(security, options)
    if security.tls:
        options["ssl_context"] = _context(security)
    return options


def _credentials(security: KafkaSecurity, options: dict[str, Any]) -> None:
    if security.mechanism == "oauthbearer":
        if security.token is None:
            raise InvalidSetting("Kafka: the mechanism oauthbearer needs a token")
        options["sasl_oauth_token_provider"] = _Tokens(security.token)
        return
    if security.username is None or security.password is None:
        raise InvalidSetting(f"Kafka: the mechanism {security.mechanism} needs a user name and a password")
    options["sasl_plain_username"] = security.username
    options["sasl_plain_password"] = security.password


def _context(security: KafkaSecurity) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca)
        if security.certificate:
            context.load_cert_chain(security.certificate, security.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSetting(f"Kafka: the TLS files cannot be read: {error}") from error
    if not security.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Tokens(AbstractTokenProvider):  # type: ignore[misc]  # the library has no types
    def __init__(self, token: Callable[[], Awaitable[str]]) -> None:
        super().__init__()
        self._token = token

    async def token(self) -> str:
        return await self._token()
