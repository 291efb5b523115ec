"""Reading routes: everything that is wrong is told at once, with its path and its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.errors import InvalidRoute
from routing.examples import run_examples
from routing.loops import loop_faults
from routing.route_spec import KEYS, MAX_LIST, MAX_TAGS, compile_route, path_text, read_route
from routing.templates import Template

WORKFLOWS = {"trading-decision": "flow.trading", "analysis": "flow.analysis"}


def faults(**spec: Any) -> dict[str, str]:
    """The faults by path of a route that is right but for this."""
    whole = {"name": "r", "from": ["t/**"], "to": "x", **{key.rstrip("_"): value for key, value in spec.items()}}
    route, found = read_route(whole, WORKFLOWS)
    assert (route is None) == bool(found)
    return {path_text(fault.where): fault.message for fault in found}


def test_a_route_with_everything() -> None:
    route = compile_route(
        {
            "name": "hot", "description": "the hot ones", "from": "signals/**", "when": "confidence >= 0.8",
            "to": ["alerts/{symbol}", {"topic": "b", "subject": "s"}, {"workflow": "trading-decision"}],
            "action": "divert", "set": {"priority": 9}, "tags": {"desk": "eu", "n": 1, "on": True, "at": "{symbol}"},
            "on_error": {"topic": "errors"}, "examples": [{"given": {}, "expect": {"matched": False}}],
        },
        WORKFLOWS,
    )  # fmt: skip
    assert route.action == "divert"
    assert [target.topic.literal for target in route.to] == ["alerts", "b", "flow.trading"]
    assert route.to[2].workflow == "trading-decision"
    assert isinstance(route.sets["at"], Template)
    assert {name: route.sets[name] for name in ("priority", "desk", "n", "on")} == {
        "priority": 9, "desk": "eu", "n": 1, "on": True,
    }  # fmt: skip
    assert route.on_error == "errors"


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"name": None}, "name", "is required"),
        ({"name": ""}, "name", "is empty"),
        ({"name": "a b"}, "name", "1 to 100"),
        ({"name": 7}, "name", "expected a text, not a number"),
        ({"from": []}, "from", "is required"),
        ({"from": 5}, "from", "expected a list"),
        ({"from": [5]}, "from[0]", "expected an address pattern, not a number"),
        ({"from": ["t/**", "_x"]}, "from[1]", "reserved"),
        ({"from": "t/+x"}, "from", "stand alone"),
        ({"when": 5}, "when", "expected an expression"),
        ({"when": "a = "}, "when", "expected"),
        ({"to": []}, "to", "is empty"),
        ({"to": [5]}, "to[0]", "expected a mapping"),
        ({"to": {"topics": "x"}}, "to.topics", "unknown key"),
        ({"to": {"topic": "x", "workflow": "analysis"}}, "to.topic", "not both"),
        ({"to": {"workflow": "analisys"}}, "to.workflow", "'analysis'"),
        ({"to": {"workflow": ""}}, "to.workflow", "is empty"),
        ({"to": {"topic": "a b"}}, "to.topic", "not a topic name"),
        ({"to": {"topic": "_a-{x}"}}, "to.topic", "reserved"),
        ({"to": {"subject": "x"}}, "to.topic", "is required"),
        ({"to": "x/a#"}, "to", "'+', '#'"),
        ({"to": "x/"}, "to", "must not be empty"),
        ({"to": "x/{a/b}"}, "to", "is not a field"),
        ({"to": ["x"] * (MAX_LIST + 1)}, "to", "more than"),
        ({"action": "mov"}, "action", "expected copy, move or divert"),
        ({"to": None, "action": "move", "set": {"priority": 1}}, "action", "`to` is missing"),
        ({"set": {"priority": 10}}, "set.priority", "0 to 9"),
        ({"set": {"priority": True}}, "set.priority", "0 to 9"),
        ({"set": {"prio": 1}}, "set.prio", "unknown key"),
        ({"set": 1}, "set", "expected a mapping"),
        ({"tags": {"Desk": "x"}}, "tags.Desk", "a-z and 0-9"),
        ({"tags": {"id": "x"}}, "tags.id", "cannot be set"),
        ({"tags": {"authid": "x"}}, "tags.authid", "cannot be set"),
        ({"tags": {"priority": 1}}, "tags.priority", "use `set`"),
        ({"tags": {"x": 1.5}}, "tags.x", "not a number"),
        ({"tags": {"x": 2**40}}, "tags.x", "32 bits"),
        ({"tags": {"x": "a\nb"}}, "tags.x", "control character"),
        ({"tags": {"x": "{y"}}, "tags.x", "closes"),
        ({"tags": {f"x{n}": 1 for n in range(MAX_TAGS + 1)}}, "tags", "more than"),
        ({"on_error": "errors"}, "on_error", "expected a mapping"),
        ({"on_error": {"topic": "a/b"}}, "on_error.topic", "not a topic name"),
        ({"on_error": {}}, "on_error.topic", "is required"),
        ({"examples": {}}, "examples", "expected a list"),
        ({"examples": [{"given": {}}]}, "examples[0].expect", "is required"),
        ({"wen": "x"}, "wen", "did you mean 'when'"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(spec: dict[str, Any], path: str, message: str) -> None:
    whole = {"name": "r", "from": ["t/**"], "to": "x", **spec}
    route, found = read_route(whole, WORKFLOWS)
    assert route is None
    assert message in {path_text(fault.where): fault.message for fault in found}[path]


def test_all_faults_are_told_at_once() -> None:
    assert set(faults(name="a b", when="a = ", action="x", tags={"X": 1})) == {"name", "when", "action", "tags.X"}


def test_a_route_that_does_nothing_is_refused() -> None:
    assert "does nothing" in faults(to=None)[""]
    assert faults(to=None, set={"priority": 1}) == {}


@pytest.mark.parametrize("spec", [None, [], "x", {1: 2}])
def test_what_is_no_route_is_refused(spec: object) -> None:
    assert read_route(spec, {})[1]


def test_places_count_characters_of_the_text_as_it_was_written() -> None:
    (fault,) = read_route({"name": "r", "from": "t", "to": "alerts/{symbol"}, {})[1]
    assert (fault.text, fault.position) == ("alerts/{symbol", 7)
    (fault,) = read_route({"name": "r", "from": "t", "to": "x", "when": "a ="}, {})[1]
    assert (fault.text, fault.position) == ("a =", 3)
    assert "no workflows" in read_route({"name": "r", "from": "t", "to": {"workflow": "x"}}, {})[1][0].message


def test_compiling_raises_the_first_fault() -> None:
    with pytest.raises(InvalidRoute) as caught:
        compile_route({"name": "r", "from": "t", "to": "x/{"}, where="routes[3]")
    assert caught.value.where == "routes[3].to"
    assert "^" in caught.value.caret("x/{")
    with pytest.raises(InvalidRoute, match="expected a mapping"):
        compile_route(5)


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["t/**", "x/{symbol}", "{data.a}", "copy", "move", "a = 'b'", "data.x > 1", "analysis", "*", "{", "a/b#"]
    )
)
INNER = st.sampled_from(
    ["topic", "subject", "workflow", "priority", "given", "expect", "at", "to", "matched", "data", "error", "desk", "x"]
)
ANY = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER | st.text(max_size=3), inner, max_size=3)
)


@settings(max_examples=500, deadline=None)
@given(ANY | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), ANY, max_size=8))
def test_whatever_is_given_is_a_route_or_has_faults(spec: Any) -> None:
    route, faults = read_route(spec, WORKFLOWS)
    assert (route is None) == bool(faults)


@settings(max_examples=300, deadline=None)
@given(ANY, ANY, ANY, ANY)
def test_a_route_that_was_read_runs(when: Any, to: Any, tags: Any, example: Any) -> None:
    spec = {"name": "r", "from": "t/**", "when": when, "to": to, "tags": tags, "examples": [example]}
    for known in (spec, {**spec, "when": None}, {**spec, "tags": None, "examples": [{"given": {}, "expect": {}}]}):
        route, _ = read_route(known, WORKFLOWS)
        if route is not None:
            assert len(run_examples(route)) == len(route.examples)
            loop_faults([route])
