"""The whole: builds the parts, starts them in order, drains and closes them in reverse.

The only place that knows all parts; it knows protocols only as plug-ins.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog

from auth.principal import ANONYMOUS, Principal
from gateway.bus.contract import Bus, TopicChange
from gateway.bus.tables import Table
from gateway.config.load import Loaded
from gateway.config.model import AdminSettings, Config, EmbeddedBus, Limits, ListenerSettings, TopicConfig
from gateway.delivery.live import Views
from gateway.delivery.reader import Reader
from gateway.delivery.tail import TailHub
from gateway.errors import BusUnavailable, LinkspanError, Unauthenticated, UnknownTopic
from gateway.event import Event
from gateway.ingress import Ingress
from gateway.judging import decode
from gateway.lookups import Lookups
from gateway.operate.admin import AdminServer
from gateway.operate.connections import Connections
from gateway.operate.health import Health, Phase
from gateway.operate.metrics import Metrics
from gateway.operate.runtime import register_build_info, tune_collector, watch_loop
from gateway.operate.tls import TlsContexts
from gateway.plugin import BoundAddress, Listener, Plugin
from gateway.refining import Refiner
from gateway.routes import Router, Workflow
from gateway.schemas import TABLE as SCHEMAS_TABLE
from gateway.schemas import Schemas
from gateway.topics import TABLE, TopicDefaults, Topics
from gateway.trial import Trial
from gateway.validation import TopicSchema
from gateway.version import VERSION
from routing.batch import Decode, EventLike

#: Seconds that a start waits for Kafka, and for what is made on the log, before it opens the doors without them.
START_WAIT = 1.0
#: Seconds that one attempt to make the configured topics waits for the log, and the pause after it.
ATTEMPT = 5.0
RETRY = 1.0

_log = structlog.get_logger("linkspan")


class StartFailed(LinkspanError):
    """The gateway could not start; `faults` name every listener and why."""

    code = "start_failed"


class App:
    """One gateway process. `build` has no side effects; `start`, `drain`, `close` are its life."""

    def __init__(self, loaded: Loaded, plugins: Mapping[str, Plugin]) -> None:
        config = self.config = loaded.config
        self.name = config.name
        self.limits: Limits = config.limits
        self.notes = loaded.notes
        self.logger: Any = _log
        # Without authenticators whoever reaches a listener is anonymous. Listeners off loopback
        # are refused by the configuration's checks unless `auth.anonymous` says so.
        self.anonymous = True
        self.metrics = Metrics()
        self.connections = Connections()
        self.health = Health()
        self.bus: Bus = make_bus(config)
        self.hub = TailHub(self.bus)
        self.table = Table(self.bus, TABLE, self.hub.wake_on, f"//{self.name}")
        self.schema_table = Table(self.bus, SCHEMAS_TABLE, self.hub.wake_on, f"//{self.name}")
        self.schemas = Schemas(self.schema_table, permitted)
        self.topics = Topics(
            self.bus, self.table, permitted, auto_create=config.topics.auto_create, schemas=self.schemas
        )
        flows = [Workflow(name, flow.topic or name, flow.description) for name, flow in config.workflows.items()]
        self.router = Router(config.routes, flows, self.metrics, self.topics.ensure, self._decode_of)
        self.ingress = Ingress(self.bus, self.topics, self.limits, self.metrics, permitted, self.schemas, self.router)
        self.reader = Reader(self.bus, self.hub, self.limits, metrics=self.metrics, authorise=permitted)
        self.lookups = Lookups(self.reader, self.limits.memory)
        self.refiner = Refiner(
            self.ingress,
            self.topics,
            self.lookups,
            self.metrics,
            permitted,
            schemas=self.schemas,
            decode_of=self._decode_of,
        )
        self.trial = Trial(self.refiner, self.router)
        self.views = Views(self.reader, self.hub, self.limits, self.metrics)
        self.ingress.when_due(self.views.due)
        self.addresses: list[BoundAddress] = []
        self._tls = TlsContexts(self.metrics)
        self._listeners: list[tuple[str, ListenerSettings, Listener]] = [
            (name, settings, plugins[name].build(settings, self))
            for name, many in config.listeners.items()
            if name in plugins
            for settings in many
        ]
        self._admins: list[AdminServer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._missing = {name: TopicConfig() for name in self.router.topics()} | dict(config.topics.create)
        self._failed: list[str] = []
        self._started = False

    @classmethod
    def build(cls, loaded: Loaded, plugins: Mapping[str, Plugin]) -> App:
        """From a checked configuration and the installed plug-ins."""
        return cls(loaded, plugins)

    # What plug-ins see of it (gateway.plugin.Gateway)

    def tls(self, settings: ListenerSettings) -> ssl.SSLContext | None:
        return None if settings.tls is None else self._tls.context(settings.tls)

    def authenticate(self, credentials: str | None) -> Principal:
        """Raises Unauthenticated: credentials that nobody can verify are refused, not ignored."""
        if credentials is not None:
            raise Unauthenticated("credentials were sent, but this gateway has no authenticator to verify them")
        return ANONYMOUS

    def _decode_of(self, topic: str) -> Decode | None:
        """How filters and routes read payloads of a topic that has a schema."""
        view = self.topics.known(topic)
        return None if view is None or view.schema is None else partial(self._decode, view.schema)

    def _decode(self, schema: TopicSchema, event: EventLike) -> object:
        return decode(self.schemas, schema, Event(event.attributes, event.data))

    # Its life

    async def start(self) -> list[BoundAddress]:
        """Open the admin listener, the bus, then the doors; return where they can be reached.

        A Kafka that is out of reach does not prevent a start: readiness says so until it is
        back. Raises BusUnavailable or CorruptData for an embedded log that cannot be opened,
        and StartFailed with every listener that cannot be served.
        """
        register_build_info(self.metrics, VERSION)
        self._watch_health()
        # First of all, so that whoever watches the process sees that it lives, and why it is not ready.
        await self._open_admins()
        deadline = time.monotonic() + START_WAIT
        await self._open_bus(deadline)
        self.hub.listen(self._topic_changed)
        self.hub.start()
        self.table.start()
        self.schema_table.start()
        self.topics.start()
        await self._settle(deadline)
        self._spawn("loop watch", watch_loop(self.metrics))
        self._spawn("certificates", self._tls.watch())
        await self._open_doors()
        self.health.phase = Phase.SERVING
        self._started = True
        _log.info("started", version=VERSION, addresses=[address.url for address in self.addresses])
        return self.addresses

    async def drain(self) -> None:
        """Stop accepting, finish what was begun, tell clients to go elsewhere; within `limits.drain`."""
        self.health.phase = Phase.DRAINING
        _log.info("draining", seconds=self.limits.drain)
        deadline = time.monotonic() + self.limits.drain
        doors = [listener.drain(self.limits.drain) for _, _, listener in self._listeners]
        for failure in await asyncio.gather(*doors, return_exceptions=True):
            if isinstance(failure, BaseException):
                _log.error("drain_failed", exc_info=failure)
        await self.ingress.drain(max(0.0, deadline - time.monotonic()))

    async def close(self) -> None:
        """Let go of everything, in reverse order. Idempotent; also after a failed start."""
        for _, _, listener in self._listeners:
            await self._quietly(listener.close)
        for admin in self._admins:
            await self._quietly(admin.close)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for part in (
            self.ingress.close,
            self.views.close,
            self.lookups.close,
            self.reader.close,
            self.topics.close,
            self.table.close,
            self.schema_table.close,
            self.hub.close,
        ):
            await self._quietly(part)
        await self._quietly(self.bus.close)
        if self._started:
            self._started = False
            _log.info("stopped", version=VERSION)

    async def _quietly(self, close: Callable[[], Any]) -> None:
        try:
            await close()
        except Exception as error:  # noqa: BLE001
            # One part that cannot close, for whatever reason, must not keep the others open.
            _log.error("close_failed", exc_info=error)

    def _watch_health(self) -> None:
        self.health.watch("bus", lambda: self.bus.health().reasons, lambda: self.bus.health().degraded)
        self.health.watch("topics", self._table_reasons)
        self.metrics.gauge_function(
            "linkspan_bus_degraded",
            "What the bus refuses while it serves the rest, such as damaged topics.",
            lambda: len(self.bus.health().degraded),
        )

    def _table_reasons(self) -> list[str]:
        reasons = []
        for name, table in ((TABLE, self.table), (SCHEMAS_TABLE, self.schema_table)):
            fault = "waiting for the log" if table.fault in ("", "not started") else table.fault
            if not table.loaded:
                reasons.append(f"table {name} is loading: {fault}")
        if self._missing:
            reasons.append(f"configured topics are not made yet: {', '.join(sorted(self._missing))}")
        return reasons

    async def _open_bus(self, deadline: float) -> None:
        """The embedded log is open on return; a Kafka that does not answer goes on connecting in the background."""
        if isinstance(self.config.bus, EmbeddedBus):
            await self.bus.start()
            return
        opening = self._spawn("bus start", self.bus.start())
        await asyncio.wait({opening}, timeout=max(0.0, deadline - time.monotonic()))

    async def _settle(self, deadline: float) -> None:
        """Make the configured topics; what is not there in time goes on in the background."""
        making = self._spawn("configured topics", self._make_topics())
        done, _ = await asyncio.wait({making}, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            reasons = [reason for reason in self.health.readiness().reasons if reason.part != "gateway"]
            _log.warning(
                "started_without_log",
                waiting_for="; ".join(f"{reason.part}: {reason.message}" for reason in reasons),
                meanwhile="requests that need the log are refused, and /health/ready says why",
            )

    async def _make_topics(self) -> None:
        while True:
            try:
                await self.table.wait(ATTEMPT)
                await self.schema_table.wait(ATTEMPT)
                await self._make_missing()
                return
            except BusUnavailable as error:
                _log.debug("topics_wait", reason=error.message)
                await asyncio.sleep(RETRY)

    async def _make_missing(self) -> None:
        for name, wanted in list(self._missing.items()):
            try:
                await self.topics.get(name, ANONYMOUS)
            except UnknownTopic:
                try:
                    await self.topics.put(name, wanted.settings, TopicDefaults(wanted.defaults.type), ANONYMOUS)
                except BusUnavailable:
                    raise
                except LinkspanError as error:
                    _log.error("topic_not_made", topic=name, reason=error.message)
                    continue  # it stays in `_missing`, and readiness says so
            del self._missing[name]

    async def _open_admins(self) -> None:
        for settings in self.config.listeners.get("admin", ()):
            assert isinstance(settings, AdminSettings)
            try:
                await self._open_admin(settings)
            except (OSError, ValueError) as error:
                # Told together with the doors that cannot be opened either.
                self._failed.append(_why_not("admin", settings, error))

    async def _open_doors(self) -> None:
        """Raises StartFailed with every listener that cannot be served."""
        for name, settings, listener in self._listeners:
            try:
                self.addresses += await listener.start()
            except (OSError, ValueError) as error:
                self._failed.append(_why_not(name, settings, error))
        if self._failed:
            raise StartFailed("; ".join(self._failed))

    async def _open_admin(self, settings: AdminSettings) -> None:
        tls = self.tls(settings)
        admin = AdminServer(
            settings,
            health=self.health,
            metrics=self.metrics,
            listeners=self._listening,
            views=self.views.views,
            debug=self._debug,
            tls=tls,
        )
        self._admins.append(admin)
        for host, port in await admin.start():
            scheme = "http" if tls is None else "https"
            shown = f"[{host}]" if ":" in host else host
            self.addresses.append(BoundAddress("admin", f"{scheme}://{shown}:{port}", host, port, tls is not None))

    def _listening(self) -> list[BoundAddress]:
        return self.addresses

    def _debug(self) -> dict[str, Any]:
        return {"version": VERSION, "config": self.config.masked(), "notes": self.notes, "bus": self.bus.health()}

    def _topic_changed(self, topic: str, change: TopicChange) -> None:
        self.topics.on_topic(topic, change)

    def _spawn(self, name: str, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(_report)
        self._tasks.append(task)
        return task


def make_bus(config: Config) -> Bus:
    """The bus that the configuration asks for; the other one is not even imported."""
    window = config.limits.memory // 4
    if isinstance(config.bus, EmbeddedBus):
        from gateway.bus import embedded

        return embedded.EmbeddedBus(
            config.bus.path,
            config.bus.durability,
            memory=window,
            segment_bytes=config.bus.segment,
            max_event_bytes=config.limits.event,
        )
    from gateway.bus import kafka

    return kafka.KafkaBus(
        ",".join(config.bus.bootstrap),
        security=config.bus.security,
        memory=window,
        client_id=config.name,
        request_timeout=config.limits.publish_deadline,
    )


def permitted(principal: Principal, topic: str) -> bool:
    """Until there are policies every principal may use every topic that is not internal."""
    return not topic.startswith("_")


async def run(app: App, ready: Callable[[list[BoundAddress]], None]) -> None:
    """Start, serve until SIGTERM or SIGINT, drain, close. A second signal ends the drain."""
    loop = asyncio.get_running_loop()
    stop, again = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (again if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    try:
        starting = loop.create_task(app.start(), name="start")
        stopping = loop.create_task(stop.wait(), name="first signal")
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # A log that takes long to open is not waited for by somebody who wants it to end.
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            return
        try:
            addresses = starting.result()
            tune_collector()
            ready(addresses)
            await stopping
        finally:
            stopping.cancel()
        draining = loop.create_task(app.drain(), name="drain")
        impatient = loop.create_task(again.wait(), name="second signal")
        await asyncio.wait({draining, impatient}, return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, impatient):
            task.cancel()
        await asyncio.gather(draining, impatient, return_exceptions=True)
    finally:
        await app.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _why_not(name: str, settings: ListenerSettings, error: Exception) -> str:
    place = f"listener {name} at {settings.host}:{settings.port}"
    if isinstance(error, OSError) and error.errno is not None:
        hint = f"is another gateway running? set listeners.{name}.port, 0 takes a free one"
        return f"{place}: {error.strerror or error}; {hint}"
    return f"{place}: {error}"


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("task_failed", task=task.get_name(), exc_info=task.exception())
