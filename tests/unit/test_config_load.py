"""From a file and flags to a checked configuration, or to all its faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from gateway.config.load import ConfigError, Loaded, PluginInfo, load
from gateway.config.model import EmbeddedBus, KafkaBus, ListenerSettings, WebListenerSettings


class _Mqtt(ListenerSettings):
    default_topic: str = "mqtt"
    keep_alive: int = Field(default=60, le=65535)


PLUGINS = {"http": PluginInfo(WebListenerSettings, 8080), "mqtt": PluginInfo(_Mqtt, 1883, 8883)}

EXPOSED = (
    "0.0.0.0 can be reached from other machines, but no authenticator is configured: "
    "set auth.anonymous: true to let anybody read and publish, or use host: 127.0.0.1"
)


def loaded(folder: Path, text: str, *, name: str = "linkspan.yaml", **flags: object) -> Loaded:
    (folder / name).write_text(text)
    return load(folder / name, plugins=PLUGINS, environment={}, **flags)  # type: ignore[arg-type]


def faults(folder: Path, text: str, *, name: str = "linkspan.yaml", **flags: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, name=name, **flags)
    return [
        str(fault).removeprefix(f"{folder}/linkspan.yaml:").replace(f"{folder}/", "") for fault in caught.value.faults
    ]


def test_without_a_file_everything_is_embedded_and_on_loopback() -> None:
    result = load(None, plugins=PLUGINS)
    assert result.config.bus == EmbeddedBus(path=Path("linkspan-data"))
    assert {name: entries[0].port for name, entries in result.config.listeners.items()} == {
        "http": 8080, "mqtt": 1883, "admin": 8090,
    }  # fmt: skip
    assert all(entry.loopback for entries in result.config.listeners.values() for entry in entries)
    assert result.notes == (
        "listeners.websocket: off: not installed", "listeners.grpc: off: not installed",
        "listeners.amqp: off: not installed",
    )  # fmt: skip


def test_flags_alone_choose_the_bus(tmp_path: Path) -> None:
    assert load(data=tmp_path / "d").config.bus == EmbeddedBus(path=tmp_path / "d")
    assert load(kafka="a:1,b:2").config.bus == KafkaBus(bootstrap=("a:1", "b:2"))
    assert load(overrides=["limits.body=2MiB"]).config.limits.body == 2 * 2**20


def test_all_faults_come_at_once_by_line_with_suggestions(tmp_path: Path) -> None:
    text = """name: x
bus:
  kind: kafca
listeners:
  htpp: {prot: 1}
  http:
    prot: 80
    host: 0.0.0.0
  mqtt: {keep_alive: 99999}
  admin:
    port: ${ADMIN_PORT}
limits:
  body: 5MG
  drain: 10
  batch: no
topics:
  auto_creat: true
  a/b: {partition: 3}
  signals:
    partitions: 0
    retention: {time: 7d, byte: 1}
    cleanup: compacted
    schema: x
