"""routing/attributes.py: what it calls legal is what the gateway calls legal."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import event
from routing.attributes import (
    CHECKS,
    MAX_ATTRIBUTE_BYTES,
    REQUIRED,
    attribute_fault,
    canonical,
    event_fault,
    name_fault,
)

NAMES = st.sampled_from([*CHECKS, "data", "desk", "Desk", "", "x" * 65, "a-b"]) | st.text(max_size=5)
TELLING = [
    "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z",
    "2024-02-30T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-11-24T13:00:00.5+01:00",
    "1.0",
    "1.1",
    "text/plain; charset=utf-8",
    "text",
    "http://a.example/b",
    "a/*/b",
    "a/**",
    "a+b",
    "a*b/c",
    "%zz",
    "a b",
    "\u200d",
    "\ud800",
    "\ufdd0",
]
VALUES = (
    st.text(max_size=20)
    | st.integers(-(2**40), 2**40)
    | st.booleans()
    | st.none()
    | st.floats()
    | st.sampled_from(TELLING)
)


@given(NAMES, VALUES)
@example("subject", "é" * 2049)
@example("subject", "/" * 128)
@example("desk", "é" * (MAX_ATTRIBUTE_BYTES // 2 + 1))
def test_one_attribute_is_as_legal_here_as_at_the_gate(name: str, value: object) -> None:
    assert attribute_fault(name, value) == event.attribute_fault(name, value)


@pytest.mark.parametrize("name", [*CHECKS, "desk"])
@pytest.mark.parametrize("value", TELLING)
def test_values_that_tell_rules_apart_are_judged_alike(name: str, value: str) -> None:
    assert attribute_fault(name, value) == event.attribute_fault(name, value)


def test_the_same_attributes_are_required() -> None:
    assert REQUIRED == event.REQUIRED
    assert MAX_ATTRIBUTE_BYTES == event.MAX_ATTRIBUTE_BYTES


@given(st.text(max_size=5) | st.integers() | st.booleans())
def test_canonical_strings_are_the_same(value: str | int | bool) -> None:
    assert canonical(value) == event.canonical(value)


def test_a_name_alone_can_be_asked_for() -> None:
    assert name_fault("desk") is None
    assert name_fault("time") is None
    assert name_fault("Desk")


def test_the_first_fault_of_an_event_is_told_with_its_name() -> None:
    whole = {"id": "1", "source": "/x", "type": "t", "specversion": "1.0"}
    assert event_fault(whole) is None
    assert event_fault({"id": "1"}) == "attribute source is required"
    assert event_fault({**whole, "a": 1.5}) == "attribute 'a': must be a string, an integer or a boolean, not float"
    broken: dict[str, object] = {**whole, 5: "x"}  # type: ignore[dict-item]  # a plug-in may do so
    assert event_fault(broken) == "attribute 5: a name is a string"


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_attributes_with_rules_are_strings(name: str) -> None:
    assert attribute_fault(name, 5) == "must be a string, not 5"
