"""References in values: environment, defaults, files."""

from __future__ import annotations

from pathlib import Path

from gateway.config.document import Document
from gateway.config.interpolate import interpolate
from gateway.config.model import FlagText


def interpolated(value: dict[str, object], environment: dict[str, str], folder: Path = Path()) -> Document:
    document = Document("f", 0)
    document.value = value
    interpolate(document, environment, folder)
    return document


def test_variables_and_defaults_are_put_in() -> None:
    document = interpolated(
        {"a": "${HOST}:${PORT:-80}", "b": ["${EMPTY:-x}", 5], "c": {"d": "${EMPTY}"}, "e": "plain $HOME"},
        {"HOST": "h", "EMPTY": ""},
    )
    assert document.faults == []
    assert document.value == {"a": "h:80", "b": ["x", 5], "c": {"d": ""}, "e": "plain $HOME"}
    assert document.hidden == {("a",), ("b", 0), ("c", "d")}


def test_a_value_that_looks_like_a_reference_is_not_read_again() -> None:
    assert interpolated({"a": "${A}"}, {"A": "${B}"}).value == {"a": "${B}"}


def test_a_doubled_dollar_is_a_plain_one() -> None:
    document = interpolated({"a": "$${A}"}, {})
    assert (document.value, document.hidden) == ({"a": "${A}"}, set())


def test_a_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\r\n")
    assert interpolated({"a": "${file:secret}"}, {}, tmp_path).value == {"a": "hunter2"}
    assert interpolated({"a": f"${{file:{tmp_path}/secret}}"}, {}).value == {"a": "hunter2"}


def test_what_cannot_be_resolved_is_a_fault_of_its_key(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * (2**20 + 1))
    document = interpolated(
        {
            "a": "${NONE}",
            "b": "${file:none}",
            "c": "${file:binary}",
            "d": "${file:large}",
            "e": "${not ok}",
            "f": "${}",
            "g": "${file:~nobody-of-this-name/x}",
            "h": "${file:a\0b}",
        },
        {},
        tmp_path,
    )
    assert document.value == dict.fromkeys("abcdefgh")
    messages = {fault.path: fault.message for fault in document.faults}
    assert messages["a"] == "the variable NONE is not set (${NONE:-default} gives a default)"
    assert messages["b"] == f"cannot read the file {tmp_path}/none: No such file or directory"
    assert messages["c"].endswith("is not UTF-8 text")
    assert messages["d"].endswith("is larger than 1 MiB")
    assert "home directory" in messages["g"]
    assert "control characters" in messages["h"]
    assert messages["e"] == messages["f"]
    assert "${NAME}" in messages["e"]


def test_text_of_a_flag_stays_text_of_a_flag() -> None:
    document = interpolated({"a": FlagText("${A}/x")}, {"A": "y"})
    assert document.value["a"] == "y/x"
    assert isinstance(document.value["a"], FlagText)
