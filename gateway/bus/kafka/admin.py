"""Topics on Kafka: create, describe, alter, delete, and the settings that writing needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Literal, cast, get_args

import msgspec

from gateway.address import check_topic
from gateway.bus.contract import Compression, TopicHealth, TopicInfo, TopicSettings
from gateway.bus.kafka import errors, messages
from gateway.bus.kafka.cluster import Cluster
from gateway.bus.kafka.errors import Retry, Unreachable
from gateway.bus.kafka.messages import Outcome
from gateway.bus.kafka.metadata import TopicMeta
from gateway.bus.kafka.reading import Reading
from gateway.bus.kafka.wire import Request
from gateway.bus.settings import SettingBounds, refuse, setting_faults
from gateway.errors import BusUnavailable, Fault, UnknownTopic

RETENTION_MS, RETENTION_BYTES = "retention.ms", "retention.bytes"
CLEANUP, COMPRESSION, MAX_BYTES = "cleanup.policy", "compression.type", "max.message.bytes"
_KEYS = (RETENTION_MS, RETENTION_BYTES, CLEANUP, COMPRESSION, MAX_BYTES)
#: What we write where the topic leaves the compression to the producer.
DEFAULT_COMPRESSION: Compression = "zstd"
#: More partitions or copies than this are not asked for: their numbers have 16 bits.
_MOST = 32767
#: Settings older than this are asked for again, seconds.
FRESH = 5.0


class Config(msgspec.Struct, frozen=True):
    """The settings of a topic that matter to us, as the broker has them."""

    id: bytes
    retention_ms: int
    retention_bytes: int
    cleanup: Literal["delete", "compact"]
    compression: Compression
    max_bytes: int
    at: float = 0.0


#: Where the broker does not let us see them: Kafka's own defaults.
UNSEEN = {RETENTION_MS: "604800000", RETENTION_BYTES: "-1", CLEANUP: "delete", MAX_BYTES: "1048588"}


def config_of(topic_id: bytes, values: dict[str, str | None], at: float) -> Config:
    """Read Kafka's spelling; `compact,delete` counts as compact."""
    found = {**UNSEEN, **{key: value for key, value in values.items() if value is not None}}
    kind = found.get(COMPRESSION, "producer")
    kind = "none" if kind == "uncompressed" else kind
    return Config(
        topic_id,
        int(found[RETENTION_MS]),
        int(found[RETENTION_BYTES]),
        "compact" if "compact" in found[CLEANUP] else "delete",
        cast(Compression, kind) if kind in get_args(Compression) else DEFAULT_COMPRESSION,
        int(found[MAX_BYTES]),
        at,
    )


def config_entries(settings: TopicSettings) -> dict[str, str]:
    """The settings that are not None, in Kafka's spelling."""
    entries: dict[str, str] = {}
    for key, value in ((RETENTION_MS, settings.retention_ms), (RETENTION_BYTES, settings.retention_bytes)):
        if value is not None:
            entries[key] = str(value)
    if settings.cleanup is not None:
        entries[CLEANUP] = settings.cleanup
    if settings.compression is not None:
        entries[COMPRESSION] = "uncompressed" if settings.compression == "none" else settings.compression
    return entries


