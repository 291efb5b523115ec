"""Filters are read from their dialects; whatever is wrong is refused with its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import InvalidFilter
from routing.filters import dialects
from routing.filters.dialects import read_filter, read_filters

KNOWN = ["exact", "prefix", "suffix", "sql", "expr", "all", "any", "not"]
KNOWN += ["symbol", "datatype", "qualitytier", "confidence"]
EXACT = {"exact": {"type": "x"}}


def nested(levels: int) -> Any:
    written: Any = EXACT
    for _ in range(levels):
        written = {"not": written}
    return written


@pytest.mark.parametrize(
    ("filters", "where", "message"),
    [
        ("x", "filters", "is a list of filters, not a text"),
        ({"exact": {"type": "x"}}, "filters", "is a list of filters, not an object"),
        (None, "filters", "is a list of filters, not null"),
        ([3], "filters[0]", "is a filter such as {'exact': {'type': 'x'}}, not a number"),
        ([EXACT, {"exakt": {"type": "x"}}], "filters[1].exakt", "is not a dialect of filters; did you mean 'exact'?"),
        ([{"symbols": "A"}], "filters[0].symbols", "is not a dialect of filters; did you mean 'symbol'?"),
        (
            [{"zzz": 1}],
            "filters[0].zzz",
            f"is not a dialect of filters; known are {', '.join(KNOWN)}",
        ),
        ([{1: "x"}], "filters[0]", "has the key 1, which is not a text"),
        ([{}], "filters[0]", "has one dialect, not nothing; write each as a filter of its own, or put them into 'all'"),
        (
            [{"exact": {"type": "x"}, "symbol": "A"}],
            "filters[0]",
            "has one dialect, not exact and symbol; write each as a filter of its own, or put them into 'all'",
        ),
        ([{"exact": "type"}], "filters[0].exact", "is an object of attributes and texts, not a text"),
        ([{"prefix": {}}], "filters[0].prefix", "names at least one attribute"),
        ([{"exact": {"type": None}}], "filters[0].exact.type", "is a text, an integer or a boolean, not null"),
        ([{"exact": {"type": ["x"]}}], "filters[0].exact.type", "is a text, an integer or a boolean, not a list"),
        ([{"exact": {"n": 0.5}}], "filters[0].exact.n", "is a text, an integer or a boolean, not the number 0.5"),
        ([{"suffix": {"type": ""}}], "filters[0].suffix.type", "is not empty"),
        ([{"exact": {"type": "x" * 4097}}], "filters[0].exact.type", "has more than 4096 characters"),
        ([{"exact": {"n": 10**5000}}], "filters[0].exact.n", "has more than 4096 characters"),
        ([{"exact": {2: "x"}}], "filters[0].exact", "has the key 2, which is not a text"),
        (
            [EXACT, {"any": [{"exact": {"Type": "x"}}]}],
            "filters[1].any[0].exact.Type",
            "an attribute name has 1 to 64 characters of a-z and 0-9; did you mean 'type'?",
        ),
        (
            [{"exact": {"data.price": "1"}}],
            "filters[0].exact.data.price",
            "an attribute name has 1 to 64 characters of a-z and 0-9; what is in the data is asked by an 'expr'",
        ),
        ([{"exact": {"a b": "x"}}], "filters[0].exact.a b", "an attribute name has 1 to 64 characters of a-z and 0-9"),
        ([{"any": []}], "filters[0].any", "has at least one filter"),
        ([{"all": EXACT}], "filters[0].all", "is a list of filters, not an object"),
        ([{"not": [EXACT]}], "filters[0].not", "is a filter such as {'exact': {'type': 'x'}}, not a list"),
        ([{"not": {"all": [EXACT, {"sql": 1}]}}], "filters[0].not.all[1].sql", "is a text, not a number"),
        ([{"expr": None}], "filters[0].expr", "is a text, not null"),
        ([{"sql": "1 + 1"}], "filters[0].sql", "a filter is true or false, this is an integer"),
        ([EXACT] * 101, "filters", "has 101 filters; 100 are the most"),
        ([{"any": [EXACT] * 101}], "filters[0].any", "has 101 filters; 100 are the most"),
        ([nested(33)], "filters[0]" + ".not" * 33, "is nested more than 32 levels deep"),
        ([nested(10_000)], "filters[0]" + ".not" * 33, "is nested more than 32 levels deep"),
        (
            [{"any": [{"all": [EXACT] * 100}] * 100}],
            "filters[0].any[9].all[89]",
            "there are more than 1000 filters, those inside others counted",
        ),
        ([{"exact": {f"a{n}": "x" for n in range(101)}}], "filters[0].exact", "names 101 attributes; 100 are the most"),
        ([{"symbol": "A", "confidence": 2}], "filters[0].confidence", "is from 0 to 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(filters: Any, where: str, message: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        read_filters(filters, "filters")
    assert (caught.value.where, caught.value.message) == (where, message)


@pytest.mark.parametrize("written", [{"sql": "type = 'x' AND"}, {"expr": "type = 'x' AND"}, "type = 'x' AND"])
def test_a_fault_of_an_expression_has_its_place_in_the_text_as_well(written: Any) -> None:
    with pytest.raises(InvalidFilter) as caught:
        read_filters([{"not": written}], "subscription.filters")
    inner = "" if isinstance(written, str) else f".{next(iter(written))}"
    assert caught.value.where == f"subscription.filters[0].not{inner}"
    assert caught.value.kind == "parse"
    assert caught.value.position is not None
    assert caught.value.caret("type = 'x' AND").endswith("^")


def test_as_much_as_is_allowed_is_read() -> None:
    (part,) = read_filters([nested(dialects.MOST_LEVELS)], "filters")
    assert part.predicate.key == read_filter(EXACT, "").predicate.key
    assert len(read_filters([EXACT] * 100, "filters")) == 100
    assert read_filters([], "filters") == []


def test_the_parts_tell_their_places() -> None:
    (part,) = read_filters([{"any": [EXACT, {"not": {"prefix": {"type": "x"}}}]}], "filters")
    inner = part.parts[1].parts[0]
    assert (inner.where, inner.written) == ("filters[0].any[1].not", {"prefix": {"type": "x"}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["exact", "any", "all", "not", "prefix", "symbol", "confidence", "type", "sql"])
            | st.text(),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=10,
)


@given(JSON)
def test_whatever_is_written_is_read_or_refused_with_a_place(written: Any) -> None:
    told = None
    try:
        read_filters(written, "filters")
    except InvalidFilter as error:
        told = error
    assert told is None or (told.message and told.where.startswith("filters"))
