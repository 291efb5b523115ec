"""`linkspan up`: run the gateway until SIGTERM or SIGINT, then drain."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.options import Config, Data, Json, Set
from gateway.cli.output import command
from gateway.cli.settings import load_settings


@command
def up(
    config: Config = None,
    data: Data = None,
    kafka: Annotated[
        str | None, typer.Option("--kafka", metavar="HOST:PORT,...", help="Apache Kafka as the log.", show_default=False)
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> int:
    """Run the gateway. Without any option: an embedded log in ./linkspan-data, on loopback."""
    loaded, plugins = load_settings(config, data=data, kafka=kafka, overrides=set_ or ())
    from gateway.app import App

    return App.build(loaded, plugins).run()