class Admin:
    """Administrative calls take up to `deadline` seconds, then BusUnavailable."""

    def __init__(self, cluster: Cluster, reading: Reading, deadline: float) -> None:
        self._cluster = cluster
        self._reading = reading
        self._deadline = deadline
        self._configs: dict[str, Config] = {}
        self._asking: dict[str, asyncio.Future[None]] = {}

    # -- settings -----------------------------------------------------------------------

    def config(self, topic: TopicMeta) -> Config | None:
        """The settings from memory; None when they are not known (any more)."""
        config = self._configs.get(topic.name)
        return config if config is not None and config.id == topic.id else None

    def outdate(self, topic: str) -> None:
        """Its settings turned out to be others: they are stale, and used only until they came."""
        config = self._configs.get(topic)
        if config is not None:
            self._configs[topic] = msgspec.structs.replace(config, at=float("-inf"))

    def stale(self, topics: Iterable[str]) -> list[str]:
        """Those whose settings want to be asked for again."""
        old = time.monotonic() - FRESH
        known = self._cluster.metadata.topics
        return [name for name in topics if name in known and self._age(known[name]) < old]

    def _age(self, topic: TopicMeta) -> float:
        config = self.config(topic)
        return config.at if config is not None else float("-inf")

    async def load(self, topics: Iterable[str]) -> None:
        """Ask for the settings of the topics. Raises Unreachable."""
        known = self._cluster.metadata.topics
        wanted = {name: known[name].id for name in topics if name in known}
        if not wanted:
            return
        answer = await self._cluster.call_any(messages.describe_configs(wanted, _KEYS))
        now = time.monotonic()
        for name, described in answer.items():
            if described.code not in (errors.UNKNOWN_TOPIC_OR_PARTITION, errors.REQUEST_TIMED_OUT):
                self._configs[name] = config_of(wanted[name], described.configs, now)
        for name in [name for name in self._configs if name not in known]:
            del self._configs[name]

    # -- topics -------------------------------------------------------------------------

    def names(self, internal: bool) -> list[str]:
        topics = self._cluster.metadata.topics.values()
        return sorted(topic.name for topic in topics if internal or not (topic.internal or topic.name.startswith("_")))

    async def describe(self, name: str) -> TopicInfo:
        """See `Bus.describe_topic`; the settings are at most FRESH seconds old."""
        return await self._reading.retrying(name, self._describe)

    async def _describe(self, meta: TopicMeta) -> TopicInfo:
        if self.stale([meta.name]):
            await self.load([meta.name])
        config = self.config(meta)
        if config is None:
            raise Retry("its settings cannot be had")
        return TopicInfo(
            meta.name,
            meta.epoch,
            len(meta.partitions),
            len(meta.partitions[0].replicas),
            config.retention_ms,
            config.retention_bytes,
            config.cleanup,
            config.compression,
            config.max_bytes,
        )

    def setting_faults(self, settings: TopicSettings, now: TopicInfo | None = None) -> tuple[Fault, ...]:
        """See `Bus.setting_faults`; the brokers are those of the latest metadata."""
        brokers = len(self._cluster.metadata.brokers)
        why = f"this Kafka has {brokers} broker{'' if brokers == 1 else 's'} up"
        return setting_faults(settings, now, SettingBounds(_MOST, brokers or _MOST, why))

    async def create(self, name: str, settings: TopicSettings) -> TopicInfo:
        check_topic(name, internal=True)
        refuse(self.setting_faults(settings))
        partitions, replication = _count(settings.partitions), _count(settings.replication)
        entries = config_entries(settings)
        request = messages.create_topic(name, partitions, replication, entries, self._patience())
        _raise(await self._ask(request, name), name)
        await self._until(name, lambda meta: meta is not None and meta.led)
        return await self.describe(name)

    async def alter(self, name: str, settings: TopicSettings) -> TopicInfo:
        """What can be checked is checked before anything is changed."""
        entries = config_entries(settings)
        info = await self.describe(name)
        refuse(self.setting_faults(settings, info))
        partitions = _count(settings.partitions)
        grows = partitions >= 0 and partitions != info.partitions
        if grows:
            check = messages.create_partitions(name, partitions, self._patience(), validate_only=True)
            _raise(await self._ask(check, name), name)
        if entries:
            _raise(await self._ask(messages.alter_configs(name, entries), name), name)
        if grows:
            _raise(await self._ask(messages.create_partitions(name, partitions, self._patience()), name), name)
            await self._until(name, lambda meta: meta is None or (len(meta.partitions) >= partitions and meta.led))
        return await self._altered(name, entries)

    async def _altered(self, name: str, entries: dict[str, str]) -> TopicInfo:
        # A broker applies a setting when it has caught up with the controller.
        end = time.monotonic() + self._deadline
        while True:
            self.outdate(name)
            info = await self.describe(name)
            meta = self._cluster.metadata.topics.get(name)
            config = self.config(meta) if meta is not None else None
            if config is None or all(_holds(config, key, value) for key, value in entries.items()):
                return info
            if time.monotonic() > end:
                raise BusUnavailable(f"topic {name!r}: Kafka does not apply its new settings")
            await asyncio.sleep(0.05)

    async def delete(self, name: str) -> None:
        meta = await self._reading.retrying(name, _itself)
        _raise(await self._ask(messages.delete_topic(name, self._patience()), name), name)
        self._cluster.forget(meta)

    async def health(self, name: str) -> TopicHealth:
        meta = await self._reading.retrying(name, _itself)
        return TopicHealth(
            tuple(n for n, part in enumerate(meta.partitions) if len(part.in_sync) < len(part.replicas)),
            tuple(n for n, part in enumerate(meta.partitions) if part.leader < 0),
        )

    def _patience(self) -> int:
        return round(self._deadline * 1000)

    async def _ask(self, request: Request, name: str) -> Outcome:
        """Send it until a broker decides. A repeat may find its own work done: then that stands."""
        end = time.monotonic() + (0.0 if self._cluster.down_for() > self._deadline else self._deadline)
        repeated = False
        while True:
            why = ""
            try:
                outcome: Outcome = await self._cluster.call_any(request, timeout=self._deadline)
                done = {"CreateTopics": errors.TOPIC_ALREADY_EXISTS, "DeleteTopics": errors.UNKNOWN_TOPIC_OR_PARTITION}
                if repeated and outcome.code == done.get(request.name):
                    return Outcome(errors.NONE)
                if outcome.code not in errors.ADMIN_RETRY:
                    return outcome
                why = errors.name_of(outcome.code)
            except Unreachable as error:
                why, repeated = str(error), True
            if time.monotonic() + 0.1 > end:
                raise BusUnavailable(f"topic {name!r}: Kafka does not answer: {why}")
            await asyncio.sleep(0.1)

    async def _until(self, name: str, condition: Callable[[TopicMeta | None], bool]) -> None:
        end = time.monotonic() + self._deadline
        while not condition(self._cluster.metadata.topics.get(name)):
            if time.monotonic() > end:
                raise BusUnavailable(f"topic {name!r}: Kafka took the request but does not show its result")
            await self._cluster.refreshed()


def _holds(config: Config, key: str, value: str) -> bool:
    now = {
        RETENTION_MS: str(config.retention_ms),
        RETENTION_BYTES: str(config.retention_bytes),
        CLEANUP: config.cleanup,
        COMPRESSION: "uncompressed" if config.compression == "none" else config.compression,
    }
    return now[key] == value


def _itself(meta: TopicMeta) -> Awaitable[TopicMeta]:
    future: asyncio.Future[TopicMeta] = asyncio.get_running_loop().create_future()
    future.set_result(meta)
    return future


def _count(value: int | None) -> int:
    return -1 if value is None else value


def _raise(outcome: Outcome, name: str) -> None:
    if outcome.code:
        raise errors.admin_error(outcome.code, outcome.message, name)


__all__ = ["Admin", "Config", "UnknownTopic", "config_entries", "config_of"]
