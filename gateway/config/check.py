"""What must fit together: ports, files, buses, and who may connect from where.

Pure but for looking at the files that are named. Each check says which sections it needs, so
that a fault in one section does not cause false ones here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeAlias

from gateway.config.faults import KeyPath
from gateway.config.model import Config, EmbeddedBus, KafkaBus, ListenerSettings, TlsSettings, is_loopback
from gateway.config.units import format_size
from gateway.operate.tls import build_context

Found: TypeAlias = Iterator[tuple[KeyPath, str]]

_WILDCARDS = {"0.0.0.0": 4, "::": 6}


def check(config: Config, broken: Collection[str] = ()) -> Found:
    """All faults as (path, message). Sections named in `broken` are at their defaults and not looked at."""
    for needs, find in _CHECKS:
        if not needs & set(broken):
            yield from find(config)


def listeners(config: Config) -> Iterator[tuple[KeyPath, ListenerSettings]]:
    """Every listener with its path in the configuration."""
    for name, entries in config.listeners.items():
        for index, settings in enumerate(entries):
            yield ("listeners", name, index) if len(entries) > 1 else ("listeners", name), settings


def _exposed(config: Config) -> Found:
    if config.auth.anonymous:
        return
    for path, settings in listeners(config):
        if not settings.loopback:
            reason = f"{settings.host} can be reached from other machines, but no authenticator is configured"
            advice = "set auth.anonymous: true to let anybody read and publish, or use host: 127.0.0.1"
            yield (*path, "host"), f"{reason}: {advice}"


def _ports(config: Config) -> Found:
    seen: list[tuple[str, ListenerSettings]] = []
    for path, settings in listeners(config):
        name = str(path[1])
        for other, taken in seen:
            if settings.port and settings.port == taken.port and _overlap(settings.host, taken.host):
                yield (*path, "port"), f"port {settings.port} is also the port of listener {other} on {taken.host}"
                break
        seen.append((name, settings))


def _overlap(one: str, other: str) -> bool:
    if one == other:
        return True
    families = [_WILDCARDS.get(host) or (6 if ":" in host else 4 if host[0].isdigit() else 0) for host in (one, other)]
    if one in _WILDCARDS or other in _WILDCARDS:
        return 0 in families or families[0] == families[1]
    # localhost is resolved to 127.0.0.1 and ::1.
    return "localhost" in (one, other) and is_loopback(one) and is_loopback(other)


def _listener_tls(config: Config) -> Found:
    for path, settings in listeners(config):
        if settings.tls is not None:
            yield from _tls(settings.tls, (*path, "tls"))


def _tls(tls: TlsSettings, path: KeyPath) -> Found:
    files = {"certificate": tls.certificate, "key": tls.key, "client_ca": tls.client_ca}
    faults = [fault for key, file in files.items() if file for fault in _readable(file, (*path, key))]
    yield from faults
    if not faults:
        try:
            build_context(tls)
        except (OSError, ValueError) as error:
            yield path, str(error)


def _readable(file: Path, path: KeyPath) -> Found:
    if not file.exists():
        yield path, f"the file {file} does not exist"
    elif not file.is_file():
        yield path, f"{file} is not a file"
    elif not os.access(file, os.R_OK):
        yield path, f"the file {file} cannot be read by this user"


def _embedded(config: Config) -> Found:
    if not isinstance(config.bus, EmbeddedBus):
        return
    if config.bus.path.exists() and not config.bus.path.is_dir():
        yield ("bus", "path"), f"{config.bus.path} is not a folder"
    if config.limits.event > config.bus.segment:
        yield ("limits", "event"), f"does not fit into a segment (bus.segment is {format_size(config.bus.segment)})"


def _kafka(config: Config) -> Found:
    if not isinstance(config.bus, KafkaBus):
        return
    security, path = config.bus.security, ("bus", "security")
    sasl = security.protocol.startswith("SASL")
    if sasl and security.mechanism is None:
        yield (*path, "mechanism"), f"is required with protocol {security.protocol}"
    if not sasl and (security.mechanism or security.username or security.password):
        which = next(key for key in ("mechanism", "username", "password") if getattr(security, key))
        yield (*path, which), f"is not used with protocol {security.protocol}: use SASL_SSL or SASL_PLAINTEXT"
    if sasl and security.mechanism:
        for key in ("username", "password") if security.mechanism != "OAUTHBEARER" else ("password",):
            if not getattr(security, key):
                yield (*path, key), f"is required with mechanism {security.mechanism}"
    yield from _kafka_files(config.bus)


def _kafka_files(bus: KafkaBus) -> Found:
    security = bus.security
    if (security.certificate is None) != (security.key is None):
        given, absent = ("certificate", "key") if security.certificate else ("key", "certificate")
        yield ("bus", "security", given), f"needs {absent} beside it"
    for key, file in {"ca": security.ca, "certificate": security.certificate, "key": security.key}.items():
        if file is None:
            continue
        if not security.protocol.endswith("SSL"):
            yield ("bus", "security", key), f"is not used with protocol {security.protocol}: use SSL or SASL_SSL"
        yield from _readable(file, ("bus", "security", key))


def _workers(config: Config) -> Found:
    if config.workers == 1:
        return
    if isinstance(config.bus, EmbeddedBus):
        reason = "the embedded log is written by one process alone; several workers need bus.kind: kafka"
        yield ("workers",), reason
    else:
        yield ("workers",), "not_available: several workers come with a later version"


def _replication(config: Config) -> Found:
    if isinstance(config.bus, EmbeddedBus):
        for name, topic in config.topics.create.items():
            if (topic.replication or 1) > 1:
                reason = "the embedded log keeps one copy; replication needs bus.kind: kafka"
                yield ("topics", name, "replication"), reason


def _limits(config: Config) -> Found:
    limits = config.limits
    if limits.event > limits.body:
        yield ("limits", "event"), f"is larger than limits.body, {format_size(limits.body)}: no such event could arrive"
    if limits.stream_buffer > limits.memory:
        yield ("limits", "stream_buffer"), f"is larger than limits.memory, {format_size(limits.memory)}"


_CHECKS: tuple[tuple[set[str], Callable[[Config], Found]], ...] = (
    ({"listeners", "auth"}, _exposed),
    ({"listeners"}, _ports),
    ({"listeners"}, _listener_tls),
    ({"bus", "limits"}, _embedded),
    ({"bus"}, _kafka),
    ({"bus", "workers"}, _workers),
    ({"bus", "topics"}, _replication),
    ({"limits"}, _limits),
)
