"""routing/transforms/codecs.py: what nobody touches keeps its bytes, in every format."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.transforms.codecs import CBOR, CODECS, JSON, MAX_DEPTH, MAX_PICKED, MESSAGEPACK, Codec, picker
from routing.transforms.failure import Refusal

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
OBJECTS = st.dictionaries(st.text(), TREES, max_size=5)
ENCODERS: dict[str, Any] = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode, "cbor": cbor2.dumps}


def opened(codec: Codec, node: Any) -> Any:
    """The whole tree, opened level by level."""
    if type(node) is msgspec.Raw:
        inner = codec.open(node)
        return opened(codec, inner) if inner is not node else node
    if type(node) is dict:
        return {name: opened(codec, inner) for name, inner in node.items()}
    return [opened(codec, inner) for inner in node] if type(node) is list else node


@given(st.sampled_from(sorted(CODECS)), OBJECTS)
def test_a_payload_opened_through_and_through_is_written_as_it_was(name: str, value: dict[str, Any]) -> None:
    codec = CODECS[name]
    data = ENCODERS[name](value)
    assert codec.dump(codec.load(data)) == data
    assert codec.dump(opened(codec, codec.load(data))) == data
    assert codec.whole(data) == value
    for part, inner in codec.load(data).items():
        assert codec.plain(part if part is None else inner) == value[part]


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=60))
def test_no_bytes_do_more_than_be_refused(name: str, data: bytes) -> None:
    codec = CODECS[name]
    with suppress(Refusal):
        codec.dump(opened(codec, codec.load(data)))


@pytest.mark.parametrize("text", ["1.10", "12345678901234567890123", "-0.0", "1e5", "1E+400", "0.1000000000000000055"])
def test_the_text_of_a_json_number_is_kept(text: str) -> None:
    data = f'{{"n":{text},"l":[{text}]}}'.encode()
    root = JSON.load(data)
    assert JSON.dump(root) == data
    assert JSON.number(root["n"]) == text
    assert JSON.number(root["l"]) is None
    assert JSON.number("text") is None


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b'{"a":1}x'),
        (JSON, b'{"a":"\xff"}'),
        (JSON, b'{"a":"\xff","b":1}'),
        (JSON, b"\xef\xbb\xbf{}"),
        (JSON, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        (JSON, b"[1e999]"),
        (MESSAGEPACK, b""),
        (MESSAGEPACK, b"\x81\xa1a"),
        (MESSAGEPACK, b"\x81\x01\x02"),
        (MESSAGEPACK, b"\x81\xa1a" + b"\x91" * 100_000 + b"\x01"),
        (MESSAGEPACK, b"\xc1"),
        (CBOR, b""),
        (CBOR, b"\x81" * (MAX_DEPTH + 1) + b"\x01"),
        (CBOR, b"\xa2\x61a\x01\x61a\x02"),
        (CBOR, b"\x01\x01"),
        (CBOR, b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"),
    ],
)
def test_what_is_not_of_the_format_is_refused(codec: Codec, data: bytes) -> None:
    with pytest.raises(Refusal, match="the payload is not"):
        codec.load(data)


def test_a_part_that_is_broken_inside_is_refused_when_it_is_opened() -> None:
    root = MESSAGEPACK.load(msgspec.msgpack.encode({"a": {1: 2}}))
    with pytest.raises(Refusal, match="text keys"):
        MESSAGEPACK.open(root["a"])
    with pytest.raises(Refusal, match="not JSON"):
        JSON.open(msgspec.Raw(b'{"\\ud800":1}'))


def test_cbor_tags_are_kept_and_not_interpreted() -> None:
    cyclic = b"\xa1\x61a\xd8\x1c\x81\xd8\x1d\x00"
    assert CBOR.dump(CBOR.load(cyclic)) == cyclic
    expression = b"\xa1\x61a\xd8\x23\x62a("
    assert CBOR.dump(CBOR.load(expression)) == expression
    huge = b"\xa1\x61a\xc5\x82\x1a\x7f\xff\xff\xff\x01"
    assert CBOR.dump(CBOR.load(huge)) == huge
    moment = CBOR.load(b"\xa1\x61t\xc0\x74" + b"2026-11-24T13:00:00Z")
    assert CBOR.plain(moment["t"]) == "2026-11-24T13:00:00Z"
    with pytest.raises(Refusal, match=r"has the CBOR tag 2[89]"):
        CBOR.plain(CBOR.load(cyclic)["a"])


@pytest.mark.parametrize("codec", [JSON, MESSAGEPACK, CBOR])
def test_a_value_from_elsewhere_becomes_a_node_of_its_own(codec: Codec) -> None:
    row = {"a": [1, {"b": "x"}]}
    node, size = codec.node(row)
    row["a"].append(2)
    assert codec.plain(node) == {"a": [1, {"b": "x"}]}
    assert 5 < size < 30
    assert codec.node("text") == ("text", 4)
    for scalar in (True, None, 1.5, 7):
        assert codec.plain(codec.node(scalar)[0]) == scalar


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (JSON, float("nan")),
        (JSON, Decimal("Infinity")),
        (JSON, object()),
        (JSON, {"a": {(1,): 2}}),
        (MESSAGEPACK, 2**64),
        (MESSAGEPACK, object()),
        (CBOR, object()),
    ],
)
def test_what_a_format_cannot_hold_is_refused(codec: Codec, value: object) -> None:
    with pytest.raises(Refusal, match=r"cannot be written as|no JSON number"):
        codec.node(value)


def test_decimals_are_numbers() -> None:
    assert JSON.dump({"a": Decimal("1.10")}) == b'{"a":1.10}'


@given(st.sets(st.sampled_from(["a", "b", "if", "_x", "é", "odd key", "", "name"]), min_size=1), OBJECTS)
def test_picking_members_gives_what_decoding_all_would(names: set[str], value: dict[str, Any]) -> None:
    data = msgspec.json.encode({**value, "a": 1.5, "name": value})
    pick = picker(frozenset(names))
    if pick is None:
        assert not all(name.isidentifier() for name in names) or {"if", "_x"} & names
        return
    expected = {name: node for name, node in JSON.load(data).items() if name in names}
    found = pick(data)
    assert {name: bytes(node) for name, node in found.items()} == {name: bytes(node) for name, node in expected.items()}


def test_many_members_are_not_picked() -> None:
    assert picker(frozenset(f"n{number}" for number in range(MAX_PICKED + 1))) is None
