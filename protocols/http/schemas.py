"""`/v1/schemas`: list, show, add versions, set the level, delete."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp.web import BaseRequest

from gateway.plugin import (
    KINDS,
    LEVELS,
    MAX_TEXT,
    Fault,
    Gateway,
    InvalidSetting,
    Principal,
    Query,
    SchemaInfo,
    SchemaVersion,
)
from protocols.http.body import BodyReader
from protocols.http.reply import Reply
from protocols.http.topics import Taker, read_object

#: Bytes of a body with a schema: in JSON its text may take more than it has.
MAX_BODY = 4 * MAX_TEXT
_encode = msgspec.json.Encoder().encode


class SchemaPages:
    """The handlers. What the schema service raises goes to the client as it is."""

    def __init__(self, gateway: Gateway, bodies: BodyReader) -> None:
        self._schemas, self._bodies = gateway.schemas, bodies

    async def list(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        return Reply(200, _encode({"schemas": [shown_info(info) for info in self._schemas.list(principal)]}))

    async def get(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        return Reply(200, _encode(shown_info(self._schemas.info(path[0], principal))))

    async def patch(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        faults: list[Fault] = []
        body = await read_object(request, self._bodies, MAX_BODY)
        take = Taker(body, faults)
        take.known(("compatibility",))
        level = take.one_of("compatibility", LEVELS)
        if level is None and not faults:
            faults.append(Fault("compatibility", "is required"))
        _refuse(faults)
        return Reply(200, _encode(shown_info(await self._schemas.set_level(path[0], level, principal))))

    async def delete(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        await self._schemas.delete(path[0], principal)
        return Reply(204)

    async def versions(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        info = self._schemas.info(path[0], principal)
        return Reply(200, _encode({"name": info.name, "versions": info.versions}))

    async def version(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        number = int(path[1]) if path[1].isdecimal() and len(path[1]) < 8 else path[1]
        return Reply(200, _encode(shown(self._schemas.version(path[0], number, principal))))

    async def add(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        faults: list[Fault] = []
        body = await read_object(request, self._bodies, MAX_BODY)
        take = Taker(body, faults)
        take.known(("kind", "schema", "message", "compatibility"))
        kind, level, message = (
            take.one_of("kind", KINDS), take.one_of("compatibility", LEVELS), take.text("message"),
        )  # fmt: skip
        faults += [Fault(name, "is required") for name in ("kind", "schema") if body.get(name) is None]
        _refuse(faults)
        given = body["schema"]
        text = given if isinstance(given, str) else _encode(given).decode()
        version, created = await self._schemas.add(path[0], kind, text, message, level, principal)
        location = (("Location", f"/v1/schemas/{path[0]}/versions/{version.version}"),) if created else ()
        return Reply(201 if created else 200, _encode(shown(version)), headers=location)


def shown_info(info: SchemaInfo) -> dict[str, Any]:
    return {"name": info.name, "compatibility": info.compatibility, "versions": info.versions}


def shown(version: SchemaVersion) -> dict[str, Any]:
    """A version as JSON: the text of a .proto file as it is, everything else as the JSON that it is."""
    # The text was parsed as JSON when it was added.
    schema = version.text if version.kind == "protobuf" else msgspec.Raw(version.text.encode())
    message = {} if version.message is None else {"message": version.message}
    return {
        "name": version.name, "version": version.version, "kind": version.kind, **message, "schema": schema,
        "created": version.created,
    }  # fmt: skip


def _refuse(faults: list[Fault]) -> None:
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InvalidSetting(f"{faults[0].where} {faults[0].message}{more}", faults=tuple(faults[:20]))
