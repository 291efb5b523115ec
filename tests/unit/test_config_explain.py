"""What a model objects to becomes a fault in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from gateway.config.document import Document
from gateway.config.explain import validate
from gateway.config.model import Section


class _Inner(Section):
    colour: Literal["red", "green", "blue"] = "red"
    depth: int = Field(default=0, gt=0, lt=5)


class _Outer(Section):
    inner: _Inner | None = None
    many: tuple[_Inner, ...] = ()
    named: Mapping[str, _Inner] = Field(default_factory=dict)
    ratio: float = 0
    flag: bool = False
    text: str = Field(default="", min_length=1)
    pair: tuple[int, int] = (0, 0)


def said(value: object, *, hidden: tuple[str | int, ...] | None = None) -> list[str]:
    document = Document("f", 0)
    if hidden:
        document.hidden.add(hidden)
    validate(_Outer, value, document, ("top",))
    return [str(fault).removeprefix("f: top.") for fault in document.faults]


def test_a_good_value_is_an_instance() -> None:
    built = validate(_Outer, {"inner": {"depth": 3}}, Document("f"), ())
    assert built is not None
    assert built.inner == _Inner(depth=3)


def test_types_are_named_in_plain_words() -> None:
    assert said({"ratio": "x", "flag": "maybe", "text": "", "many": 5, "named": 5, "inner": 5}) == [
        "inner: expected a mapping", "many: expected a list", "named: expected a mapping", "ratio: expected a number",
        "flag: expected true or false", "text: is empty",
    ]  # fmt: skip


def test_bounds_and_choices_are_named() -> None:
    assert said({"inner": {"colour": "gren", "depth": 5}}) == [
        "inner.colour: expected red, green or blue (did you mean 'green'?)", "inner.depth: must be less than 5",
    ]  # fmt: skip
    assert said({"inner": {"depth": 0}}) == ["inner.depth: must be more than 0"]


def test_unknown_keys_are_compared_with_those_of_their_own_level() -> None:
    assert said({"inner": {"color": 1}, "many": [{"dept": 1}], "named": {"x": {"colur": 1}}, "txt": 1}) == [
        "inner.color: unknown key (did you mean 'colour'?)", "many[0].dept: unknown key (did you mean 'depth'?)",
        "named.x.colur: unknown key (did you mean 'colour'?)", "txt: unknown key (did you mean 'text'?)",
    ]  # fmt: skip


def test_a_hidden_value_is_not_compared_with_anything() -> None:
    assert said({"inner": {"colour": "gren"}}, hidden=("top", "inner", "colour")) == [
        "inner.colour: expected red, green or blue"
    ]


def test_a_key_that_is_faulty_already_is_not_said_again() -> None:
    document = Document("f")
    document.fault(("ratio",), "was a bare no")
    validate(_Outer, {"ratio": None}, document, ())
    assert len(document.faults) == 1


class _Strict(Section):
    STAND_INS: ClassVar[Mapping[str, Any]] = {"needed": 0}

    needed: int
    inner: _Inner = _Inner()


class _Plugin(Section):
    needed: int


def test_what_is_good_of_a_faulty_value_is_kept() -> None:
    value = {"needed": "x", "inner": {"colour": "gren", "depth": 3, "dept": 1}, "other": 1}
    built = validate(_Strict, value, Document("f"), ())
    assert built == _Strict(needed=0, inner=_Inner(depth=3))
    assert validate(_Strict, 5, Document("f"), ()) == _Strict(needed=0)


def test_a_model_whose_required_keys_have_no_stand_in_gives_nothing() -> None:
    document = Document("f")
    assert validate(_Plugin, {"neded": 1}, document, ()) is None
    assert len(document.faults) == 2
