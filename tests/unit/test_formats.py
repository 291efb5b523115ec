"""The CloudEvents JSON format, read: what is refused and where, and data that comes through untouched."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import formats, shapes
from gateway.errors import Fault, InvalidEvent, TooLarge
from gateway.event import Event, event_faults
from gateway.formats import adapt, decode_batch, decode_event
from gateway.shapes import Shape, Shapes

GOOD: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def event(**more: Any) -> dict[str, Any]:
    return GOOD | more


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def faults_of(decode: Callable[..., Any], *arguments: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidEvent) as refused:
        decode(*arguments)
    return [(fault.where, fault.message) for fault in refused.value.faults]


@pytest.fixture(autouse=True, params=["fresh", "learned"])
def learned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule holds on the exact path, and after the decoders have learned many shapes."""
    monkeypatch.setattr(formats, "_shapes", Shapes())
    if request.param == "learned":
        for extra in ({}, {"data": 1}, {"data": "x", "datacontenttype": "text/plain"}, {"data_base64": "eA=="}):
            for more in ({}, {"subject": "a/b", "time": "2026-01-02T03:04:05Z"}, {"priority": 4, "flag": True}):
                for _ in range(2):  # a shape is learned when it comes again
                    assert decode_event(body(event(**extra, **more))).attributes["id"] == "1"


def test_attributes_keep_their_json_types() -> None:
    decoded = decode_event(body(event(subject="a/b", priority=4, flag=True, note="ü")))
    assert decoded.attributes == event(subject="a/b", priority=4, flag=True, note="ü")
    assert decoded.data is None


@pytest.mark.parametrize("data", ['{"a": [1,  2.50]}', '"text"', "12e3", "null", "true", "[]", '{"\\u00e9": "\\n"}'])
def test_json_data_keeps_its_bytes(data: str) -> None:
    text = json.dumps(GOOD)[:-1] + f', "data": \n {data} \r\n }}'
    decoded = decode_event(text.encode())
    assert decoded.data == data.encode()
    assert decoded.attributes["datacontenttype"] == "application/json", "implied, so made explicit (1.0.2, 3.1)"
    assert decode_batch(f"[{text}, {text}]".encode(), 10)[1].data == data.encode()


@pytest.mark.parametrize("type_", ["application/json", "text/json", "application/x+json; a=b", "Application/JSON"])
def test_json_content_types_keep_json_strings_as_json(type_: str) -> None:
    assert decode_event(body(event(datacontenttype=type_, data="x"))).data == b'"x"'


def test_other_content_types_take_the_text_of_a_string() -> None:
    assert decode_event(body(event(datacontenttype="text/plain", data="grün\n"))).data == "grün\n".encode()
    assert decode_event(body(event(datacontenttype="application/xml", data=""))).data == b""
    assert decode_event(body(event(datacontenttype="text/plain", data={"a": 1}))).data == b'{"a": 1}'
    assert decode_event(body(event(datacontenttype="text/plain", data=None))).data is None


def test_base64_data_is_decoded_strictly() -> None:
    decoded = decode_event(body(event(data_base64=base64.b64encode(b"\0\xff").decode())))
    assert (decoded.data, "datacontenttype" in decoded.attributes) == (b"\0\xff", False)
    assert decode_event(body(event(data_base64=""))).data == b""
    for bad in ("x", "e A==", "eA", "eA==\n", "e!==", 7, "ü"):
        assert faults_of(decode_event, body(event(data_base64=bad))) == [("data_base64", "is not a string in base64")]


def test_an_event_has_data_only_once() -> None:
    both = event(data=1, data_base64="eA==")
    [(where, message)] = faults_of(decode_event, body(both))
    assert where == "data_base64"
    assert "excludes data" in message
    assert decode_event(body(event(data=None, data_base64="eA=="))).data == b"x"
    assert decode_event(body(event(data=1, data_base64=None))).data == b"1"


def test_null_is_as_good_as_absent() -> None:
    assert decode_event(body(event(subject=None, extra=None))).attributes == GOOD
    assert faults_of(decode_event, body(event(id=None))) == [("id", "is required")]