routes: [a]
subscriptons: {}
workers: some
"""
    assert faults(tmp_path, text, overrides=["limits.page=x", "listeners.http.tsl=1"]) == [
        "2: bus.bootstrap: is required",
        "3: bus.kind: expected embedded or kafka (did you mean 'kafka'?)",
        "5: listeners.htpp: unknown listener (did you mean 'http'?)",
        "5: listeners.htpp.prot: unknown key (did you mean 'port'?)",
        "7: listeners.http.prot: unknown key (did you mean 'port'?)",
        f"8: listeners.http.host: {EXPOSED}",
        "9: listeners.mqtt.keep_alive: must be at most 65535",
        "11: listeners.admin.port: the variable ADMIN_PORT is not set (${ADMIN_PORT:-default} gives a default)",
        "13: limits.body: '5MG' is not a size: write a number and a unit, such as 64KiB, 16MiB or 10GiB",
        "14: limits.drain: 10 needs a unit, such as 10s or 10ms",
        '15: limits.batch: bare no is not a truth value here: write false, or "no" for text',
        "17: topics.auto_creat: expected a mapping (did you mean 'auto_create'?)",
        "18: topics.a/b: 'a/b' is not a topic name: 1 to 249 of the characters A-Z a-z 0-9 . _ -",
        "18: topics.a/b.partition: unknown key (did you mean 'partitions'?)",
        "20: topics.signals.partitions: must be at least 1",
        "21: topics.signals.retention.byte: unknown key (did you mean 'bytes'?)",
        "22: topics.signals.cleanup: expected delete or compact (did you mean 'compact'?)",
        "23: topics.signals.schema: not_available: schemas come with a later version",
        "24: routes[0]: expected a mapping, not a text",
        "25: subscriptons: unknown key (did you mean 'subscriptions'?)",
        "26: workers: expected a whole number",
        "--set limits.page: expected a whole number",
        "--set listeners.http.tsl: unknown key (did you mean 'tls'?)",
    ]


def test_a_bus_of_an_unknown_kind_is_checked_as_the_one_that_was_probably_meant(tmp_path: Path) -> None:
    assert faults(tmp_path, "bus: {kind: kafak, durabilty: os, segment: 5MG}") == [
        "1: bus.bootstrap: is required",
        "1: bus.durabilty: unknown key (did you mean 'durability'?)",
        "1: bus.kind: expected embedded or kafka (did you mean 'kafka'?)",
        "1: bus.segment: belongs to the bus of kind embedded; this one is kafka",
    ]
    assert faults(tmp_path, "bus: {kind: file, durabilty: os, segment: 5MG}") == [
        "1: bus.durabilty: unknown key (did you mean 'durability'?)",
        "1: bus.kind: expected embedded or kafka",
        "1: bus.segment: '5MG' is not a size: write a number and a unit, such as 64KiB, 16MiB or 10GiB",
    ]
    assert faults(tmp_path, "bus: {kind: 7, bootstrap: a, security: {protocol: SASL_SSL}}") == [
        "1: bus.bootstrap: expected HOST:PORT, or several with commas between them",
        "1: bus.kind: expected embedded or kafka",
        "1: bus.security.mechanism: is required with protocol SASL_SSL",
    ]


def test_what_does_not_fit_together_is_said_beside_other_faults(tmp_path: Path) -> None:
    text = """
auth: {anonymous: maybe}
listeners:
  http: {port: 99, host: 0.0.0.0, prot: 5}
  mqtt:
  - port: 99
    host: 0.0.0.0
    tls: {certificate: none.pem}
  admin: {port: x}
