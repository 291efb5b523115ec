"""routing/transforms/shape.py: keep, drop, rename and flatten."""

from __future__ import annotations

from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.transforms_support import ATTRIBUTES, TRADE, attributes_of, data_of, failure, fault, json_of, transform

NAMES = st.sampled_from("abcd")
SCALARS = st.integers(-9, 9) | st.text("xyz", max_size=3) | st.none()
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)
OBJECTS = st.dictionaries(NAMES, TREES, max_size=4)
PATHS = st.lists(
    st.builds(
        lambda first, rest: first + "".join(rest),
        NAMES,
        st.lists(st.sampled_from([".a", ".b", "[0]", "[1]", "[*]"]), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


def scalars(value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """All single values, and empty containers, by where they are."""
    if isinstance(value, dict) and value:
        return {place: one for name, inner in value.items() for place, one in scalars(inner, (*path, name)).items()}
    if isinstance(value, list) and value:
        return {place: one for at, inner in enumerate(value) for place, one in scalars(inner, (*path, at)).items()}
    return {path: value}


# Laws


@given(OBJECTS, PATHS)
def test_keeping_twice_what_is_no_element_is_keeping_once(value: dict[str, Any], paths: list[str]) -> None:
    paths = [path.replace("[0]", "[*]").replace("[1]", "[*]") for path in paths]  # others move when they are kept
    once = json_of(value, {"keep": {"data": paths}})
    assert json_of(once, {"keep": {"data": paths}}) == once


@given(OBJECTS, PATHS)
def test_dropping_twice_is_dropping_once(value: dict[str, Any], paths: list[str]) -> None:
    paths = [path.replace("[0]", "[*]").replace("[1]", "[*]") for path in paths]
    once = json_of(value, {"drop": {"data": paths}})
    assert json_of(once, {"drop": {"data": paths}}) == once


@given(OBJECTS, PATHS)
def test_of_what_is_kept_nothing_is_left_when_it_is_dropped(value: dict[str, Any], paths: list[str]) -> None:
    paths = [path.replace("[0]", "[*]").replace("[1]", "[*]") for path in paths]
    left = json_of(value, {"keep": {"data": paths}}, {"drop": {"data": paths}})
    assert all(one in ({}, []) for one in scalars(left).values())


@given(OBJECTS, PATHS)
def test_of_what_is_dropped_nothing_can_be_kept(value: dict[str, Any], paths: list[str]) -> None:
    paths = [path.replace("[0]", "[*]").replace("[1]", "[*]") for path in paths]
    assert json_of(value, {"drop": {"data": paths}}, {"keep": {"data": paths}}) == {}


@given(OBJECTS, st.sets(NAMES, min_size=1))
def test_keep_and_drop_of_members_share_an_object(value: dict[str, Any], names: set[str]) -> None:
    kept = json_of(value, {"keep": {"data": sorted(names)}})
    dropped = json_of(value, {"drop": {"data": sorted(names)}})
    assert {**kept, **dropped} == value
    assert not kept.keys() & dropped.keys()


@given(OBJECTS, PATHS)
def test_nothing_is_kept_that_was_not_there(value: dict[str, Any], paths: list[str]) -> None:
    left = json_of(value, {"keep": {"data": paths}})
    before = [str(one) for one in scalars(value).values()]
    for place, one in scalars(left).items():
        assert not place or str(one) in before


@given(OBJECTS)
def test_swapping_twice_is_nothing(value: dict[str, Any]) -> None:
    swap = {"rename": {"data": {"a": "b", "b": "a"}}}
    assert json_of(value, swap, swap) == value
    assert json_of(value, swap) == {{"a": "b", "b": "a"}.get(name, name): inner for name, inner in value.items()}


@given(OBJECTS)
def test_what_is_flat_stays_flat_and_nothing_is_lost(value: dict[str, Any]) -> None:
    step = {"flatten": {"separator": ".", "arrays": "index"}}
    flat = json_of(value, step)
    assert json_of(flat, step) == flat
    assert flat == {".".join(map(str, place)): one for place, one in scalars(value).items() if place}


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)


@given(st.lists(NUMBERS, min_size=3, max_size=3))
def test_no_step_changes_a_digit_of_a_number_that_it_does_not_touch(numbers: list[str]) -> None:
    first, second, third = numbers
    data = f'{{"a":{first},"b":{{"c":{second},"l":[{third}, "x"]}},"account":"A"}}'.encode()
    steps = [
        {"mask": {"data": ["account"]}},
        {"drop": {"data": ["account"]}},
        {"set": {"data": "b.d", "to": "data.a"}},
        {"rename": {"data": {"a": "z.a"}}},
        {"keep": {"data": ["z", "b"]}},
        {"flatten": {"arrays": "index"}},
    ]
    result = data_of(data, *steps)
    found = msgspec.json.decode(result, type=dict[str, msgspec.Raw])
    texts = {name: bytes(node).decode() for name, node in found.items()}
    assert texts == {"z_a": first, "b_c": second, "b_l_0": third, "b_l_1": '"x"', "b_d": first}


# Examples


def test_numbers_keep_their_text() -> None:
    assert data_of(TRADE, {"keep": {"data": ["price", "volume", "legs[0].px"]}}) == (
        b'{"price":187.50,"volume":12345678901234567890,"legs":[{"px":1.10}]}'
    )
    assert data_of(TRADE, {"drop": {"data": ["symbol", "account", "legs"]}}) == (
        b'{"price":187.50,"volume":12345678901234567890}'
    )
    assert data_of(b'{"a":{"b":1.10}}', {"rename": {"data": {"a.b": "c.d"}}}) == b'{"a":{},"c":{"d":1.10}}'
    assert data_of(b'{"a":{"b":1.10,"c":[1e3]}}', "flatten") == b'{"a_b":1.10,"a_c":[1e3]}'


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a.b"], {"a": {"b": 1}}),
        (["a.b", "a"], {"a": {"b": 1, "c": 2}}),
        (["l[*].x"], {"l": [{"x": 1}, {"x": 3}]}),
        (["l[1]"], {"l": [{"y": 2}]}),
        (["l[*].x", "l[1]"], {"l": [{"x": 1}, {"y": 2}, {"x": 3}]}),
        (["l[*].x", "l[2].y"], {"l": [{"x": 1}, {"x": 3, "y": 4}]}),
        (["l[9]", "a[0]", "a.b.c", "nope"], {}),
        (["l[*]"], {"l": [{"x": 1}, {"y": 2}, {"x": 3, "y": 4}]}),
    ],
)
def test_keep_leaves_what_is_named(paths: list[str], expected: object) -> None:
    value = {"a": {"b": 1, "c": 2}, "l": [{"x": 1}, {"y": 2}, {"x": 3, "y": 4}]}
    assert json_of(value, {"keep": {"data": paths}}) == expected


def test_dropping_elements_drops_those_that_were_meant() -> None:
    value = {"l": [0, {"x": 1, "y": 2}, 2, 3]}
    assert json_of(value, {"drop": {"data": ["l[0]", "l[1].x", "l[2]"]}}) == {"l": [{"y": 2}, 3]}
    assert json_of(value, {"drop": {"data": ["l[*]"]}}) == {"l": []}


def test_attributes_are_kept_dropped_and_renamed() -> None:
    required = {name: ATTRIBUTES[name] for name in ("id", "source", "type", "specversion", "datacontenttype")}
    assert attributes_of({"keep": {"attributes": ["symbol"]}}) == {**required, "symbol": "AAPL"}
    assert attributes_of({"drop": {"attributes": ["symbol", "nope"]}}) == {**required, "subject": "equities/AAPL"}
    assert attributes_of({"rename": {"attributes": {"symbol": "ticker", "nope": "x"}}}) == {
        **required,
        "subject": "equities/AAPL",
        "ticker": "AAPL",
    }
    swapped = attributes_of({"rename": {"attributes": {"symbol": "subject", "subject": "symbol"}}})
    assert (swapped["symbol"], swapped["subject"]) == ("equities/AAPL", "AAPL")


def test_a_step_may_deal_with_both() -> None:
    result = transform({"keep": {"attributes": ["symbol"], "data": ["price"]}}).apply(ATTRIBUTES, TRADE)
    assert "subject" not in result[0]
    assert result[1] == b'{"price":187.50}'


@pytest.mark.parametrize(
    "step",
    [
        {"keep": {"data": ["a"]}},
        {"keep": {"data": ["a.b"]}},
        {"drop": {"data": ["a"]}},
        {"rename": {"data": {"a": "b"}}},
        {"rename": {"data": {"a": "b", "c": "d"}}},
        {"rename": {"data": {"a.b": "c"}}},
        "flatten",
    ],
)
def test_without_data_there_is_nothing_to_do(step: Any) -> None:
    assert transform(step).apply(ATTRIBUTES, None) == (ATTRIBUTES, None)
    assert "not an object" in failure(b"[1]", step)
    assert "not JSON" in failure(b"{", step)
    assert "not JSON" in failure(b'{"z":"\xff"}', step)
    assert "no members" in failure(b"{}", step, content_type="text/plain")


def test_a_name_that_is_taken_is_not_written_over() -> None:
    assert failure(b'{"a":1,"b":2}', {"rename": {"data": {"a": "b"}}}) == "there is a member b already"
    assert failure(b'{"a":1,"b":2}', {"rename": {"data": {"a": "b", "c": "d"}}}) == "there is a member b already"
    assert failure(b'{"a":1,"b":{"c":2}}', {"rename": {"data": {"a": "b.c"}}}) == "there is a member b.c already"
    assert failure(TRADE, {"rename": {"attributes": {"symbol": "subject"}}}) == "there is an attribute subject already"
    assert json_of({"a": 1}, {"rename": {"data": {"a": "a"}}}) == {"a": 1}


def test_an_attribute_is_not_renamed_to_what_it_cannot_be() -> None:
    assert failure(TRADE, {"rename": {"attributes": {"symbol": "time"}}}) == "attribute time: is not an RFC 3339 time"


def test_flatten_refuses_two_of_one_name_and_too_many() -> None:
    assert failure(b'{"a_b":1,"a":{"b":2}}', "flatten") == "two members are called 'a_b' when flattened"
    many = msgspec.json.encode({"a": {str(number): 1 for number in range(10_001)}})
    assert failure(many, "flatten") == "the payload has more than 10000 members when flattened"
    deep = b'{"a":' * 150 + b"1" + b"}" * 150
    assert failure(deep, "flatten") == "the payload has more than 100 levels"


def test_flatten_does_not_grow_without_end() -> None:
    deep: Any = {str(number): 1 for number in range(9_000)}
    for _ in range(90):
        deep = {"x" * 1000: deep}
    assert "the steps add more than" in failure(msgspec.json.encode(deep), "flatten")


def test_flatten_leaves_arrays_and_empty_things() -> None:
    value = {"a": {"l": [{"x": 1}], "e": {}, "f": []}}
    assert json_of(value, {"flatten": {"separator": "-"}}) == {"a-l": [{"x": 1}], "a-e": {}, "a-f": []}
    assert json_of(value, {"flatten": {"arrays": "index"}}) == {"a_l_0_x": 1, "a_e": {}, "a_f": []}


@pytest.mark.parametrize("step", ["keep", "drop", "mask"])
def test_elements_are_looked_at_within_a_bound(step: str) -> None:
    wide = b'{"l":[' + b",".join([b'{"a":1}'] * 60_000) + b"]}"
    once = {step: {"data": ["l[*].a", "l[*].b"] if step == "keep" else ["l[*].a"]}}
    assert data_of(wide, once)
    assert failure(wide, once, once) == "'[*]' leads to more than 100000 elements"


def test_other_formats_have_members_too() -> None:
    value = {"a": {"b": 1}, "c": 2}
    packed = data_of(msgspec.msgpack.encode(value), {"keep": {"data": ["a.b"]}}, content_type="application/msgpack")
    assert msgspec.msgpack.decode(packed) == {"a": {"b": 1}}
    picked = data_of(msgspec.msgpack.encode(value), {"keep": {"data": ["c"]}}, content_type="application/msgpack")
    assert msgspec.msgpack.decode(picked) == {"c": 2}
    cbor = data_of(cbor2.dumps(value), "flatten", content_type="application/cbor")
    assert cbor2.loads(cbor) == {"a_b": 1, "c": 2}


# Refused when made


@pytest.mark.parametrize(
    ("step", "where", "message"),
    [
        ({"keep": {}}, "keep", "needs 'attributes' or 'data'"),
        ({"keep": {"dat": ["a"]}}, "keep", "has no key 'dat' (did you mean 'data'?); it takes 'attributes' or 'data'"),
        ({"keep": {"data": []}}, "keep.data", "must not be empty"),
        (
            {"keep": {"data": ["a", "a..b"]}},
            "keep.data[1]",
            "'a..b' is not a path: expected '.' and a name, or '[' and an index",
        ),
        (
            {"keep": {"data": ["data.a"]}},
            "keep.data[0]",
            "paths begin below the data: write 'a', or '[\"data\"].a' for a member 'data'",
        ),
        (
            {"keep": {"attributes": ["Desk"]}},
            "keep.attributes[0]",
            "'Desk': an attribute name has 1 to 64 characters of a-z and 0-9",
        ),
        ({"drop": {"attributes": ["id"]}}, "drop.attributes", "every event needs 'id'"),
        (
            {"drop": {"attributes": ["datacontenttype"]}},
            "drop.attributes",
            "'datacontenttype' says what the data is; 'convert' changes both",
        ),
        ({"rename": {"attributes": {"type": "kind"}}}, "rename.attributes", "every event needs 'type'"),
        ({"rename": {"attributes": {"kind": "type"}}}, "rename.attributes.kind", "events have 'type' already"),
        ({"rename": {"attributes": {"a": "x", "b": "x"}}}, "rename.attributes", "two are renamed to 'x'"),
        ({"rename": {"data": {"a": "x", "b": "x"}}}, "rename.data", "two are renamed to 'x'"),
        ({"rename": {"data": {"a": "x", "a.b": "y"}}}, "rename.data", "one of the paths is below another"),
        ({"rename": {"data": {"a": "x", "b": "x.y"}}}, "rename.data", "one of the paths is below another"),
        ({"rename": {"data": {"a[0]": "x"}}}, "rename.data.a[0]", "elements of an array have no names"),
        ({"rename": {"data": {"a[*].b": "x"}}}, "rename.data.a[*].b", "'[*]' is for keep, drop and mask"),
        ({"rename": {"data": {}}}, "rename.data", "must not be empty"),
        (
            {"rename": {"data": {1: "x"}}},
            "rename.data.'1'",
            "expected a path such as 'price' or 'legs[0].px', not a number",
        ),
        ({"flatten": {"separator": ""}}, "flatten.separator", "must not be empty"),
        (
            {"flatten": {"arrays": "indx"}},
            "flatten.arrays",
            "is one of 'leave' or 'index', not 'indx' (did you mean 'index'?)",
        ),
    ],
)
def test_a_step_that_cannot_be_meant_is_refused(step: Any, where: str, message: str) -> None:
    error = fault(step)
    assert (error.where, error.message) == (f"transform[0].{where}", message)
