"""The command `linkspan`. A command's module loads what is slow only when the command runs."""

from __future__ import annotations

import typer

from gateway.cli import later, log, routes, topics
from gateway.cli.bench import bench
from gateway.cli.check_config import check_config
from gateway.cli.demo import demo
from gateway.cli.publish import publish
from gateway.cli.subscribe import subscribe
from gateway.cli.up import up
from gateway.cli.usage import Commands
from gateway.cli.version import version

app = typer.Typer(
    name="linkspan",
    cls=Commands,
    help="One durable log, many doors: an event gateway.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help needs no rich, whose import would double the time that `--help` takes.
    rich_markup_mode=None,
)

app.command("up")(up)
app.command("demo")(demo)
app.command("check-config")(check_config)
app.command("publish")(publish)
app.command("subscribe")(subscribe)
app.add_typer(topics.app, name="topics")
app.add_typer(routes.app, name="routes")
app.add_typer(log.app, name="log")
app.command("bench")(bench)
app.command("version")(version)
later.add_to(app)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
