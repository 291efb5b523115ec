"""Trees: what is equal, and what lies below what."""

from __future__ import annotations

from routing.filters.ast import Attribute, Exists, Literal, Payload, walk
from routing.filters.parser import parse


def test_the_place_in_the_text_is_no_part_of_a_tree() -> None:
    assert parse("a = 1", "expr") == parse("  a   =   1", "expr")
    assert repr(parse("a = 1", "expr")) == repr(parse("(a) = (1)", "expr"))


def test_the_text_of_a_tree_tells_true_from_one_and_decimals_from_integers() -> None:
    assert len({repr(Literal(value)) for value in (True, 1, 1.0, "1", "True")}) == 5


def test_a_walk_meets_all_nodes_from_the_left_and_what_exists_asks_for() -> None:
    tree = parse("a = 1 AND EXISTS data.x", "expr")
    kinds = [type(node).__name__ for node in walk(tree)]
    assert kinds == ["Logic", "Binary", "Attribute", "Literal", "Exists", "Payload"]
    assert walk(Exists(Attribute("b")))[1] == Attribute("b")
    assert Payload(("x",)) in walk(tree)
