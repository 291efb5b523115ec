"""`linkspan log verify`: walk every byte of an embedded log and report what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import Json
from gateway.cli.output import DONE, FAILED, WRONG_USE, CommandError, Progress, command, line, record, styled, visible

if TYPE_CHECKING:
    from gateway.cli.log_walk import Finding

app = typer.Typer(help="The embedded log, offline.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Work on a log's files."""  # without a callback typer makes the only command the group itself


@app.command("verify")
@command
def verify(
    data: Annotated[Path, typer.Option("--data", help="Folder of the embedded log.")] = Path("linkspan-data"),
    as_json: Json = False,
) -> int:
    """Check every batch of every file; exit code 1 when something is damaged. Reads only."""
    if not (data / "topics").is_dir():
        raise CommandError(f"{data} holds no log: name its folder with --data", WRONG_USE, code="wrong_use")
    import msgspec

    from gateway.cli.log_walk import walk_log
    from gateway.errors import BusUnavailable

    progress = Progress("verifying")
    try:
        report = walk_log(data, lambda done, of: progress.show(f"{done / 2**20:,.0f} of {of / 2**20:,.0f} MiB"))
    except (OSError, BusUnavailable) as error:
        raise CommandError(f"cannot read {data}: {error}") from None
    finally:
        progress.clear()
    if as_json:
        record(msgspec.to_builtins(report))
    else:
        for finding in report.findings:
            line(f"{styled('damaged', 'red')}  {shown(finding)}")
        for finding in report.notes:
            line(f"{styled('note', 'yellow')}     {shown(finding)}")
        count = len(report.findings)
        end = styled("no damage", "green") if not count else f"{count} damaged place{'' if count == 1 else 's'}"
        line(f"{report.topics} topics, {report.segments} segments, {report.bytes:,} bytes: {end}")
    return FAILED if report.findings else DONE


def shown(finding: Finding) -> str:
    """Where, what, and which offsets are gone."""
    text = f"{finding.file}:{finding.position}: {finding.message}"
    if finding.offset is not None:
        text += f"; partition {finding.partition}, offsets {finding.offset} to {(finding.next_offset or 0) - 1}"
    return visible(text)
