"""`linkspan up`: run the gateway until SIGTERM or SIGINT, then drain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Config, Data, Json, Set
from gateway.cli.output import CommandError, command, line, record, styled
from gateway.cli.settings import load_settings

if TYPE_CHECKING:
    from gateway.app import App
    from gateway.plugin import BoundAddress


@command
def up(
    config: Config = None,
    data: Data = None,
    kafka: Annotated[
        str | None,
        typer.Option("--kafka", metavar="HOST:PORT,...", help="Apache Kafka as the log.", show_default=False),
    ] = None,
    set_: Set = None,
    as_json: Json = False,
) -> None:
    """Run the gateway. Without any option: an embedded log in ./linkspan-data, on loopback."""
    loaded, plugins = load_settings(config, data=data, kafka=kafka, overrides=set_ or ())
    from gateway.app import App
    from gateway.operate.files import raise_open_files
    from gateway.operate.logs import configure

    logs = loaded.config.telemetry.logs
    configure(logs.level, "json" if as_json and logs.format == "auto" else logs.format)
    raise_open_files()

    def ready(addresses: Sequence[BoundAddress]) -> None:
        announce(addresses, loaded.notes, what_is_the_log(loaded.config.bus), as_json)

    serve(App.build(loaded, plugins), ready)


def serve(app: App, ready: Any) -> None:
    """Run the gateway on uvloop to its end; what keeps it from starting ends the command in words."""
    import uvloop

    from gateway.app import run
    from gateway.errors import LinkspanError

    try:
        uvloop.run(run(app, ready))
    except LinkspanError as error:
        faults = [{"where": fault.where, "message": fault.message} for fault in error.faults]
        raise CommandError(error.message, code=error.code, faults=faults) from None


def what_is_the_log(bus: Any) -> str:
    """One line that says where events are kept."""
    if bus.kind == "kafka":
        return f"Apache Kafka at {', '.join(bus.bootstrap)}"
    return f"embedded, in {bus.path} (durability: {bus.durability})"


def announce(addresses: Sequence[BoundAddress], notes: Sequence[str], log: str, as_json: bool) -> None:
    """A line for each door, so that nobody has to guess a port."""
    if as_json:
        for address in addresses:
            record(
                {
                    "listener": address.listener,
                    "url": address.url,
                    "host": address.host,
                    "port": address.port,
                    "tls": address.tls,
                },
                flush=True,
            )
        return
    line(styled("linkspan is up", "bold"))
    line(f"  {'log':<10} {log}")
    for address in addresses:
        line(f"  {address.listener:<10} {styled(address.url, 'cyan')}")
    for text in notes:
        line(styled(f"  {text}", "dim"))
    line("stop it with Ctrl-C", flush=True)
