"""`linkspan publish ADDRESS [DATA|-]`: one event, or one for each line of stdin."""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from gateway.cli.client import Client
from gateway.cli.options import DEFAULT_URL, Json, Token, Url
from gateway.cli.output import WRONG_USE, CommandError, Progress, command, line, note, record

#: What one request holds at most: the gateway takes 10,000 events and 16 MiB by default.
BATCH_EVENTS, BATCH_BYTES = 1000, 4 * 2**20
_READ = 256 * 1024


def address_of(text: str) -> tuple[str, str | None]:
    """The topic and the subject of an address; raises CommandError for an illegal one."""
    from gateway.address import split_address
    from gateway.errors import InvalidAddress

    try:
        return split_address(text)
    except InvalidAddress as error:
        raise CommandError(error.message, WRONG_USE, code=error.code) from None


def attributes_from(pairs: Sequence[str]) -> dict[str, str]:
    """`--attribute name=value` as attributes."""
    attributes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise CommandError(f"--attribute takes name=value, not {pair!r}", WRONG_USE, code="wrong_use")
        attributes[name] = value
    return attributes


def content_type(data: bytes) -> str:
    """What these bytes look like: one JSON value, text, or neither."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return "text/plain"
    return "application/json"


def _refuse(name: str) -> None:
    # NaN and Infinity are Python's, not JSON's.
    raise ValueError(name)


def event(subject: str | None, type_: str | None, attributes: dict[str, str], data: bytes) -> dict[str, Any]:
    """A structured CloudEvent of these parts. The data goes as base64, so that no byte of it changes."""
    made: dict[str, Any] = {
        "specversion": "1.0",
        "id": os.urandom(16).hex(),
        "source": f"//{quote(socket.gethostname())}/linkspan/cli",
        "type": type_ or "io.linkspan.cli.message",
        "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "datacontenttype": content_type(data),
    }
    if subject is not None:
        made["subject"] = subject
    return made | attributes | {"data_base64": base64.b64encode(data).decode()}


def lots(source: int) -> Iterator[list[bytes]]:
    """Lines from a file descriptor, in lots of what can be had at once: a slow pipe is not held back."""
    lot: list[bytes] = []
    size, rest = 0, b""
    while chunk := os.read(source, _READ):
        *lines, rest = (rest + chunk).split(b"\n")
        for text in lines:
            text = text.removesuffix(b"\r")
            if not text:
                continue
            if lot and (len(lot) >= BATCH_EVENTS or size + len(text) > BATCH_BYTES):
                yield lot
                lot, size = [], 0
            lot.append(text)
            size += len(text)
        if lot:
            yield lot
            lot, size = [], 0
    if rest.removesuffix(b"\r"):
        yield [rest.removesuffix(b"\r")]


def publish_lines(client: Client, topic: str, make: Any, source: int, as_json: bool) -> None:
    """Publish stdin lot by lot; on a failure say how far it came."""
    progress, count = Progress("publishing"), 0
    try:
        for lot in lots(source):
            send(client, topic, [make(text) for text in lot])
            count += len(lot)
            progress.show(f"{count:,} events")
    except CommandError as error:
        error.message += f" ({count:,} events were published before)"
        raise
    finally:
        progress.clear()
    if as_json:
        record({"count": count})
    else:
        line(f"published {count:,} event{'' if count == 1 else 's'} to {topic}")


def send(client: Client, topic: str, events: list[dict[str, Any]]) -> Any:
    """One batch; the answer is `{"count", "positions"}`."""
    body = json.dumps(events, ensure_ascii=False, separators=(",", ":")).encode()
    path = f"/topics/{quote(topic, safe='')}/events"
    return client.request("POST", path, body=body, content_type="application/cloudevents-batch+json").json()


@command
def publish(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="topic/subject, such as signals/equities/AAPL.")],
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA|-]", help="The data; '-' or nothing: an event for each line of stdin."),
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="The event's type.", show_default=False)] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", metavar="NAME=VALUE", help="A CloudEvents attribute.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Publish one event, or one for each line of stdin."""
    topic, subject = address_of(address)
    attributes = attributes_from(attribute or ())

    def make(text: bytes) -> dict[str, Any]:
        return event(subject, type_, attributes, text)

    client = Client(url, token)
    try:
        if data is None or data == "-":
            if sys.stdin.isatty():
                note("each line is an event; end with Ctrl-D")
            publish_lines(client, topic, make, sys.stdin.fileno(), as_json)
            return
        answer = send(client, topic, [make(data.encode(errors="surrogateescape"))])
        if as_json:
            record(answer)
        else:
            partition, offset = answer["positions"][0]
            line(f"published to {address}: partition {partition}, offset {offset}")
    finally:
        client.close()
