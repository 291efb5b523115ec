"""Credentials and certificates, as the client library wants them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from gateway.bus.kafka.security import connection_options
from gateway.config.model import KafkaSecurity
from gateway.errors import InvalidSetting


def test_without_security_everything_is_plain() -> None:
    assert connection_options(None) == {"security_protocol": "PLAINTEXT"}
    assert connection_options(KafkaSecurity()) == {"security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_name_and_a_password_are_handed_on(mechanism: str) -> None:
    security = KafkaSecurity(
        protocol="SASL_PLAINTEXT",
        mechanism=mechanism,  # type: ignore[arg-type]
        username="u",
        password=SecretStr("p"),
    )
    assert connection_options(security) == {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }


async def test_with_oauthbearer_the_password_is_the_token() -> None:
    security = KafkaSecurity(protocol="SASL_PLAINTEXT", mechanism="OAUTHBEARER", password=SecretStr("t0k"))
    assert await connection_options(security)["sasl_oauth_token_provider"].token() == "t0k"


@pytest.mark.parametrize(
    ("security", "says"),
    [
        (KafkaSecurity(protocol="SASL_SSL"), "needs a mechanism"),
        (KafkaSecurity(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username="u"), "user name and a password"),
        (KafkaSecurity(protocol="SASL_PLAINTEXT", mechanism="OAUTHBEARER"), "token"),
        (KafkaSecurity(protocol="SSL", ca=Path("/nowhere/ca.pem")), "cannot be read"),
    ],
)
def test_what_does_not_fit_together_is_named(security: KafkaSecurity, says: str) -> None:
    with pytest.raises(InvalidSetting, match=says):
        connection_options(security)


def test_tls_checks_the_broker_and_shows_the_clients_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    mine = authority.issue_cert("me@test")
    mine.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    options = connection_options(
        KafkaSecurity(protocol="SSL", ca=tmp_path / "ca.pem", certificate=tmp_path / "me.pem", key=tmp_path / "me.pem")
    )
    assert options["security_protocol"] == "SSL"
    assert options["ssl_context"].verify_mode is ssl.CERT_REQUIRED
