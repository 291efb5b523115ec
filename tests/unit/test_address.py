"""Addresses and patterns: one language, and no pattern that can blow up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import (
    check_subject,
    check_topic,
    matches_subject,
    parse_pattern,
    parse_subject_pattern,
    split_address,
    subject_patterns,
)
from gateway.errors import InvalidAddress
from routing.attributes import MAX_SEGMENTS, subject_fault
from tests.unit.test_automaton import by_definition


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 249])
def test_legal_topic_names(name: str) -> None:
    assert check_topic(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "\u00e9", "x" * 250, "a\n", "_x", "$x"])
def test_illegal_topic_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidAddress):
        check_topic(name)


def test_internal_topics_are_named_by_the_gateway_alone() -> None:
    assert check_topic("_linkspan.x", internal=True) == "_linkspan.x"
    assert parse_pattern("_linkspan.x/#", internal=True).topic == "_linkspan.x"


@pytest.mark.parametrize("subject", ["a", "a/b", "/", "a//b", "", "BRK.B", "%", "a*b", "***", "\u00e9/\U0001f6a2"])
def test_legal_subjects(subject: str) -> None:
    assert check_subject(subject) == subject


@pytest.mark.parametrize("subject", ["a+b", "#", "a/*", "**", "*", "a\x00", "a\x7f", "\x85", "\ud800", "x" * 5000])
def test_illegal_subjects_are_refused(subject: str) -> None:
    assert subject_fault(subject)
    with pytest.raises(InvalidAddress):
        check_subject(subject)


def test_an_address_splits_at_the_first_slash() -> None:
    assert split_address("signals/equities/AAPL") == ("signals", "equities/AAPL")
    assert split_address("signals") == ("signals", None)
    assert split_address("signals/") == ("signals", "")
    for bad in ("_x/a", "a/+", "/a"):
        with pytest.raises(InvalidAddress):
            split_address(bad)


@pytest.mark.parametrize(
    ("pattern", "topic", "subject", "expected"),
    [
        ("t", "t", None, True),
        ("t", "t", "a", False),
        ("t/**", "t", None, True),
        ("t/#", "t", "a/b", True),
        ("t/*", "t", None, False),
        ("t/*", "t", "", True),
        ("t/+", "t", "a", True),
        ("t/+", "t", "a/b", False),
        ("t/a/#", "t", "a", True),
        ("t/**/z", "t", "z", True),
        ("t/**/z", "t", "a/b/z", True),
        ("t/**/z", "t", "a/b", False),
        ("t/**/b/**/d", "t", "a/b/c/d", True),
        ("t/**/a/*", "t", "a/a/a", True),
        ("+/e/#", "s", "e", True),
        ("+/e/#", "_s", "e", False),
        ("+", "s", None, True),
        ("#", "s", "a/b", True),
        ("**/b", "s", "a/b", True),
        ("**/s", "s", None, True),
        ("**", "$sys", "a", False),
        ("other/#", "t", "a", False),
    ],
)
def test_patterns_match_whole_segments(pattern: str, topic: str, subject: str | None, expected: bool) -> None:
    assert parse_pattern(pattern).matches(topic, subject) is expected


def test_patterns_have_one_spelling_inside() -> None:
    assert str(parse_pattern("s/+/#")) == "s/*/**"
    assert str(parse_pattern("s/**/#/**")) == "s/**"
    assert str(parse_pattern("s")) == "s"
    assert parse_pattern("s/x").literal_topic
    assert not parse_pattern("+/x").literal_topic
    assert not matches_subject(("a",), None)


@pytest.mark.parametrize("pattern", ["", "_x/#", "a b/#", "t/a+", "t/a#b", "t/\x00", "$x/#"])
def test_illegal_patterns_are_refused_with_their_place(pattern: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_pattern(pattern)


@pytest.mark.parametrize("pattern", ["t/***", "t/a/****/b"])
def test_a_segment_of_more_stars_is_refused_with_what_there_is(pattern: str) -> None:
    with pytest.raises(InvalidAddress, match=r"'\*' is one segment, '\*\*' any number"):
        parse_pattern(pattern)
    assert parse_pattern("t/a*/*b").segments == ("a*", "*b")


def test_patterns_and_subjects_have_a_bounded_number_of_segments() -> None:
    most = "/".join(["a"] * MAX_SEGMENTS)
    assert check_subject(most) == most
    assert len(parse_subject_pattern(most)) == MAX_SEGMENTS
    assert len(parse_subject_pattern("**/" * 500 + "a")) == 2, "as it is after the doubled ones are gone"
    with pytest.raises(InvalidAddress, match="at most 128 segments"):
        check_subject(most + "/a")
    for pattern in (most + "/a", "**/" + most, "*/" * 2000 + "*"):
        with pytest.raises(InvalidAddress, match="at most 128 segments"):
            parse_pattern(f"t/{pattern}")


SEGMENT = st.sampled_from(["a", "b", "t", "*", "**"])


@given(
    st.lists(st.sampled_from(["a", "b", "t", ""]), max_size=4),
    st.none() | st.lists(SEGMENT, min_size=1, max_size=5),
    st.sampled_from(["t", "u", "*", "**"]),
)
def test_patterns_match_by_their_definition(parts: list[str], rest: list[str] | None, topic: str) -> None:
    pattern = parse_pattern("/".join([topic, *(rest or [])]))
    subject = "/".join(parts) if parts else None
    whole = ["t", *(subject.split("/") if subject is not None else [])]
    if topic != "**" and rest == ["**"] * len(rest or []):
        expected = topic in ("t", "*") and (rest is not None or subject is None)
    else:
        expected = by_definition([topic, *(rest or [])], whole)
        if topic != "**" and subject is None and rest is not None:
            expected = False  # an event without subject has no segment, and only a lone "**" takes none
    assert pattern.matches("t", subject) is expected
    assert any(matches_subject(each, subject) for each in subject_patterns("t", [pattern])) is expected
