"""Events judged by their topic's schema, as objects and as columns alike."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, cast

import pytest

from auth.principal import ANONYMOUS
from gateway import judging as module
from gateway.bus.memory import MemoryBus
from gateway.columns import Columns
from gateway.errors import TooLarge, UnknownSchema
from gateway.event import Event
from gateway.formats import decode_batch
from gateway.judging import URN, decode, judge
from gateway.schemas import Schemas
from gateway.validation import TopicSchema
from routing.batch import Batch, Decode
from routing.filters.filter import compile_expr_filter
from routing.formats import Undecodable
from tests.unit.http_support import house
from tests.unit.test_schemas import obj, opened

pytestmark = pytest.mark.timeout(30)
TICK = TopicSchema("tick")
AVRO = TopicSchema("avro")
NUMBER = {"type": "integer"}


@pytest.fixture
async def schemas() -> AsyncIterator[Schemas]:
    bus = MemoryBus()
    await bus.start()
    async with opened(bus) as made:
        await made.add("tick", "json", obj("n", n=NUMBER), None, "none", ANONYMOUS)
        await made.add("avro", "avro", '{"type": "record", "name": "R", "fields": []}', None, "none", ANONYMOUS)
        await made.add("avro", "avro", '"int"', None, None, ANONYMOUS)
        yield made
    await bus.close()


def events(*datas: Any, **more: Any) -> Sequence[Event]:
    """A batch as a door decodes it: of one shape, and so in columns."""
    made = [
        {"specversion": "1.0", "id": str(n), "source": "/s", "type": "t", **more, "data": data}
        for n, data in enumerate(datas)
    ]
    decode_batch(json.dumps(made).encode(), 1000)  # learns the shape
    return decode_batch(json.dumps(made).encode(), 1000)


def event(data: bytes | None, content_type: str | None, **more: str | int | bool) -> Event:
    attributes: dict[str, str | int | bool] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", **more}
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    return Event(attributes, data)


async def test_columns_are_judged_and_stay_columns(schemas: Schemas) -> None:
    batch = events({"n": 1}, {"n": "x"}, {"n": 2}, datacontenttype="application/json", schemaerror="forged")
    assert isinstance(batch, Columns)
    assert judge(schemas, TICK, batch, tombstones=False) == {1: 'n: "x" is not of type "integer"'}
    assert batch.intact
    assert "schemaerror" not in batch.values


async def test_objects_are_judged_alike(schemas: Schemas) -> None:
    batch = [
        event(b'{"n": 1}', "application/json", schemaerror="forged"), event(b'{"n": 1}', None),
        event(b"x", "text/plain"),
        event(None, None), event(b'{"n": 1}', "application/json", dataschema="https://example.com/own"),
    ]  # fmt: skip
    assert judge(schemas, TICK, batch, tombstones=False) == {
        2: "is text/plain, where the schema asks for application/json", 3: "is missing: the topic has a schema",
    }  # fmt: skip
    assert list(judge(schemas, TICK, batch, tombstones=True)) == [2]
    assert "schemaerror" not in batch[0].attributes


async def test_every_event_may_have_a_content_type_of_its_own(schemas: Schemas) -> None:
    made = [
        {"specversion": "1.0", "id": str(n), "source": "/s", "type": "t", "datacontenttype": type_, "data": {"n": 1}}
        for n, type_ in enumerate(("application/json", "application/x+json", "application/json"))
    ]
    decode_batch(json.dumps(made).encode(), 1000)
    assert judge(schemas, TICK, decode_batch(json.dumps(made).encode(), 1000), tombstones=False) == {}


async def test_binary_events_tell_by_which_version_they_can_be_read(schemas: Schemas) -> None:
    batch = [event(b"\x02", "application/avro"), event(b"", "application/avro"), event(b"\x04", None)]
    assert list(judge(schemas, AVRO, batch, tombstones=False)) == [1]
    assert [one.attributes.get("dataschema") for one in batch] == [f"{URN}avro:2", None, f"{URN}avro:2"]
    assert decode(schemas, AVRO, batch[0]) == 1
    columns = Columns({"id": ["1", "2"], "datacontenttype": "application/avro"}, [b"\x02", b"\x04"], 2)
    assert judge(schemas, AVRO, columns, tombstones=False) == {}
    assert columns.intact
    assert columns.values["dataschema"] == f"{URN}avro:2"


async def test_an_event_may_name_a_version_of_the_schema(schemas: Schemas) -> None:
    old = event(b"", "application/avro", dataschema=f"{URN}avro:1")
    assert judge(schemas, AVRO, [old], tombstones=False) == {}
    assert old.attributes["dataschema"] == f"{URN}avro:1"
    assert decode(schemas, AVRO, old) == {}
    wrong = [event(b"", "application/avro", dataschema=URN + name) for name in ("avro:9", "tick:1", "avro:x")]
    assert judge(schemas, AVRO, wrong, tombstones=False) == {
        0: "schema 'avro' has no version 9", 1: f"names another schema than avro: {URN}tick:1",
        2: f"names another schema than avro: {URN}avro:x",
    }  # fmt: skip
    pinned = TopicSchema("avro", 2)
    assert judge(schemas, pinned, [old], tombstones=False) == {0: "names version 1, where the topic has version 2"}


async def test_payloads_are_read_by_the_schema_or_without_one(schemas: Schemas) -> None:
    assert decode(schemas, None, event(b"[1]", "application/json")) == [1]
    assert decode(schemas, None, event(b"[1]", None)) == [1]
    assert decode(schemas, AVRO, event(b"\x02", None)) == 1
    assert decode(schemas, TICK, event(b"\x01", "application/cbor")) == 1
    assert decode(schemas, None, event(b"\x02", "application/avro", dataschema=f"{URN}avro:2")) == 1
    with pytest.raises(UnknownSchema):
        decode(schemas, AVRO, event(b"", "application/avro", dataschema=f"{URN}gone:1"))
    for data, type_ in ((None, None), (b"\x02", "application/avro")):
        with pytest.raises(Undecodable):
            decode(schemas, None, event(data, type_))


async def test_filters_read_payloads_by_the_schema_of_their_topic() -> None:
    async with house() as home:
        added = await home.schemas.add(
            "order",
            "avro",
            '{"type": "record", "name": "R", "fields": [{"name": "n", "type": "int"}]}',
            None,
            None,
            ANONYMOUS,
        )
        assert added[0].version == 1
        made = [event(b"\x02", "application/avro"), event(b"\x08", "application/avro"), event(b"", "application/avro")]
        chosen = compile_expr_filter("data.n > 3")
        read = cast(Decode, partial(decode, home.schemas, TopicSchema("order")))
        assert chosen.places(Batch(made, decode=read)) == [1]
        assert chosen.places(Batch(made)) == []


async def test_a_schema_that_is_gone_lets_nothing_pass(schemas: Schemas) -> None:
    with pytest.raises(UnknownSchema):
        judge(schemas, TopicSchema("gone"), [event(b"1", None)], tombstones=False)


async def test_judging_ends_in_time(schemas: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JUDGE", -1.0)
    with pytest.raises(TooLarge, match="publish fewer at once"):
        judge(schemas, TICK, [event(b"1", None)], tombstones=False)
