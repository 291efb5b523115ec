"""The text that expressions become: nothing of the user's is in it."""

from __future__ import annotations

import re
import symtable

import pytest

from routing.filters.fold import fold
from routing.filters.generate import Generator, path_text
from routing.filters.lexer import Dialect
from routing.filters.parser import parse
from routing.filters.runtime import HELPERS, code_of

TEXT = (
    "(evil = 'os.system(1)' AND data['__class__'].x > 5) OR LOWER(name) LIKE 'a%\\'%_%' OR (b IN ('x', 5, c)) OR "
    "IF(EXISTS d, TIME(time) < NOW(), 'x' IN data.tags) OR (5 - LENGTH(e) / 2 = -f)"
)


def test_names_and_whole_numbers_are_all_there_is() -> None:
    generator = Generator("expr", strict=True)
    text = generator.text(fold(parse(TEXT, "expr"), "expr", strict=True))
    made = {word for word in re.findall(r"[A-Za-z_]\w*", text) if not re.fullmatch(r"[apvKf]\d+", word)}
    keywords = {"and", "or", "not", "in", "is", "if", "else", "None"}
    assert made - keywords - HELPERS.keys() <= {"__class__", "startswith", "endswith"}
    assert "'" not in text
    assert '"' not in text
    names = symtable.symtable(text, "<expression>", "eval").get_identifiers()
    assert all(name in HELPERS or re.fullmatch(r"[apvK]\d+", name) for name in names)


def test_nothing_of_python_can_be_reached() -> None:
    generator = Generator("expr", strict=True)
    assert set(generator.names) == {"__builtins__"}
    assert not {"open", "exec", "eval", "getattr", "__import__", "type", "object"} & HELPERS.keys()


@pytest.mark.parametrize("dialect", ["cesql", "expr"])
def test_a_long_text_is_cut_into_functions(dialect: Dialect) -> None:
    text = "a"
    for _ in range(30):
        text = f"NOT ({text})"
    generator = Generator(dialect, strict=True)
    made = generator.text(parse(text, dialect))
    assert generator.definitions().count("def f") == 2
    assert made.count("(") < 30


def test_paths_are_written_as_they_are_read() -> None:
    for text in ("data", "data.a.b", "data.tags[0]", "data['odd name'][1].x", "data['it\\'s']"):
        node = parse(text, "expr")
        assert path_text(node.path) == text  # type: ignore[union-attr]


def test_expressions_that_differ_in_literals_share_their_code() -> None:
    texts = []
    for literal in ("'x'", "'y'"):
        generator = Generator("expr", strict=True)
        texts.append(generator.text(parse(f"type = {literal} AND n > 5", "expr")))
    assert texts[0] == texts[1]
    assert code_of(texts[0]) is code_of(texts[1])
    assert code_of("1 + " * 2000 + "1") is not code_of("1 + " * 2000 + "1")
