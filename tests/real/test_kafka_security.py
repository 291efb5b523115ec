# mypy: disable-error-code="arg-type"
"""Kafka behind TLS and SASL: each mechanism lets the right one in and says why not."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.kafka import KafkaBus, KafkaSecurity
from gateway.errors import BusUnavailable, InvalidSetting
from tests.conftest import eventually
from tests.harness.events import Sink, events, ids, read_topic
from tests.harness.kafka import PASSWORD, USER, KafkaServer

pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]


def unsecured_token() -> str:
    """A token without signature, as Kafka's own test set-up accepts it (RFC 7515, "none")."""
    parts = ({"alg": "none"}, {"sub": USER, "iat": 1_700_000_000, "exp": 4_000_000_000})
    encoded = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, ""])


def secrets(mechanism: str) -> dict[str, Any]:
    if mechanism == "OAUTHBEARER":
        return {"mechanism": mechanism, "password": unsecured_token()}
    return {"mechanism": mechanism, "username": USER, "password": PASSWORD}


def certificates(kafka: KafkaServer) -> dict[str, Any]:
    folder = kafka.node.folder
    return {"ca": folder / "ca.pem", "certificate": folder / "client.pem", "key": folder / "client.key"}


async def works(port: int, security: KafkaSecurity, topic: str) -> None:
    """Publish, read and tail a topic through that listener."""
    bus = KafkaBus(f"127.0.0.1:{port}", security=security, refresh=0.3)
    await bus.start()
    assert bus.health().ready, bus.health().reasons
    await bus.create_topic(topic, TopicSettings(partitions=1))
    sink = Sink()
    tail = bus.tail(sink)
    await tail.follow(topic)
    await bus.append(topic, events(20))
    assert ids(await read_topic(bus, topic)) == list(range(20))
    await eventually(lambda: ids(sink.events(topic)) == list(range(20)))
    await tail.close()
    await bus.close()


async def refused(port: int, security: KafkaSecurity) -> str:
    """Why it does not get in; appends say it too."""
    bus = KafkaBus(f"127.0.0.1:{port}", security=security, request_timeout=0.5)
    await bus.start()
    await eventually(lambda: str(port) in bus.health().reasons[0])
    assert not bus.health().ready
    with pytest.raises(BusUnavailable):
        await bus.append("any", events(1))
    reason = bus.health().reasons[0]
    await bus.close()
    return reason


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
async def test_sasl_lets_in_who_knows_the_secret(kafka: KafkaServer, mechanism: str) -> None:
    security = KafkaSecurity(protocol="SASL_PLAINTEXT", **secrets(mechanism))
    await works(kafka.sasl_port, security, f"security-{mechanism}")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_sasl_goes_over_tls(kafka: KafkaServer, mechanism: str) -> None:
    ca = certificates(kafka)["ca"]
    security = KafkaSecurity(protocol="SASL_SSL", ca=ca, **secrets(mechanism))
    await works(kafka.both_port, security, f"security-tls-{mechanism}")


async def test_tls_identifies_both_sides(kafka: KafkaServer) -> None:
    await works(kafka.tls_port, KafkaSecurity(protocol="SSL", **certificates(kafka)), "security-tls")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
async def test_a_wrong_password_is_named_as_the_reason(kafka: KafkaServer, mechanism: str) -> None:
    wrong = {**secrets(mechanism), "password": "wrong"}
    reason = await refused(kafka.sasl_port, KafkaSecurity(protocol="SASL_PLAINTEXT", **wrong))
    assert "uthentication" in reason, reason
    assert "wrong" not in reason


async def test_a_broker_whose_certificate_nobody_vouches_for_is_not_spoken_to(kafka: KafkaServer) -> None:
    reason = await refused(kafka.tls_port, KafkaSecurity(protocol="SSL"))
    assert "certificate" in reason.lower(), reason


async def test_a_broker_that_wants_a_certificate_gets_one_or_nothing(kafka: KafkaServer) -> None:
    security = KafkaSecurity(protocol="SSL", ca=certificates(kafka)["ca"])
    assert "out of reach" in await refused(kafka.tls_port, security)


async def test_the_wrong_protocol_for_a_listener_is_an_outage_with_a_reason(kafka: KafkaServer) -> None:
    assert f"127.0.0.1:{kafka.sasl_port}" in await refused(kafka.sasl_port, KafkaSecurity())


def test_settings_that_do_not_fit_together_are_refused_at_once(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for security in (
        KafkaSecurity(protocol="SASL_PLAINTEXT"),
        KafkaSecurity(protocol="SASL_PLAINTEXT", mechanism="PLAIN", username=USER),
        KafkaSecurity(protocol="SASL_PLAINTEXT", mechanism="OAUTHBEARER"),
        KafkaSecurity(protocol="SSL", ca=empty),
    ):
        with pytest.raises(InvalidSetting, match="Kafka"):
            KafkaBus("127.0.0.1:9092", security=security)
