"""The schema service: versions that follow one another, and what it keeps of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from auth.principal import ANONYMOUS, Principal
from gateway import schemas as module
from gateway.bus.memory import MemoryBus
from gateway.bus.tables import Table
from gateway.errors import (
    BusUnavailable,
    Conflict,
    CorruptData,
    Forbidden,
    IncompatibleSchema,
    InvalidInput,
    InvalidSchema,
    Limited,
    UnknownSchema,
)
from gateway.schemas import TABLE, Schemas
from gateway.validation import TopicSchema
from routing.schemas import compile_schema
from tests.unit.test_tables import follow_of

pytestmark = pytest.mark.timeout(30)
NOBODY = Principal("nobody")
PROTO = 'syntax = "proto3"; package p; message A { int32 a = 1; } message B { string b = 1; }'


def obj(*required: str, **properties: Any) -> str:
    return json.dumps({"type": "object", "properties": properties, "required": required})


@asynccontextmanager
async def opened(bus: MemoryBus) -> AsyncIterator[Schemas]:
    table = Table(bus, TABLE, follow_of(bus), "//test")
    schemas = Schemas(table, lambda who, name: who.id != "nobody")
    table.start()
    await table.wait(5)
    try:
        yield schemas
    finally:
        await table.close()


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus()
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
async def schemas(bus: MemoryBus) -> AsyncIterator[Schemas]:
    async with opened(bus) as made:
        yield made


async def test_versions_are_numbered_and_kept(bus: MemoryBus, schemas: Schemas) -> None:
    first, created = await schemas.add("tick", "json", obj(a={}), None, None, ANONYMOUS)
    assert (first.version, created) == (1, True)
    second, created = await schemas.add("tick", "json", obj(a={}, b={}), None, "full", ANONYMOUS)
    assert (second.version, created) == (2, True)
    again, created = await schemas.add("tick", "json", obj(a={}, b={}), None, None, ANONYMOUS)
    assert (again, created) == (second, False)
    async with opened(bus) as other:
        assert [info.name for info in other.list(ANONYMOUS)] == ["tick"]
        info = other.info("tick", ANONYMOUS)
        assert (info.compatibility, info.versions) == ("full", (1, 2))
        assert other.version("tick", 1, ANONYMOUS) == first
        assert other.version("tick", "latest", ANONYMOUS) == second
        assert other.compiled("tick").text == second.text
        assert other.compiled("tick", 1) is other.compiled("tick", 1)


async def test_a_version_that_breaks_the_level_is_refused_with_the_reasons(schemas: Schemas) -> None:
    await schemas.add("tick", "json", obj(a={}), None, None, ANONYMOUS)
    with pytest.raises(IncompatibleSchema, match="asks for backward compatibility: backward: a is required") as refused:
        await schemas.add("tick", "json", obj("a", "b", a={}), None, None, ANONYMOUS)
    assert len(refused.value.faults) == 2
    assert schemas.info("tick", ANONYMOUS).versions == (1,)
    await schemas.set_level("tick", "none", ANONYMOUS)
    version, _ = await schemas.add("tick", "json", obj("a", "b", a={}), None, None, ANONYMOUS)
    assert version.version == 2
    with pytest.raises(IncompatibleSchema, match="was json and is avro"):
        await schemas.add("tick", "avro", '"int"', None, "backward", ANONYMOUS)
    assert schemas.info("tick", ANONYMOUS).compatibility == "none", "a refused version changes nothing"


async def test_a_level_alone_may_change_with_the_same_version(schemas: Schemas) -> None:
    await schemas.add("tick", "json", obj(), None, None, ANONYMOUS)
    await schemas.add("tick", "json", obj(), None, "forward", ANONYMOUS)
    info = schemas.info("tick", ANONYMOUS)
    assert (info.compatibility, info.versions) == ("forward", (1,))


async def test_a_schema_that_cannot_be_used_is_refused_with_its_place(schemas: Schemas) -> None:
    with pytest.raises(InvalidSchema, match="the json schema is not JSON") as refused:
        await schemas.add("tick", "json", '{"type": oops}', None, None, ANONYMOUS)
    assert refused.value.detail == {"position": 9, "caret": '{"type": oops}\n         ^'}
    with pytest.raises(InvalidSchema, match=r"the protobuf schema line 1:\d+"):
        await schemas.add("tick", "protobuf", "message A {", None, None, ANONYMOUS)
    assert schemas.list(ANONYMOUS) == []


async def test_proto_text_is_compiled_once(bus: MemoryBus, schemas: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    added, _ = await schemas.add("tick", "protobuf", PROTO, "B", None, ANONYMOUS)
    assert added.message == "p.B"
    again, created = await schemas.add("tick", "protobuf", PROTO, "p.B", None, ANONYMOUS)
    assert (again, created) == (added, False)
    monkeypatch.setattr("routing.schemas.protobuf.descriptors_of", lambda text: pytest.fail("compiled again"))
    async with opened(bus) as other:
        assert other.compiled("tick").decode(b"\x0a\x01x") == {"b": "x"}


async def test_large_schemas_are_kept_compressed(bus: MemoryBus, schemas: Schemas) -> None:
    text = json.dumps({"enum": [f"value{n}" for n in range(60_000)]})
    await schemas.add("large", "json", text, None, None, ANONYMOUS)
    rows = [event for batch in await bus.read(TABLE, 0, 0, 2**30) for event in batch.events]
    assert max(len(event.data or b"") for event in rows) < len(text) // 2
    async with opened(bus) as other:
        assert other.version("large", 1, ANONYMOUS).text == text


async def test_deleting_takes_all_versions_and_begins_anew(bus: MemoryBus, schemas: Schemas) -> None:
    for text in (obj(a={}), obj(a={}, b={})):
        await schemas.add("tick", "json", text, None, "full", ANONYMOUS)
    await schemas.delete("tick", ANONYMOUS)
    assert schemas.list(ANONYMOUS) == []
    assert schemas.get("tick") is None
    again, _ = await schemas.add("tick", "avro", '"int"', None, None, ANONYMOUS)
    assert again.version == 1
    assert schemas.compiled("tick").kind == "avro"
    assert schemas.info("tick", ANONYMOUS).compatibility == "backward"


async def test_a_schema_in_use_is_not_deleted(schemas: Schemas) -> None:
    await schemas.add("tick", "json", obj(), None, None, ANONYMOUS)

    async def users(name: str) -> list[str]:
        return [f"topic-of-{name}"]

    schemas.used_by(users)
    with pytest.raises(Conflict, match="is used by topic-of-tick"):
        await schemas.delete("tick", ANONYMOUS)
    assert schemas.info("tick", ANONYMOUS).versions == (1,)


async def test_what_is_not_there_is_told(schemas: Schemas) -> None:
    await schemas.add("tick", "json", obj(), None, None, ANONYMOUS)
    for call in (
        lambda: schemas.info("none", ANONYMOUS), lambda: schemas.version("tick", 2, ANONYMOUS),
        lambda: schemas.version("tick", "x", ANONYMOUS), lambda: schemas.compiled("none"),
    ):  # fmt: skip
        with pytest.raises(UnknownSchema):
            call()
    for change in (schemas.delete("none", ANONYMOUS), schemas.set_level("none", "full", ANONYMOUS)):
        with pytest.raises(UnknownSchema):
            await change
    assert schemas.get("none") is None
    assert schemas.get("tick/2") is None
    assert schemas.get("tick/x") is None
    assert schemas.get("tick/1") is schemas.get("tick")
    assert [fault.where for fault in schemas.faults(TopicSchema("none"))] == ["schema.name"]
    assert [fault.message for fault in schemas.faults(TopicSchema("tick", 7))] == ["there is no version 7; there are 1"]
    assert schemas.faults(TopicSchema("tick", 1)) == []


async def test_names_and_rights_are_checked(schemas: Schemas) -> None:
    for name in ("", "_tick", "a/b", "x" * 201, "."):
        with pytest.raises(InvalidInput):
            schemas.info(name, ANONYMOUS)
    await schemas.add("tick", "json", obj(), None, None, ANONYMOUS)
    assert schemas.list(NOBODY) == []
    with pytest.raises(Forbidden):
        schemas.info("tick", NOBODY)
    for change in (
        schemas.add("tick", "json", obj(), None, None, NOBODY), schemas.delete("tick", NOBODY),
        schemas.set_level("tick", "none", NOBODY),
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            await change


async def test_there_is_an_end_to_names_and_versions(schemas: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 1)
    monkeypatch.setattr(module, "MAX_VERSIONS", 2)
    await schemas.add("tick", "json", obj(), None, "none", ANONYMOUS)
    await schemas.add("tick", "json", obj(a={}), None, None, ANONYMOUS)
    with pytest.raises(Limited, match="at most 2 versions"):
        await schemas.add("tick", "json", obj(b={}), None, None, ANONYMOUS)
    with pytest.raises(Limited, match="delete one first"):
        await schemas.add("tock", "json", obj(), None, None, ANONYMOUS)


async def test_two_who_add_at_once_get_two_versions(schemas: Schemas) -> None:
    added = await asyncio.gather(
        *(schemas.add("tick", "json", obj(**{name: {}}), None, None, ANONYMOUS) for name in "abcd")
    )
    assert sorted(version.version for version, _ in added) == [1, 2, 3, 4]


async def test_nothing_is_known_before_the_table_is_loaded(bus: MemoryBus) -> None:
    schemas = Schemas(Table(bus, TABLE, follow_of(bus), "//test"), lambda who, name: True)
    for call in (
        lambda: schemas.list(ANONYMOUS), lambda: schemas.info("tick", ANONYMOUS), lambda: schemas.compiled("tick"),
        lambda: schemas.faults(TopicSchema("tick")),
    ):  # fmt: skip
        with pytest.raises(BusUnavailable, match="not loaded yet"):
            call()


async def test_rows_that_cannot_be_read_are_told(schemas: Schemas) -> None:
    await schemas.add("tick", "json", obj(), None, "full", ANONYMOUS)
    await schemas._table.put("tick", b"{")
    assert schemas.info("tick", ANONYMOUS).compatibility == "backward"
    for row in (b"{", b"\x00", b""):
        await schemas._table.put("tick/1", row)
        with pytest.raises(CorruptData, match="version 1 of schema 'tick' cannot be read"):
            schemas.version("tick", 1, ANONYMOUS)
    good = {"name": "tick", "version": 1, "kind": "json", "text": "oops", "created": "2026-01-01T00:00:00Z"}
    await schemas._table.put("tick/1", json.dumps(good).encode())
    with pytest.raises(CorruptData, match="cannot be used"):
        schemas.compiled("tick")


def test_what_the_service_compiles_is_what_anybody_compiles() -> None:
    assert compile_schema("json", obj()).check(b"{}") is None
