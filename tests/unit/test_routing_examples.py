"""Examples of rules: what is given, what is expected, and what is said when they differ."""

from __future__ import annotations

from typing import Any

import pytest

from routing.examples import ExampleResult, read_event, run_examples, shape_faults, try_route
from routing.route_spec import compile_route


def result(
    expect: dict[str, Any], given: dict[str, Any] | None = None, at: str | None = None, **spec: Any
) -> ExampleResult:
    example: dict[str, Any] = {"given": {"kind": "a", "data": {"n": 1}} if given is None else given, "expect": expect}
    if at is not None:
        example["at"] = at
    route: dict[str, Any] = {
        "name": "r",
        "from": ["t/**"],
        "when": "kind = 'a'",
        "to": "x/{data.n}",
        "examples": [example],
    }
    route |= {key.rstrip("_"): value for key, value in spec.items()}
    (found,) = run_examples(compile_route(route))
    return found


@pytest.mark.parametrize(
    "expect",
    [
        {"to": ["x/1"]}, {"to": "x/1"}, {"matched": True}, {"stays": True}, {"attributes": {"kind": "a"}},
        {"to": ["x/1"], "stays": True, "attributes": {"subject": "1", "routehops": 1}},
    ],
)  # fmt: skip
def test_an_example_that_holds(expect: dict[str, Any]) -> None:
    found = result(expect)
    assert found.passed
    assert (found.at, found.got) == ("t", "copy to x/1")


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({"to": ["x/2"]}, "expected to: x/2; got x/1"),
        ({"to": []}, "expected to: nowhere; got x/1"),
        ({"matched": False}, "expected no match, got one"),
        ({"stays": False}, "expected that it leaves"),
        ({"attributes": {"kind": "b"}}, "expected kind: b; got a"),
        ({"attributes": {"gone": 1}}, "expected gone: 1; got none"),
        ({"error": "x"}, "expected an error with 'x'; got none"),
    ],
)
def test_an_example_that_does_not_hold_says_what_came(expect: dict[str, Any], message: str) -> None:
    found = result(expect)
    assert not found.passed
    assert message in found.faults[0]


def test_no_match_is_told_with_its_cause() -> None:
    assert result({"matched": False}, {"kind": "b"}).got == "not matched"
    assert result({"matched": False}, at="u").got == "not matched: not under from"
    missing = result({"matched": False}, {})
    assert missing.passed
    assert "error in when" in missing.got
    assert "kind" in result({"to": ["x/1"]}, {}).faults[-1]
    assert result({"error": "kind"}, {}).passed


def test_an_event_that_fails_is_an_error_unless_it_is_expected() -> None:
    given = {"kind": "a", "data": {"n": "a/b"}}
    assert "a/b" in result({"matched": True}, given).faults[0]
    assert result({"error": "has no /", "stays": True}, given).passed


def test_the_address_gives_topic_and_subject() -> None:
    found = result({"to": ["x/AAPL"]}, {"kind": "a"}, at="t/equities/AAPL", to="x/{symbol}")
    assert (found.passed, found.at) == (True, "t/equities/AAPL")
    assert result({"to": ["x/example"]}, {"kind": "a"}, to="x/{topic}", from_="**").passed


def test_what_is_set_is_told_where_nothing_is_sent() -> None:
    found = result({"attributes": {"desk": "eu", "priority": 8}}, to=None, tags={"desk": "eu"}, set={"priority": 8})
    assert (found.passed, found.got) == (True, "set priority=8, desk=eu")


def test_numbers_with_a_fraction_are_attributes_of_an_example() -> None:
    assert result({"attributes": {"confidence": 0.9}}, {"confidence": 0.9}, when="confidence > 0.8", to="x").passed


def test_an_event_is_read_in_the_json_format() -> None:
    attributes, data, faults = read_event({"id": "7", "n": 3, "on": True, "none": None, "data": {"a": [1]}})
    assert (attributes["id"], attributes["n"], attributes["on"], faults) == ("7", 3, True, [])
    assert attributes["datacontenttype"] == "application/json"
    assert data == b'{"a":[1]}'
    assert read_event({"data_base64": "AAE="})[1] == b"\0\1"
    assert read_event({"datacontenttype": "text/plain", "data": "hello"})[1] == b"hello"
    assert read_event({"data": None})[1] == b"null"


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"Bad": "x"}, "Bad"),
        ({"x": [1]}, "x"),
        ({"data_base64": "%"}, "data_base64"),
        ({"data_base64": "AAE=", "data": 1}, "data_base64"),
        ({"data": {1: object()}}, "data"),
    ],
)
def test_an_event_that_cannot_be_one_is_told(given: dict[str, Any], where: str) -> None:
    assert [name for name, _ in read_event(given)[2]] == [where]


@pytest.mark.parametrize(
    ("example", "where"),
    [
        (5, ()),
        ({"given": {}}, ("expect",)),
        ({"given": 1, "expect": {"matched": True}}, ("given",)),
        ({"given": {}, "expect": {}}, ("expect",)),
        ({"given": {}, "expect": {"too": []}}, ("expect", "too")),
        ({"given": {}, "expect": {"to": 5}}, ("expect", "to")),
        ({"given": {}, "expect": {"matched": "yes"}}, ("expect", "matched")),
        ({"given": {"X": 1}, "expect": {"matched": True}}, ("given", "X")),
        ({"given": {}, "expect": {"matched": True}, "at": 5}, ("at",)),
        ({"given": {}, "expect": {"matched": True}, "giben": 5}, ("giben",)),
    ],
)
def test_the_shape_of_an_example_is_checked(example: object, where: tuple[str, ...]) -> None:
    assert where in [path for path, _ in shape_faults(example)]


def test_a_trial_tells_the_events_as_they_are_where_they_went() -> None:
    route = compile_route({"name": "r", "from": "t/**", "to": ["x", "y/{symbol}"], "action": "move"})
    tried = try_route(route, "t", {"id": "1", "subject": "a/B"}, None)
    assert tried.to == ["x/a/B", "y/B"]
    assert not tried.stays
    assert tried.events[1] == ("y/B", {"id": "1", "subject": "B", "routehops": 1})
