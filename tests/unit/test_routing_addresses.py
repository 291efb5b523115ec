"""Patterns of routes: the language is the gateway's, and two patterns meet where an address may be of both."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.address import parse_pattern
from gateway.errors import InvalidAddress
from routing.addresses import Address, Hole, meet, parse_address, topic_fault

SEGMENT = st.sampled_from(["a", "b", "*", "**", "", "+", "#", "a+", "***", "_x"])
LITERAL = st.sampled_from(["a", "b", "", "_x"])


@settings(max_examples=500, deadline=None)
@given(st.lists(SEGMENT, min_size=1, max_size=5), st.sampled_from(["a", "b"]), st.lists(LITERAL, max_size=4))
def test_patterns_select_what_the_gateways_patterns_select(segments: list[str], topic: str, subject: list[str]) -> None:
    text, rest = "/".join(segments), "/".join(subject) if subject else None
    try:
        expected = parse_pattern(text).matches(topic, rest)
    except InvalidAddress:
        with pytest.raises(ValueError, match=r".+"):
            parse_address(text)
        return
    assert parse_address(text).matches(topic, rest) == expected


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "*", "**"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "*", "**"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=4),
)
def test_patterns_that_share_an_address_meet(one: list[str], other: list[str], at: list[str]) -> None:
    first, second = parse_address("/".join(one)), parse_address("/".join(other))
    topic, subject = at[0], "/".join(at[1:]) or None
    if first.matches(topic, subject) and second.matches(topic, subject):
        assert meet(first, second)
        assert meet(second, first)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Address("a", (Hole("x-", ""),)), parse_address("a/x-1"), True),
        (Address("a", (Hole("x-", ""),)), parse_address("a/y-1"), False),
        (Address(Hole("desk-", "-in"), None), parse_address("desk-eu-in"), True),
        (Address(Hole("desk-", "-in"), None), parse_address("desk-in"), False),
        (Address(Hole(), ("**",)), parse_address("signals/**"), True),
        (Address(Hole("a-"), None), Address(Hole("b-"), None), False),
        (Address(Hole("a-"), None), Address(Hole("", "-b"), None), True),
        (parse_address("a"), parse_address("a/**"), True),
        (parse_address("a"), parse_address("a/*"), False),
        (parse_address("a/b/**"), parse_address("a/c/**"), False),
        (parse_address("**"), parse_address("a/b"), True),
        (parse_address("*/b"), Address("_internal", ("b",)), False),
    ],
)
def test_where_patterns_meet(one: Address, other: Address, expected: bool) -> None:
    assert meet(one, other) is expected
    assert meet(other, one) is expected


def test_topics_have_names_that_are_legal_in_kafka() -> None:
    assert topic_fault("signals") is None
    assert "reserved" in str(topic_fault("_linkspan.topics"))
    assert "not a topic name" in str(topic_fault(".."))
    with pytest.raises(ValueError, match="at most 128 segments"):
        parse_address("a/" + "x/" * 128)
    with pytest.raises(ValueError, match="any number"):
        parse_address("a/***")
