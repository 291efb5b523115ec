"""TOML is read with the standard parser; its lines are found by a light scan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.toml_lines import parse_toml

TEXT = '''
name = "x"            # 2
bus.kind = "kafka"    # 3
bus.bootstrap = [     # 4
  "a:1", # [not a table]
  "b = 2",
]
[limits]              # 8
body = "1MiB"
note = """
[fake]
fake = 1
"""
"quoted key" = 'it''s'[0:0]
'''.replace("'it''s'[0:0]", "'lit = #'")

TABLES = """
[listeners.http]
port = 1
tls = { certificate = "c", key = "k" }

[[listeners.mqtt]]
port = 2
[[listeners.mqtt]]
port = 3
[topics."a.b".retention]
time = "7d"
"""


def test_every_key_has_its_line() -> None:
    document = parse_toml(TEXT, "f.toml")
    assert document.faults == []
    lines = {
        ("name",): 2, ("bus", "kind"): 3, ("bus", "bootstrap"): 4, ("limits",): 8, ("limits", "body"): 9,
        ("limits", "note"): 10, ("limits", "quoted key"): 14,
    }  # fmt: skip
    assert {path: document.place(path).line for path in lines} == lines
    assert document.place(("fake",)).line == 1
    assert document.value["limits"]["quoted key"] == "lit = #"


def test_tables_and_lists_of_tables_have_their_lines() -> None:
    document = parse_toml(TABLES, "f.toml")
    lines = {
        ("listeners", "http"): 2, ("listeners", "http", "port"): 3, ("listeners", "http", "tls", "key"): 4,
        ("listeners", "mqtt", 0, "port"): 7, ("listeners", "mqtt", 1, "port"): 9, ("listeners", "mqtt", 1): 8,
        ("topics", "a.b", "retention", "time"): 11,
    }  # fmt: skip
    assert {path: document.place(path).line for path in lines} == lines
    assert document.value["listeners"]["mqtt"] == [{"port": 2}, {"port": 3}]


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ("[a\n", 1), ("a = '''\n\n", 3)]
)
def test_what_is_no_toml_is_refused_with_its_line(text: str, line: int) -> None:
    (fault,) = parse_toml(text, "f.toml").faults
    assert fault.place.line == line
    assert fault.message.startswith("not valid TOML")


def test_a_message_about_bad_toml_repeats_no_value() -> None:
    (fault,) = parse_toml("password = 'hunter2' hunter3\n", "f.toml").faults
    assert "hunter" not in str(fault)


@given(st.text(alphabet="ab.=[]{}\"'#\n\\ 1,", max_size=80))
def test_no_text_at_all_makes_it_raise(text: str) -> None:
    parse_toml(text, "f.toml")
