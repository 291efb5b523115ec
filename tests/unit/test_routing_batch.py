"""Columns of a batch tell what a plain look at each event tells, and hostile payloads have no fields."""

from __future__ import annotations

import json
import time
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.event import Event
from routing.batch import MISSING, Batch, EventLike, Path, Paths, Plain, walk

KEYS = st.sampled_from(["a", "b", "c", "é", 'q"', "0"])
STEPS = KEYS | st.integers(0, 2)
PATHS = st.lists(STEPS, max_size=4).map(tuple)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
PAYLOADS = st.recursive(
    SCALARS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def event(data: bytes | None, kind: str | None = "application/json", **attributes: Any) -> Plain:
    kinds = {} if kind is None else {"datacontenttype": kind}
    return Plain({"id": "1", "source": "/s", "type": "t", "specversion": "1.0", **kinds, **attributes}, data)


def fields(data: bytes | None, *paths: Path, kind: str | None = "application/json") -> list[object]:
    batch = Batch([event(data, kind)], Paths(paths))
    return [batch.field(path)[0] for path in paths]


@given(st.lists(PAYLOADS, max_size=5), st.lists(PATHS, min_size=1, max_size=5), st.data())
def test_a_column_is_what_a_walk_through_the_whole_payload_finds(
    payloads: list[object], paths: list[Path], data: st.DataObject
) -> None:
    events = [event(json.dumps(payload).encode()) for payload in payloads]
    places = data.draw(st.lists(st.integers(0, len(events) - 1), max_size=3)) if events else []
    wholes = [msgspec.json.decode(one.data or b"") for one in events]
    for known in (Paths(paths), Paths(paths[:1]), None):
        batch = Batch(events, known)
        for path in paths:
            wanted = [walk(whole, path) for whole in wholes]
            assert batch.values(path, places) == [wanted[place] for place in places]
            assert batch.field(path) == wanted
            assert batch.values(path, places) == [wanted[place] for place in places]


@given(st.lists(PAYLOADS, min_size=1, max_size=5), st.lists(PATHS, min_size=1, max_size=4))
def test_msgpack_and_cbor_payloads_have_the_same_fields(payloads: list[object], paths: list[Path]) -> None:
    payloads = [json.loads(json.dumps(payload), parse_int=lambda text: int(text) % 2**60) for payload in payloads]
    events = [event(msgspec.msgpack.encode(one), "application/msgpack") for one in payloads]
    events += [event(cbor2.dumps(one), "application/senml+cbor; x=1") for one in payloads]
    events += [event(msgspec.json.encode(one)) for one in payloads]
    batch = Batch(events, Paths(paths))
    for path in paths:
        assert batch.field(path) == [walk(payload, path) for payload in payloads] * 3
    assert batch.undecodable == 0


@given(
    st.binary(max_size=60),
    st.sampled_from(["application/json", "application/x-msgpack", "application/cbor", "x/y", "", None]),
)
def test_any_bytes_are_a_payload_or_none(data: bytes, kind: str | None) -> None:
    batch = Batch([event(data, kind)], Paths([("a",), ("b", 0)]))
    assert len(batch.field(("a",))) == len(batch.field(("b", 0))) == len(batch.field(("c",))) == 1


def test_attributes_are_columns_with_none_where_there_is_nothing() -> None:
    batch = Batch([event(None, n=1), event(None), event(None, n=False)])
    assert batch.attribute("n") == [1, None, False]
    assert batch.attribute("n") is batch.attribute("n")
    assert batch.attribute("type") == ["t"] * 3
    assert len(batch) == 3
    assert Batch([]).attribute("n") == Batch([]).field(("a",)) == []


def test_events_of_the_gateway_are_read_whether_their_headers_were_decoded_or_not() -> None:
    headers = [("ce_id", b"1"), ("ce_type", b"x"), ("ce_source", b"/s"), ("ce_specversion", b"1.0")]
    envelope = b'{"specversion":"1.0","id":"2","source":"/s","type":"y","data":{"a":2}}'
    events = [
        Event(headers, b'{"a":1}'),
        Event([("content-type", b"application/cloudevents+json")], envelope),
        Event({"type": "z", "datacontenttype": "application/json"}, b'{"a":3}'),
    ]
    batch = Batch(events, Paths([("a",)]))
    assert batch.field(("a",)) == [1, 2, 3]
    assert batch.attribute("type") == ["x", "y", "z"]
    assert batch.datas == [b'{"a":1}', b'{"a":2}', b'{"a":3}']


def test_no_data_and_null_are_two_things() -> None:
    assert fields(None, ("a",), ()) == [MISSING, MISSING]
    assert fields(b"null", ("a",), ()) == [MISSING, None]
    assert fields(b'{"a":null}', ("a",), ("a", "b")) == [None, MISSING]
    assert not MISSING
    assert repr(MISSING) == "MISSING"


def test_one_bad_field_spoils_no_other() -> None:
    data = b'{"big":1e400,"text":"\xff","in":{"good":1,"big":1e400},"good":2,"n":123456789012345678901234567890}'
    paths: list[Path] = [
        ("big",),
        ("text",),
        ("in", "good"),
        ("in", "big"),
        ("good",),
        ("n",),
        ("good", "x"),
        ("no", 1),
    ]
    assert fields(data, *paths) == [MISSING, MISSING, 1, MISSING, 2, 123456789012345678901234567890, MISSING, MISSING]
    assert fields(b'{"a":"\xff","b":1}', ("a", "x"), ("b",), ("c", "d")) == [MISSING, 1, MISSING]
    # Whether others need the bad ones makes no difference.
    assert [fields(data, path)[0] for path in paths] == fields(data, *paths)


@pytest.mark.parametrize("kind", ["application/json", "application/msgpack", "application/cbor"])
@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b'{"a":1', b'{"a":1}}', b"\xff\xfe", b"[" * 100_000, b'{"x":' * 50_000, b"\x91" * 100_000),
        *(b"\x81" * 100_000, b"\xdd\xff\xff\xff\xff", b"\x9b" + b"\xff" * 8, b"\x5b" + b"\x7f" * 8, b"\xd8\x1d\x00"),
        b'{"a":' + b"9" * 100_000 + b"}",
    ],
    ids=lambda data: repr(data[:8]),
)
def test_hostile_payloads_have_no_fields_and_cost_little(data: bytes, kind: str) -> None:
    began = time.process_time()
    assert fields(data, ("a",), ("a", "b", 0), kind=kind) == [MISSING, MISSING]
    assert fields(data, ("a",), (), kind=kind)[0] is MISSING
    assert time.process_time() - began < 0.5


