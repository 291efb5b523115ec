"""What must fit together: ports, files, buses, and who may connect from where.

Pure but for looking at the files that are named. A conclusion is drawn only from values that are
known to be meant, so that a fault causes no false ones elsewhere, and hides no true ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from gateway.config.faults import KeyPath
from gateway.config.model import (
    Config,
    EmbeddedBus,
    KafkaBus,
    KafkaSecurity,
    Limits,
    ListenerSettings,
    TlsSettings,
    is_loopback,
)
from gateway.config.units import format_size
from gateway.operate.tls import build_context

Found: TypeAlias = Iterator[tuple[KeyPath, str]]
Known: TypeAlias = Callable[[KeyPath], bool]
"""Whether the value at a path is what was meant (`Document.known`)."""

_WILDCARDS = {"0.0.0.0": 4, "::": 6}


def check(config: Config, known: Known = lambda path: True) -> Found:
    """All faults as (path, message)."""
    for find in (_exposed, _ports, _listener_tls, _embedded, _kafka, _workers, _replication, _limits):
        yield from find(config, known)


def listeners(config: Config) -> Iterator[tuple[KeyPath, ListenerSettings]]:
    """Every listener with its path in the configuration."""
    for name, entries in config.listeners.items():
        for index, settings in enumerate(entries):
            yield ("listeners", name, index) if len(entries) > 1 else ("listeners", name), settings


def _exposed(config: Config, known: Known) -> Found:
    if config.auth.anonymous or not (known(("auth", "anonymous")) and known(("auth", "authenticators"))):
        return
    for path, settings in listeners(config):
        if not settings.loopback and known((*path, "host")):
            reason = f"{settings.host} can be reached from other machines, but no authenticator is configured"
            advice = "set auth.anonymous: true to let anybody read and publish, or use host: 127.0.0.1"
            yield (*path, "host"), f"{reason}: {advice}"


def _ports(config: Config, known: Known) -> Found:
    seen: list[tuple[str, ListenerSettings]] = []
    for path, settings in listeners(config):
        name = str(path[1])
        # The port's default depends on TLS.
        if not all(known((*path, key)) for key in ("host", "port", "tls")):
            continue
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


def _listener_tls(config: Config, known: Known) -> Found:
    for path, settings in listeners(config):
        if settings.tls is not None:
            yield from _tls(settings.tls, (*path, "tls"), known)


def _tls(tls: TlsSettings, path: KeyPath, known: Known) -> Found:
    files = {"certificate": tls.certificate, "key": tls.key, "client_ca": tls.client_ca}
    good = [key for key in files if known((*path, key))]
    faults = [fault for key in good if (file := files[key]) for fault in _readable(file, (*path, key))]
    yield from faults
    if not faults and good == list(files):
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


def _embedded(config: Config, known: Known) -> Found:
    if not isinstance(config.bus, EmbeddedBus):
        return
    if known(("bus", "path")) and config.bus.path.exists() and not config.bus.path.is_dir():
        yield ("bus", "path"), f"{config.bus.path} is not a folder"
    sizes = known(("bus", "segment")) and known(("limits", "event"))
    if sizes and config.limits.event > config.bus.segment:
        yield ("limits", "event"), f"does not fit into a segment (bus.segment is {format_size(config.bus.segment)})"


def _kafka(config: Config, known: Known) -> Found:
    if isinstance(config.bus, KafkaBus):
        security = config.bus.security
        found = [*_sasl(security), *_kafka_tls(security)]
        good = {key for key in KafkaSecurity.model_fields if known(("bus", "security", key))}
        for needs, key, message in found:
            if {*needs, key} <= good:
                yield ("bus", "security", key), message
        for key in ("ca", "certificate", "key"):
            file = getattr(security, key)
            if file is not None and key in good:
                yield from _readable(file, ("bus", "security", key))


#: The keys that a conclusion rests on, the key that it is about, and what is wrong with that.
_Conclusions: TypeAlias = Iterator[tuple[tuple[str, ...], str, str]]


def _sasl(security: KafkaSecurity) -> _Conclusions:
    sasl = security.protocol.startswith("SASL")
    if sasl and security.mechanism is None:
        yield ("protocol",), "mechanism", f"is required with protocol {security.protocol}"
    if not sasl and (security.mechanism or security.username or security.password):
        which = next(key for key in ("mechanism", "username", "password") if getattr(security, key))
        yield ("protocol",), which, f"is not used with protocol {security.protocol}: use SASL_SSL or SASL_PLAINTEXT"
    if sasl and security.mechanism:
        for key in ("username", "password") if security.mechanism != "OAUTHBEARER" else ("password",):
            if not getattr(security, key):
                yield ("protocol", "mechanism"), key, f"is required with mechanism {security.mechanism}"


def _kafka_tls(security: KafkaSecurity) -> _Conclusions:
    if (security.certificate is None) != (security.key is None):
        given, absent = ("certificate", "key") if security.certificate else ("key", "certificate")
        yield (absent,), given, f"needs {absent} beside it"
    for key in ("ca", "certificate", "key"):
        if getattr(security, key) is not None and not security.protocol.endswith("SSL"):
            yield ("protocol",), key, f"is not used with protocol {security.protocol}: use SSL or SASL_SSL"


def _workers(config: Config, known: Known) -> Found:
    if config.workers == 1 or not known(("bus", "kind")):
        return
    if isinstance(config.bus, EmbeddedBus):
        reason = "the embedded log is written by one process alone; several workers need bus.kind: kafka"
        yield ("workers",), reason
    else:
        yield ("workers",), "not_available: several workers come with a later version"


def _replication(config: Config, known: Known) -> Found:
    if isinstance(config.bus, EmbeddedBus) and known(("bus", "kind")):
        for name, topic in config.topics.create.items():
            if (topic.replication or 1) > 1 and known(("topics", name, "replication")):
                reason = "the embedded log keeps one copy; replication needs bus.kind: kafka"
                yield ("topics", name, "replication"), reason


def _limits(config: Config, known: Known) -> Found:
    limits, good = config.limits, {key for key in Limits.model_fields if known(("limits", key))}
    if {"event", "body"} <= good and limits.event > limits.body:
        yield ("limits", "event"), f"is larger than limits.body, {format_size(limits.body)}: no such event could arrive"
    if {"stream_buffer", "memory"} <= good and limits.stream_buffer > limits.memory:
        yield ("limits", "stream_buffer"), f"is larger than limits.memory, {format_size(limits.memory)}"
