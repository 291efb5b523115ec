"""Which attribute has to be one of which strings for an expression to be true: for the index.

Only what is sure: the canonical string of the attribute (CloudEvents 1.0.2, 2.4) is one of them,
whether an event carries it as a string, an integer or a boolean.
"""

from __future__ import annotations

from typing import TypeAlias

from routing.filters.ast import Attribute, Binary, In, Like, Literal, Logic, Node
from routing.filters.cast import EvaluationError, Site, as_num
from routing.filters.like import plain, split_pattern

Equality: TypeAlias = tuple[str, frozenset[str]]


def equality(node: Node) -> Equality | None:
    """The attribute and the strings; the fewest strings where several attributes are tied down."""
    match node:
        case Binary(operator="=", left=Attribute(name=name), right=Literal(value=str(value))):
            return name, frozenset((value,))
        case Like(operand=Attribute(name=name), pattern=pattern, negated=False):
            pieces = split_pattern(pattern)
            text = plain(pieces[0]) if len(pieces) == 1 else None
            return None if text is None else (name, frozenset((text,)))
        case In(operand=Attribute(name=name), items=items, negated=False):
            return _of_list(name, items)
        case Logic(operator="AND", terms=terms):
            found = [one for one in map(equality, terms) if one is not None]
            return min(found, key=lambda one: len(one[1]), default=None)
        case Logic(operator="OR", terms=terms):
            return _of_any(terms)
        case _:
            return None


def _of_list(name: str, items: tuple[Node, ...]) -> Equality | None:
    texts = set()
    for item in items:
        if not isinstance(item, Literal) or not isinstance(item.value, str) or _has_other_texts(item.value):
            return None
        texts.add(item.value)
    return name, frozenset(texts)


def _has_other_texts(text: str) -> bool:
    """Whether an integer or boolean attribute whose own text is another one is read from this one: 5 IN ('05')."""
    if text.lower() in ("true", "false"):
        return text != text.lower()
    try:
        number = as_num(text, Site(0, ""))
    except EvaluationError:
        return False
    return type(number) is not int or str(number) != text


def _of_any(terms: tuple[Node, ...]) -> Equality | None:
    found = [equality(term) for term in terms]
    names = {one[0] for one in found if one is not None}
    if None in found or len(names) != 1:
        return None
    return names.pop(), frozenset().union(*(one[1] for one in found if one is not None))
