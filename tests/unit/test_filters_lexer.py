"""Expressions as tokens."""

from __future__ import annotations

import pytest

from routing.errors import InvalidFilter
from routing.filters.lexer import MAX_LENGTH, Dialect, tokens


def lexed(text: str, dialect: Dialect = "expr") -> list[tuple[str, str]]:
    return [(token.kind, token.text) for token in tokens(text, dialect)[:-1]]


def test_words_keywords_numbers_and_symbols() -> None:
    assert lexed("a1 and Not 5<>0.5", "expr") == [
        ("word", "a1"), ("word", "AND"), ("word", "NOT"), ("integer", "5"), ("symbol", "!="), ("decimal", "0.5"),
    ]  # fmt: skip


def test_a_name_may_begin_with_a_digit() -> None:
    assert lexed("1a = 12", "cesql") == [("word", "1a"), ("symbol", "="), ("integer", "12")]


def test_every_token_knows_its_place_and_the_last_is_the_end() -> None:
    found = tokens("a  >= 'x'", "cesql")
    assert [(token.at, token.end) for token in found] == [(0, 1), (3, 5), (6, 9), (9, 9)]
    assert found[-1].kind == "end"


def test_a_backslash_escapes_the_quote_of_its_string_and_nothing_else() -> None:
    assert lexed(r"""'a"b\'c' "d'\"" 'e\%\\f'""") == [
        ("string", "a\"b'c"), ("string", "d'\""), ("string", r"e\%\\f"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "dialect", "position", "told"),
    [
        ("a = 'x", "expr", 4, "this string has no end: expected '"),
        ('a = "x\\"', "cesql", 4, 'this string has no end: expected "'),
        ("a # b", "expr", 2, "unexpected '#'"),
        ("a && b", "expr", 2, "write AND"),
        ("a || b", "expr", 2, "write OR"),
        ("!a", "expr", 0, "write NOT"),
        ("data.x", "cesql", 4, "read by the 'expr' dialect"),
        ("data[0]", "cesql", 4, "read by the 'expr' dialect"),
    ],
)
def test_what_is_no_token_is_told_with_its_place(text: str, dialect: Dialect, position: int, told: str) -> None:
    with pytest.raises(InvalidFilter) as refused:
        tokens(text, dialect)
    assert refused.value.position == position
    assert told in refused.value.message


def test_a_text_has_a_longest_length() -> None:
    assert len(tokens("a" * MAX_LENGTH, "expr")) == 2
    with pytest.raises(InvalidFilter, match="at most 8192 characters, this one 8193"):
        tokens("a" * (MAX_LENGTH + 1), "expr")
