"""`linkspan subscribe PATTERN...`: a live stream of events, resumed when the connection breaks."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

import typer

from gateway.cli.client import Client
from gateway.cli.options import DEFAULT_URL, Ca, Json, Token, Url
from gateway.cli.output import WRONG_USE, CommandError, command, line, note, styled, visible
from gateway.cli.sse import Message

_BREAK = re.compile(r"\s*[\r\n]\s*")


def data_of(event: dict[str, Any]) -> str:
    """An event's data as a person reads it, on one line; `event` as `as_written` gives it."""
    if "data_base64" in event:
        data = base64.b64decode(event["data_base64"])
        try:
            return visible(data.decode())
        except UnicodeDecodeError:
            return f"({len(data)} bytes)"
    if "data" not in event:
        return ""
    data = event["data"]
    if not isinstance(data, str):
        return visible(json.dumps(data, ensure_ascii=False))
    # Line breaks in JSON stand between tokens only: without them it still is the same value.
    return visible(_BREAK.sub(" ", data) if isinstance(data, Written) else data)


def as_written(text: str) -> dict[str, Any]:
    """A structured event whose `data` is a string for text, or else the JSON as it was published (`Written`)."""
    raw = _members()(text)
    event: dict[str, Any] = {name: json.loads(bytes(value)) for name, value in raw.items() if name != "data"}
    if "data" in raw:
        written = bytes(raw["data"]).decode()
        # In JSON content a string is JSON too, and its quotes belong to it.
        text_content = written.startswith('"') and not _is_json(event.get("datacontenttype"))
        event["data"] = json.loads(written) if text_content else Written(written)
    return event


@cache
def _members() -> Callable[[str], Mapping[str, Any]]:
    import msgspec

    return msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Written(str):
    """JSON as it was written: numbers and blanks are its author's."""


def _is_json(content_type: Any) -> bool:
    essence = str(content_type or "application/json").partition(";")[0].strip().lower()
    return essence.endswith(("/json", "+json"))


def described(event: dict[str, Any], topic: str) -> str:
    """`address  data` of a structured event."""
    subject = event.get("subject")
    address = f"{topic}/{subject}" if topic and subject else topic or str(subject or event.get("type", ""))
    return f"{styled(visible(address), 'cyan')}\t{data_of(event)}"


def check_patterns(patterns: list[str]) -> str:
    """Refuse illegal patterns before connecting. Returns the topic when all have the same, else ""."""
    from gateway.address import parse_pattern
    from gateway.errors import InvalidAddress

    try:
        parsed = [parse_pattern(pattern) for pattern in patterns]
    except InvalidAddress as error:
        raise CommandError(error.message, WRONG_USE, code=error.code) from None
    for pattern in parsed:
        if pattern.literal_topic and pattern.segments is None:
            note(f"{pattern} means events of {pattern} without a subject; '{pattern}/**' means all of them")
    topics = {pattern.topic if pattern.literal_topic else "" for pattern in parsed}
    return topics.pop() if len(topics) == 1 else ""


def check_start(start: str) -> None:
    """Refuse what is no start position before connecting."""
    from gateway.delivery.position import parse_start
    from gateway.errors import InvalidPosition

    try:
        parse_start(start)
    except InvalidPosition as error:
        raise CommandError(f"--start {error.message}", WRONG_USE, code=error.code) from None


def notice(data: str) -> str:
    """What a gap, an error or a closing says, in words where it has them."""
    try:
        told = json.loads(data)
    except ValueError:
        told = None
    return visible(str(told["detail"]) if isinstance(told, dict) and "detail" in told else data)


def show(message: Message, topic: str, as_json: bool) -> None:
    """Print one message: an event as result, anything else (a gap, a notice) on stderr."""
    if message.event != "message":
        note(f"{styled(message.event, 'yellow', sys.stderr)}: {notice(message.data)}")
    elif as_json:
        line(message.data)
    else:
        line(described(as_written(message.data), topic))


@command
def subscribe(
    patterns: Annotated[
        list[str], typer.Argument(metavar="PATTERN...", help="Such as 'signals/equities/*' or 'signals/**'.")
    ],
    start: Annotated[
        str, typer.Option("--start", help="latest, earliest, a time, -5m, last:10 or a cursor.", show_default=True)
    ] = "latest",
    filter_: Annotated[str | None, typer.Option("--filter", help="An expression.", show_default=False)] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="End after so many.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Show events as they come, until Ctrl-C or --limit."""
    check_start(start)
    topic = check_patterns(patterns)
    query = [("from", pattern) for pattern in patterns] + [("start", start)]
    if filter_ is not None:
        query.append(("filter", filter_))
    client = Client(url, token, ca)

    def lost(error: CommandError, pause: float) -> None:
        note(f"{styled('connection lost', 'yellow', sys.stderr)} ({error.message}); resuming")

    try:
        for messages in client.follow("/events", query=query, limit=limit, on_lost=lost):
            for message in messages:
                show(message, topic, as_json)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return  # the ordinary way to end a stream
    finally:
        client.close()
