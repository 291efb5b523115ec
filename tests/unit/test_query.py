"""Query strings: strict about names, helpful about slips."""

from __future__ import annotations

import pytest

from gateway.errors import InvalidInput
from gateway.query import Query, query_fault


def refused(text: str, *known: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        Query(text, known)
    return error.value


def test_values_are_decoded_and_repeated_ones_kept_in_order() -> None:
    query = Query("start=-5m&from=a%2F**&from=b%20c", ("start",), repeated=("from",))
    assert (query.get("start"), query.get("missing")) == ("-5m", None)
    assert (query.all("from"), query.all("missing")) == (["a/**", "b c"], [])


def test_an_unknown_name_is_refused_with_the_one_that_was_meant() -> None:
    error = refused("lmit=5", "limit", "start")
    assert "'limit' was meant" in error.message
    assert error.faults[0].where == "lmit"
    assert "limit, start" in refused("xyz=5", "limit", "start").message
    assert refused("a=1").message.endswith("is unknown")


def test_faults_are_told_up_to_a_bound() -> None:
    assert len(refused("&".join(f"limit{n}=1" for n in range(200)), "limit").faults) == 20


def test_a_name_is_given_once() -> None:
    assert "twice" in refused("limit=1&limit=2", "limit").message


def test_an_empty_value_is_refused_whatever_its_name() -> None:
    for text in ("start=", "start", "limit=&start=earliest"):
        assert "is empty" in refused(text, "start", "limit").message
    with pytest.raises(InvalidInput, match="is empty"):
        Query("from=a&from=", (), repeated=("from",))


def test_what_cannot_be_decoded_is_refused() -> None:
    assert "UTF-8" in refused("a=%FF", "a").message
    assert "more than" in refused("&".join(f"a{i}=1" for i in range(300)), "a").message


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "x", "", "101", "٣", "9" * 20, " 1", "1_0"])
def test_numbers_have_bounds(text: str) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        Query(f"limit={text}", ("limit",)).number("limit", 100)


def test_a_number_may_be_left_out() -> None:
    assert Query("", ("limit",)).number("limit", 100) is None
    assert Query("limit=100", ("limit",)).number("limit", 100) == 100


def test_the_next_page_has_the_same_query_with_another_start() -> None:
    query = Query("from=a/**&start=earliest&limit=5&from=b%26c", ("start", "limit"), repeated=("from",))
    assert query.replaced("start", "CURSOR") == "from=a/**&limit=5&from=b%26c&start=CURSOR"


def test_faults_name_the_parameter() -> None:
    assert query_fault("wait", "is odd").faults[0].where == "wait"
