"""Wrong use of the command line, told to people and to programs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer

from gateway.cli.usage import Commands, WrongUse, wants_json
from tests.unit.cli_support import run


def test_the_librarys_error_is_the_one_that_is_meant() -> None:
    assert WrongUse.__name__ == "ClickException"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["subscribe", "t", "--limit", "0"], "--limit"),
        (["topics", "create"], "TOPIC"),
        (["up", "--bogus"], "--bogus"),
        (["bogus"], "bogus"),
        (["topics", "crate"], "Did you mean 'create'?"),
        (["publish"], "ADDRESS"),
        (["bench", "--seconds", "many"], "--seconds"),
    ],
)
def test_with_json_wrong_use_is_one_line_of_json(capsys: Any, words: list[str], says: str) -> None:
    code, out, err = run(capsys, *words, "--json")
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    told = json.loads(line)["error"]
    assert told["code"] == "wrong_use"
    assert says in told["message"]
    assert run(capsys, "--json", *words)[0] == 2
    code, _, err = run(capsys, *words)
    assert code == 2
    assert says in err
    assert '"error"' not in err


def test_what_stands_behind_two_dashes_is_no_option(capsys: Any) -> None:
    assert wants_json(["a", "--json", "--", "b"])
    assert not wants_json(["a", "--", "--json"])
    assert "Usage:" in run(capsys, "version", "--", "--json")[2]


def test_help_and_success_are_as_without(capsys: Any) -> None:
    code, out, err = run(capsys, "version", "--help", "--json")
    assert (code, err) == (0, "")
    assert "Usage:" in out
    code, out, _ = run(capsys, "version", "--json")
    assert code == 0
    assert json.loads(out)


def test_an_aborted_question_fails(capsys: Any) -> None:
    app = typer.Typer(cls=Commands, rich_markup_mode=None)

    @app.callback()
    def ask() -> None:
        raise typer.Abort

    @app.command("x")
    def command(as_json: bool = typer.Option(False, "--json")) -> None:
        """Nothing."""

    with pytest.raises(SystemExit) as ended:
        app(["x", "--json"])
    assert ended.value.code == 1
    assert json.loads(capsys.readouterr().err)["error"] == {"code": "failed", "message": "aborted"}


def test_who_calls_it_as_a_function_gets_the_librarys_error() -> None:
    from gateway.cli.main import app

    with pytest.raises(WrongUse):
        app(["bogus", "--json"], standalone_mode=False)
