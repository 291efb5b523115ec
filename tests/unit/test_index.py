"""The subject index finds exactly what `Pattern.matches` finds, at a cost of what it finds."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Pattern, parse_pattern
from gateway.delivery import index as module
from gateway.delivery.index import SubjectIndex

SEGMENTS = st.sampled_from(["a", "b", "t", "", "*", "**"])
PATTERNS = st.builds(
    Pattern,
    st.sampled_from(["t", "*", "**", "other"]),
    st.none() | st.lists(SEGMENTS, min_size=1, max_size=5).map(tuple),
).map(lambda pattern: parse_pattern(str(pattern)))
SUBJECTS = st.none() | st.lists(st.sampled_from(["a", "b", "t", ""]), min_size=1, max_size=5).map("/".join).filter(bool)
NAMES = st.sampled_from(["type", "symbol", "n"])
TEXTS = st.sampled_from(["a", "b", "1", "true"])
EQUALITIES = st.none() | st.tuples(NAMES, st.frozensets(TEXTS, max_size=3))
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "type": TEXTS,
        "symbol": TEXTS,
        "n": st.sampled_from([1, True, "a", 0]),
        "subject": SUBJECTS.filter(bool),
    },
)
VALUES = st.tuples(st.lists(PATTERNS, min_size=1, max_size=3).map(tuple), EQUALITIES)


def found(index: SubjectIndex[str], subject: str | None) -> set[str]:
    return {*index.all, *index.match(subject)}


@given(st.lists(st.lists(PATTERNS, min_size=1, max_size=3).map(tuple), max_size=6), st.lists(SUBJECTS, max_size=8))
def test_it_finds_what_the_patterns_match(sets: list[tuple[Pattern, ...]], subjects: list[str | None]) -> None:
    index: SubjectIndex[str] = SubjectIndex("t")
    for number, patterns in enumerate(sets):
        index.add(str(number), patterns)
    for subject in subjects:
        wanted = {str(n) for n, patterns in enumerate(sets) if any(p.matches("t", subject) for p in patterns)}
        assert found(index, subject) == wanted
        assert len(index.match(subject)) == len(set(index.match(subject)))


@given(st.lists(st.lists(PATTERNS, min_size=1, max_size=3).map(tuple), max_size=6), SUBJECTS)
def test_what_was_removed_is_gone_and_the_rest_stays(sets: list[tuple[Pattern, ...]], subject: str | None) -> None:
    index: SubjectIndex[str] = SubjectIndex("t")
    for number, patterns in enumerate(sets):
        index.add(str(number), patterns)
    index.match(subject)
    for number in range(0, len(sets), 2):
        index.remove(str(number), sets[number])
    left = {str(n) for n in range(1, len(sets), 2) if any(p.matches("t", subject) for p in sets[n])}
    assert found(index, subject) == left
    for number in range(1, len(sets), 2):
        index.remove(str(number), sets[number])
    assert found(index, subject) == set()
    assert not index.narrow
    assert not index._root.next
    assert not index._groups
    assert not index._group_of


def test_removing_what_is_not_there_does_nothing() -> None:
    index: SubjectIndex[str] = SubjectIndex("t")
    index.add("kept", (parse_pattern("t/a/*"),))
    index.remove("other", (parse_pattern("t/a/*"), parse_pattern("t/b/**"), parse_pattern("t/c")))
    assert found(index, "a/x") == {"kept"}


def test_patterns_with_many_double_stars_stay_cheap() -> None:
    index: SubjectIndex[str] = SubjectIndex("t")
    index.add("evil", (Pattern("t", ("**", "a") * 30),))
    assert index.match("/".join("a" * 60)) == ("evil",)
    assert index.match("/".join("a" * 29) + "/b") == ()


def test_hostile_patterns_cost_little_alone_and_in_numbers() -> None:
    index: SubjectIndex[int] = SubjectIndex("t")
    for value in range(100):
        index.add(value, (parse_pattern(f"t/{'a/' * value}**/{'*/a/' * 10}**/b"),))
        index.add(value, (parse_pattern(f"t/**/{'*/' * 100}{value}"),))
    began = time.process_time()
    for number in range(100, 200):
        assert index.match("a/" * 126 + str(number)) == ()
    assert time.process_time() - began < 1.5
    assert set(index.match("a/" * 126 + "b")) == set(range(100))
    assert index.match("a/" * 126 + "7") == (7,)


def test_patterns_that_share_an_automaton_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GROUP_SEGMENTS", 9)
    index: SubjectIndex[int] = SubjectIndex("t")
    for value in range(12):
        index.add(value, (parse_pattern(f"t/x/**/{value % 6}"),))
    assert len(index._groups) == 2
    assert set(index.match("x/a/b/4")) == {4, 10}
    for value in (4, 0, 6):
        index.remove(value, (parse_pattern(f"t/x/**/{value % 6}"),))
    assert index.match("x/a/b/4") == (10,)
    assert index.match("x/0") == ()
    index.add(20, (parse_pattern("t/x/**/new"),))
    assert len(index._groups) == 2, "there was room"
    index.remove(1, (parse_pattern("t/x/**/2"), parse_pattern("t/y/**/1")))
    assert set(index.match("x/2")) == {2, 8}


def test_more_subjects_than_are_remembered_are_found_all_the_same() -> None:
    index: SubjectIndex[str] = SubjectIndex("t")
    index.add("wild", (parse_pattern("t/*"),))
    assert all(index.match(str(number)) == ("wild",) for number in range(10_050))
    assert index.match("x" * 300) == ("wild",)
    assert "x" * 300 not in index._known


def wants(value: tuple[tuple[Pattern, ...], Any], event: dict[str, Any]) -> bool:
    """The reference: whether a value wants an event."""
    patterns, equality = value
    if not any(pattern.matches("t", event.get("subject")) for pattern in patterns):
        return False
    if equality is None:
        return True
    name, texts = equality
    text = event.get(name)
    if text is None and name == "symbol" and "subject" in event:
        text = event["subject"].split("/")[-1]
    return text is not None and (str(text).lower() if type(text) is bool else str(text)) in texts


@given(st.lists(VALUES, max_size=8), st.lists(EVENTS, max_size=6), st.sets(st.integers(0, 7)))
def test_values_with_an_equality_are_found_by_subject_and_attribute(
    values: list[tuple[tuple[Pattern, ...], Any]], events: list[dict[str, Any]], gone: set[int]
) -> None:
    index: SubjectIndex[int] = SubjectIndex("t")
    for number, (patterns, equality) in enumerate(values):
        index.add(number, patterns, equality)
    left = set(range(len(values)))
    for removed in (set(), gone & left, left - gone):
        for number in removed:
            index.remove(number, *values[number])
        left = left - removed
        for event in events:
            matched = index.match_event(event)
            assert len(matched) == len(set(matched))
            assert {*index.all, *matched} == {number for number in left if wants(values[number], event)}
            subject = event.get("subject")
            assert not any(values[number][1] for number in index.match(subject))
    assert not index.narrow
    assert not index.all
    assert not index._spots
    assert index._selective is None


def test_more_attributes_may_be_asked_for_than_an_event_has() -> None:
    index: SubjectIndex[int] = SubjectIndex("t")
    for number in range(100):
        index.add(number, (parse_pattern("t/**"),), (f"a{number}", frozenset("x")))
    index.add(100, (parse_pattern("t/**"),), ("symbol", frozenset("x")))
    assert set(index.match_event({"a7": "x", "a8": "y", "subject": "s/x"})) == {7, 100}
    assert index.match_event({"a7": "y", "symbol": "y", "subject": "s/x"}) == []


def test_removing_an_equality_that_is_not_there_does_nothing() -> None:
    index: SubjectIndex[str] = SubjectIndex("t")
    pattern = (parse_pattern("t/**"),)
    index.add("kept", pattern, ("type", frozenset("x")))
    index.remove("other", pattern, ("type", frozenset("xy")))
    index.remove("kept", pattern, ("n", frozenset("x")))
    index.remove("kept", (parse_pattern("t/a"),), ("type", frozenset("x")))
    assert index.match_event({"type": "x"}) == ["kept"]


def per_event(index: SubjectIndex[int], events: list[dict[str, str]]) -> float:
    """Seconds for all events; the least of several rounds."""
    rounds = []
    for _ in range(7):
        began = time.process_time()
        for event in events:
            assert len(index.match_event(event)) == 1
        rounds.append(time.process_time() - began)
    return min(rounds)


@pytest.mark.parametrize("pattern", ["t/**", "t/s/*", "t/s/1", "t/**/1"])
@pytest.mark.parametrize("name", ["type", "symbol"])
def test_a_hundred_thousand_equalities_cost_no_more_than_a_hundred(pattern: str, name: str) -> None:
    costs = []
    for many in (100, 100_000):
        index: SubjectIndex[int] = SubjectIndex("t")
        patterns = (parse_pattern(pattern),)
        for number in range(many):
            index.add(number, patterns, (name, frozenset([f"x{number}"])))
        step = many // 100
        costs.append(per_event(index, [{"subject": "s/1", name: f"x{number * step}"} for number in range(100)] * 20))
    assert costs[1] < 2 * costs[0]
