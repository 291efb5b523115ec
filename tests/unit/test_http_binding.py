"""The CloudEvents HTTP binding, by its clauses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidAddress, InvalidEvent, TooLarge, UnsupportedContent
from gateway.event import Event
from gateway.formats import adapt
from protocols.http.binding import BATCH, STRUCTURED, decode, encode_header_value, header_value

BINARY = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")]
PLAIN = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def adapted(data: bytes | None, content_type: str | None, subject: str | None) -> Event:
    return adapt("http", "g", "c", data, content_type, subject, "adapted")


def take(
    headers: list[tuple[str, str]],
    content_type: str | None = None,
    body: bytes = b"",
    subject: str | None = None,
    max_events: int = 10,
) -> Any:
    return decode(headers, content_type, body, subject, max_events, adapted)


def faults(*arguments: Any, **more: Any) -> dict[str, str]:
    with pytest.raises(InvalidEvent) as refused:
        take(*arguments, **more)
    return {fault.where: fault.message for fault in refused.value.faults}


def test_binary_mode_takes_attributes_from_headers_and_data_untouched() -> None:
    headers = [("host", "x"), *BINARY, ("ce-subject", "a/b"), ("ce-priority", "4")]
    [event] = take(headers, "application/json", b"{not json\xff")
    assert event.attributes == PLAIN | {"subject": "a/b", "priority": "4", "datacontenttype": "application/json"}
    assert event.data == b"{not json\xff"


def test_no_body_and_no_content_type_is_no_data() -> None:
    assert take(BINARY)[0].data is None
    assert take(BINARY, "text/plain")[0].data == b""
    assert take(BINARY, None, b"x")[0].data == b"x"
    assert take([])[0].data is None


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"), ('"quoted \\"word\\""', 'quoted "word"'), ("100%25", "100%"),
        ('"%41"', "A"), ("plain, text; = 7", "plain, text; = 7"), ('a "b" c', 'a "b" c'), ("%2525", "%25"), ('"', '"'),
    ],
)  # fmt: skip
def test_header_values_are_unquoted_then_percent_decoded_once(value: str, decoded: str) -> None:
    assert header_value(value) == (decoded, None)
    assert take([*BINARY, ("ce-note", value)])[0].attributes["note"] == decoded


@pytest.mark.parametrize(
    ("value", "message"),
    [("%", "'%'"), ("%4", "'%'"), ("%zz", "'%'"), ("%FF", "UTF-8"), ("%C0%A0", "UTF-8"), ("%ED%A0%80", "UTF-8"),
     ("%00", "control"), ("\udcff", "surrogate")],
)  # fmt: skip
def test_a_header_value_that_cannot_be_decoded_is_refused(value: str, message: str) -> None:
    assert message in faults([*BINARY, ("ce-note", value)])["note"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_encoded_header_values_are_printable_ascii_and_come_back(text: str) -> None:
    encoded = encode_header_value(text)
    assert all("!" <= character <= "~" and character != '"' for character in encoded)
    assert header_value(encoded) == (text, None)


def test_a_malformed_binary_event_is_refused_not_repaired() -> None:
    assert faults([("ce-id", "1")]) == dict.fromkeys(("source", "type", "specversion"), "is required")
    assert "1.0" in faults([("ce-specversion", "0.3"), *BINARY[1:]])["specversion"]
    assert faults([*BINARY, ("ce-id", "2")]) == {"id": "is given twice"}
    assert "Content-Type" in faults([*BINARY, ("ce-datacontenttype", "x/y")])["datacontenttype"]
    assert "name" in faults([*BINARY, ("ce-with_underscore", "x")])["with_underscore"]
    assert "media type" in faults(BINARY, "nonsense")["datacontenttype"]
    assert "name" in faults([*BINARY, ("ce-", "x")])["ce-"]


def test_structured_and_batch_mode() -> None:
    text = json.dumps(PLAIN).encode()
    assert take([], STRUCTURED, text)[0].attributes == PLAIN
    assert take([], "Application/CloudEvents+JSON; charset=UTF-8", text)[0].attributes == PLAIN
    assert [e.attributes for e in take([], BATCH, b"[" + text + b"," + text + b"]")] == [PLAIN, PLAIN]
    assert take([], BATCH, b"[]") == []
    assert take([("ce-id", "ignored")], STRUCTURED, text)[0].attributes == PLAIN
    assert "batch" in faults([], STRUCTURED, b"[]")["body"]
    with pytest.raises(TooLarge):
        take([], BATCH, b"[" + b",".join([text] * 11) + b"]")


@pytest.mark.parametrize(
    "type_",
    ["application/cloudevents", "application/cloudevents+avro", "application/cloudevents-batch+xml",
     "application/cloudeventsx", "application/cloudevents+json; charset=utf-16",
     'application/cloudevents-batch+json; charset="latin-1"'],
)  # fmt: skip
def test_other_event_formats_and_charsets_are_refused(type_: str) -> None:
    with pytest.raises(UnsupportedContent):
        take([], type_, b"{}")


def test_anything_else_becomes_the_data_of_a_new_event() -> None:
    [event] = take([("host", "h")], "image/png", b"\x89PNG", "a/b")
    assert event.data == b"\x89PNG"
    assert (event.attributes["type"], event.attributes["subject"]) == ("adapted", "a/b")
    assert event.attributes["datacontenttype"] == "image/png"


def test_the_subject_of_the_address_supplies_a_missing_one_and_must_equal_a_present_one() -> None:
    with_subject = [*BINARY, ("ce-subject", "a/b")]
    assert take(BINARY, subject="a/b")[0].attributes["subject"] == "a/b"
    assert take(with_subject, subject="a/b")[0].attributes["subject"] == "a/b"
    assert "'a/b'" in faults(with_subject, subject="a/c")["subject"]
    many = json.dumps([PLAIN, PLAIN | {"subject": "x"}, PLAIN | {"subject": "y"}]).encode()
    assert set(faults([], BATCH, many, "x")) == {"events[2].subject"}
    with pytest.raises(InvalidAddress):
        take(BINARY, subject="a/+")
