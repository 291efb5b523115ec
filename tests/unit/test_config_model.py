"""The shape of the configuration: bounds, defaults, and what a dump shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from gateway.bus.contract import TopicSettings
from gateway.config.model import (
    AdminSettings,
    Config,
    FlagText,
    KafkaBus,
    KafkaSecurity,
    Limits,
    ListenerSettings,
    TlsSettings,
    TopicConfig,
    TopicsConfig,
    is_loopback,
)


def test_the_defaults_are_safe_and_as_documented() -> None:
    config = Config()
    limits = Limits()
    assert config.bus.kind == "embedded"
    assert not config.auth.anonymous
    assert not config.topics.auto_create
    assert (limits.memory, limits.body, limits.event) == (64 * 2**20, 16 * 2**20, 2**20)
    assert (limits.publish_deadline, limits.write_timeout, limits.drain) == (10.0, 30.0, 10.0)
    assert ListenerSettings().loopback
    assert AdminSettings().port == 8090


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST", "a.localhost"])
def test_loopback_hosts_are_known(host: str) -> None:
    assert ListenerSettings(host=host).loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(ListenerSettings(host=host).host)


@pytest.mark.parametrize("host", ["", "*", "a:80", "[::1]:80", "http://a", "a b", "a/b", "-a", "a" * 300])
def test_what_cannot_be_bound_is_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        ListenerSettings(host=host)


@pytest.mark.parametrize("port", [-1, 65536, "x", 1.5])
def test_a_port_is_a_port(port: object) -> None:
    with pytest.raises(ValidationError):
        ListenerSettings.model_validate({"port": port})


def test_settings_do_not_change_and_have_no_unknown_keys() -> None:
    with pytest.raises(ValidationError):
        Limits().body = 5
    with pytest.raises(ValidationError):
        Limits.model_validate({"bodi": 5})


def test_paths_of_a_file_are_relative_to_it_and_paths_of_flags_are_not() -> None:
    def certificate(value: object) -> Path:
        files = {"certificate": value, "key": "/k"}
        return TlsSettings.model_validate(files, context={"folder": Path("/etc")}).certificate

    assert certificate("a.pem") == Path("/etc/a.pem")
    assert certificate("/b.pem") == Path("/b.pem")
    assert certificate(FlagText("c.pem")) == Path("c.pem")
    assert certificate(Path("d.pem")) == Path("d.pem")
    with pytest.raises(ValidationError, match="not empty"):
        certificate("")


def test_kafka_addresses_may_be_a_list_or_text_with_commas() -> None:
    assert KafkaBus.model_validate({"bootstrap": "a:1, [::1]:2"}).bootstrap == ("a:1", "[::1]:2")
    assert KafkaBus.model_validate({"bootstrap": ["a.example:9092"]}).bootstrap == ("a.example:9092",)
    wrongs: list[object] = ["", "a", "a:b", "a:1,,b:2", "a:99999", [], "http://a:1"]
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            KafkaBus.model_validate({"bootstrap": wrong})


def test_kafka_words_may_be_written_small() -> None:
    security = KafkaSecurity.model_validate({"protocol": "sasl_ssl", "mechanism": "scram-sha-256"})
    assert (security.protocol, security.mechanism) == ("SASL_SSL", "SCRAM-SHA-256")


def test_a_topic_becomes_what_the_bus_takes() -> None:
    topic = TopicConfig.model_validate(
        {"partitions": 3, "replication": 2, "retention": {"time": "7d", "bytes": "unlimited"}, "cleanup": "compact",
         "compression": "zstd", "defaults": None}, context={},
    )  # fmt: skip
    assert topic.settings == TopicSettings(3, 2, 604_800_000, -1, "compact", "zstd")
    assert TopicConfig().settings == TopicSettings()


def test_a_dump_masks_secrets_and_reads_like_a_file() -> None:
    config = Config(
        bus=KafkaBus(bootstrap=("a:1",), security=KafkaSecurity(password=SecretStr("hunter2"))),
        listeners={"http": (AdminSettings(allowed_hosts=("a",)),)},
        topics=TopicsConfig(create={"signals": TopicConfig(partitions=2)}),
    )
    dump = config.masked()
    assert "hunter2" not in repr(dump) + repr(config)
    assert dump["bus"]["security"]["password"] == "**********"
    assert dump["topics"]["signals"]["partitions"] == 2
    assert dump["listeners"]["http"][0]["allowed_hosts"] == ["a"]
    assert dump["limits"]["body"] == "16MiB"
