"""Commands of the published interface whose parts this version does not have.

They say so (`not_available`, exit code 1) instead of being unknown words. Hidden from the help.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from gateway.cli.options import Json
from gateway.cli.output import FAILED, CommandError, command

#: Command -> what it needs.
LATER = {
    "subscriptions": "durable subscriptions",
    "token": "authentication",
    "policy": "policies",
}

_ANY = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def add_to(app: typer.Typer) -> None:
    for name, part in LATER.items():
        app.command(name, hidden=True, context_settings=_ANY)(_refuser(name, part))


def _refuser(name: str, part: str) -> Callable[..., None]:
    @command
    def refuse(words: Annotated[list[str] | None, typer.Argument()] = None, as_json: Json = False) -> None:
        raise CommandError(f"'{name}' needs {part}, which this version does not have", FAILED, code="not_available")

    return refuse
