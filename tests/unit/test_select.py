"""Selections choose exactly what the patterns match, whichever way they are evaluated."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Pattern, parse_pattern
from gateway.bus.binding import subject_of
from gateway.delivery import select
from gateway.delivery.select import Selection
from gateway.event import Event
from tests.unit.reading_support import event, names

pytestmark = pytest.mark.timeout(60)
SEGMENT = st.sampled_from(["a", "b", "", "*", "**"])
PATTERNS = st.lists(
    st.builds(
        Pattern,
        st.sampled_from(["t", "u", "*", "**"]),
        st.none() | st.lists(SEGMENT, min_size=1, max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=4,
)
SUBJECTS = st.lists(st.none() | st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join), max_size=20)


@given(PATTERNS, SUBJECTS)
def test_an_event_is_selected_once_if_any_pattern_matches(patterns: list[Pattern], subjects: list[str | None]) -> None:
    events = [event(str(n), subject) for n, subject in enumerate(subjects)]
    expected = [e for e in events if any(p.matches("t", e.subject) for p in patterns)]
    selection = Selection("t", patterns)
    assert selection.select(events) == expected
    assert selection.select(events) == expected


def test_all_of_a_batch_is_the_very_same_list() -> None:
    events = [event("a", "x"), event("b", "y")]
    for patterns in (["t/**"], ["**"], ["t/*"], ["t/x", "t/y"]):
        assert Selection("t", [parse_pattern(p) for p in patterns]).select(events) is events


def test_equal_selections_are_one_key() -> None:
    def of(topic: str, *patterns: str) -> Selection:
        return Selection(topic, [parse_pattern(p) for p in patterns])

    assert of("t", "t/a", "t/b", "u/c") == of("t", "t/b", "t/a", "t/a")
    assert hash(of("t", "t/**", "t/a")) == hash(of("t", "**"))
    assert of("t", "t/a") != of("u", "u/a")
    assert of("t", "t/*") != of("t", "t/a")
    assert of("t") != "t"


@pytest.mark.parametrize(
    "headers",
    [
        [("ce_id", b"1"), ("ce_subject", b"a/b")],
        [("ce_subject", b"old"), ("ce_subject", b"a/b")],
        [("ce_id", b"1")],
        [("ce_subject", b"")],
        [("ce_subject", b"a+b")],
        [("ce_subject", b"\xff")],
        [("content-type", b"text/plain"), ("ce_subject", b"a/b")],
        [("content-type", b"application/cloudevents+json"), ("ce_subject", b"a/b")],
        [("content-type", b"Application/CloudEvents+JSON; charset=utf-8")],
    ],
)
def test_a_stored_event_is_selected_by_the_subject_that_its_reader_sees(headers: list[tuple[str, bytes]]) -> None:
    body = b'{"specversion":"1.0","id":"1","source":"//s","type":"t","subject":"in/side"}'

    def stored() -> Event:
        return Event(list(headers), body, None, "t", 0, 5, 1000)

    for _ in range(2):
        assert subject_of(stored()) == stored().subject
    seen = stored()
    assert seen.attributes.get("subject") == subject_of(seen)


def test_what_is_known_of_subjects_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "_REMEMBERED", 3)
    selection = Selection("t", [parse_pattern("t/*/x")])
    found = selection.select([event(str(n), f"{n}/{'x' if n % 2 else 'y'}") for n in range(20)])
    assert names(found) == [str(n) for n in range(20) if n % 2]
    assert len(selection._known) <= 3
    selection.select([event("long", "x" * 300)])
    assert max(map(len, filter(None, selection._known))) <= select._REMEMBERED_LENGTH


def test_hostile_patterns_over_hostile_subjects_cost_little() -> None:
    patterns = [parse_pattern(f"t/**/{'a/' * (100 + place)}b") for place in range(20)]
    events = [event(str(n), "a/" * 126 + str(n)) for n in range(500)]
    selection = Selection("t", patterns)
    began = time.process_time()
    assert selection.select(events) == []
    assert time.process_time() - began < 1
