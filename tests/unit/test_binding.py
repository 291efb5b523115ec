"""The Kafka binding: others' records are readable, and nothing illegal gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus import binding, records
from gateway.bus.binding import headers_of, key_of
from gateway.event import Event, event_faults
from routing.attributes import attribute_fault
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


def test_illegal_attributes_are_left_out_of_a_complete_record_too() -> None:
    headers = [("ce_id", b"x"), ("ce_source", b"a b"), ("ce_type", b""), ("ce_specversion", b"1.0")]
    headers += [("ce_subject", b"a/*/#"), ("ce_time", b"yesterday"), ("ce_note", b"a\x7f"), ("content-type", b"text")]
    for _ in range(2):
        got = records.decode_records(raw_batch(headers, b"v"), "t", 2).events[0]  # type: ignore[arg-type]
        assert binding.subject_of(got) is None
        assert got.attributes == {
            "specversion": "1.0",
            "id": "x",
            "source": "//kafka/t",
            "type": "io.linkspan.kafka.message",
            "time": "2023-11-14T22:13:20.123Z",
        }


CHECKS = {
    "ce_specversion": ["1.0", "0.3"], "ce_id": ["", "7", "a\n", "i" * 200, "i" * 70_000],
    "ce_source": ["//s", "a b", ""],
    "ce_type": ["t", "", "\ufffe"], "ce_subject": ["a/b", "a/*/#", "", "s" * 5000, "a/" * 200],
    "ce_x": ["\u200d", "", "\x00"],
    "ce_time": [
        "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.25Z", "2026-01-02T03:04:05.", "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05.1Z5Z", "2026-01-02T03:04:05.\u0661Z", "2026-02-30T03:04:05.1Z",
        "2026-01-02T03:04:05+01:00",
        "2026-01-02T03:04:05." + "0" * 300 + "Z", "2026-01-02T03:04:05.1z", "2026-01-02 03:04:05Z", "", "x",
    ],
    "content-type": ["text/plain", "text", "application/json; a=b"], "ce_NO": ["x"], "other": ["x"],
}  # fmt: skip
HEADERS = st.sampled_from(sorted(CHECKS)).flatmap(
    lambda header: st.tuples(
        st.just(header), st.sampled_from(CHECKS[header]).map(str.encode) | st.sampled_from([b"\xff", None])
    )
)


@given(st.lists(HEADERS, max_size=12))
def test_what_is_read_is_legal_and_all_that_is(headers: list[tuple[str, bytes]]) -> None:
    legal: dict[str, str] = {}
    for header, value in headers:
        name = "datacontenttype" if header == "content-type" else header[3:]
        if header in ("ce_NO", "other") or value in (None, b"\xff"):
            continue
        if attribute_fault(name, value.decode()) is None:
            legal[name] = value.decode()
    complete = {"specversion", "id", "source", "type"} <= legal.keys()
    for _ in range(2):
        read = Event(list(headers), b"v", None, "t", 2, 0, 1_700_000_000_123).attributes
        assert not event_faults(read)
        assert read == legal if complete else read.items() >= legal.items()


def test_what_is_known_of_headers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "_LEGAL_KEPT", 3)
    monkeypatch.setattr(binding, "_SECONDS_KEPT", 3)
    binding._LEGAL.clear()
    binding._SECONDS.clear()
    for second in range(10, 40):
        headers = [("ce_time", b"2026-01-02T03:04:%dZ" % second), ("ce_n", b"%d" % second), ("ce_long", b"x" * 300)]
        assert Event(list(headers), None, None, "t").attributes["n"] == str(second)
    assert len(binding._LEGAL) <= 3
    assert len(binding._SECONDS) <= 3


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
