"""How to identify oneself to Kafka: TLS, client certificates, SASL, as the configuration says."""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from gateway.config.model import KafkaSecurity
from gateway.errors import InvalidSetting


def connection_options(security: KafkaSecurity | None) -> dict[str, Any]:
    """The client library's words for it. Raises InvalidSetting when it does not fit together."""
    if security is None:
        return {"security_protocol": "PLAINTEXT"}
    options: dict[str, Any] = {"security_protocol": security.protocol}
    if security.protocol.startswith("SASL"):
        options.update(_credentials(security))
    if security.protocol.endswith("SSL"):
        options["ssl_context"] = _context(security)
    return options


def _credentials(security: KafkaSecurity) -> dict[str, Any]:
    secret = security.password.get_secret_value() if security.password is not None else ""
    if security.mechanism is None:
        raise InvalidSetting(f"Kafka: {security.protocol} needs a mechanism")
    if security.mechanism == "OAUTHBEARER":
        if not secret:
            raise InvalidSetting("Kafka: the mechanism OAUTHBEARER needs a token (as password)")
        return {"sasl_mechanism": security.mechanism, "sasl_oauth_token_provider": _Token(secret)}
    if not security.username or not secret:
        raise InvalidSetting(f"Kafka: the mechanism {security.mechanism} needs a user name and a password")
    return {
        "sasl_mechanism": security.mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": secret,
    }


def _context(security: KafkaSecurity) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.ca)
        if security.certificate:
            context.load_cert_chain(security.certificate, security.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSetting(f"Kafka: the TLS files cannot be read: {error}") from error
    return context


class _Token(AbstractTokenProvider):  # type: ignore[misc]  # the library has no types
    def __init__(self, token: str) -> None:
        super().__init__()
        self._value = token

    async def token(self) -> str:
        return self._value
