"""Wrong use: the library tells it as text for people; with `--json` it is told like every other error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from gateway.cli.output import FAILED, CommandError, complain

#: What the library raises for options, values and commands that are wrong; it does not export it.
WrongUse: type[Any] = typer.BadParameter.__mro__[2]


def wants_json(words: Sequence[str]) -> bool:
    """Whether `--json` is among the options, though the line may be wrong elsewhere."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


class Commands(TyperGroup):
    """The commands of the command line."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one; ends the program unless `standalone_mode` is off."""
        words = sys.argv[1:] if args is None else list(args)
        if not standalone_mode or not wants_json(words):
            return super().main(args, prog_name, complete_var, standalone_mode, windows_expand_args, **extra)
        try:
            raise SystemExit(super().main(args, prog_name, complete_var, False, windows_expand_args, **extra))
        except WrongUse as error:
            ended = CommandError(error.format_message(), error.exit_code, code="wrong_use")
        except typer.Abort:
            ended = CommandError("aborted", FAILED)
        complain(ended, as_json=True)
        raise SystemExit(ended.exit_code)
