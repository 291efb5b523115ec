"""`/v1/topics`: list, show, make, change, delete. Bodies are checked whole: all faults at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, NamedTuple

import msgspec
from aiohttp.web import BaseRequest

from gateway.plugin import (
    ON_INVALID,
    Fault,
    Gateway,
    InvalidSetting,
    NotAvailable,
    NotFound,
    Principal,
    Query,
    TooLarge,
    TopicDefaults,
    TopicSchema,
    TopicSettings,
    TopicView,
    UnsupportedContent,
    format_retention_bytes,
    format_retention_ms,
    parse_retention_bytes,
    parse_retention_ms,
)
from protocols.http.body import BodyReader
from protocols.http.reply import Reply

MEMBERS = ("partitions", "replication", "retention", "cleanup", "compression", "schema", "dedup", "defaults")
LATER = ("dedup",)
SCHEMA_MEMBERS = ("name", "version", "on_invalid", "divert_to")
#: What GET shows beside the settings. PUT and PATCH take it as it is, so that settings can go round.
READ_ONLY = ("name", "epoch", "max_event")
#: Bytes of a body with settings.
MAX_BODY = 64 * 1024
#: So many faults are told.
MAX_FAULTS = 20
CLEANUP = ("delete", "compact")
COMPRESSION = ("none", "gzip", "snappy", "lz4", "zstd")
_BODY_TYPES = ("application/json", "application/merge-patch+json")
_encode = msgspec.json.Encoder().encode


class Wanted(NamedTuple):
    """What a body asks for, without what is wrong with it, and what is."""

    settings: TopicSettings
    defaults: TopicDefaults | None
    faults: list[Fault]
    schema: TopicSchema | None


class TopicPages:
    """The handlers. What the topic service raises goes to the client as it is."""

    def __init__(self, gateway: Gateway, bodies: BodyReader) -> None:
        self._topics, self._bodies = gateway.topics, bodies

    async def list(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        views = await self._topics.list(principal)
        return Reply(200, _encode({"topics": [shown(view) for view in views]}))

    async def get(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        return Reply(200, _encode(shown(await self._topics.get(path[0], principal))))

    async def put(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        asked = await self._wanted(request, principal, path[0])
        view, created = await self._topics.put(
            path[0], asked.settings, asked.defaults, principal, asked.faults, asked.schema
        )
        location = (("Location", f"/v1/topics/{path[0]}"),) if created else ()
        return Reply(201 if created else 200, _encode(shown(view)), headers=location)

    async def patch(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        asked = await self._wanted(request, principal, path[0])
        view = await self._topics.patch(path[0], asked.settings, asked.defaults, principal, asked.faults, asked.schema)
        return Reply(200, _encode(shown(view)))

    async def delete(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        await self._topics.delete(path[0], principal)
        return Reply(204)

    async def _wanted(self, request: BaseRequest, principal: Principal, name: str) -> Wanted:
        body = await read_object(request, self._bodies, MAX_BODY)
        fixed: dict[str, Any] = {"name": name}
        if "epoch" in body or "max_event" in body:
            with suppress(NotFound):  # the topic is to be made: these are not known yet
                fixed = shown(await self._topics.get(name, principal))
        return wanted(body, fixed)


async def read_object(request: BaseRequest, bodies: BodyReader, most: int) -> dict[str, Any]:
    """A body of settings of at most so many bytes; none is an empty object.

    Raises InvalidSetting, TooLarge, UnsupportedContent and what the reader of bodies raises.
    """
    body = await read_json(request, bodies, most, "settings")
    if not body:
        return {}
    try:
        value, twice = msgspec.json.decode(body), _duplicates(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidSetting(f"the body is not JSON: {error}", faults=(Fault("body", str(error)),)) from None
    if not isinstance(value, dict):
        raise InvalidSetting("the body must be a JSON object", faults=(Fault("body", "must be a JSON object"),))
    if twice:
        faults = tuple(Fault(name[:80], "is given twice") for name in twice[:MAX_FAULTS])
        raise InvalidSetting(f"{faults[0].where} is given twice", faults=faults)
    return value


async def read_json(request: BaseRequest, bodies: BodyReader, most: int, what: str) -> bytes:
    """A body that says that it is JSON, or an empty one. Raises as `read_object`, but for what is in it."""
    body = await bodies.read(request)
    if len(body) > most:
        raise TooLarge(f"{what} have at most {most} bytes, not {len(body)}", limit=most)
    # Besides being right, this keeps plain forms of foreign pages out: they cannot send JSON.
    given = request.headers.get("Content-Type", "")
    if body and given.partition(";")[0].strip().lower() not in _BODY_TYPES:
        raise UnsupportedContent(f"{what} are application/json, not {given[:80]!r}", accepted=list(_BODY_TYPES))
    return body


def shown(view: TopicView) -> dict[str, Any]:
    """A topic as JSON: what PUT takes, and what the bus says besides."""
    info = view.info
    schema = {} if view.schema is None else {"schema": shown_schema(view.schema)}
    return {
        "name": info.name,
        "partitions": info.partitions,
        "replication": info.replication,
        "retention": {
            "time": format_retention_ms(info.retention_ms),
            "bytes": _size(info.retention_bytes),
        },
        "cleanup": info.cleanup,
        "compression": info.compression,
        "defaults": {"type": view.defaults.type} if view.defaults.type is not None else {},
        **schema,
        "max_event": _size(info.max_event_bytes),
        "epoch": info.epoch,
    }


def wanted(body: dict[str, Any], fixed: Mapping[str, Any] | None = None) -> Wanted:
    """The settings of a body, None for defaults that it does not name, and all that is wrong with it.

    `fixed`: what the read-only members are; a body may have them with these values. What is
    wrong is not among the settings. Raises NotAvailable for what this version does not have.
    """
    faults: list[Fault] = []
    take = Taker(body, faults)
    for name in body:
        if name in READ_ONLY:
            take.fixed(name, (fixed or {}).get(name))
        elif name not in MEMBERS:
            faults.append(Fault(name[:80], _unknown(name, MEMBERS, len(faults))))
    retention = take.mapping("retention", ("time", "bytes"))
    defaults = take.mapping("defaults", ("type",))
    settings = TopicSettings(
        partitions=take.number("partitions"),
        replication=take.number("replication"),
        retention_ms=Taker(retention, faults, "retention.").parsed("time", parse_retention_ms, bare=False),
        retention_bytes=Taker(retention, faults, "retention.").parsed("bytes", parse_retention_bytes, bare=True),
        cleanup=take.one_of("cleanup", CLEANUP),
        compression=take.one_of("compression", COMPRESSION),
    )
    type_ = Taker(defaults, faults, "defaults.").text("type")
    schema = _schema(take.mapping("schema", SCHEMA_MEMBERS), faults) if body.get("schema") is not None else None
    for name in LATER:
        if not faults and body.get(name) is not None:
            raise NotAvailable(
                f"{name} of a topic is not available in this version",
                faults=(Fault(name, "is not available in this version: leave it out"),),
            )
    return Wanted(settings, TopicDefaults(type_) if body.get("defaults") is not None else None, faults, schema)


def shown_schema(schema: TopicSchema) -> dict[str, Any]:
    """A topic's schema as JSON, with what it does when nobody says."""
    divert = {} if schema.divert_to is None else {"divert_to": schema.divert_to}
    return {"name": schema.name, "version": schema.version, "on_invalid": schema.on_invalid, **divert}


