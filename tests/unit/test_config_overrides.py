"""Flags change the document, and their faults name the flag."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.document import Document
from gateway.config.overrides import apply_overrides
from gateway.config.yaml_lines import parse_yaml

TEXT = """
limits: {body: 1MiB}
listeners:
  http:
    - port: 1
    - port: 2
  mqtt: null
bus:
  kind: kafka
  bootstrap: a:1
  security: {protocol: SSL}
"""


def changed(*overrides: str, data: Path | None = None, kafka: str | None = None, text: str = TEXT) -> Document:
    document = parse_yaml(text, "f.yaml")
    apply_overrides(document, overrides, data, kafka)
    return document


def test_a_value_is_set_and_missing_mappings_are_made() -> None:
    document = changed("limits.body=2MiB", "listeners.mqtt.port=0", "telemetry.logs.level=debug", "listeners.amqp=null")
    assert document.faults == []
    assert document.value["limits"] == {"body": "2MiB"}
    assert document.value["listeners"]["mqtt"] == {"port": 0}
    assert document.value["listeners"]["amqp"] is None
    assert document.value["telemetry"] == {"logs": {"level": "debug"}}
    assert str(document.place(("limits", "body"))) == "--set limits.body"


def test_an_entry_of_a_list_is_reached_by_its_index() -> None:
    assert changed("listeners.http.1.port=9").value["listeners"]["http"][1] == {"port": 9}
    assert changed("listeners.http[0].port=9").value["listeners"]["http"][0] == {"port": 9}
    assert changed("listeners.http[0]={port: 7}").value["listeners"]["http"][0] == {"port": 7}


def test_a_quoted_part_may_contain_dots() -> None:
    document = changed('topics."a.b".partitions=3')
    assert document.value["topics"] == {"a.b": {"partitions": 3}}


def test_a_later_flag_wins_and_a_flag_mends_a_fault_of_the_file() -> None:
    document = changed("limits.body=1", "limits.body=2", text="limits: {body: no}")
    assert document.value["limits"]["body"] == 2
    assert document.faults == []


def test_everything_in_a_structured_value_is_the_flags() -> None:
    document = changed("listeners.grpc=[{port: x}]")
    assert str(document.place(("listeners", "grpc", 0, "port"))) == "--set listeners.grpc"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("limits", "--set: expected key.path=value"),
        ("=5", "--set: expected key.path=value"),
        ("a..b=5", "--set: a..b: expected key.path=value"),
        ("[0]=5", "--set: [0]: expected key.path=value"),
        ("a]=5", "--set: a]: expected key.path=value"),
        ("limits.body.x=1", "--set limits.body.x: limits.body is a single value, not a mapping"),
        ("limits[0]=1", "--set limits[0]: limits is a mapping, not a list"),
        ("listeners.http.port=1",
         "--set listeners.http.port: listeners.http is a list of 2: listeners.http[0] is its first entry"),
        ("listeners.http[2]=1",
         "--set listeners.http[2]: listeners.http is a list of 2: listeners.http[0] is its first entry"),
        ("limits.body=no", '--set limits.body: bare no is not a truth value here: write false, or "no" for text'),
    ],
)  # fmt: skip
def test_a_fault_names_the_flag(flag: str, message: str) -> None:
    assert [str(fault) for fault in changed(flag).faults] == [message]


def test_a_flag_without_a_value_is_not_repeated() -> None:
    assert "hunter2" not in str(changed("bus.security.password:hunter2").faults[0])


def test_kafka_replaces_the_embedded_log_and_keeps_the_security_of_a_configured_kafka() -> None:
    assert changed(kafka="x:1,y:2").value["bus"] == {
        "kind": "kafka", "bootstrap": "x:1,y:2", "security": {"protocol": "SSL"},
    }  # fmt: skip
    embedded = "bus: {kind: embedded, path: /d}"
    assert changed(kafka="x:1", text=embedded).value["bus"] == {"kind": "kafka", "bootstrap": "x:1"}


def test_the_data_folder_overrides_the_path() -> None:
    assert changed(data=Path("d"), text="").value == {"bus": {"path": "d"}}
    assert changed(data=Path("d"), text="bus: {path: e}").value == {"bus": {"path": "d"}}
    assert changed(data=Path("d"), text="bus: 5").value == {"bus": 5}


def test_a_data_folder_makes_no_sense_on_kafka() -> None:
    assert str(changed(data=Path("d")).faults[0]) == "--data: there is no data folder: the bus is Kafka"
    (fault,) = changed(data=Path("d"), kafka="x:1").faults
    assert str(fault) == "--data: cannot be used with --kafka: there is no data folder on Kafka"
