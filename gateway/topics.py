"""Topics: the service behind every API that lists, makes, changes or removes one.

What the bus itself keeps (partitions, retention, ...) is asked of the bus; what only the gateway
knows (defaults for events, the schema) lives in the table `_linkspan.topics`, bound to the topic's epoch, so
that a topic made anew begins without it. Views are kept in memory for hot paths and re-read when
the bus tells of a change, and now and then, since others may alter a topic of Kafka.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
import structlog

from auth.principal import Principal
from gateway.address import check_topic
from gateway.bus.contract import Bus, TopicChange, TopicHealth, TopicInfo, TopicSettings
from gateway.bus.settings import refuse
from gateway.bus.tables import Table
from gateway.errors import Fault, Forbidden, InvalidAddress, LinkspanError, TopicExists, UnknownTopic
from gateway.schemas import Schemas
from gateway.validation import TopicSchema
from routing.attributes import attribute_fault

TABLE = "_linkspan.topics"
#: Seconds for which "there is no such topic" is believed without asking again.
UNKNOWN_FOR = 1.0
#: Seconds after which a view is read again.
REFRESH = 30.0
_UNKNOWN_KEPT = 10_000

Authorise = Callable[[Principal, str], bool]
_log = structlog.get_logger("linkspan.topics")


class TopicDefaults(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an event gets that a client published without saying. None: the gateway's default."""

    type: str | None = None

    def faults(self) -> tuple[Fault, ...]:
        """What no event may have."""
        fault = None if self.type is None else attribute_fault("type", self.type)
        return (Fault("defaults.type", fault),) if fault else ()


class TopicView(msgspec.Struct, frozen=True):
    """A topic as its users see it."""

    info: TopicInfo
    defaults: TopicDefaults
    schema: TopicSchema | None = None


class _Row(msgspec.Struct, frozen=True, omit_defaults=True):
    epoch: str
    defaults: TopicDefaults
    schema: TopicSchema | None = None