def test_each_fault_says_where() -> None:
    bad = {"specversion": "0.3", "id": "", "type": 5, "time": "yesterday", "Upper": "x", "list": [1]}
    found = dict(faults_of(decode_event, body(bad)))
    assert set(found) == {"specversion", "id", "type", "time", "Upper", "list", "source"}
    assert found["source"] == "is required"
    assert "1.0" in found["specversion"]
    assert "RFC 3339" in found["time"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject", ""), ("subject", "a/+/b"), ("subject", "a\x00b"), ("source", "a b"), ("source", ""),
        ("source", "%zz"), ("time", "2026-01-01T00:00:00"),
        ("id", "a\nb"), ("id", "a\x7fb"), ("note", "\x85"), ("note", "\ufffe"), ("note", "\U0001ffff"), ("id", ""),
        ("type", ""), ("time", "2026-02-30T00:00:00Z"), ("time", "2026-01-01 00:00:00Z"),
        ("time", "2026-01-01T00:00:00+0100"), ("datacontenttype", "json"), ("dataschema", "relative"), ("note", 2**31),
        ("note", 1.5), ("note", 1e3), ("note", {}), ("n" * 65, "x"), ("with-dash", "x"), ("id", "x" * 70_000),
        ("subject", "s" * 5000), ("note", "x" * 70_000), ("specversion", "1.1"), ("specversion", 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ascii_only", [True, False])
def test_illegal_attributes_are_refused_alone_and_in_batches(name: str, value: object, ascii_only: bool) -> None:
    bad = event(**{name: value})
    text = json.dumps(bad, ensure_ascii=ascii_only).encode()
    assert [where.strip("'") for where, _ in faults_of(decode_event, text)] == [name[:64]]
    many = json.dumps([GOOD, bad, GOOD], ensure_ascii=ascii_only).encode()
    [(where, _)] = faults_of(decode_batch, many, 10)
    assert where.startswith("events[1].")


@pytest.mark.parametrize(
    "text",
    [
        '{"id":"1","source":"/s","type":"t","specversion":"1.0","id":"2"}',
        '{"id":"1","source":"/s","type":"t","specversion":"1.0","data":1,"data":2}',
        '{"id":"1","source":"/s","type":"t","specversion":"1.0","data":{"id":"x"}, "type":"u"}',
        '{"id":"1","source":"/s","type":"t","specversion":"1.0","i\\u0064":"2"}',
        '{"id":"1","source":"/s","type":"t","specversion":"1.0","priority":1,"priority":2}',
    ],
)
def test_a_member_that_is_given_twice_is_refused(text: str) -> None:
    for _ in range(2):  # shapes to fall for
        decode_event(b'{"id":"1","source":"/s","type":"t","specversion":"1.0","data":1}')
        decode_event(b'{"id":"1","source":"/s","type":"t","specversion":"1.0","priority":1}')
    assert faults_of(decode_event, text.encode())[0][1] == "is given twice"
    assert faults_of(decode_batch, f"[{text}]".encode(), 10)[0][1] == "is given twice"


def test_the_same_names_inside_of_data_disturb_nobody() -> None:
    inner = {"id": "x", "id2": '"id":', "data": {"specversion": 1}}
    events = decode_batch(body([event(data=inner)] * 3), 10)
    assert [json.loads(e.data or b"") for e in events] == [inner] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"), (b"{", "not JSON"), (b'{"id": "1",}', "not JSON"), (b"[]", "not a batch"), (b"7", "object"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"), (b'{"a": "\x00"}', "not JSON"), (b"{} {}", "not JSON"),
        (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"), (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"data": NaN}', "not JSON"), (b'{"data": 01}', "not JSON"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_refused(text: bytes, message: str) -> None:
    [(where, told)] = faults_of(decode_event, text)
    assert where == "body"
    assert message in told


def test_invalid_utf8_inside_of_data_is_found() -> None:
    good = body(event(data={"a": "?"}))
    for text in (good.replace(b"?", b"\xff"), good.replace(b"?", b"\xed\xa0\x80")):
        assert "not UTF-8" in faults_of(decode_event, text)[0][1]
        assert "not UTF-8" in faults_of(decode_batch, b"[" + text + b"]", 10)[0][1]


def test_lone_surrogates_are_refused() -> None:
    for text in (b'{"id":"\\ud800"}', b'{"data":"\\udc00"}', b'{"datacontenttype":"text/plain","data":"\\ud800x"}'):
        assert faults_of(decode_event, text)


@pytest.mark.parametrize(
    ("text", "place"),
    [(b'{"id":"\\ud800"}', 7), (b'{"data":"ab\\udc00"}', 11), (b'{"data":"\\ud83d\\ude00\\ud83d"}', 21),
     (b'{"\\ud800":1}', 2), (b'{"data":"\\\\\\ud800"}', 11)],
)  # fmt: skip
def test_a_lone_surrogate_is_told_as_such(text: bytes, place: int) -> None:
    [(where, told)] = faults_of(decode_event, text)
    assert (where, told) == ("body", f"has a lone surrogate at byte {place}")
    [(_, told)] = faults_of(decode_batch, b"[" + text + b"]", 10)
    assert told == f"has a lone surrogate at byte {place + 1}"


def test_a_text_that_ends_too_early_is_not_taken_for_a_surrogate() -> None:
    for text in (b'{"a":"\\ud83d\\ude00', b'{"a":"\\\\ud800'):
        assert "lone surrogate" not in faults_of(decode_event, text)[0][1]


def test_refusals_are_sentences() -> None:
    with pytest.raises(InvalidEvent, match="the event was refused: body must be a JSON object"):
        decode_event(b"7")


def test_a_batch_is_refused_as_a_whole_with_an_index_for_each_fault() -> None:
    many = [GOOD] * 5 + [event(id="")] + [GOOD] + [{"id": "x"}]
    with pytest.raises(InvalidEvent) as refused:
        decode_batch(body(many), 100)
    faults = refused.value.faults
    assert faults[0] == Fault("events[5].id", "must not be empty", 5)
    assert {fault.index for fault in faults} == {5, 7}
    assert {fault.where for fault in faults} >= {"events[7].source", "events[7].type", "events[7].specversion"}


def test_faults_are_told_up_to_a_bound() -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode_batch(body([{}] * 1000), 10_000)
    assert len(refused.value.faults) == formats.MAX_FAULTS


def test_what_is_no_array_of_objects_is_no_batch() -> None:
    assert "array" in faults_of(decode_batch, body(GOOD), 10)[0][1]
    assert faults_of(decode_batch, b"[1]", 10)[0][0] == "events[0]"
    assert faults_of(decode_batch, b"[{]", 10)[0][0] == "body"
    assert decode_batch(b" [ ] ", 10) == []


def test_a_batch_has_a_bound() -> None:
    for warm in range(2):
        with pytest.raises(TooLarge) as refused:
            decode_batch(body([GOOD] * 11), 10)
        assert refused.value.detail == {"limit": 10, "count": 11}, warm
        assert len(decode_batch(body([GOOD] * 10), 10)) == 10


def test_mixed_batches_keep_their_order() -> None:
    many = [event(id=str(i), **({"subject": "s"} if i % 2 else {}), **({"n": i} if i % 3 else {})) for i in range(30)]
    assert [e.attributes for e in decode_batch(body(many), 100)] == many


def test_names_that_python_reserves_are_ordinary_attributes() -> None:
    for name in ("class", "import", "none", "1st", "self", "true"):
        for _ in range(2):
            assert decode_event(body(event(**{name: "x"}))).attributes[name] == "x"


# The fast half and the exact one

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda name: name not in ("data", "id", "source", "type", "specversion", "subject", "time", "datacontenttype",
                              "dataschema", "expirytime", "data_base64")
)  # fmt: skip
STRINGS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=30)
VALUES = st.one_of(STRINGS, st.booleans(), st.integers(-(2**31), 2**31 - 1))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\', max_size=3), inner, max_size=4),
    max_leaves=8,
)
EVENTS = st.builds(
    lambda extensions, data, subject, ascii_only: json.dumps(
        event(**extensions)
        | ({} if data is ... else {"data": data})
        | ({} if subject is None else {"subject": subject}),
        ensure_ascii=ascii_only,
        separators=(",", ":") if ascii_only else None,
    ),
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.just(...) | JSON,
    st.none() | st.sampled_from(["a/b", "x"]),
    st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=6))
