"""Topics read as tables, for transforms that enrich: the newest JSON object of each key, in memory.

A table is opened when a transform first names it and stays; it follows its topic like any reader.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog

from auth.principal import ANONYMOUS
from gateway.address import Pattern
from gateway.delivery.outcome import EndOfStream
from gateway.delivery.position import EARLIEST
from gateway.delivery.reader import Reader, ReadRequest
from gateway.errors import InvalidInput, LinkspanError, Unavailable
from gateway.event import Event, default_key

#: Seconds that whoever names a table waits until it is loaded.
LOAD = 10.0
#: Tables of one gateway.
MAX_TABLES = 100
#: What a row weighs beside its bytes.
_ROW = 500

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_log = structlog.get_logger("linkspan.lookups")


class Lookups:
    """All tables; `max_bytes` bounds each. See routing.transforms.spec.Tables."""

    def __init__(self, reader: Reader, max_bytes: int) -> None:
        self._reader, self._max_bytes = reader, max_bytes
        self._tables: dict[str, Lookup] = {}

    def known(self, table: str) -> bool:
        """Whether the table is open and was read to its end."""
        there = self._tables.get(table)
        return there is not None and there.loaded.is_set() and not there.fault

    def get(self, table: str, key: str) -> dict[str, Any] | None:
        return self._tables[table].rows.get(key)

    async def open(self, table: str) -> None:
        """Return when the table is loaded. Raises UnknownTopic, Unavailable, InvalidInput."""
        there = self._tables.get(table)
        if there is not None and there.fault:
            await there.close()
            there = None
        if there is None:
            if table not in self._tables and len(self._tables) >= MAX_TABLES:
                raise InvalidInput(f"a gateway has at most {MAX_TABLES} tables to look up in")
            there = self._tables[table] = Lookup(table, self._max_bytes)
            try:
                await there.start(self._reader)
            except BaseException:
                del self._tables[table]
                raise
        try:
            async with asyncio.timeout(LOAD):
                await there.loaded.wait()
        except TimeoutError:
            raise Unavailable(f"table {table!r} is not loaded yet; try again later") from None
        if there.fault:
            raise InvalidInput(f"table {table!r} cannot be used: {there.fault}")

    async def close(self) -> None:
        for table in self._tables.values():
            await table.close()
        self._tables.clear()


class Lookup:
    """One table. `fault` says why it ended."""

    def __init__(self, topic: str, max_bytes: int) -> None:
        self.topic, self._max_bytes = topic, max_bytes
        self.rows: dict[str, dict[str, Any]] = {}
        self.loaded = asyncio.Event()
        self.fault = ""
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self, reader: Reader) -> None:
        """Raises what `Reader.open` raises."""
        request = ReadRequest((Pattern(self.topic, ("**",)),), EARLIEST)
        stream = await reader.open(request, ANONYMOUS)
        self._task = asyncio.get_running_loop().create_task(self._run(stream), name=f"lookup {self.topic}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, stream: Any) -> None:
        try:
            while True:
                delivery = await stream.known(None)
                if delivery is None:
                    self.loaded.set()
                    await stream.wait(None)
                    continue
                for event in delivery.events:
                    self._apply(event)
                if self._bytes > self._max_bytes:
                    raise InvalidInput(f"it has more than {self._max_bytes} bytes")
        except EndOfStream as end:
            self.fault = f"its topic ended: {end.reason}"
        except LinkspanError as error:
            self.fault = error.message
        finally:
            self.loaded.set()
            await stream.close()
        self.rows.clear()
        _log.warning("lookup_ended", topic=self.topic, reason=self.fault)

    def _apply(self, event: Event) -> None:
        encoded = event.key if event.key is not None else default_key(event.attributes)
        if encoded is None:
            return
        key, data = encoded.decode(errors="replace"), event.data
        self._bytes -= self._sizes.pop(key, 0)
        self.rows.pop(key, None)
        if data is None:
            return
        try:
            self.rows[key] = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            _log.debug("row_is_no_object", topic=self.topic, key=key[:100])
            return  # as if there were no row: the transform's policy for a miss says what then
        size = self._sizes[key] = len(data) + len(key) + _ROW
        self._bytes += size