def test_ten_thousand_fields_cost_little_whatever_is_needed_of_them() -> None:
    data = json.dumps({f"k{number}": number for number in range(10_000)}).encode()
    events = [event(data)] * 5
    began = time.process_time()
    for needed in (1, 60, 500):
        batch = Batch(events, Paths([(f"k{number}",) for number in range(needed)]))
        assert batch.field((f"k{needed - 1}",)) == [needed - 1] * 5
    assert time.process_time() - began < 1.0


def test_what_cannot_be_decoded_is_counted_once() -> None:
    batch = Batch([event(b"{"), event(b"3"), event(None), event(b"\xc1", "application/msgpack")], Paths([("a",)]))
    assert batch.field(("a",)) == [MISSING] * 4
    assert batch.field(("a",)) == [MISSING] * 4
    assert batch.undecodable == 2
    assert [batch.payload(place) for place in range(4)] == [MISSING, 3, MISSING, MISSING]


def test_each_payload_is_decoded_once_for_all_paths() -> None:
    asked: list[EventLike] = []

    def decode(one: EventLike) -> object:
        asked.append(one)
        if one.data == b"bad":
            raise RuntimeError("no such message")
        return MISSING if one.attributes.get("datacontenttype") is None else {"a": {"b": 1}}

    events = [event(b"x", "application/avro"), event(b"bad", "x"), event(b'{"a":2}', None), event(b'{"a":3}')]
    batch = Batch(events, Paths([("a", "b"), ("a",)]), decode)
    assert batch.values(("a",), [0]) == [{"b": 1}]
    assert len(asked) == 1
    assert batch.field(("a", "b")) == [1, MISSING, MISSING, MISSING]
    assert batch.field(("a",)) == [{"b": 1}, MISSING, 2, 3]
    assert batch.field(("other",)) == [MISSING] * 4
    assert len(asked) == 3
    assert batch.undecodable == 1


def test_only_the_places_asked_for_are_decoded() -> None:
    batch = Batch([event(b'{"a":1}'), event(b"{"), event(b"{"), event(b"{")], Paths([("a",)]))
    assert batch.values(("a",), [0]) == [1]
    assert batch.undecodable == 0
    assert batch.values(("a",), [3, 1, 0]) == [MISSING, MISSING, 1]
    assert batch.undecodable == 3


def test_paths_are_counted() -> None:
    paths = Paths([("a",)])
    first = paths.plan
    paths.add([("a",), ("b",)])
    assert paths.plan is not first
    second = paths.plan
    paths.remove([("a",)])
    assert ("a",) in paths
    assert paths.plan is second
    paths.remove([("b",)])
    assert len(paths) == 1
    assert paths.plan.steps.keys() == {("a",)}
    with pytest.raises(KeyError):
        paths.remove([("b",)])


def test_a_batch_keeps_the_plan_it_began_with() -> None:
    paths = Paths([("a",)])
    batch = Batch([event(b'{"a":1,"b":2}')], paths)
    assert batch.field(("a",)) == [1]
    paths.add([("b",)])
    assert batch.field(("b",)) == [2]


@given(
    st.lists(st.sampled_from(["1", 1, True, "true", None, "x", 0, False]), max_size=8),
    st.lists(st.frozensets(st.sampled_from(["1", "true", "x", "0", "y"]), max_size=3), max_size=4),
)
def test_equal_attributes_are_found_by_their_canonical_text(values: list[Any], sets: list[frozenset[str]]) -> None:
    texts = [{True: "true", False: "false"}.get(one, str(one)) if type(one) is bool else one for one in values]
    texts = [None if one is None else str(one) for one in texts]
    batch = Batch([Plain({} if one is None else {"n": one}) for one in values])
    assert batch.text("n") == texts
    for wanted in sets:
        places = [place for place, text in enumerate(texts) if text in wanted]
        assert list(batch.equal("n", wanted)) == places
        if wanted <= {"x", "y"}:
            assert list(Batch(batch.events).equal("n", wanted, words=True)) == places
