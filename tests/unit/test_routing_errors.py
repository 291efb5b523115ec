"""Errors of routing tell where they are."""

from __future__ import annotations

from routing.errors import InvalidFilter, InvalidRoute, InvalidTransform, RoutingError


def test_an_error_has_a_kind_and_perhaps_a_place() -> None:
    error = RoutingError("told")
    assert (error.message, error.kind, error.position, str(error)) == ("told", "generic", None, "told")
    assert error.caret("text") == ""


def test_what_is_refused_tells_its_place_in_the_object() -> None:
    error = InvalidFilter("is wrong", position=3, where="filters[1].expr")
    assert str(error) == "filters[1].expr: is wrong"
    assert (error.kind, error.where) == ("parse", "filters[1].expr")
    assert str(InvalidTransform("is wrong")) == "is wrong"
    assert issubclass(InvalidRoute, RoutingError)


def test_the_caret_stands_under_the_place() -> None:
    assert InvalidFilter("x", position=5).caret("a AND = 5") == "a AND = 5\n     ^"
    assert InvalidFilter("x", position=9).caret("a AND = 5") == "a AND = 5\n         ^"
    assert InvalidFilter("x", position=99).caret("ab") == "ab\n  ^"


def test_only_the_line_of_the_place_is_shown_and_tabs_are_one_wide() -> None:
    assert InvalidFilter("x", position=8).caret("first\n\tb = = c\nlast") == " b = = c\n  ^"


def test_a_long_line_is_cut_to_what_is_near() -> None:
    shown, caret = InvalidFilter("x", position=500).caret("a" * 500 + "!" + "b" * 500).splitlines()
    assert len(shown) == 120
    assert shown[caret.index("^")] == "!"
