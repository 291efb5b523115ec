"""YAML is read with its lines, and its traps are faults that say what to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.document import Document
from gateway.config.faults import Place
from gateway.config.yaml_lines import parse_yaml, parse_yaml_value


def said(text: str) -> list[str]:
    return [str(fault) for fault in parse_yaml(text, "f").faults]


def test_values_come_out_as_yaml_1_2_has_them() -> None:
    text = """
a: text
b: 12
c: 1.5
d: true
e: null
f: ~
g:
h: [1, x, {i: "no"}]
j: 22:22
k: 0o17
l: 0x1F
m: 2026-01-01
n: '12'
o: |
  two
  lines
p: 010
q: n
r: 1e3
"""
    document = parse_yaml(text, "f")
    assert document.faults == []
    assert document.value == {
        "a": "text", "b": 12, "c": 1.5, "d": True, "e": None, "f": None, "g": None, "h": [1, "x", {"i": "no"}],
        "j": "22:22", "k": 15, "l": 31, "m": "2026-01-01", "n": "12", "o": "two\nlines\n", "p": 10, "q": "n",
        "r": 1000.0,
    }  # fmt: skip


def test_every_key_has_its_line() -> None:
    document = parse_yaml("a:\n  b: 1\n\n  c:\n    - x\n    - y: 2\n", "f")
    assert document.place(("a",)) == Place("f", 1)
    assert document.place(("a", "b")).line == 2
    assert document.place(("a", "c")).line == 4
    assert document.place(("a", "c", 0)).line == 5
    assert document.place(("a", "c", 1, "y")).line == 6


@pytest.mark.parametrize("word", ["no", "No", "NO", "yes", "on", "off", "Off"])
def test_a_bare_old_truth_value_is_a_fault_with_a_hint(word: str) -> None:
    meant = "true" if word.lower() in ("yes", "on") else "false"
    assert said(f"a:\n  b: {word}\n") == [
        f'f:2: a.b: bare {word} is not a truth value here: write {meant}, or "{word}" for text'
    ]
    assert said(f"a: '{word}'\n") == []


def test_a_bare_old_truth_value_as_a_key_is_a_fault() -> None:
    assert said("on: 1\n") == ["f:1: the key on must be quoted: YAML reads it as a truth value"]
    assert said("true: 1\n") == ["f:1: the key true must be quoted: YAML reads it as a truth value"]
    assert parse_yaml("'on': 1\n2024: 2\n", "f").value == {"on": 1, "2024": 2}


def test_a_duplicate_key_is_a_fault_that_names_the_first() -> None:
    assert said("a: 1\nb: 2\na: 3\n") == ["f:3: a: duplicate key; the first one is on line 1"]


def test_all_faults_are_found_not_the_first() -> None:
    assert len(said("a: no\nb: yes\na: 1\n? [x]\n: 1\nc: !tag x\n")) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "f:1: expected a mapping of keys to values"),
        ("just text", "f:1: expected a mapping of keys to values"),
        ("a: *password\n",
         "f:1: a value that begins with '*' must be quoted (it is read as an alias, which is not defined)"),
        ("a: 1\nb\nc: 2\n", "f:3: expected 'key: value'"),
        ("a: !env X\n", "f:1: a: tags ('!...') are not supported; quote a text that begins with '!'"),
        ("a: !!python/object:os.system x\n",
         "f:1: a: tags ('!...') are not supported; quote a text that begins with '!'"),
        ("null: 1\n", "f:1: a key must be text"),
        ("a: 1\nb: \x00\n", "f:2: a character that YAML does not allow"),
        ("<<: 5\na: 1\n", "f:1: '<<' takes a mapping or a list of mappings"),
        ("a: !!int x\n", "f:1: a: a number that is too long to be one, or not of its tag"),
        ("a: " + "9" * 5000, "f:1: a: a number that is too long to be one, or not of its tag"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_refused(text: str, message: str) -> None:
    assert said(text) == [message]


@pytest.mark.parametrize(
    "text", ["password: &hunter2 x\nb: &hunter2 y\n", "password: 'hunter2\n", "password: %hunter2"]
)
def test_a_message_about_bad_yaml_repeats_no_value(text: str) -> None:
    assert said(text)
    assert "hunter2" not in " ".join(said(text))


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null"])
def test_an_empty_file_is_an_empty_configuration(text: str) -> None:
    document = parse_yaml(text, "f")
    assert (document.value, document.faults) == ({}, [])


def test_aliases_and_merges_work_and_own_keys_win() -> None:
    text = "x: &x {host: a, port: 1}\ny: &y {tls: b}\nz:\n  port: 2\n  <<: [*x, *y]\nw: *x\n"
    document = parse_yaml(text, "f")
    assert document.faults == []
    assert document.value["z"] == {"host": "a", "port": 2, "tls": "b"}
    assert document.value["w"] == {"host": "a", "port": 1}
    assert document.place(("z", "port")).line == 4


@pytest.mark.parametrize("kind", ["list", "merge", "empty merge"])
def test_a_billion_laughs_end_at_a_bound(kind: str) -> None:
    lines = ["a0: &a0 [x, x]" if kind == "list" else "a0: &a0 {k: v}" if kind == "merge" else "a0: &a0 {}"]
    step = "a{0}: &a{0} [*a{1}, *a{1}]" if kind == "list" else "a{0}: &a{0} {{<<: [*a{1}, *a{1}]}}"
    lines += [step.format(n, n - 1) for n in range(1, 40)]
    (message,) = said("\n".join(lines))
    assert "more than 100000 values" in message or "nested deeper" in message


def test_an_alias_to_itself_and_deep_nesting_are_refused() -> None:
    assert any("nested deeper than 50 levels" in message for message in said("a: &a [*a]\n"))
    assert any("nested deeper" in message for message in said("a: " + "[" * 100 + "]" * 100))
    assert any("nested deeper" in message for message in said("a: " + "[" * 5000 + "]" * 5000))


def test_a_flag_value_is_one_yaml_value() -> None:
    document = Document("f")
    assert parse_yaml_value("5", document, ("a",)) == 5
    assert parse_yaml_value("{b: [1, x]}", document, ("a",)) == {"b": [1, "x"]}
    assert parse_yaml_value("", document, ("a",)) is None
    assert document.faults == []
    parse_yaml_value("[", document, ("a", "b"))
    assert document.faults[0].path == "a.b"


@given(st.text(max_size=200))
def test_no_text_at_all_makes_it_raise(text: str) -> None:
    document = parse_yaml(text, "f")
    assert isinstance(document.value, dict)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: 1\n", 2),
        ("a:\n  b: 1\n\n# c\n\tc: 2\nd: 3\n", 5),
        ("a: {b: 1,\n\tc: 2}\n", 2),
        ("a: 1\nb:\t2\n", 2),
        ("a:\n  - 1\n  \t- 2\n", 3),
        ("a: 1\r\nb:\r\n\tc: 1\r\n", 3),
    ],
)
def test_a_tab_is_called_a_tab(text: str, line: int) -> None:
    assert said(text) == [f"f:{line}: a tab: YAML is indented, and its values are set apart, with blanks only"]
