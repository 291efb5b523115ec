"""What must fit together: ports, files, buses, and who may connect from where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from gateway.config.check import check
from gateway.config.faults import path_text
from gateway.config.model import (
    AuthConfig,
    Config,
    EmbeddedBus,
    KafkaBus,
    KafkaSecurity,
    Limits,
    ListenerSettings,
    TlsSettings,
    TopicConfig,
    TopicsConfig,
)


def said(config: Config, unknown: set[str] | None = None) -> dict[str, str]:
    found = check(config, lambda path: not any(path_text(path[:n]) in (unknown or ()) for n in range(1, len(path) + 1)))
    return {path_text(path): message for path, message in found}


def listening(*where: tuple[str, int], auth: AuthConfig | None = None) -> Config:
    entries = tuple(ListenerSettings(host=host, port=port) for host, port in where)
    return Config(listeners={"http": entries[:1], "mqtt": entries[1:]}, auth=auth or AuthConfig(anonymous=True))


def test_the_defaults_fit_together() -> None:
    assert said(Config()) == {}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_a_listener_off_loopback_must_be_permitted_in_writing(host: str) -> None:
    found = said(listening((host, 1), auth=AuthConfig()))
    assert "no authenticator is configured" in found["listeners.http.host"]
    assert "auth.anonymous: true" in found["listeners.http.host"]
    assert said(listening((host, 1), auth=AuthConfig(anonymous=True))) == {}


def test_what_is_not_known_causes_no_further_faults(pem: Path) -> None:
    exposed = listening(("0.0.0.0", 1), auth=AuthConfig())
    for unknown in ("auth", "auth.anonymous", "auth.authenticators", "listeners.http.host"):
        assert said(exposed, {unknown}) == {}
    for unknown in ("listeners.mqtt", "listeners.http.port", "listeners.http.tls"):
        assert said(listening(("::1", 1), ("::1", 1)), {unknown}) == {}
    tls = with_tls(TlsSettings(certificate=pem / "no.pem", key=pem / "no.key"))
    assert list(said(tls, {"listeners.http.tls.key"})) == ["listeners.http.tls.certificate"]
    assert said(with_tls(TlsSettings(certificate=pem / "one.pem", key=pem / "no")), {"listeners.http.tls.key"}) == {}
    assert said(Config(workers=2), {"bus.kind"}) == {}
    assert said(Config(bus=EmbeddedBus(path=pem / "junk")), {"bus.path"}) == {}
    large = Config(limits=Limits(event=2**26, body=2**25, memory=2**20, stream_buffer=2**21))
    assert said(large, {"limits.event", "limits.memory"}) == {}
    topics = TopicsConfig(create={"a": TopicConfig(replication=3)})
    assert said(Config(topics=topics), {"topics.a.replication"}) == {}
    security = KafkaSecurity(protocol="SASL_SSL", ca=pem / "none", key=pem / "one.key")
    bus = KafkaBus(bootstrap=("a:1",), security=security)
    assert list(said(Config(bus=bus), {"bus.security.mechanism", "bus.security.certificate"})) == ["bus.security.ca"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "0.0.0.0"),
     ("localhost", "127.0.0.1"), ("::1", "localhost"), ("example.org", "0.0.0.0"), ("0.0.0.0", "0.0.0.0")],
)  # fmt: skip
def test_two_listeners_cannot_share_an_address(one: str, other: str) -> None:
    found = said(listening((one, 80), (other, 80)))
    assert found == {"listeners.mqtt.port": f"port 80 is also the port of listener http on {one}"}


@pytest.mark.parametrize(
    ("one", "other"),
    [(("127.0.0.1", 80), ("127.0.0.1", 81)), (("127.0.0.1", 0), ("127.0.0.1", 0)), (("127.0.0.1", 80), ("::1", 80)),
     (("0.0.0.0", 80), ("::", 80)), (("10.0.0.1", 80), ("10.0.0.2", 80)), (("10.0.0.1", 80), ("localhost", 80))],
)  # fmt: skip
def test_different_addresses_are_fine(one: tuple[str, int], other: tuple[str, int]) -> None:
    assert said(listening(one, other)) == {}


def test_an_entry_of_a_list_is_named_by_its_index() -> None:
    same = ListenerSettings(port=80)
    assert list(said(Config(listeners={"http": (same, same)}))) == ["listeners.http[1].port"]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name in ("one", "two"):
        leaf = authority.issue_cert(f"{name}.example")
        leaf.private_key_pem.write_to_path(folder / f"{name}.key")
        leaf.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    (folder / "junk").write_text("junk")
    return folder


def with_tls(tls: TlsSettings) -> Config:
    return Config(listeners={"http": (ListenerSettings(port=1, tls=tls),)})


def test_certificate_and_key_that_belong_together_are_fine(pem: Path) -> None:
    tls = TlsSettings(certificate=pem / "one.pem", key=pem / "one.key", client_ca=pem / "ca.pem")
    assert said(with_tls(tls)) == {}


def test_files_that_are_not_there_are_all_named(pem: Path) -> None:
    tls = TlsSettings(certificate=pem / "no.pem", key=pem, client_ca=pem / "no")
    assert said(with_tls(tls)) == {
        "listeners.http.tls.certificate": f"the file {pem}/no.pem does not exist",
        "listeners.http.tls.key": f"{pem} is not a file",
        "listeners.http.tls.client_ca": f"the file {pem}/no does not exist",
    }


def test_a_file_that_cannot_be_read_is_named(pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = said(with_tls(TlsSettings(certificate=pem / "one.pem", key=pem / "one.key")))
    assert found["listeners.http.tls.key"].endswith("cannot be read by this user")


def test_a_foreign_key_is_refused_before_the_start(pem: Path) -> None:
    found = said(with_tls(TlsSettings(certificate=pem / "one.pem", key=pem / "two.key")))
    assert "does not belong to the certificate" in found["listeners.http.tls"]
    found = said(with_tls(TlsSettings(certificate=pem / "junk", key=pem / "two.key")))
    assert "cannot use the certificate" in found["listeners.http.tls"]


def test_several_workers_are_refused_with_the_reason() -> None:
    assert "embedded log is written by one process" in said(Config(workers=2))["workers"]
    assert said(Config(workers=2, bus=KafkaBus(bootstrap=("a:1",))))["workers"].startswith("not_available")


def test_replication_is_kafkas() -> None:
    topics = TopicsConfig(create={"a.b": TopicConfig(replication=3), "c": TopicConfig(replication=1)})
    assert list(said(Config(topics=topics))) == ['topics."a.b".replication']
    assert said(Config(topics=topics, bus=KafkaBus(bootstrap=("a:1",)))) == {}


def test_the_data_folder_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert said(Config(bus=EmbeddedBus(path=tmp_path / "file"))) == {"bus.path": f"{tmp_path}/file is not a folder"}
    assert said(Config(bus=EmbeddedBus(path=tmp_path / "new"))) == {}


def test_limits_fit_into_each_other() -> None:
    assert "limits.body, 1KiB" in said(Config(limits=Limits(body=1024)))["limits.event"]
    found = said(Config(limits=Limits(event=2**26, body=2**27), bus=EmbeddedBus(segment=2**20)))
    assert found == {"limits.event": "does not fit into a segment (bus.segment is 1MiB)"}
    found = said(Config(limits=Limits(memory=2**20, stream_buffer=2**21)))
    assert "limits.memory, 1MiB" in found["limits.stream_buffer"]


def kafka(**security: object) -> dict[str, str]:
    bus = KafkaBus(bootstrap=("a:1",), security=KafkaSecurity.model_validate(security))
    return {key.removeprefix("bus.security."): message for key, message in said(Config(bus=bus)).items()}


def test_kafka_security_fits_together(pem: Path) -> None:
    secret = SecretStr("x")
    assert kafka() == {}
    assert kafka(protocol="SASL_SSL", mechanism="PLAIN", username="a", password=secret) == {}
    assert kafka(protocol="SASL_SSL", mechanism="OAUTHBEARER", password=secret) == {}
    assert kafka(protocol="SSL", ca=pem / "ca.pem", certificate=pem / "one.pem", key=pem / "one.key") == {}
    assert kafka(protocol="SASL_SSL") == {"mechanism": "is required with protocol SASL_SSL"}
    assert kafka(protocol="SASL_PLAINTEXT", mechanism="PLAIN") == {
        "username": "is required with mechanism PLAIN", "password": "is required with mechanism PLAIN",
    }  # fmt: skip
    assert "is not used with protocol PLAINTEXT" in kafka(username="a")["username"]
    assert "use SSL or SASL_SSL" in kafka(ca=pem / "ca.pem")["ca"]
    assert kafka(protocol="SSL", key=pem / "one.key") == {"key": "needs certificate beside it"}
    assert kafka(protocol="SSL", certificate=pem / "one.pem") == {"certificate": "needs key beside it"}
    assert kafka(protocol="SSL", ca=pem / "none") == {"ca": f"the file {pem}/none does not exist"}
