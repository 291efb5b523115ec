"""A filter selects what a plain reading of its words selects, whatever way it takes through a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.batch import Batch, Paths, Plain
from routing.errors import InvalidFilter
from routing.filters.filter import Filter, compile_expr_filter, compile_filters
from routing.filters.predicates import symbol_of

Attributes = dict[str, Any]
NAMES = st.sampled_from(["type", "symbol", "datatype", "n"])
TEXTS = st.sampled_from(["a", "ab", "b", "1", "true", "0.5"])
PAIRS = st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3)
VALUES = TEXTS | st.lists(TEXTS, min_size=1, max_size=3)
LEAVES = st.one_of(
    st.fixed_dictionaries({"exact": PAIRS}),
    st.fixed_dictionaries({"prefix": PAIRS}),
    st.fixed_dictionaries({"suffix": PAIRS}),
    st.fixed_dictionaries(
        {}, optional={"symbol": VALUES, "datatype": VALUES, "qualitytier": VALUES, "confidence": st.floats(0, 1)}
    ).filter(bool),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"all": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=8,
)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "type": TEXTS,
        "symbol": TEXTS,
        "subject": st.sampled_from(["a", "x/ab", "x/b", "a/"]),
        "datatype": TEXTS,
        "qualitytier": TEXTS,
        "n": st.sampled_from([1, True, "1", "true", 0]),
        "confidence": st.sampled_from(["0.5", "1", "0", "high", "0.25", ""]),
    },
)


def said(written: Any, event: Attributes) -> bool:
    """The reference: what the words say of one event."""
    texts = {name: str(value).lower() if type(value) is bool else str(value) for name, value in event.items()}

    def each(test: Callable[[str, str], bool]) -> bool:
        return all(name in texts and test(texts[name], text) for name, text in inside.items())

    for word, inside in written.items():
        match word:
            case "exact":
                passed = each(str.__eq__)
            case "prefix":
                passed = each(str.startswith)
            case "suffix":
                passed = each(str.endswith)
            case "all":
                passed = all(said(one, event) for one in inside)
            case "any":
                passed = any(said(one, event) for one in inside)
            case "not":
                passed = not said(inside, event)
            case "confidence":
                passed = texts.get("confidence") in ("0.5", "1", "0", "0.25") and float(texts["confidence"]) >= inside
            case _:
                text = texts.get(word)
                if text is None and word == "symbol" and "subject" in texts:
                    text = texts["subject"].split("/")[-1]
                passed = text in (inside if isinstance(inside, list) else [inside])
        if not passed:
            return False
    return True


@given(st.lists(FILTERS, max_size=3), st.lists(EVENTS, max_size=8), st.data())
def test_it_selects_what_its_words_say(written: list[Any], events: list[Attributes], data: st.DataObject) -> None:
    chosen = compile_filters(written)
    batch = Batch([Plain(one) for one in events])
    wanted = [place for place, one in enumerate(events) if all(said(words, one) for words in written)]
    assert list(chosen.places(batch)) == wanted
    assert list(chosen.places(batch)) == wanted, "the index of the batch finds the same"
    among = data.draw(st.lists(st.integers(0, len(events) - 1), unique=True).map(sorted)) if events else []
    assert list(chosen.places(batch, among)) == [place for place in among if place in wanted]
    for place, one in enumerate(events):
        told = chosen.explain(Plain(one))
        assert all(part["passed"] for part in told) == chosen.passes(one) == (place in wanted)


@given(st.lists(FILTERS, max_size=3), st.lists(EVENTS, min_size=1, max_size=8))
def test_what_passes_has_the_equality_of_the_filter(written: list[Any], events: list[Attributes]) -> None:
    chosen = compile_filters(written)
    if chosen.equality is None:
        return
    name, values = chosen.equality
    assert name in chosen.attributes
    for one in events:
        if chosen.passes(one):
            value = symbol_of(one) if name == "symbol" else one[name]
            assert (
                str(value).lower() if type(value) is bool else value if type(value) is str else str(value)
            ) in values


@given(FILTERS, FILTERS, FILTERS)
def test_the_same_filter_written_otherwise_has_the_same_key(one: Any, two: Any, three: Any) -> None:
    def key(*written: Any) -> str:
        return compile_filters(written).key

    assert key(one) == key({"all": [one]}) == key({"any": [one]}) == key({"not": {"not": one}}) == key(one, one)
    assert key(one, two) == key(two, one) == key({"all": [one, two]})
    assert key(one, two, three) == key({"all": [three, {"all": [two, one]}]})
    assert key({"any": [one, {"any": [two, three]}]}) == key({"any": [three, two, one, two]})


def test_equal_attributes_are_one_question_however_they_are_written() -> None:
    def key(*written: Any) -> str:
        return compile_filters(written).key

    assert key({"exact": {"type": "x", "n": "1"}}) == key({"exact": {"n": 1}}, {"exact": {"type": "x"}})
    assert key({"any": [{"exact": {"datatype": "a"}}, {"exact": {"datatype": "b"}}]}) == key(
        {"datatype": ["b", "a", "b"]}
    )
    assert key({"datatype": ["a", "b"]}, {"datatype": ["b", "c"]}) == key({"exact": {"datatype": "b"}})
    assert key({"exact": {"type": "x"}}) != key({"exact": {"type": "y"}})
    assert key({"prefix": {"type": "x"}}) != key({"suffix": {"type": "x"}})
    assert key({"exact": {"symbol": "x"}}) != key({"symbol": "x"}), "one of them asks the subject as well"


def test_attributes_that_contradict_select_nothing() -> None:
    chosen = compile_filters([{"exact": {"type": "x"}}, {"exact": {"type": "y"}}])
    assert chosen.equality == ("type", frozenset())
    assert not chosen.passes({"type": "x"})


@pytest.mark.parametrize(
    ("written", "equality"),
    [
        ([], None),
        ([{"exact": {"type": "x"}}], ("type", {"x"})),
        ([{"exact": {"type": "x", "symbol": "A"}}], ("symbol", {"A"})),
        ([{"symbol": ["A", "B"]}, {"datatype": "news"}], ("symbol", {"A", "B"})),
        ([{"prefix": {"type": "x"}}, {"datatype": ["a", "b"]}], ("datatype", {"a", "b"})),
        ([{"any": [{"symbol": "A"}, {"all": [{"symbol": "B"}, {"exact": {"n": "1"}}]}]}], None),
        ([{"any": [{"symbol": "A"}, {"all": [{"symbol": "B"}, {"exact": {"type": "1"}}]}]}], ("symbol", {"A", "B"})),
        ([{"any": [{"symbol": "A"}, {"prefix": {"type": "B"}}]}], None),
        ([{"not": {"exact": {"type": "x"}}}], None),
        ([{"sql": "type = 'x' AND EXISTS n"}], ("type", {"x"})),
        ([{"expr": "symbol IN ('A', 'B')"}, {"prefix": {"type": "x"}}], ("symbol", {"A", "B"})),
        (["type = 'x'"], ("type", {"x"})),
    ],
)
def test_the_equality_is_that_of_the_attribute_with_the_fewest_events(written: list[Any], equality: Any) -> None:
    assert compile_filters(written).equality == equality


def test_payloads_are_asked_last_and_their_paths_are_told() -> None:
    chosen = compile_filters([{"expr": "data.price > 100"}, {"exact": {"type": "x"}}, {"sql": "n = 1"}])
    assert chosen.paths == {("price",)}
    assert chosen.attributes == {"type", "n"}
    events = [Plain({"type": "x", "n": 1}, b'{"price":101}'), Plain({"type": "y", "n": 1}, b"{")]
    batch = Batch(events, Paths(chosen.paths))
    assert list(chosen.places(batch)) == [0]
    assert batch.undecodable == 0, "the second payload was not looked at"


def test_errors_do_not_pass_and_are_counted_with_what_was_looked_at() -> None:
    chosen = compile_filters([{"any": [{"sql": "confidence > 1"}, {"exact": {"type": "x"}}]}, {"confidence": 0.5}])
    events = [
        Plain({"type": "x", "confidence": "0.9"}),
        Plain({"type": "x", "confidence": "high"}),
        Plain({"type": "y"}),
    ]
    assert list(chosen.places(Batch(events))) == [0]
    assert list(chosen.places(Batch(events), [1, 2])) == []
    stats = chosen.stats
    assert (stats.matched, stats.passed) == (5, 1)
    assert stats.failed >= 2
    assert stats.seconds > 0


def test_what_cannot_be_judged_does_not_pass_and_neither_does_its_opposite() -> None:
    # A filter that hides events must not show those that it has no answer for.
    for part in ({"sql": "missing > 1"}, {"any": [{"sql": "missing > 1"}, {"exact": {"type": "y"}}]}):
        assert not compile_filters([part]).passes({"type": "x"})
        assert not compile_filters([{"not": part}]).passes({"type": "x"})
    assert compile_filters([{"not": {"sql": "missing > 1"}}]).passes({"type": "x", "missing": "1"})


def test_an_explanation_tells_which_part_did_not_pass_and_why() -> None:
    chosen = compile_filters([{"exact": {"type": "x"}}, {"any": [{"sql": "missing > 1"}, {"confidence": 0.5}]}])
    first, second = chosen.explain(Plain({"type": "x", "confidence": "high"}))
    assert first == {"where": "filters[0]", "filter": {"exact": {"type": "x"}}, "passed": True}
    assert (second["where"], second["passed"]) == ("filters[1]", False)
    parts: Any = second["parts"]
    sql, confidence = parts
    assert sql["where"] == "filters[1].any[0]"
    assert sql["error"]["kind"] == "missingAttribute"
    assert confidence["error"] == {
        "kind": "cast",
        "message": "the attribute confidence is 'high', which is no number",
        "position": None,
    }
    assert chosen.stats.matched == 0


def test_an_explanation_reads_payloads_as_their_topic_declares_them() -> None:
    chosen = compile_filters(["data.price > 100"])
    event = Plain({"datacontenttype": "application/avro"}, b"x")
    assert chosen.explain(event)[0]["passed"] is False
    assert chosen.explain(event, lambda _: {"price": 101}) == [
        {"where": "filters[0]", "filter": "data.price > 100", "passed": True}
    ]


def test_expressions_that_mean_the_same_have_one_key() -> None:
    assert compile_filters([{"sql": "type = 'x'"}]).key == compile_filters([{"sql": "type='x'"}]).key


def test_an_expr_alone_is_a_filter() -> None:
    chosen: Filter = compile_expr_filter("data.price > 100")
    assert chosen.passes({}, b'{"price":101}')
    assert not chosen.passes({}, b'{"price":1}')
    with pytest.raises(InvalidFilter) as caught:
        compile_expr_filter("data.price >")
    assert caught.value.where == "filter"