limits: {page: x, event: 2MiB, body: 1MiB}
workers: 2
topics: {a: {replication: 3, partitions: x}}
telemetry: 5
"""
    assert faults(tmp_path, text) == [
        "2: auth.anonymous: expected true or false",
        "4: listeners.http.prot: unknown key (did you mean 'port'?)",
        "6: listeners.mqtt[0].port: port 99 is also the port of listener http on 0.0.0.0",
        "8: listeners.mqtt[0].tls.certificate: the file none.pem does not exist",
        "8: listeners.mqtt[0].tls.key: is required",
        "9: listeners.admin.port: expected a whole number",
        "10: limits.event: is larger than limits.body, 1MiB: no such event could arrive",
        "10: limits.page: expected a whole number",
        "11: workers: the embedded log is written by one process alone; several workers need bus.kind: kafka",
        "12: topics.a.partitions: expected a whole number",
        "12: topics.a.replication: the embedded log keeps one copy; replication needs bus.kind: kafka",
        "13: telemetry: expected a mapping",
    ]
    same = "limits: {page: x}\nlisteners:\n  http: {port: 99}\n  admin: {port: 99, allowed_host: []}\n"
    assert "4: listeners.admin.port: port 99 is also the port of listener http on 127.0.0.1" in faults(tmp_path, same)


def test_a_slip_causes_no_false_faults(tmp_path: Path) -> None:
    for text, fault in {
        "listeners:\n  http: {prot: 1}\n  mqtt: {port: 8080}": "2: listeners.http.prot: unknown key",
        "auht: {anonymous: true}\nlisteners: {http: {host: '::'}}": "1: auht: unknown key",
        "auth: {anonymus: true}\nlisteners: {http: {host: '::'}}": "1: auth.anonymus: unknown key",
        "listeners:\n  htpp: {port: 81}\n  mqtt: {port: 8080}": "2: listeners.htpp: unknown listener",
        "listeners: {http: [{port: x}], mqtt: {port: 8080}}": "1: listeners.http[0].port: expected a whole number",
        "limits: {bod: 2MiB, event: 20MiB}\nbus: {segment: 1GiB}": "1: limits.bod: unknown key",
        "workers: 2\nbus: {knd: kafka}": "2: bus.knd: unknown key",
    }.items():
        [found] = faults(tmp_path, text)
        assert found.partition(" (did")[0] == fault


def test_a_toml_file_has_its_lines_too(tmp_path: Path) -> None:
    text = 'name = "x"\n[listeners.http]\nprot = 5\n[[listeners.mqtt]]\nport = 1\n[[listeners.mqtt]]\nport = "a"\n'
    assert faults(tmp_path, text, name="l.toml") == [
        "l.toml:3: listeners.http.prot: unknown key (did you mean 'port'?)",
        "l.toml:7: listeners.mqtt[1].port: expected a whole number",
    ]
    assert loaded(tmp_path, '[bus]\npath = "d"\n', name="g.toml").config.bus == EmbeddedBus(path=tmp_path / "d")


def test_a_listener_is_one_mapping_a_list_or_off(tmp_path: Path) -> None:
    config = loaded(
        tmp_path, "listeners:\n  http:\n  - {port: 1}\n  - {port: 2, host: '::1'}\n  mqtt: null\n  grpc: {port: 5}\n"
    ).config
    assert [(entry.host, entry.port) for entry in config.listeners["http"]] == [("127.0.0.1", 1), ("::1", 2)]
    assert config.listeners["mqtt"] == ()
    assert isinstance(config.listeners["http"][0], WebListenerSettings)


def test_a_listener_that_is_not_installed_is_a_note_unless_it_is_off(tmp_path: Path) -> None:
    notes = loaded(tmp_path, "listeners: {grpc: {port: 5}, amqp: null}").notes
    assert notes == ("listeners.websocket: off: not installed", "listeners.grpc: off: not installed")


def test_a_foreign_plugin_brings_its_own_name_and_settings(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("listeners: {nats: {default_topic: x}}")
    config = load(tmp_path / "c.yaml", plugins={"nats": PluginInfo(_Mqtt, 4222)}).config
    assert config.listeners["nats"] == (_Mqtt(default_topic="x", port=4222),)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("listeners: [http]", "1: listeners: expected a mapping of listener names"),
        ("listeners: {http: 8080}", "1: listeners.http: expected a mapping"),
        ("bus: kafka", "1: bus: expected a mapping"),
        ("bus: {kind: [kafka]}", "1: bus.kind: expected embedded or kafka"),
        ("bus: {kind: kafka}", "1: bus.bootstrap: is required"),
        ("bus:\n  kind: kafka\n  bootstrap: a:1\n  path: x",
         "4: bus.path: belongs to the bus of kind embedded; this one is kafka"),
        ("bus:\n  bootstrap: a:1", "2: bus.bootstrap: belongs to the bus of kind kafka; this one is embedded"),
        ("topics: [a]", "1: topics: expected a mapping"),
        ("topics: {a: 5}", "1: topics.a: expected a mapping"),
        ("topics: {_a: {}}", "1: topics._a: topic '_a' is internal: names that begin with '_' are reserved"),
        ("topics: {a: {retention: {time: 5}}}", "1: topics.a.retention.time: 5 needs a unit, such as 5s or 5ms"),
        ("name: 5", "1: name: expected text (a number or a truth value must be quoted)"),
        ("name: a/b", "1: name: must match ^[A-Za-z0-9._-]{1,100}$"),
        ("auth:\n  policies: [{roles: [a]}]", "2: auth.policies: not_available: policies come with a later version"),
        ("auth: {authenticators: [{}]}",
         "1: auth.authenticators: not_available: authenticators come with a later version"),
        ("auth: {authenticator: []}", "1: auth.authenticator: unknown key (did you mean 'authenticators'?)"),
        ('"\\e[2J\\ud800": 1', "1: \\x1b[2J\\ud800: unknown key"),
        ("workers: 0", "1: workers: must be at least 1"),
        ("a: {b", "1: not valid YAML: expected ',' or '}', but got '<stream end>'"),
    ],
)  # fmt: skip
def test_each_fault_is_said_where_it_is(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


def test_empty_sections_and_empty_parts_that_are_not_built_yet_do_no_harm(tmp_path: Path) -> None:
    text = """
