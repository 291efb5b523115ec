"""Templates: filled for a whole batch, and nothing that an event holds can choose another address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.batch import Batch, Plain
from routing.errors import InvalidRoute
from routing.templates import MAX_FIELDS, MAX_TEMPLATE, Unfilled, Use, parse_template, split_address


def fill(text: str, use: Use = "subject", data: bytes | None = None, **attributes: str | int | bool) -> str:
    """The text, or `!` and the reason why there is none."""
    batch = Batch([Plain({"datacontenttype": "application/json", **attributes}, data)])
    (filled,) = parse_template(text, use).fill(batch, "signals", [0])
    return f"!{filled.reason}" if isinstance(filled, Unfilled) else filled


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("{symbol}", "AAPL"),
        ("a/{symbol}/b", "a/AAPL/b"),
        ("{subject}", "equities/AAPL"),
        ("x/{subject}", "x/equities/AAPL"),
        ("{subject[0]}-{subject[-1]}", "equities-AAPL"),
        ("{topic}", "signals"),
        ("{n}{flag}", "7true"),
        ("{data.price}", "1.5"),
        ("{data.tags[1]}", "y"),
        ("{data['odd key']}", "odd"),
        ("{data.yes}", "true"),
        ("{data.big}", "123456789012345678901"),
        ("{none:-else}", "else"),
        ("{data.none:-}|", "|"),
        ("{{{symbol}}}", "{AAPL}"),
        ("{none}", "!{none} is not there"),
        ("{subject[5]}", "!{subject[5]} is not there"),
        ("{data.null}", "!{data.null} is not there"),
        ("{data.empty}", "!{data.empty} is empty"),
        ("{data.tags}", "!{data.tags} is an array, not a value"),
        ("{data.object}", "!{data.object} is an object, not a value"),
    ],
)
def test_fields_come_from_attributes_the_subject_and_the_payload(text: str, expected: str) -> None:
    data = (
        b'{"price": 1.5, "tags": ["x", "y"], "odd key": "odd", "yes": true, "null": null, "empty": "",'
        b' "object": {}, "big": 123456789012345678901}'
    )
    assert fill(text, data=data, subject="equities/AAPL", n=7, flag=True) == expected


def test_an_own_symbol_goes_before_that_of_the_subject() -> None:
    assert fill("{symbol}", subject="a/b", symbol="MSFT") == "MSFT"
    assert fill("{symbol}") == "!{symbol} is not there"


@pytest.mark.parametrize("value", ["a/b", "+", "#", "a*b", "a\nb", "\x7f"])
def test_a_value_cannot_choose_another_address(value: str) -> None:
    assert fill("x/{v}", v=value).startswith("!{v} is ")
    assert fill("x-{v}", "topic", v=value).startswith("!{v} is ")
    assert fill("{v}", "text", v=value) == value


@given(st.text(max_size=20))
def test_what_enters_a_subject_is_one_segment(value: str) -> None:
    filled = fill("a/{v}/b", v=value)
    assert filled.startswith("!") or filled.count("/") == 2


def test_a_payload_that_cannot_be_decoded_has_no_fields() -> None:
    assert fill("{data.x}", data=b"{") == "!{data.x} is not there"
    assert fill("{data.x}") == "!{data.x} is not there"
    assert fill("{data.x}", data=b'{"x": %s}' % (b"9" * 400)).startswith("!")


def test_columns_keep_the_order_of_the_places() -> None:
    batch = Batch([Plain({"n": n}) for n in range(5)])
    assert parse_template("n/{n}", "subject").fill(batch, "t", [3, 1]) == ["n/3", "n/1"]


@pytest.mark.parametrize(
    ("text", "use", "position", "message"),
    [
        ("a/{symbol", "subject", 2, "no '}' closes"),
        ("a}", "subject", 1, "no '{' opens"),
        ("{Symbol}", "subject", 1, "is not a field"),
        ("{}", "subject", 1, "is not a field"),
        ("{data}", "subject", 1, "is not a field"),
        ("{data.}", "subject", 5, "in a path"),
        ("{data.a[x]}", "subject", 7, "in a path"),
        ("{v:-a/b}", "subject", 4, "the default of"),
        ("{v:-a b}", "topic", 4, "the default of"),
        ("{v:-}", "topic", 1, "is not empty"),
    ],
)
def test_faults_are_told_with_their_place(text: str, use: Use, position: int, message: str) -> None:
    with pytest.raises(InvalidRoute, match=message) as caught:
        parse_template(text, use)
    assert caught.value.position == position


def test_templates_are_bounded() -> None:
    with pytest.raises(InvalidRoute, match="characters"):
        parse_template("x" * (MAX_TEMPLATE + 1), "text")
    with pytest.raises(InvalidRoute, match="fields"):
        parse_template("{a}" * (MAX_FIELDS + 1), "text")


def test_an_address_is_parted_at_the_first_slash_outside_of_braces() -> None:
    assert split_address("alerts/{symbol}/x") == ("alerts", "{symbol}/x")
    assert split_address("desk-{data['a/b']}/x") == ("desk-{data['a/b']}", "x")
    assert split_address("alerts") == ("alerts", None)


@given(
    st.text("{}ab.[]'0:-/*", max_size=12) | st.text(max_size=12),
    st.sampled_from(["topic", "subject", "text"]),
    st.binary(max_size=8) | st.sampled_from([b'{"a": "x", "b": [1]}', b'{"a": {"b": null}}']),
)
def test_any_text_is_a_template_or_refused_with_a_reason(text: str, use: Use, data: bytes) -> None:
    place: int | None = 0
    try:
        parse_template(text, use)
    except InvalidRoute as error:
        place = error.position
    else:
        assert isinstance(fill(text, use, data, a="v", b=1), str)
    assert place is None or 0 <= place <= len(text)