def test_the_learned_decoders_and_the_exact_path_agree(texts: list[str]) -> None:
    exact = [formats._exact(text.encode(), "", None) for text in texts]
    whole = ("[" + ",".join(texts) + "]").encode()
    for _ in range(3):  # with shapes learned in between
        for found, decoded in zip(exact, decode_batch(whole, 100), strict=True):
            assert isinstance(found, Event)
            assert (decoded.attributes, decoded.data) == (found.attributes, found.data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_damaged_bodies_are_refused_or_decoded_never_anything_else(junk: bytes, at: int, byte: int) -> None:
    text = bytearray(body([event(data={"a": "é"}, subject="s")] * 2))
    text[at % len(text)] = byte
    for damaged in (bytes(text), junk, bytes(text[:at])):
        for batch in (True, False):
            try:
                decoded = decode_batch(damaged, 10) if batch else [decode_event(damaged)]
            except InvalidEvent:
                decoded = []
            assert not any(event_faults(e.attributes) for e in decoded)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, VALUES | st.none() | st.floats(0, 9) | st.sampled_from(["\x7f", "\ufffe", "\ud800"])),
       st.booleans())  # fmt: skip
def test_attributes_that_are_read_at_once_are_what_they_are_one_by_one(more: dict[str, Any], missing: bool) -> None:
    text = body({"id": "1"} | more if missing else event(**more))
    at_once = formats._exact(text, "", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "_plain", lambda members: None)
        one_by_one = formats._exact(text, "", None)
    if isinstance(one_by_one, Event):
        assert isinstance(at_once, Event)
        assert (at_once.attributes, at_once.data) == (one_by_one.attributes, one_by_one.data)
    else:
        assert at_once == one_by_one


