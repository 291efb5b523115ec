"""gateway/cli/output.py: what goes to the terminal, and how a command ends."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from gateway.cli import output
from gateway.cli.output import CommandError, Progress, command, complain, styled, table, visible, wants_color


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def test_colours_go_to_terminals_only(terminal: Terminal) -> None:
    assert wants_color(terminal)
    assert not wants_color(io.StringIO())
    assert styled("x", "red", terminal) == "\x1b[31mx\x1b[0m"
    assert styled("x", "red", io.StringIO()) == "x"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_refused(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert not wants_color(terminal)


def test_control_characters_are_shown_and_not_sent() -> None:
    assert visible("a\x1b[2Jb\n\x9bc\u00e4") == "a\\x1b[2Jb\\n\\x9bc\u00e4"


def test_progress_rewrites_its_line_on_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress("reading")
    progress.show("1")
    progress.clear()
    progress.clear()
    assert terminal.getvalue() == "\r\x1b[Kreading: 1\r\x1b[K"


def test_progress_is_silent_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("reading")
    progress.show("1")
    progress.clear()
    assert capsys.readouterr().err == ""


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    table([["a", "1"], ["longer", "22"]], ["NAME", "N"])
    assert capsys.readouterr().out == "NAME    N\na       1\nlonger  22\n"


def test_an_error_lists_its_faults_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    error = CommandError("two faults", 2, code="invalid", faults=[{"where": "a", "message": "b"}, {"message": "c"}])
    complain(error, as_json=False)
    assert capsys.readouterr().err == "error: two faults\n  a: b\n  c\n"
    complain(error, as_json=True)
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "code": "invalid",
            "message": "two faults",
            "faults": [{"where": "a", "message": "b"}, {"message": "c"}],
        }
    }


def test_a_code_of_the_gateway_is_shown_to_people_once(capsys: pytest.CaptureFixture[str]) -> None:
    error = CommandError("no room", code="disk_full", told=True)
    complain(error, as_json=False)
    assert capsys.readouterr().err == "error: no room (disk_full)\n"
    complain(error, as_json=True)
    assert json.loads(capsys.readouterr().err) == {"error": {"code": "disk_full", "message": "no room"}}


def test_a_command_ends_with_its_code() -> None:
    command(lambda: None)()
    with pytest.raises(SystemExit) as ended:
        command(lambda: 1)()
    assert ended.value.code == 1


def test_ctrl_c_ends_a_command_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        interrupted()
    assert ended.value.code == output.INTERRUPTED
    assert capsys.readouterr().err == ""


def test_a_closed_pipe_ends_a_command_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    pipe = os.fdopen(writing, "w")
    os.close(reading)
    monkeypatch.setattr(sys, "stdout", pipe)

    @command
    def talk() -> None:
        output.line("x" * 100_000, flush=True)

    talk()
    pipe.close()  # goes to the null device by now
