"""Builds each section of the configuration from its part of the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel

from gateway.address import check_topic
from gateway.config.document import Document
from gateway.config.explain import validate
from gateway.config.faults import KeyPath, closest
from gateway.config.model import (
    ADMIN_PORT,
    LISTENERS,
    AdminSettings,
    AuthConfig,
    Config,
    EmbeddedBus,
    KafkaBus,
    Limits,
    ListenerSettings,
    TelemetryConfig,
    TopicConfig,
    TopicsConfig,
    WorkflowConfig,
)
from gateway.config.routing import read_routes, workflow_fault, workflow_topics
from gateway.errors import InvalidAddress

#: Known keys whose part comes with a later version. Empty, they do no harm.
NOT_YET: Mapping[KeyPath, str] = {
    ("auth", "authenticators"): "authenticators come",
    ("auth", "policies"): "policies come",
    ("subscriptions",): "subscriptions in the configuration come",
    ("bridges",): "bridges come",
    ("cluster",): "the link between instances comes",
}
NOT_YET_PER_TOPIC = {"schema": "schemas come", "dedup": "deduplication comes"}

_BUSES: Mapping[str, type[EmbeddedBus | KafkaBus]] = {"embedded": EmbeddedBus, "kafka": KafkaBus}
_M = TypeVar("_M", bound=BaseModel)


class PluginInfo(msgspec.Struct, frozen=True):
    """What the configuration needs to know about an installed listener."""

    settings: type[ListenerSettings]
    default_port: int
    default_tls_port: int | None = None


class Built(msgspec.Struct):
    """The configuration. What has faults stands at its defaults; `Document.known` tells what that is."""

    config: Config
    notes: list[str]


def build(document: Document, plugins: Mapping[str, PluginInfo], folder: Path, *, examples: bool = True) -> Built:
    """Check every section on its own. Faults go to the document. `examples`: run those of routes."""
    return _Builder(document, {**plugins, "admin": PluginInfo(AdminSettings, ADMIN_PORT)}, folder, examples).build()


class _Builder:
    def __init__(self, document: Document, plugins: Mapping[str, PluginInfo], folder: Path, examples: bool) -> None:
        self._document, self._examples = document, examples
        self._plugins = plugins
        self._folder = folder
        self._notes: list[str] = []

    def build(self) -> Built:
        for path, what in NOT_YET.items():
            self._take_out(self._document.value, path, what)
        value = dict(self._document.value)
        sections: dict[str, Any] = {
            "bus": self._bus(value.pop("bus", None)),
            "listeners": self._listeners(value.pop("listeners", None)),
            "topics": self._topics(value.pop("topics", None)),
        }
        workflows = self._workflows(value.pop("workflows", None))
        sections["workflows"] = workflows
        sections["routes"] = read_routes(
            value.pop("routes", None), workflow_topics(workflows), self._document, examples=self._examples
        )
        for name, model in {"auth": AuthConfig, "limits": Limits, "telemetry": TelemetryConfig}.items():
            sections[name] = self._section(model, value.pop(name, None), (name,))
        for name in ("name", "workers"):
            if name in value:
                single = self._section(Config, {name: value.pop(name)}, ())
                sections[name] = getattr(single, name) if single else None
        known = [*Config.model_fields, *(path[0] for path in NOT_YET)]
        for key in value:
            self._document.slip((key,), "unknown key", closest(key, map(str, known)))
        present = {name: section for name, section in sections.items() if section is not None}
        return Built(Config(**present), self._notes)

    def _section(self, model: type[_M], value: Any, path: KeyPath, also: Iterable[str] = ()) -> _M | None:
        not_yet = [str(known[-1]) for known in NOT_YET if known[:-1] == path]
        return validate(model, value, self._document, path, folder=self._folder, also=[*not_yet, *also])

    def _take_out(self, holder: Any, path: KeyPath, what: str, at: KeyPath = ()) -> None:
        """Remove a key that is not built yet; with a value in it, that is a fault."""
        for part in path[:-1]:
            holder = holder.get(part) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and path[-1] in holder and holder.pop(path[-1]):
            self._document.fault((*at, *path), f"not_available: {what} with a later version")

    def _bus(self, value: Any) -> EmbeddedBus | KafkaBus | None:
        if not isinstance(value, dict):
            return self._section(EmbeddedBus, value, ("bus",))
        kind = value.get("kind", "embedded")
        if not isinstance(kind, str) or kind not in _BUSES:
            # The other keys are checked all the same: against the kind that was probably meant.
            meant = closest(kind, _BUSES)
            self._document.fault(("bus", "kind"), "expected embedded or kafka", meant)
            kind = meant or max(_BUSES, key=lambda each: len(value.keys() & _BUSES[each].model_fields.keys()))
        model, other = _BUSES[kind], "kafka" if kind == "embedded" else "embedded"
        others = _BUSES[other].model_fields.keys() - model.model_fields.keys()
        for key in [key for key in value if key in others]:
            self._document.fault(("bus", key), f"belongs to the bus of kind {other}; this one is {kind}")
        known = {key: item for key, item in value.items() if not self._document.faulty(("bus", key))}
        return self._section(model, known, ("bus",), others)

    def _topics(self, value: Any) -> TopicsConfig | None:
        if value is not None and not isinstance(value, dict):
            return self._section(TopicsConfig, value, ("topics",))
        rest = dict(value or {})
        switch = {"auto_create": rest.pop("auto_create")} if "auto_create" in rest else {}
        base = self._section(TopicsConfig, switch, ("topics",))
        create = {name: self._topic(name, topic) for name, topic in rest.items()}
        good = {name: topic for name, topic in create.items() if topic is not None}
        return TopicsConfig(auto_create=base.auto_create, create=good) if base else None

    def _topic(self, name: str, value: Any) -> TopicConfig | None:
        path: KeyPath = ("topics", name)
        legal = True
        try:
            check_topic(name)
        except InvalidAddress as error:
            legal = False
            hint = "auto_create" if closest(name, ["auto_create"]) and not isinstance(value, dict) else None
            self._document.fault(path, error.message, hint)
        if legal and isinstance(value, bool):
            # A topic is a mapping; a truth value is a slip of the one switch that stands here.
            self._document.fault(path, "expected a mapping", closest(name, ["auto_create"]))
        if isinstance(value, bool) or not (legal or isinstance(value, dict)):
            return None
        for key, what in NOT_YET_PER_TOPIC.items():
            self._take_out(value, (key,), what, path)
        topic = self._section(TopicConfig, value, path)
        return topic if legal else None

    def _workflows(self, value: Any) -> dict[str, WorkflowConfig]:
        if value is not None and not isinstance(value, dict):
            self._document.fault(("workflows",), "expected a mapping of names to workflows")
            return {}
        found = {}
        for name, entry in (value or {}).items():
            path: KeyPath = ("workflows", name)
            workflow = self._section(WorkflowConfig, entry, path)
            if workflow is not None and workflow_fault(name, workflow.topic, path, self._document):
                found[name] = workflow
        return found

    def _listeners(self, value: Any) -> dict[str, tuple[ListenerSettings, ...]] | None:
        if value is not None and not isinstance(value, dict):
            self._document.fault(("listeners",), "expected a mapping of listener names")
            return None
        given = value or {}
        for name, entry in given.items():
            if name not in self._plugins and name not in LISTENERS:
                meant = closest(name, sorted({*self._plugins, *LISTENERS}))
                self._document.slip(("listeners", name), "unknown listener", meant)
                if meant is not None and meant in self._plugins:
                    self._listener(meant, entry, ("listeners", name))
        for name in LISTENERS:
            if name not in self._plugins and given.get(name, {}) is not None:
                self._notes.append(f"listeners.{name}: off: not installed")
        return {name: self._listener(name, given.get(name, {}), ("listeners", name)) for name in self._plugins}

    def _listener(self, name: str, value: Any, path: KeyPath) -> tuple[ListenerSettings, ...]:
        """One mapping or a list of them; None is off."""
        if value is None:
            return ()
        if isinstance(value, list):
            entries = [self._entry(name, entry, (*path, index)) for index, entry in enumerate(value)]
        else:
            entries = [self._entry(name, value, path)]
        return tuple(entry for entry in entries if entry is not None)

    def _entry(self, name: str, value: Any, path: KeyPath) -> ListenerSettings | None:
        plugin = self._plugins[name]
        if isinstance(value, dict) and "port" not in value:
            port = plugin.default_tls_port if value.get("tls") and plugin.default_tls_port else plugin.default_port
            value = {"port": port, **value}
        return self._section(plugin.settings, value, path)
