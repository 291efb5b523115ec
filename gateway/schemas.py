"""Schemas: the service behind every API that lists, adds or removes one, and what topics are judged by.

They live in the table `_linkspan.schemas`: a row for each version, `name/1`, `name/2`, ..., which
never changes, and a row `name` with the level of compatibility. A new version is compared with
the latest one. Versions are compiled when they are first used; the text of a .proto file is
compiled once, when it is added, and its descriptors are kept beside it.

Two instances that add a version of one name at the same moment may both take the same number:
the later one wins everywhere, as in every table. Add schemas from one place.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec
import structlog

from auth.principal import Principal
from gateway.bus.tables import Table
from gateway.errors import (
    BusUnavailable,
    Conflict,
    CorruptData,
    Fault,
    Forbidden,
    IncompatibleSchema,
    InvalidInput,
    InvalidSchema,
    Limited,
    UnknownSchema,
)
from gateway.event import now_rfc3339
from gateway.validation import TopicSchema
from routing.schemas import InvalidSchema as Unusable
from routing.schemas import Level, Schema, SchemaKind, compatible, compile_schema

TABLE = "_linkspan.schemas"
#: What `dataschema` holds of events that were judged by a version of ours: this, name and version.
URN = "urn:linkspan:schema:"
MAX_NAMES = 1000
MAX_VERSIONS = 1000
#: Seconds that judging one publish may take.
JUDGE = 1.0
#: Bytes from which on a row is kept compressed.
COMPRESS = 64 * 1024
#: Seconds that a change waits for the table.
WAIT = 10.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")
_URN = re.compile(rf"{URN}([A-Za-z0-9._-]+):([1-9][0-9]{{0,6}})\Z")
Authorise: TypeAlias = Callable[[Principal, str], bool]
Users: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
_log = structlog.get_logger("linkspan.schemas")


class SchemaVersion(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a schema; `descriptors` are what a .proto file was compiled to, in base64."""

    name: str
    version: int
    kind: SchemaKind
    text: str
    created: str
    message: str | None = None
    descriptors: str | None = None


class SchemaInfo(msgspec.Struct, frozen=True):
    """A schema as its users see it."""

    name: str
    compatibility: Level
    versions: tuple[int, ...]


class _LevelRow(msgspec.Struct, frozen=True):
    compatibility: Level


