"""What is legal as an attribute, and what is said of what is not."""

from __future__ import annotations

import pytest

from routing.attributes import (
    CHECKS,
    attribute_fault,
    canonical,
    event_fault,
    name_fault,
    name_legal,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "a b"),
        ("source", "/s"),
        ("source", "urn:uuid:6e8bc430"),
        ("type", "t"),
        ("specversion", "1.0"),
        ("subject", "a/b"),
        ("time", "2026-11-24T07:45:52.884748Z"),
        ("time", "2026-02-03T04:05:06+01:00"),
        ("time", "2024-02-29T00:00:00.5Z"),
        ("dataschema", "https://example.com/s"),
        ("datacontenttype", "text/plain; charset=utf-8"),
        ("priority", 4),
        ("ok", True),
        ("note", ""),
    ],
)
def test_legal_attributes(name: str, value: object) -> None:
    assert attribute_fault(name, value) is None


def test_a_value_of_the_wrong_type_is_shown_as_json() -> None:
    assert attribute_fault("id", True) == "must be a string, not true"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", ""),
        ("id", 5),
        ("source", ""),
        ("source", "a b"),
        ("type", ""),
        ("specversion", "0.3"),
        ("subject", ""),
        ("subject", "a/+"),
        ("time", "yesterday"),
        ("time", "2026-13-01T00:00:00Z"),
        ("time", "2026-01-01 00:00:00Z"),
        ("time", "2026-02-29T00:00:00Z"),
        ("dataschema", "relative"),
        ("datacontenttype", "nonsense"),
        ("data", "x"),
        ("Upper", "x"),
        ("with-dash", "x"),
        ("", "x"),
        ("x" * 65, "x"),
        ("note", "a\x00"),
        ("note", "\ud800"),
        ("note", "\ufffe"),
        ("note", "x" * 70_000),
        ("note", 1.5),
        ("note", None),
        ("number", 2**31),
        ("time", True),
    ],
)
def test_illegal_attributes_are_told(name: str, value: object) -> None:
    assert attribute_fault(name, value)


def test_values_have_one_canonical_string() -> None:
    assert [canonical(value) for value in (True, False, -7, "x")] == ["true", "false", "-7", "x"]
    assert name_legal("abc1")
    assert not name_legal("data")


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