def _schema(given: dict[str, Any], faults: list[Fault]) -> TopicSchema:
    """{} takes the schema away."""
    take = Taker(given, faults, "schema.")
    version: Any = given.get("version")
    if version is None or type(version) is not int or not 1 <= version <= 1_000_000:
        if version not in (None, "latest"):
            told = f"must be 'latest' or the number of a version, not {_short(version)}"
            faults.append(Fault("schema.version", told))
        version = "latest"
    name = take.text("name")
    if given and not name:
        faults.append(Fault("schema.name", "is required"))
    return TopicSchema(name or "", version, take.one_of("on_invalid", ON_INVALID) or "reject", take.text("divert_to"))


class Taker:
    """Takes members of one JSON object, noting what is wrong; null is as good as absent."""

    def __init__(self, body: dict[str, Any], faults: list[Fault], prefix: str = "") -> None:
        self._body, self._faults, self._prefix = body, faults, prefix

    def _fault(self, name: str, message: str) -> None:
        self._faults.append(Fault(self._prefix + name, message))

    def known(self, members: tuple[str, ...]) -> None:
        """There are no others."""
        for name in self._body:
            if name not in members:
                self._fault(name[:80], _unknown(name, members, len(self._faults)))

    def fixed(self, name: str, is_: object) -> None:
        """A read-only member: it may be there as it is."""
        value = self._body[name]
        if value is not None and value != is_:
            told = "is set by the gateway: leave it out" if is_ is None else f"is {_short(is_)} and cannot be changed"
            self._fault(name, told)

    def number(self, name: str) -> int | None:
        value = self._body.get(name)
        if value is None or (type(value) is int and 1 <= value <= 100_000):
            return value
        self._fault(name, f"must be a whole number from 1 to 100000, not {_short(value)}")
        return None

    def text(self, name: str) -> str | None:
        value = self._body.get(name)
        if value is None or isinstance(value, str):
            return value
        self._fault(name, f"must be a string, not {_short(value)}")
        return None

    def one_of(self, name: str, allowed: tuple[str, ...]) -> Any:
        value = self._body.get(name)
        if value is None or value in allowed:
            return value
        self._fault(name, f"must be {', '.join(allowed[:-1])} or {allowed[-1]}, not {_short(value)}")
        return None

    def mapping(self, name: str, members: tuple[str, ...]) -> dict[str, Any]:
        value = self._body.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._fault(name, f"must be an object with {' and '.join(members)}, not {_short(value)}")
            return {}
        for member in value:
            if member not in members:
                self._fault(f"{name}.{member[:80]}", _unknown(member, members, len(self._faults)))
        return value

    def parsed(self, name: str, parse: Callable[[str], int], *, bare: bool) -> int | None:
        """A duration or size as text; -1 is no limit; `bare`: a number without a unit is right."""
        value = self._body.get(name)
        if value is None:
            return None
        if type(value) is int and (value == -1 or (bare and 0 <= value <= 2**62)):
            return value
        if not isinstance(value, str):
            self._fault(name, f"must be a string such as '7d' or '10GiB', or -1, not {_short(value)}")
            return None
        try:
            return parse(value)
        except ValueError as error:
            self._fault(name, str(error))
            return None


def _short(value: object) -> str:
    """A value as its sender wrote it: JSON."""
    return json.dumps(value, ensure_ascii=False)[:60]


def _size(size: int) -> str:
    """A size in its largest exact unit; bytes without one, as people write them."""
    text = format_retention_bytes(size)
    return text[:-1] if text[-2:-1].isdigit() else text


def _duplicates(body: bytes) -> list[str]:
    """Names that an object of the body has more than once, objects within it included."""
    twice: dict[str, None] = {}

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                twice[name] = None
            seen.add(name)

    # Numbers are not looked at: converting hostile ones costs time or raises.
    json.loads(body, object_pairs_hook=look, parse_int=str, parse_float=str)
    return list(twice)


def _unknown(name: str, known: tuple[str, ...], faults: int) -> str:
    # What was meant takes a while to find: it is not looked for where it is not shown.
    close = get_close_matches(name, known, 1, 0.6) if faults < MAX_FAULTS else ()
    return f"is unknown; {close[0]!r} was meant?" if close else f"is unknown; there are {', '.join(known)}"