bus:
auth: {authenticators: [], policies: []}
listeners:
limits:
topics:
  signals:
  news: {schema: null, retention: }
subscriptions: {}
routes: []
workflows:
bridges: []
cluster: {}
telemetry:
"""
    config = loaded(tmp_path, text).config
    assert set(config.topics.create) == {"signals", "news"}


def test_a_value_from_outside_is_never_repeated(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    text = """
limits: {body: '${file:secret}'}
bus: {durability: '${file:secret}'}
listeners: {http: {host: 'a ${file:secret}'}}
"""
    found = faults(tmp_path, text)
    assert len(found) == 3
    assert "hunter2" not in " ".join(found)


def test_a_secret_that_was_written_down_is_never_repeated(tmp_path: Path) -> None:
    text = """
bus:
  kind: kafka
  bootstrap: a:1
  security: {pasword: hunter2, password: [hunter2], username: {a: hunter2}}
"""
    found = faults(tmp_path, text)
    assert len(found) == 3
    assert "hunter2" not in " ".join(found)
    config = loaded(tmp_path, text.replace("pasword: hunter2, ", "").replace("[hunter2]", "hunter2").replace(
        "{a: hunter2}", "bob, protocol: SASL_SSL, mechanism: PLAIN")).config  # fmt: skip
    assert isinstance(config.bus, KafkaBus)
    assert config.bus.security.password is not None
    assert config.bus.security.password.get_secret_value() == "hunter2"
    assert "hunter2" not in str(config.masked())


def test_environment_values_fill_any_type(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "listeners: {http: {port: '${PORT}'}}\ntopics: {auto_create: '${AUTO:-true}'}\nlimits: {drain: '${DRAIN}'}"
    )
    config = load(tmp_path / "c.yaml", plugins=PLUGINS, environment={"PORT": "99", "DRAIN": "3s"}).config
    assert (config.listeners["http"][0].port, config.topics.auto_create, config.limits.drain) == (99, True, 3.0)


def test_a_file_that_cannot_be_read_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xe4\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (4 * 2**20 + 1))
    expected = {
        "none.yaml": f"{tmp_path}/none.yaml: cannot read the file: No such file or directory",
        "latin.yaml": f"{tmp_path}/latin.yaml:2: the file is not UTF-8 text",
        "large.yaml": f"{tmp_path}/large.yaml: the file is larger than 4 MiB",
        ".": f"{tmp_path}: cannot read the file: Is a directory",
    }
    for name, message in expected.items():
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name)
        assert str(caught.value) == message


def test_a_byte_order_mark_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert load(tmp_path / "c.yaml").config.name == "x"