# What a client can cost


def own_names(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [event(**{f"x{n}": "1"}) for n in range(first, first + count)]


def test_an_event_has_a_bounded_number_of_attributes() -> None:
    most = {f"x{n}": 1 for n in range(formats.MAX_ATTRIBUTES - len(GOOD))}
    for _ in range(3):
        assert len(decode_event(body(event(**most, data=1))).attributes) == formats.MAX_ATTRIBUTES + 1
    many = event(**{f"x{n}": 1 for n in range(100_000)})
    began = time.process_time()
    assert faults_of(decode_event, body(many)) == [("body", "has more than 256 attributes")]
    assert faults_of(decode_batch, body([GOOD, many]), 10) == [("events[1]", "has more than 256 attributes")]
    assert time.process_time() - began < 2


def test_only_small_shapes_that_come_again_are_learned_and_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    class Noted(Shape):
        def __init__(self, members: tuple[tuple[str, type], ...]) -> None:
            made.append(members)
            super().__init__(members)

    monkeypatch.setattr(shapes, "Shape", Noted)
    decode_batch(body(own_names(100)), 1000)
    assert not made, "each is new"
    decode_batch(body(own_names(100)), 1000)
    assert len(made) == 2, "each came before"
    big = event(**{f"x{n}": 1 for n in range(shapes.MAX_MEMBERS)})
    for _ in range(3):
        assert decode_event(body(big)).attributes == big
    assert len(made) == 2


def test_shapes_in_use_stay_when_others_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Shapes()
    monkeypatch.setattr(formats, "_shapes", known)
    usual = body(event(subject="a", data=1))
    for n in range(40):
        for _ in range(2):
            assert decode_event(usual).subject == "a"
            decode_event(body(own_names(1, n)[0]))
    assert known.one(usual) is not None
    assert len(known._order) == len(known._shapes) == shapes._MAX_SHAPES


def test_what_came_before_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_MAX_CANDIDATES", 3)
    known = Shapes()
    monkeypatch.setattr(formats, "_shapes", known)
    decode_batch(body(own_names(20)), 100)
    assert len(known._candidates) <= 3


def test_a_batch_of_events_that_do_not_look_alike_is_read_in_moderate_time() -> None:
    began = time.process_time()
    assert len(decode_batch(body(own_names(5000)), 10_000)) == 5000
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize(("start", "end"), [('{"a":', "}"), ("[", "]")])
def test_data_that_is_nested_deeply_is_taken_or_refused_whatever_its_event_looks_like(start: str, end: str) -> None:
    told = set()
    for depth in range(900, 1100):
        nested = start * depth + "1" + end * depth
        for more in ("", ',"id":"2"'):
            text = f'{{"specversion":"1.0","id":"1","source":"s","type":"t","new{depth}":"1","data":{nested}{more}}}'
            for decode, whole in ((decode_event, text), (lambda b: decode_batch(b, 10)[0], f"[{text}]")):
                try:
                    assert decode(whole.encode()).data == nested.encode()
                except InvalidEvent as error:
                    told.add(error.faults[0].message)
    assert told == {"is given twice", "is nested too deeply"}


# Messages that are no events


def test_a_message_becomes_an_event_of_the_gateway() -> None:
    made = adapt("http", "gate", "a b/c", b'{"a": 1}', None, "x/y", None)
    assert made.attributes["source"] == "//gate/http/a%20b%2Fc"
    assert made.attributes["type"] == "io.linkspan.http.message"
    assert (made.attributes["subject"], made.attributes["datacontenttype"]) == ("x/y", "application/json")
    assert not event_faults(made.attributes)
    assert adapt("http", "gate", "a", None, None, None, "own.type").attributes["type"] == "own.type"
    assert "datacontenttype" not in adapt("http", "gate", "a", None, None, None, None).attributes


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"[1]", "application/json"), (b"21.5", "application/json"), (b"hello", "text/plain; charset=utf-8"),
        (b"{not", "text/plain; charset=utf-8"), (b"\xff\xd8", "application/octet-stream"),
        (b"a\0b", "application/octet-stream"),
    ],
)  # fmt: skip
def test_a_content_type_is_found_by_looking(data: bytes, found: str) -> None:
    assert adapt("mqtt", "g", "c", data, None, None, None).attributes["datacontenttype"] == found


def test_an_illegal_content_type_or_subject_is_refused() -> None:
    assert faults_of(adapt, "http", "g", "c", b"x", "nonsense", "a+", None) == [
        ("subject", "a subject has no '+', '#' or control characters"),
        ("datacontenttype", "is not a media type"),
    ]
