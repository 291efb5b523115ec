"""`linkspan subscribe PATTERN...`: a live stream of events, resumed when the connection breaks."""

from __future__ import annotations

import base64
import json
import sys
from typing import Annotated, Any

import typer

from gateway.cli.client import Client
from gateway.cli.options import DEFAULT_URL, Json, Token, Url
from gateway.cli.output import WRONG_USE, CommandError, command, line, note, styled, visible
from gateway.cli.sse import Message


def data_of(event: dict[str, Any]) -> str:
    """An event's data as a person reads it, on one line."""
    if "data_base64" in event:
        data = base64.b64decode(event["data_base64"])
        try:
            return visible(data.decode())
        except UnicodeDecodeError:
            return f"({len(data)} bytes)"
    if "data" not in event:
        return ""
    data = event["data"]
    return visible(data) if isinstance(data, str) else json.dumps(data, ensure_ascii=False)


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
    topics = {pattern.topic if pattern.literal_topic else "" for pattern in parsed}
    return topics.pop() if len(topics) == 1 else ""


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
        line(described(json.loads(message.data), topic))


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
    as_json: Json = False,
) -> None:
    """Show events as they come, until Ctrl-C or --limit."""
    topic = check_patterns(patterns)
    query = [("from", pattern) for pattern in patterns] + [("start", start)]
    if filter_ is not None:
        query.append(("filter", filter_))
    client = Client(url, token)

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
