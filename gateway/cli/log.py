"""`linkspan log verify`: walk every byte of an embedded log and report what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Json
from gateway.cli.output import DONE, FAILED, WRONG_USE, CommandError, Progress, command, line, record, styled, visible

app = typer.Typer(help="The embedded log, offline.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Work on a log's files."""  # without a callback typer makes the only command the group itself


@app.command("verify")
@command
def verify_log(
    data: Annotated[Path, typer.Option("--data", help="Folder of the embedded log.")] = Path("linkspan-data"),
    as_json: Json = False,
) -> int:
    """Check every batch of every file; exit code 1 when something is damaged. Reads only."""
    if not (data / "topics").is_dir():
        raise CommandError(f"{data} holds no log: name its folder with --data", WRONG_USE, code="wrong_use")
    import msgspec

    from gateway.bus.embedded.verify import Checked, Finding, verify
    from gateway.errors import LinkspanError

    progress, files, size, batches = Progress("verifying"), 0, 0, 0
    findings: list[Finding] = []
    try:
        for told in verify(data):
            if isinstance(told, Checked):
                files, size, batches = files + 1, size + told.bytes, batches + told.batches
                progress.show(f"{files} files, {size / 2**20:,.0f} MiB, {batches:,} batches")
            else:
                findings.append(told)
    except (OSError, LinkspanError) as error:
        raise CommandError(f"cannot read {data}: {error}") from None
    finally:
        progress.clear()
    damaged = sum(finding.damage for finding in findings)
    if as_json:
        told_of = [msgspec.to_builtins(finding) for finding in findings]
        record({"files": files, "bytes": size, "batches": batches, "damaged": damaged, "findings": told_of})
    else:
        for finding in findings:
            word = styled("damaged", "red") if finding.damage else styled("note   ", "yellow")
            line(f"{word}  {visible(f'{finding.file}:{finding.position}: {finding.message}')}")
        end = f"{damaged} damaged place{'' if damaged == 1 else 's'}" if damaged else styled("no damage", "green")
        line(f"{files} files, {batches:,} batches, {size:,} bytes: {end}")
    return FAILED if damaged else DONE