class Topics:
    """All calls on the event loop. `authorise(principal, topic)` answers for *manage*."""

    def __init__(
        self,
        bus: Bus,
        table: Table,
        authorise: Authorise,
        *,
        auto_create: bool = False,
        schemas: Schemas | None = None,
    ) -> None:
        self._bus, self._table, self._authorise, self._auto_create = bus, table, authorise, auto_create
        self._schemas = schemas
        if schemas is not None:
            schemas.used_by(self.with_schema)
        self._views: dict[str, TopicView] = {}
        self._unknown: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[TopicView]] = {}
        self._refresher: asyncio.Task[None] | None = None
        table.watch(self._row_changed)

    def start(self) -> None:
        """Begin to keep the views fresh; nothing is read before it is asked for."""
        self._refresher = asyncio.get_running_loop().create_task(self._refresh(), name="topics refresh")

    async def close(self) -> None:
        tasks = [task for task in (self._refresher, *self._asking.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def on_topic(self, name: str, change: TopicChange) -> None:
        """The bus tells of a change (see `TailSink.on_topic`)."""
        self._views.pop(name, None)
        if change is not TopicChange.DELETED:
            self._unknown.pop(name, None)

    def known(self, name: str) -> TopicView | None:
        """From memory: None means "ask `ensure`", not "does not exist"."""
        return self._views.get(name)

    def require(self, name: str) -> TopicView:
        """From memory. Raises UnknownTopic."""
        view = self._views.get(name)
        if view is None:
            raise UnknownTopic(name)
        return view

    async def ensure(self, name: str, principal: Principal) -> TopicView:
        """The topic, made on first use where `topics.auto_create` permits.

        Raises InvalidAddress, UnknownTopic, Forbidden and BusUnavailable.
        """
        view = self._views.get(name)
        if view is not None:
            return view
        check_topic(name)
        try:
            return await self._ask(name)
        except UnknownTopic:
            if not self._auto_create:
                raise
        view, _ = await self.put(name, TopicSettings(), None, principal)
        return view

    async def names(self) -> list[str]:
        """Of all topics that are not internal, in order."""
        return await self._bus.topics()

    async def list(self, principal: Principal) -> list[TopicView]:
        """All topics that are not internal, by name."""
        views = []
        for name in await self._bus.topics():
            if self._authorise(principal, name):
                try:
                    views.append(self._views.get(name) or await self._ask(name))
                except UnknownTopic:
                    continue  # deleted while we were listing
        return views

    async def get(self, name: str, principal: Principal) -> TopicView:
        """Freshly read. Raises InvalidAddress, UnknownTopic, Forbidden."""
        self._check(name, principal)
        return await self._ask(name, fresh=True)

    async def health(self, name: str, principal: Principal) -> TopicHealth:
        self._check(name, principal)
        return await self._bus.topic_health(name)

    async def put(
        self,
        name: str,
        settings: TopicSettings,
        defaults: TopicDefaults | None,
        principal: Principal,
        faults: Sequence[Fault] = (),
        schema: TopicSchema | None = None,
    ) -> tuple[TopicView, bool]:
        """Make the topic, or bring an existing one to these settings; True when it was made.

        What is not named stays as it is in an existing topic, and is the bus's default in a new
        one; None names no defaults, or no schema (`TopicSchema()` takes it away). Idempotent. Raises
        InvalidSetting with everything that is
        wrong (`faults` is what its door found), before anything is changed; InvalidAddress, Forbidden.
        """
        self._check(name, principal)
        faults = (*faults, *await self._schema_faults(name, schema, principal))
        created = False
        try:
            info = await self._bus.describe_topic(name)
        except UnknownTopic:
            self._judge(settings, defaults, None, faults)
            try:
                info = await self._bus.create_topic(name, settings)
                created = True
            except TopicExists:  # by another instance, meanwhile
                info = await self._bus.alter_topic(name, settings)
        else:
            self._judge(settings, defaults, info, faults)
            info = await self._alter(info, settings)
        self._unknown.pop(name, None)
        await self._set_row(info, defaults, schema)
        return self._remember(info), created

    async def patch(
        self,
        name: str,
        settings: TopicSettings,
        defaults: TopicDefaults | None,
        principal: Principal,
        faults: Sequence[Fault] = (),
        schema: TopicSchema | None = None,
    ) -> TopicView:
        """Change what is named; None leaves defaults and schema as they are. Raises as `put`, and UnknownTopic."""
        self._check(name, principal)
        faults = (*faults, *await self._schema_faults(name, schema, principal))
        info = await self._bus.describe_topic(name)
        self._judge(settings, defaults, info, faults)
        info = await self._alter(info, settings)
        await self._set_row(info, defaults, schema)
        return self._remember(info)

    async def delete(self, name: str, principal: Principal) -> None:
        """Remove the topic with all its events."""
        self._check(name, principal)
        await self._bus.delete_topic(name)
        self._views.pop(name, None)
        if self._table.get(name) is not None:
            await self._table.put(name, None)

    def _check(self, name: str, principal: Principal) -> None:
        check_topic(name)
        if not self._authorise(principal, name):
            raise Forbidden(f"{principal.id} may not manage {name!r}")

    def _judge(
        self, settings: TopicSettings, defaults: TopicDefaults | None, now: TopicInfo | None, faults: Sequence[Fault]
    ) -> None:
        """Raise InvalidSetting with all that is wrong."""
        own = () if defaults is None else defaults.faults()
        refuse((*faults, *self._bus.setting_faults(settings, now), *own))

    async def _alter(self, info: TopicInfo, settings: TopicSettings) -> TopicInfo:
        """Ask the bus only for what differs: an alteration costs it a round."""
        wanted = {
            key: value
            for key, value in msgspec.structs.asdict(settings).items()
            if value is not None and value != getattr(info, key)
        }
        return await self._bus.alter_topic(info.name, TopicSettings(**wanted)) if wanted else info

    async def _schema_faults(self, name: str, schema: TopicSchema | None, principal: Principal) -> Sequence[Fault]:
        """What is wrong with a topic's schema. Raises BusUnavailable while nobody knows the schemas."""
        if schema is None or not schema.name:
            return []
        if self._schemas is None:
            return [Fault("schema", "this gateway has no schemas")]
        faults = [*self._schemas.faults(schema), *schema.faults(name)]
        if schema.divert_to is not None:
            try:
                await self.get(schema.divert_to, principal)
            except (UnknownTopic, Forbidden, InvalidAddress) as error:
                faults.append(Fault("schema.divert_to", error.message))
        return faults

    async def with_schema(self, schema: str) -> Sequence[str]:
        """Topics that have this schema, by name."""
        names = []
        for name in sorted(name for name, _ in self._table.items()):
            try:
                row = self._row(await self._bus.describe_topic(name)) if self._names(name, schema) else None
            except UnknownTopic:
                continue
            if row is not None and row.schema is not None:
                names.append(name)
        return names

    def _names(self, name: str, schema: str) -> bool:
        row = self._read(name)
        return row is not None and row.schema is not None and row.schema.name == schema

    async def _set_row(self, info: TopicInfo, defaults: TopicDefaults | None, schema: TopicSchema | None) -> None:
        """Keep what is named."""
        now = self._row(info)
        wanted = _Row(
            info.epoch,
            now.defaults if defaults is None else defaults,
            now.schema if schema is None else schema if schema.name else None,
        )
        if wanted != now:
            await self._table.put(info.name, msgspec.json.encode(wanted))

    def _row(self, info: TopicInfo) -> _Row:
        """What is kept of this topic, and not of an earlier one of its name."""
        row = self._read(info.name)
        return row if row is not None and row.epoch == info.epoch else _Row(info.epoch, TopicDefaults())

    def _read(self, name: str) -> _Row | None:
        value = self._table.get(name)
        if value is None:
            return None
        try:
            return msgspec.json.decode(value, type=_Row)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.error("topic_row_unreadable", topic=name, reason=str(error))
            return None

    def _remember(self, info: TopicInfo) -> TopicView:
        row = self._row(info)
        view = self._views[info.name] = TopicView(info, row.defaults, row.schema)
        return view

    async def _ask(self, name: str, *, fresh: bool = False) -> TopicView:
        """Describe once for all who ask at the same time."""
        if not fresh and self._unknown.get(name, 0.0) > time.monotonic():
            raise UnknownTopic(name)
        task = self._asking.get(name)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._describe(name), name=f"describe {name}")
            self._asking[name] = task
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(task)

    async def _describe(self, name: str) -> TopicView:
        try:
            return self._remember(await self._bus.describe_topic(name))
        except UnknownTopic:
            self._views.pop(name, None)
            if len(self._unknown) >= _UNKNOWN_KEPT:
                self._unknown.clear()
            self._unknown[name] = time.monotonic() + UNKNOWN_FOR
            raise

    def _row_changed(self, name: str, value: bytes | None) -> None:
        view = self._views.get(name)
        if view is not None:
            self._remember(view.info)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            for name in list(self._views):
                try:
                    await self._describe(name)
                except UnknownTopic:
                    continue  # _describe has forgotten it
                except LinkspanError as error:
                    _log.warning("topics_not_refreshed", reason=error.message)
                    break
