"""The Kafka binding: others' records are readable, and nothing illegal gets through."""

from __future__ import annotations

import pytest

from gateway.bus import binding, records
from gateway.bus.binding import headers_of, key_of
from tests.unit.test_records import event, raw_batch


def test_partitionkey_wins_over_subject_as_the_default_key() -> None:
    assert key_of(event(subject="s", partitionkey="p")) == b"p"
    assert key_of(event()) is None
    assert key_of(event(key=b"given", subject="s")) == b"given"


def test_a_raw_record_gets_attributes_from_its_place() -> None:
    got = records.decode_records(raw_batch([("x", b"1"), ("ce_subject", b"a"), ("ce_type", None)], b"v"), "t", 2)
    assert got.events[0].attributes == {
        "specversion": "1.0",
        "id": "t-2-0",
        "source": "//kafka/t",
        "type": "io.linkspan.kafka.message",
        "subject": "a",
        "time": "2023-11-14T22:13:20.123Z",
    }
    assert got.events[0].subject == "a"


def test_illegal_attributes_of_a_raw_record_are_left_out() -> None:
    headers = [("ce_subject", b"a+b"), ("ce_BAD", b"x"), ("ce_note", b"\xff"), ("content-type", b"text/plain")]
    got = records.decode_records(raw_batch(headers, b"v"), "t", 0)  # type: ignore[arg-type]
    attributes = got.events[0].attributes
    assert attributes["datacontenttype"] == "text/plain"
    assert not {"subject", "BAD", "note"} & attributes.keys()


def test_a_structured_record_is_read_as_the_event_in_it() -> None:
    body = b'{"specversion":"1.0","id":"7","source":"/s","type":"t","data":{"a":1}}'
    batch = raw_batch([("content-type", b"application/cloudevents+json; charset=utf-8")], body)
    got = records.decode_records(batch, "t", 0).events[0]
    assert got.data == b'{"a":1}'
    assert got.attributes["id"] == "7"


def test_a_broken_structured_record_is_served_raw() -> None:
    batch = raw_batch([("content-type", b"application/cloudevents+json")], b"{")
    got = records.decode_records(batch, "t", 0).events[0]
    assert got.data == b"{"
    assert got.attributes["id"] == "t-0-0"
    nothing = raw_batch([("content-type", b"application/cloudevents+json")], None)
    assert records.decode_records(nothing, "t", 0).events[0].data is None


def test_unusual_attribute_names_do_not_grow_the_name_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_NAMES_KEPT", len(binding._TO_HEADER))
    assert ("ce_somethingnew", b"1") in headers_of(event(somethingnew=1))
    assert "somethingnew" not in binding._TO_HEADER
