"""The CloudEvents JSON format, written: data cannot break out of its event, and comes back as it was."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import envelope
from gateway.envelope import encode_batch, encode_event, encode_events
from gateway.event import Event
from gateway.formats import decode_batch, decode_event

GOOD: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def test_json_data_is_spliced_as_it_came() -> None:
    made = Event(dict(GOOD) | {"datacontenttype": "application/json"}, b'{"a":  1.0}')
    assert encode_event(made).endswith(b',"data":{"a":  1.0}}')
    assert encode_event(Event(dict(GOOD), b"[1]")).endswith(b',"data":[1]}')
    assert json.loads(encode_event(Event(dict(GOOD)))) == GOOD


@pytest.mark.parametrize(
    "data",
    [
        b'1},{"id":"forged"', b"", b"1 2", b'{"a":1}}', b"\xff", b'"\xff"', b'"\\ud800"', b"[" * 100_000, b"nul",
        b'"a\nb"',
    ],
)  # fmt: skip
def test_data_that_is_no_json_value_cannot_break_out(data: bytes) -> None:
    made = Event(dict(GOOD) | {"datacontenttype": "application/json"}, data)
    encoded = json.loads(encode_event(made))
    assert base64.b64decode(encoded["data_base64"]) == data
    assert decode_event(encode_event(made)).data == data


def test_text_goes_as_text_and_bytes_as_base64() -> None:
    def encoded(type_: str, data: bytes) -> Any:
        return json.loads(encode_event(Event(dict(GOOD) | {"datacontenttype": type_}, data)))

    assert encoded("text/plain", "grün\n".encode())["data"] == "grün\n"
    assert encoded("application/atom+xml; charset=UTF-8", b"<a/>")["data"] == "<a/>"
    assert encoded("text/plain", b"\xff")["data_base64"] == "/w=="
    assert encoded("text/plain; charset=latin-1", b"x")["data_base64"] == "eA=="
    assert encoded("application/octet-stream", b"x")["data_base64"] == "eA=="


TYPES = [None, "application/json", "text/plain", "image/png"]
DATA = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.text(max_size=20).map(str.encode),
    st.sampled_from(["[1", "2]", '{"a":1}', '"é"', "1,2", "", " 1 ", "\n[1,\n2]", '"']).map(str.encode),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(DATA, st.sampled_from(TYPES)), max_size=8), st.sampled_from([*TYPES, ...]), st.booleans())
def test_events_are_encoded_together_as_each_alone(
    made: list[tuple[bytes | None, str | None]], only: Any, stored: bool
) -> None:
    def events() -> list[Event]:
        kinds = [type_ if only is ... else only for _, type_ in made]
        if stored:
            headers = [[] if kind is None else [("content-type", kind.encode())] for kind in kinds]
            return [Event(list(head), data) for head, (data, _) in zip(headers, made, strict=True)]
        attributes = [dict(GOOD) if kind is None else dict(GOOD, datacontenttype=kind) for kind in kinds]
        return [Event(own, data) for own, (data, _) in zip(attributes, made, strict=True)]

    assert encode_events(events()) == [encode_event(event) for event in events()]


@pytest.mark.parametrize(
    ("type_", "data", "told"),
    [
        (None, '{"a": "é"}'.encode(), '"data":{"a": "é"}'), (None, b'"\xff"', '"data_base64":"Iv8i"'),
        ("text/plain", "é\n".encode(), '"data":"é\\n"'), ("text/plain", b"\xff", '"data_base64":"/w=="'),
        ("image/png", b"1", '"data_base64":"MQ=="'), ("text/json", b"1", '"data":1'),
    ],
)  # fmt: skip
def test_many_of_a_kind_are_encoded_like_one(type_: str | None, data: bytes, told: str) -> None:
    own = dict(GOOD) if type_ is None else dict(GOOD, datacontenttype=type_)
    parts = encode_events([Event(dict(own), data) for _ in range(5)])
    assert parts == [encode_event(Event(own, data))] * 5
    assert parts[0].decode().endswith(f",{told}}}")
    mixed = [Event(dict(own), data), *[Event(dict(GOOD, datacontenttype="text/csv"), b"a") for _ in range(4)]]
    assert encode_events(mixed) == list(map(encode_event, mixed))


@pytest.mark.parametrize("text", ["[1 2] 3,4 5", '"a b" 1 2,3', "1 2 3,4 5"])
def test_payloads_cannot_conspire(text: str) -> None:
    pieces = text.encode().split()
    told = [json.loads(part) for part in encode_events([Event(dict(GOOD), piece) for piece in pieces])]
    for piece, event in zip(pieces, told, strict=True):
        if piece.isdigit():
            assert event == GOOD | {"data": int(piece)}
        else:
            assert event == GOOD | {"data_base64": base64.b64encode(piece).decode()}


def test_what_is_known_of_content_types_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "_KINDS_KEPT", len(envelope._kinds))
    assert encode_event(Event(dict(GOOD, datacontenttype="text/x-new"), b"x")).endswith(b',"data":"x"}')
    assert "text/x-new" not in envelope._kinds


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from([None, "application/json", "text/plain", "image/png"]))
def test_every_payload_comes_back_as_it_was(data: bytes, type_: str | None) -> None:
    attributes = dict(GOOD) | ({} if type_ is None else {"datacontenttype": type_})
    once = encode_batch([Event(attributes, data), Event(dict(GOOD))])
    first, second = decode_batch(once, 2)
    spliced = b'"data":' in once and type_ != "text/plain"
    assert first.data == (data.strip(b" \t\r\n") if spliced else data)  # blanks around a JSON value mean nothing
    assert second.attributes == GOOD