class Schemas:
    """All calls on the event loop. `authorise(principal, name)` answers for *manage*."""

    def __init__(self, table: Table, authorise: Authorise) -> None:
        self._table, self._authorise = table, authorise
        self._versions: dict[str, set[int]] = {}
        self._compiled: dict[tuple[str, int], Schema] = {}
        self._adding = asyncio.Lock()
        self._users: list[Users] = []
        table.watch(self._row_changed)

    def used_by(self, users: Users) -> None:
        """Ask also these which topics use a schema, before it is deleted."""
        self._users.append(users)

    # What is there

    def list(self, principal: Principal) -> list[SchemaInfo]:
        """All schemas, by name. Raises BusUnavailable while the table is not loaded."""
        self._check_loaded()
        return [self._info(name) for name in sorted(self._versions) if self._authorise(principal, name)]

    def info(self, name: str, principal: Principal) -> SchemaInfo:
        """Raises UnknownSchema, Forbidden, InvalidInput, BusUnavailable."""
        self._check(name, principal)
        self._check_loaded()
        self.number(name, "latest")
        return self._info(name)

    def version(self, name: str, version: int | str, principal: Principal) -> SchemaVersion:
        """One version, or the `latest`. Raises as `info`."""
        self._check(name, principal)
        self._check_loaded()
        return self._read(name, self.number(name, version))

    def get(self, name: str) -> Schema | None:
        """The latest version compiled, or of `name/3` the third; None: there is no such (see routing.transforms)."""
        name, _, number = name.partition("/")
        try:
            return self.compiled(name, int(number) if number.isdecimal() and len(number) < 8 else number or "latest")
        except UnknownSchema:
            return None

    def compiled(self, name: str, version: int | str = "latest") -> Schema:
        """Raises UnknownSchema, BusUnavailable, and CorruptData for a row that cannot be used."""
        self._check_loaded()
        key = (name, self.number(name, version))
        schema = self._compiled.get(key)
        if schema is None:
            row = self._read(*key)
            try:
                schema = compile_schema(row.kind, row.text, row.message, row.descriptors)
            except Unusable as error:
                _log.error("schema_unusable", schema=name, version=key[1], reason=error.message)
                raise CorruptData(f"version {key[1]} of schema {name!r} cannot be used: {error.message}") from None
            self._compiled[key] = schema
        return schema

    # Changes

    async def add(
        self, name: str, kind: SchemaKind, text: str, message: str | None, level: Level | None, principal: Principal
    ) -> tuple[SchemaVersion, bool]:
        """The next version; False when it is what the latest one is. `level` is kept for the schema from now on.

        Raises InvalidSchema, IncompatibleSchema with the reasons, Forbidden, InvalidInput, Limited,
        TooLarge and what `Table.put` raises.
        """
        self._check(name, principal)
        await self._table.wait(WAIT)
        async with self._adding:
            schema = await self._compile(kind, text, message)
            numbers = self._versions.get(name, set())
            if numbers:
                latest = self._read(name, max(numbers))
                wanted = level or self._level(name)
                before = self.compiled(name, latest.version)
                if (latest.kind, latest.text, before.message) == (kind, text, schema.message):
                    await self._set_level(name, wanted)
                    return latest, False
                self._agree(name, await asyncio.to_thread(compatible, before, schema, wanted), wanted)
            self._check_room(numbers)
            row = SchemaVersion(
                name=name,
                version=max(numbers, default=0) + 1,
                kind=kind,
                text=text,
                created=now_rfc3339(),
                message=schema.message,
                descriptors=schema.descriptors,
            )
            await self._set_level(name, level or self._level(name))
            await self._table.put(f"{name}/{row.version}", _packed(row))
            self._compiled[name, row.version] = schema
            return row, True

    async def set_level(self, name: str, level: Level, principal: Principal) -> SchemaInfo:
        """Set what the next version is held to. Raises as `info`."""
        self._check(name, principal)
        await self._table.wait(WAIT)
        async with self._adding:
            self.number(name, "latest")
            await self._set_level(name, level)
            return self._info(name)

    async def delete(self, name: str, principal: Principal) -> None:
        """Remove it with all versions. Raises Conflict while topics use it, and as `info`."""
        self._check(name, principal)
        await self._table.wait(WAIT)
        async with self._adding:
            self.number(name, "latest")
            topics = [topic for users in self._users for topic in await users(name)]
            if topics:
                raise Conflict(f"schema {name!r} is used by {', '.join(topics[:10])}", topics=topics)
            for number in sorted(self._versions[name]):
                await self._table.put(f"{name}/{number}", None)
            await self._table.put(name, None)

    def faults(self, setting: TopicSchema) -> Sequence[Fault]:
        """What a topic's setting names that is not there. Raises BusUnavailable."""
        self._check_loaded()
        if setting.name not in self._versions:
            return [Fault("schema.name", f"there is no schema {setting.name[:80]!r}")]
        if setting.version != "latest" and setting.version not in self._versions[setting.name]:
            known = ", ".join(map(str, sorted(self._versions[setting.name])[-10:]))
            return [Fault("schema.version", f"there is no version {setting.version}; there are {known}")]
        return []

    # Within

    def _check(self, name: str, principal: Principal) -> None:
        if not _NAME.match(name):
            told = "a schema's name has 1 to 200 characters of A-Z, a-z, 0-9, '.', '_', '-', a letter or digit first"
            raise InvalidInput(told, faults=(Fault("name", told),))
        if not self._authorise(principal, name):
            raise Forbidden(f"{principal.id} may not manage schema {name!r}")

    def _check_loaded(self) -> None:
        if not self._table.loaded:
            raise BusUnavailable(f"schemas are not loaded yet: {self._table.fault}")

    def _check_room(self, numbers: set[int]) -> None:
        if not numbers and len(self._versions) >= MAX_NAMES:
            raise Limited(f"there are {MAX_NAMES} schemas; delete one first")
        if len(numbers) >= MAX_VERSIONS:
            raise Limited(f"a schema has at most {MAX_VERSIONS} versions")

    def number(self, name: str, version: int | str) -> int:
        """Which version is meant. Raises UnknownSchema, BusUnavailable."""
        self._check_loaded()
        numbers = self._versions.get(name)
        if not numbers:
            raise UnknownSchema(f"schema {name[:80]!r} does not exist", schema=name)
        if version == "latest":
            return max(numbers)
        if version not in numbers:
            raise UnknownSchema(f"schema {name!r} has no version {str(version)[:20]}", schema=name)
        return int(version)

    def _info(self, name: str) -> SchemaInfo:
        return SchemaInfo(name, self._level(name), tuple(sorted(self._versions[name])))

    def _level(self, name: str) -> Level:
        row = self._table.get(name)
        try:
            return "backward" if row is None else msgspec.json.decode(row, type=_LevelRow).compatibility
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.error("schema_row_unreadable", schema=name, reason=str(error))
            return "backward"

    async def _set_level(self, name: str, level: Level) -> None:
        if level != self._level(name):
            await self._table.put(name, msgspec.json.encode(_LevelRow(level)))

    def _read(self, name: str, number: int) -> SchemaVersion:
        row = self._table.get(f"{name}/{number}")
        try:
            return _unpacked(row or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, zlib.error) as error:
            raise CorruptData(f"version {number} of schema {name!r} cannot be read: {error}") from None

    async def _compile(self, kind: SchemaKind, text: str, message: str | None) -> Schema:
        try:
            return await asyncio.to_thread(compile_schema, kind, text, message)
        except Unusable as error:
            detail: dict[str, Any] = {}
            if error.position is not None:
                detail = {"position": error.position, "caret": error.caret(text)}
            raise InvalidSchema(
                f"the {kind} schema {error.message}", faults=(Fault("schema", error.message),), **detail
            ) from None

    def _agree(self, name: str, reasons: Sequence[str], level: Level) -> None:
        if reasons:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise IncompatibleSchema(
                f"schema {name!r} asks for {level} compatibility: {reasons[0]}{more}",
                faults=tuple(Fault("schema", reason) for reason in reasons[:20]),
            )

    def _row_changed(self, key: str, value: bytes | None) -> None:
        name, _, number = key.partition("/")
        if not number.isdecimal():
            return
        self._compiled.pop((name, int(number)), None)
        numbers = self._versions.setdefault(name, set())
        if value is None:
            numbers.discard(int(number))
        else:
            numbers.add(int(number))
        if not numbers:
            del self._versions[name]


def _packed(row: SchemaVersion) -> bytes:
    encoded = msgspec.json.encode(row)
    return encoded if len(encoded) < COMPRESS else zlib.compress(encoded)


def _unpacked(row: bytes) -> SchemaVersion:
    return msgspec.json.decode(row if row[:1] == b"{" else zlib.decompress(row), type=SchemaVersion)
