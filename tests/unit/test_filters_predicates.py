"""Predicates over batches: the order of asking, what is shared, and what an event's symbol is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from routing.batch import Batch, Plain
from routing.filters.predicates import (
    Affix,
    All,
    Any,
    AtLeast,
    Member,
    Not,
    Predicate,
    all_of,
    any_of,
    not_of,
    number_of,
    symbol_of,
)


class Probe(Predicate):
    """True of some places; remembers where it was asked."""

    def __init__(self, name: str, cost: int, true: Sequence[int]) -> None:
        super().__init__(["probe", name], cost)
        self.true = true
        self.asked: list[Sequence[int] | None] = []

    def run(self, batch: Batch, among: Sequence[int] | None) -> tuple[Sequence[int], int]:
        self.asked.append(among)
        return [place for place in (range(len(batch)) if among is None else among) if place in self.true], 1


BATCH = Batch([Plain({})] * 5)


def test_all_asks_the_quick_ones_first_and_the_others_of_what_is_left() -> None:
    slow, quick = Probe("a", 100, [0, 3]), Probe("b", 1, [1, 3])
    assert all_of([slow, quick]).run(BATCH, None) == ([3], 2)
    assert (quick.asked, slow.asked) == ([None], [[1, 3]])
    never = Probe("c", 50, [])
    assert all_of([slow, quick, never]).run(BATCH, [3, 4]) == ([], 2)
    assert slow.asked == [[1, 3]], "nothing was left to ask of"


def test_any_asks_the_costly_ones_only_of_what_is_not_true_yet() -> None:
    slow, quick = Probe("a", 100, [0, 3]), Probe("b", 1, [1, 3])
    assert any_of([slow, quick]).run(BATCH, None) == ([0, 1, 3], 2)
    assert slow.asked == [[0, 2, 4]]
    assert any_of([slow, quick]).run(BATCH, [1, 3]) == ([1, 3], 1)
    assert len(slow.asked) == 1


def test_nothing_to_ask_is_true_everywhere() -> None:
    assert list(all_of([]).run(BATCH, None)[0]) == [0, 1, 2, 3, 4]
    assert all_of([]).run(BATCH, [2]) == ([2], 0)


def test_one_alone_is_itself_and_twice_not_is_nothing() -> None:
    one = Affix("type", "x", end=False)
    assert all_of([one]) is any_of([one]) is all_of([one, one]) is not_of(not_of(one)) is one
    assert isinstance(all_of([one, Affix("type", "y", end=True)]), All)
    assert isinstance(any_of([one, Affix("type", "y", end=True)]), Any)
    assert isinstance(not_of(one), Not)


def test_the_costs_of_parts_add_up() -> None:
    parts = [Probe("a", 3, []), Probe("b", 4, [])]
    assert all_of(parts).cost == any_of(parts).cost == 7


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.5", 0.5),
        ("-1", -1.0),
        ("+1.", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("\u0661", None),
        ("1e9999", None),
        (".", None),
    ],
)
def test_a_number_is_written_in_decimals(text: str, number: float | None) -> None:
    assert number_of(text) == number


def test_a_confidence_that_is_no_number_is_an_error() -> None:
    batch = Batch([Plain({"c": "x"}), Plain({}), Plain({"c": "1"})])
    assert AtLeast("c", 0.5).run(batch, None) == ([2], 1)
    error = AtLeast("c", 0.5).error(Plain({"c": "x"}), None)
    assert error is not None
    assert error.kind == "cast"
    assert all_of([AtLeast("c", 0.5), Member("t", frozenset("x"))]).error(Plain({"c": "1"}), None) is None


def test_the_symbol_of_an_event() -> None:
    assert symbol_of({"symbol": 7}) == "7"
    assert symbol_of({"subject": "a/b"}) == "b"
    assert symbol_of({"subject": "b"}) == "b"
    assert symbol_of({}) is None
