"""Topics read as tables: the newest object of each key, for transforms that enrich."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway import lookups as module
from gateway.errors import InvalidInput, Unavailable, UnknownTopic
from gateway.event import Event
from gateway.lookups import Lookups
from tests.unit.live_support import until
from tests.unit.reading_support import Rig, a_rig


@asynccontextmanager
async def tables(max_bytes: int = 10**6) -> AsyncIterator[tuple[Rig, Lookups]]:
    async with a_rig() as rig:
        await rig.topic("instruments", 3)
        made = Lookups(rig.reader, max_bytes)
        try:
            yield rig, made
        finally:
            await made.close()


def row(key: str, data: bytes | None) -> Event:
    attributes: dict[str, str | int | bool] = {"id": "r", "source": "/", "type": "row", "specversion": "1.0"}
    return Event(attributes, data, key.encode())


async def test_it_holds_the_newest_row_of_each_key_and_follows_its_topic() -> None:
    async with tables() as (rig, found):
        await rig.put("instruments", row("a", b'{"n": 1}'), row("b", b'{"n": 2}'), row("a", b'{"n": 3}'))
        assert not found.known("instruments")
        await found.open("instruments")
        assert found.known("instruments")
        assert (found.get("instruments", "a"), found.get("instruments", "c")) == ({"n": 3}, None)
        await rig.put("instruments", row("c", b'{"n": 4}'), row("b", None))
        await until(lambda: found.get("instruments", "c") == {"n": 4})
        await until(lambda: found.get("instruments", "b") is None)


async def test_the_subject_is_the_key_of_events_without_one_and_other_data_is_no_row() -> None:
    async with tables() as (rig, found):
        keyed = row("x", b'{"n": 1}')
        subject = Event({**keyed.attributes, "subject": "eq/AAPL"}, b'{"n": 2}')
        await rig.put("instruments", keyed, subject, row("x", b"no json"), Event(dict(keyed.attributes), b"{}"))
        await found.open("instruments")
        assert found.get("instruments", "eq/AAPL") == {"n": 2}
        assert found.get("instruments", "x") is None


async def test_a_table_that_is_not_there_or_too_large_cannot_be_used() -> None:
    async with tables(max_bytes=2000) as (rig, found):
        with pytest.raises(UnknownTopic):
            await found.open("missing")
        await rig.put("instruments", *(row(str(n), b"{}") for n in range(10)))
        with pytest.raises(InvalidInput, match="more than 2000 bytes"):
            await found.open("instruments")
        assert not found.known("instruments")


async def test_a_table_whose_topic_was_deleted_is_opened_anew() -> None:
    async with tables() as (rig, found):
        await rig.put("instruments", row("a", b'{"n": 1}'))
        await found.open("instruments")
        await rig.bus.delete_topic("instruments")
        await until(lambda: not found.known("instruments"))
        with pytest.raises(UnknownTopic):
            await found.open("instruments")
        await rig.topic("instruments")
        await rig.put("instruments", row("a", b'{"n": 2}'))
        await found.open("instruments")
        assert found.get("instruments", "a") == {"n": 2}


async def test_tables_are_bounded_and_loading_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TABLES", 1)
    monkeypatch.setattr(module, "LOAD", 0.05)
    async with tables() as (rig, found):
        await rig.put("instruments", row("a", b"{}"))
        release = rig.bus.hold("read")
        with pytest.raises(Unavailable, match="not loaded yet"):
            await found.open("instruments")
        release()
        await rig.topic("other")
        with pytest.raises(InvalidInput, match="at most 1"):
            await found.open("other")
        await until(lambda: found.known("instruments"))
