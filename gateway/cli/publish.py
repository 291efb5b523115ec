"""`linkspan publish ADDRESS [DATA|-]`: one event, or one for each line of stdin."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import typer

from gateway.cli.client import Client
from gateway.cli.options import DEFAULT_URL, Ca, Json, Token, Url
from gateway.cli.output import WRONG_USE, CommandError, Progress, command, line, note, record

#: What one request holds at most: the gateway takes 10,000 events and 16 MiB by default.
BATCH_EVENTS, BATCH_BYTES = 1000, 4 * 2**20
_READ = 256 * 1024
#: `events[3].source` of an answer, or `source` where there was but one event.
_EVENT = re.compile(r"(?:events\[([0-9]+)\]\.?)?(.*)", re.DOTALL)


class Line(NamedTuple):
    """A line of the input; 1 is the first."""

    number: int
    text: bytes


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


def lots(source: int) -> Iterator[list[Line]]:
    """Lines from a file descriptor, in lots of what can be had at once: a slow pipe is not held back."""
    lot: list[Line] = []
    size, number, rest = 0, 0, b""
    while chunk := os.read(source, _READ):
        *lines, rest = (rest + chunk).split(b"\n")
        for text in lines:
            number += 1
            text = text.removesuffix(b"\r")
            if not text:
                continue
            if lot and (len(lot) >= BATCH_EVENTS or size + len(text) > BATCH_BYTES):
                yield lot
                lot, size = [], 0
            lot.append(Line(number, text))
            size += len(text)
        if lot:
            yield lot
            lot, size = [], 0
    if rest.removesuffix(b"\r"):
        yield [Line(number + 1, rest.removesuffix(b"\r"))]


class Lines:
    """Publishes lines, and knows how many were."""

    def __init__(self, client: Client, topic: str, make: Callable[[bytes], dict[str, Any]]) -> None:
        self._client, self._topic, self._make = client, topic, make
        self.count = 0

    def send(self, lot: list[Line]) -> None:
        """One lot, in parts where the gateway takes less in one request. Raises CommandError that names lines."""
        try:
            send(self._client, self._topic, [self._make(text) for _, text in lot])
        except CommandError as error:
            if error.code == "too_large" and not error.faults and len(lot) > 1:
                half = len(lot) // 2
                self.send(lot[:half])
                self.send(lot[half:])
                return
            place_faults(error, [f"line {number}" for number, _ in lot])
            raise
        self.count += len(lot)


def publish_lines(lines: Lines, topic: str, source: int, as_json: bool) -> None:
    """Publish stdin lot by lot; on a failure say how far it came."""
    progress = Progress("publishing")
    try:
        for lot in lots(source):
            lines.send(lot)
            progress.show(f"{lines.count:,} events")
    except CommandError as error:
        error.message += f"; {lines.count:,} events were published before"
        raise
    finally:
        progress.clear()
    if as_json:
        record({"count": lines.count})
    else:
        line(f"published {lines.count:,} event{'' if lines.count == 1 else 's'} to {topic}")


def send(client: Client, topic: str, events: list[dict[str, Any]]) -> Any:
    """One request; the answer is `{"count", "positions"}`."""
    path = f"/topics/{quote(topic, safe='')}/events"
    kind, content = ("cloudevents", events[0]) if len(events) == 1 else ("cloudevents-batch", events)
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return client.request("POST", path, body=body, content_type=f"application/{kind}+json").json()


def place_faults(error: CommandError, places: Sequence[str]) -> None:
    """Call events what their sender calls them: `places` are the names of those in the request, in order."""
    faults = []
    for fault in error.faults:
        found = _EVENT.match(str(fault.get("where", "")))
        assert found is not None  # it matches anything
        at = int(found[1] or 0)
        known = (found[1] or len(places) == 1) and at < len(places)
        where = ": ".join(filter(None, (places[at], found[2]))) if known else found[0]
        faults.append({name: value for name, value in fault.items() if name != "index"} | {"where": where})
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        error.message = f"refused: {faults[0]['where']} {faults[0].get('message', '')}{more}"
    elif len(places) == 1 and places[0] and error.code == "too_large":
        error.message = f"{places[0]} is too large: {error.message}"
    error.faults = faults


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
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Publish one event, or one for each line of stdin."""
    topic, subject = address_of(address)
    attributes = attributes_from(attribute or ())
    if type_ == "":
        raise CommandError("--type is empty", WRONG_USE, code="wrong_use")

    def make(text: bytes) -> dict[str, Any]:
        return event(subject, type_, attributes, text)

    client = Client(url, token, ca)
    try:
        if data is None or data == "-":
            if sys.stdin.isatty():
                note("each line is an event; end with Ctrl-D")
            publish_lines(Lines(client, topic, make), topic, sys.stdin.fileno(), as_json)
            return
        try:
            answer = send(client, topic, [make(data.encode(errors="surrogateescape"))])
        except CommandError as error:
            place_faults(error, [""])
            raise
        if as_json:
            record(answer)
        else:
            for diverted in answer.get("diverted", ()):
                partition, offset = diverted["position"]
                told = f"{diverted['topic']}: partition {partition}, offset {offset}"
                line(f"diverted to {told}, since its data {diverted['reason']}")
                return
            if answer["positions"][0] is None:
                line(f"published to {address}: a route moved it to another topic")
                return
            partition, offset = answer["positions"][0]
            line(f"published to {address}: partition {partition}, offset {offset}")
    finally:
        client.close()
