"""The shape of the configuration: what every key means, its default and its bounds.

These models check one value at a time; what does not fit together (a port used twice, a file
that is missing) is found by `check`, and faults get their file and line in `load`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from gateway.bus.contract import Compression, TopicSettings
from gateway.config.units import Duration, RetentionBytes, RetentionTime, Size

#: Listener names that are always legal, whether or not their plug-in is installed.
LISTENERS = ("http", "websocket", "grpc", "mqtt", "amqp", "admin")
ADMIN_PORT = 8090

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})\Z")


class FlagText(str):
    """Text that came from a command line flag: paths in it are relative to the working directory."""


def _path(value: Any, info: ValidationInfo) -> Any:
    # Paths in a file are relative to that file, so that they mean the same wherever the
    # gateway is started from.
    if isinstance(value, str):
        if not value:
            raise ValueError("a path is not empty")
        folder = (info.context or {}).get("folder")
        path = Path(value).expanduser()
        return path if folder is None or isinstance(value, FlagText) else folder / path
    return value


FilePath = Annotated[Path, BeforeValidator(_path)]


class Section(BaseModel):
    """A mapping of the configuration: unknown keys are faults, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False, hide_input_in_errors=True)


class TlsSettings(Section):
    """PEM files; `client_ca` demands client certificates signed by it."""

    certificate: FilePath
    key: FilePath
    client_ca: FilePath | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"


class ListenerSettings(Section):
    """What every listener has; plug-ins subclass it with keys of their own.

    The port's default is the plug-in's; 0 takes a free one.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    tls: TlsSettings | None = None

    @field_validator("host")
    @classmethod
    def _host_is_bindable(cls, host: str) -> str:
        if host == "*":
            raise ValueError("write 0.0.0.0 or :: for all interfaces")
        bare = host.removeprefix("[").removesuffix("]")
        if _is_ip(bare):
            return bare
        if not _HOST.match(host):
            raise ValueError("expected an IP address or a host name, without a port")
        return host

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)


class WebListenerSettings(ListenerSettings):
    """A listener that browsers can reach: which names it answers to (see `host_guard`)."""

    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


class AdminSettings(WebListenerSettings):
    """The operator's listener: health, metrics, debug."""

    port: int = Field(default=ADMIN_PORT, ge=0, le=65535)


class Limits(Section):
    """Bounds that protect the gateway. Sizes in bytes, times in seconds."""

    memory: Size = Field(default=64 * 2**20, ge=2**20)
    """All windows and caches together."""
    body: Size = Field(default=16 * 2**20, ge=1024)
    event: Size = Field(default=2**20, ge=1024)
    """One event, encoded."""
    batch: int = Field(default=10_000, ge=1, le=1_000_000)
    """Events in one publish."""
    page: int = Field(default=10_000, ge=1, le=1_000_000)
    """Events in one page."""
    header: Size = Field(default=16 * 1024, ge=1024, le=2**20)
    stream_buffer: Size = Field(default=2**20, ge=4096)
    """Bytes kept for one subscriber that reads slowly."""
    connections: int = Field(default=10_000, ge=1)
    publish_deadline: Duration = Field(default=10.0, gt=0)
    write_timeout: Duration = Field(default=30.0, gt=0)
    """For a client that takes nothing."""
    request_timeout: Duration = Field(default=30.0, gt=0)
    """For a body that never ends."""
    idle_timeout: Duration = Field(default=75.0, gt=0)
    drain: Duration = Field(default=10.0, ge=0)


def is_loopback(host: str) -> bool:
    """Whether binding `host` is reachable from this machine only (names other than localhost count as not)."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return _is_ip(host) and ipaddress.ip_address(host).is_loopback


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
