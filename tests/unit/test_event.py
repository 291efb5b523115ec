"""The event: lazily decoded, validated by CloudEvents 1.0.2, never repaired."""

from __future__ import annotations

import re
import time

from gateway.event import Event, default_key, event_faults, now_rfc3339, uuid7
from routing.attributes import attribute_fault


def test_all_faults_are_found_at_once() -> None:
    assert event_faults({"id": "1", "source": "", "specversion": "1.0"}) == [
        ("type", "is required"),
        ("source", "must not be empty"),
    ]
    assert event_faults({"id": "1", "source": "/", "type": "t", "specversion": "1.0"}) == []


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


def test_the_key_is_the_partition_key_or_else_the_subject() -> None:
    assert default_key({"subject": "s"}) == b"s"
    assert default_key({"partitionkey": 7, "subject": "s"}) == b"7"
    assert default_key({}) is None
