"""routing/transforms/document.py: one event under change, and its bounds."""

from __future__ import annotations

import msgspec
import pytest

from routing.shape import MISSING
from routing.transforms.document import MAX_GROWTH, MAX_MORE, Document, text_of
from routing.transforms.failure import Refusal
from routing.transforms.paths import parse_path

DATA = b'{ "a": {"b": [10, {"c": 1.50}]}, "n": null }'


def document(data: bytes | None = DATA, **attributes: str) -> Document:
    return Document({"id": "1", **attributes}, data, data)


def test_a_payload_that_is_only_read_keeps_its_bytes() -> None:
    doc = document()
    assert doc.plain(parse_path("a.b[1].c")) == 1.5
    assert doc.payload() is DATA


def test_a_payload_that_is_changed_keeps_the_text_of_all_else() -> None:
    doc = document()
    doc.put(parse_path("a.x.y"), True)
    assert doc.payload() == b'{"a":{"b":[10, {"c": 1.50}],"x":{"y":true}},"n":null}'
    assert doc.plain(parse_path("a.x.y")) is True


@pytest.mark.parametrize("text", ["x", "a.x", "a.b[2]", "a.b[0].x", "n.x", "a[0]", "a.b.c", "a.b[1].c.d"])
def test_where_nothing_is_there_is_nothing(text: str) -> None:
    doc = document()
    assert doc.get(parse_path(text)) is MISSING
    assert doc.plain(parse_path(text)) is MISSING
    assert list(doc.parents(parse_path(text))) == []
    assert doc.payload() is DATA


def test_elements_are_found_one_and_all() -> None:
    doc = document(b'{"l":[{"a":1},{"b":2},{"a":3}],"m":[[1,2],[3]]}')
    for parent, step in doc.parents(parse_path("l[*].a")):
        parent[step] = 0
    for parent, step in doc.parents(parse_path("m[*][0]")):
        del parent[step]
    assert doc.payload() == b'{"l":[{"a":0},{"b":2},{"a":0}],"m":[[2],[]]}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("n.x", "n is a single value, so n.x cannot be set"),
        ("a.b.c", "a.b is an array, so a.b.c cannot be set"),
        ("a[0]", r"a is an object, so a\[0\] cannot be set"),
        ("a.b[5]", r"a.b\[5\] is past the end of its array"),
        ("a.b[5].x", r"a.b\[5\] is missing, so a.b\[5\].x cannot be set"),
    ],
)
def test_a_place_that_cannot_be_made_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        document().put(parse_path(text), 1)


def test_an_element_is_replaced() -> None:
    doc = document()
    doc.put(parse_path("a.b[0]"), "x")
    assert doc.plain(parse_path("a.b")) == ["x", {"c": 1.5}]


@pytest.mark.parametrize(
    ("data", "content_type", "reason"),
    [
        (None, "application/json", "the event has no data"),
        (b"5", "application/json", "the payload is a number, not an object"),
        (b'"x"', "application/json", "the payload is text, not an object"),
        (b"null", "application/json", "the payload is null, not an object"),
        (b"true", "application/json", "the payload is true or false, not an object"),
        (b"[1]", "application/json", "the payload is an array, not an object"),
        (b"\xc4\x01x", "application/msgpack", "the payload is binary, not an object"),
        (b"{", "application/json", "the payload is not JSON"),
        (b"{}", "text/plain", "a payload of type text/plain has no members"),
        (b"{}", "application/avro", "a payload of type application/avro has no members"),
    ],
)
def test_what_has_no_members_is_refused(data: bytes | None, content_type: str, reason: str) -> None:
    with pytest.raises(Refusal, match=reason):
        document(data, datacontenttype=content_type).members()


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "application/vnd.trade+json; charset=utf-8", "text/json"]
)
def test_json_is_known_by_its_type_or_by_none(content_type: str | None) -> None:
    doc = document(DATA) if content_type is None else document(DATA, datacontenttype=content_type)
    assert set(doc.members()) == {"a", "n"}


def test_a_payload_grows_sixteen_times_or_by_a_mebibyte() -> None:
    doc = document(b"{}")
    doc.replace(b"x" * (MAX_MORE + 2))
    doc.replace(b"x" * MAX_MORE)
    with pytest.raises(Refusal, match="grows to 1048579 bytes, more than the 1048578"):
        doc.replace(b"x" * (MAX_MORE + 3))
    large = document(b"x" * MAX_MORE)
    large.replace(b"x" * (MAX_MORE * MAX_GROWTH))
    with pytest.raises(Refusal, match="more than"):
        large.replace(b"x" * (MAX_MORE * MAX_GROWTH + 1))


def test_what_steps_add_is_counted_before_it_is_built() -> None:
    doc = document(b"{}")
    doc.grow(MAX_MORE)
    with pytest.raises(Refusal, match="the steps add more than"):
        doc.grow(3)


def test_a_payload_gets_a_new_type_as_the_bytes_that_it_is() -> None:
    doc = document(DATA)
    doc.put(parse_path("x"), 1)
    doc.set_attribute("datacontenttype", "text/plain")
    with pytest.raises(Refusal, match="has no members"):
        doc.members()
    data = doc.payload()
    assert data is not None
    assert msgspec.json.decode(data)["x"] == 1


def test_an_illegal_attribute_is_refused() -> None:
    doc = document()
    doc.set_attribute("desk", "a")
    for name, value in (
        ("subject", "a/+"),
        ("Desk", "a"),
        ("desk", 2**31),
        ("desk", 1.5),
        ("data", "x"),
        ("time", "now"),
    ):
        with pytest.raises(Refusal, match=f"attribute {name}: "):
            doc.set_attribute(name, value)
    assert doc.attributes == {"id": "1", "desk": "a"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.50", "1.50"),
        ("12345678901234567890", "12345678901234567890"),
        ('"1"', "1"),
        ("true", "true"),
        ("false", "false"),
    ],
)
def test_a_single_value_has_a_text(text: str, expected: str) -> None:
    doc = document(f'{{"v":{text}}}'.encode())
    assert text_of(doc.scalar(doc.get(("v",)))) == expected


def test_values_of_other_formats_have_texts_too() -> None:
    data = msgspec.msgpack.encode({"i": 5, "f": 1.5, "b": b"\x01\xff", "n": None, "o": {}})
    doc = document(data, datacontenttype="application/msgpack")
    assert [text_of(doc.scalar(doc.get((name,)))) for name in "ifb"] == ["5", "1.5", "01ff"]
    assert doc.scalar(doc.get(("n",))) is None
    with pytest.raises(Refusal, match="is an object, not a single value"):
        doc.scalar(doc.get(("o",)))
