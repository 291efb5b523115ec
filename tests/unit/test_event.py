"""The event: lazily decoded, validated by CloudEvents 1.0.2, never repaired."""

from __future__ import annotations

import re
import time

import pytest

from gateway.event import Event, attribute_fault, canonical, default_key, event_faults, name_legal, now_rfc3339, uuid7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "a b"),
        ("source", "/s"),
        ("source", "urn:uuid:6e8bc430"),
        ("type", "t"),
        ("specversion", "1.0"),
        ("subject", "a/b"),
        ("time", "2026-11-24T07:45:52.884748Z"),
        ("time", "2026-02-03T04:05:06+01:00"),
        ("time", "2024-02-29T00:00:00.5Z"),
        ("dataschema", "https://example.com/s"),
        ("datacontenttype", "text/plain; charset=utf-8"),
        ("priority", 4),
        ("ok", True),
        ("note", ""),
    ],
)
def test_legal_attributes(name: str, value: object) -> None:
    assert attribute_fault(name, value) is None


def test_a_value_of_the_wrong_type_is_shown_as_json() -> None:
    assert attribute_fault("id", True) == "must be a string, not true"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", ""),
        ("id", 5),
        ("source", ""),
        ("source", "a b"),
        ("type", ""),
        ("specversion", "0.3"),
        ("subject", ""),
        ("subject", "a/+"),
        ("time", "yesterday"),
        ("time", "2026-13-01T00:00:00Z"),
        ("time", "2026-01-01 00:00:00Z"),
        ("time", "2026-02-29T00:00:00Z"),
        ("dataschema", "relative"),
        ("datacontenttype", "nonsense"),
        ("data", "x"),
        ("Upper", "x"),
        ("with-dash", "x"),
        ("", "x"),
        ("x" * 65, "x"),
        ("note", "a\x00"),
        ("note", "\ud800"),
        ("note", "\ufffe"),
        ("note", "x" * 70_000),
        ("note", 1.5),
        ("note", None),
        ("number", 2**31),
        ("time", True),
    ],
)
def test_illegal_attributes_are_told(name: str, value: object) -> None:
    assert attribute_fault(name, value)


def test_all_faults_are_found_at_once() -> None:
    assert event_faults({"id": "1", "source": "", "specversion": "1.0"}) == [
        ("type", "is required"),
        ("source", "must not be empty"),
    ]
    assert event_faults({"id": "1", "source": "/", "type": "t", "specversion": "1.0"}) == []


def test_values_have_one_canonical_string() -> None:
    assert [canonical(value) for value in (True, False, -7, "x")] == ["true", "false", "-7", "x"]
    assert default_key({"subject": "s"}) == b"s"
    assert default_key({"partitionkey": 7, "subject": "s"}) == b"7"
    assert default_key({}) is None
    assert name_legal("abc1")
    assert not name_legal("data")


def test_headers_are_decoded_when_somebody_asks() -> None:
    event = Event([("ce_subject", b"a"), ("content-type", b"text/plain")], b"x", None, "t", 0, 5, 1_000)
    assert isinstance(event.raw, list)
    assert event.data == b"x"
    assert isinstance(event.raw, dict)
    assert event.subject == "a"
    assert Event({}).subject is None


def test_identifiers_are_unique_and_ordered_by_time() -> None:
    first = uuid7()
    time.sleep(0.002)
    second = uuid7()
    assert first < second
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first)
    assert attribute_fault("time", now_rfc3339()) is None
