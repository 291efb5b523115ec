"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

DEFAULT_URL = "http://127.0.0.1:8080"

Url: TypeAlias = Annotated[
    str, typer.Option("--url", envvar="LINKSPAN_URL", help="The gateway's HTTP listener.", show_default=True)
]
Token: TypeAlias = Annotated[
    str | None, typer.Option("--token", envvar="LINKSPAN_TOKEN", help="Sent as a bearer token.", show_default=False)
]
Ca: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="LINKSPAN_CA",
        metavar="FILE",
        help="PEM file of the authority that signs the gateway's certificate, instead of the system's.",
        show_default=False,
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.", show_default=False)]
Config: TypeAlias = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file (YAML or TOML).", show_default=False)
]
Data: TypeAlias = Annotated[Path | None, typer.Option("--data", help="Folder of the embedded log.", show_default=False)]
Set: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Set one key of the configuration.", show_default=False),
]
