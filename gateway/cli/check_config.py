"""`linkspan check-config FILE`: every fault of a configuration, without starting anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Json
from gateway.cli.output import command, line, record, styled
from gateway.cli.settings import load_settings


@command
def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or TOML.")], as_json: Json = False
) -> None:
    """Check a configuration and list all its faults."""
    loaded, _ = load_settings(file)
    routes = loaded.config.routes
    examples = sum(len(route.get("examples") or ()) for route in routes)
    if as_json:
        record({"ok": True, "notes": list(loaded.notes), "routes": len(routes), "examples": examples})
        return
    line(f"{file}: {styled('no faults', 'green')}")
    if examples:
        line(f"  {examples} example{'' if examples == 1 else 's'} of routes: all hold")
    for text in loaded.notes:
        line(f"  {text}")
