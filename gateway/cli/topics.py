"""`linkspan topics ls|create|show|set|rm`."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli.client import Answer, Client
from gateway.cli.options import DEFAULT_URL, Ca, Json, Token, Url
from gateway.cli.output import WRONG_USE, CommandError, command, line, record, styled, table

app = typer.Typer(help="Topics: list, create, show, change, delete.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="TOPIC")]
Partitions = Annotated[int | None, typer.Option(min=1, help="Can only grow.")]
Replication = Annotated[int | None, typer.Option(min=1, help="Copies, on Kafka.")]
RetentionTime = Annotated[str | None, typer.Option(metavar="TIME", help="Such as 7d or 12h, or unlimited.")]
RetentionBytes = Annotated[str | None, typer.Option(metavar="SIZE", help="Such as 10GiB, or unlimited.")]
Cleanup = Annotated[str | None, typer.Option(help="delete or compact.")]
Compression = Annotated[str | None, typer.Option(help="none, gzip, snappy, lz4 or zstd.")]
Type = Annotated[str | None, typer.Option("--type", help="Event type of what comes in without one.")]


def settings(
    partitions: int | None,
    replication: int | None,
    retention_time: str | None,
    retention_bytes: str | None,
    cleanup: str | None,
    compression: str | None,
    type_: str | None,
) -> dict[str, Any]:
    """The body of PUT and PATCH: only what was asked for."""
    retention = {"time": retention_time, "bytes": retention_bytes}
    body: dict[str, Any] = {
        "partitions": partitions,
        "replication": replication,
        "retention": {name: value for name, value in retention.items() if value is not None} or None,
        "cleanup": cleanup,
        "compression": compression,
        "defaults": None if type_ is None else {"type": type_},
    }
    return {name: value for name, value in body.items() if value is not None}


def ask(client: Client, method: str, name: str | None = None, body: dict[str, Any] | None = None) -> Answer:
    """One request about a topic, or about all of them."""
    path = "/topics" if name is None else f"/topics/{quote(checked(name), safe='')}"
    with closing(client):
        return client.request(method, path, body=None if body is None else json.dumps(body).encode())


def checked(name: str) -> str:
    """The name of a topic; raises CommandError for an illegal one."""
    from gateway.address import check_topic
    from gateway.errors import InvalidAddress

    try:
        return check_topic(name)
    except InvalidAddress as error:
        raise CommandError(error.message, WRONG_USE, code=error.code) from None


def flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested members as `retention.time` and their values."""
    rows: list[tuple[str, str]] = []
    for name, member in value.items():
        if isinstance(member, dict):
            rows += flat(member, f"{prefix}{name}.")
        elif member is not None:
            rows.append((prefix + name, str(member)))
    return rows


def show_topic(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        record(view)
        return
    for name, value in flat(view):
        line(f"{styled(name + ':', 'dim')} {value}")


@app.command("ls")
@command
def ls(url: Url = DEFAULT_URL, token: Token = None, ca: Ca = None, as_json: Json = False) -> None:
    """List the topics."""
    views = ask(Client(url, token, ca), "GET").json()
    views = views["topics"] if isinstance(views, dict) else views
    if as_json:
        record(views)
        return
    columns = ("name", "partitions", "replication", "retention.time", "retention.bytes", "cleanup", "compression")
    rows = [[dict(flat(view)).get(column, "-") for column in columns] for view in views]
    table(rows, [column.upper().replace(".", " ") for column in columns])


@app.command("create")
@command
def create(
    name: Name,
    partitions: Partitions = None,
    replication: Replication = None,
    retention_time: RetentionTime = None,
    retention_bytes: RetentionBytes = None,
    cleanup: Cleanup = None,
    compression: Compression = None,
    type_: Type = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Create a topic; one that exists gets the settings named here."""
    body = settings(partitions, replication, retention_time, retention_bytes, cleanup, compression, type_)
    answer = ask(Client(url, token, ca), "PUT", name, body)
    if not as_json:
        line(styled(f"{name} {'created' if answer.status == 201 else 'exists; settings applied'}", "green"))
    show_topic(answer.json(), as_json)


@app.command("show")
@command
def show(name: Name, url: Url = DEFAULT_URL, token: Token = None, ca: Ca = None, as_json: Json = False) -> None:
    """Show a topic's settings."""
    show_topic(ask(Client(url, token, ca), "GET", name).json(), as_json)


@app.command("set")
@command
def set_(
    name: Name,
    partitions: Partitions = None,
    retention_time: RetentionTime = None,
    retention_bytes: RetentionBytes = None,
    cleanup: Cleanup = None,
    compression: Compression = None,
    type_: Type = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Change a topic's settings; what is not named stays."""
    body = settings(partitions, None, retention_time, retention_bytes, cleanup, compression, type_)
    if not body:
        raise CommandError("nothing to set: name at least one option", WRONG_USE, code="wrong_use")
    show_topic(ask(Client(url, token, ca), "PATCH", name, body).json(), as_json)


@app.command("rm")
@command
def rm(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.", show_default=False)] = False,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Delete a topic and all its events."""
    checked(name)
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError("this deletes all events of the topic: confirm with --yes", WRONG_USE, code="wrong_use")
        if not typer.confirm(f"Delete {name} and all its events?"):
            raise CommandError("nothing was deleted")
    ask(Client(url, token, ca), "DELETE", name)
    if as_json:
        record({"deleted": name})
    else:
        line(f"{name} deleted")
