"""The shape of the configuration: what every key means, its default and its bounds.

These models check one value at a time; what does not fit together (a port used twice, a file
that is missing) is found by `check`, and faults get their file and line in `load`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.bus.contract import Compression, TopicSettings
from gateway.config.units import Duration, RetentionBytes, RetentionTime, Size

#: Listener names that are always legal, whether or not their plug-in is installed.
LISTENERS = ("http", "websocket", "grpc", "mqtt", "amqp", "admin")
ADMIN_PORT = 8090

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})\Z")
_ADDRESS = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}\Z")


class FlagText(str):
    """Text that came from a command line flag: paths in it are relative to the working directory."""


def _path(value: Any, info: ValidationInfo) -> Any:
    # Paths in a file are relative to that file, so that they mean the same wherever the
    # gateway is started from.
    if isinstance(value, str):
        folder = (info.context or {}).get("folder")
        return resolve_path(value, Path() if folder is None or isinstance(value, FlagText) else folder)
    return value


def resolve_path(text: str, folder: Path) -> Path:
    """`text` as a path, `~` expanded, relative to `folder`. Raises ValueError when it cannot be one."""
    if not text or not text.isprintable():
        raise ValueError("a path is not empty and has no control characters")
    try:
        return folder / Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{text[:100]!r}: {error}") from None


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _comma_list(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


FilePath = Annotated[Path, BeforeValidator(_path)]


class Section(BaseModel):
    """A mapping of the configuration: unknown keys are faults, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    STAND_INS: ClassVar[Mapping[str, Any]] = {}
    """Values for required keys that are missing or wrong, when the rest is looked at all the same (`salvage`)."""

    @model_validator(mode="wrap")
    @classmethod
    def _salvaged(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        # A section whose keys are all commented out is null in YAML.
        value = {} if value is None else value
        try:
            return handler(value)
        except ValidationError as error:
            if not (info.context or {}).get("salvage"):
                raise
            # Nested sections have salvaged themselves: what is wrong now is a key of this one.
            wrong = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
            good = {key: item for key, item in value.items() if key not in wrong} if isinstance(value, dict) else {}
            return handler({**cls.STAND_INS, **good})


class TlsSettings(Section):
    """PEM files; `client_ca` demands client certificates signed by it."""

    STAND_INS: ClassVar[Mapping[str, Any]] = {"certificate": ".", "key": "."}

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
    stream_buffer: Size = Field(default=256 * 1024, ge=4096)
    """Bytes kept for one subscriber that reads slowly."""
    connections: int = Field(default=10_000, ge=1)
    publish_deadline: Duration = Field(default=10.0, gt=0)
    write_timeout: Duration = Field(default=30.0, gt=0)
    """For a client that takes nothing."""
    request_timeout: Duration = Field(default=30.0, gt=0)
    """For a body that never ends."""
    idle_timeout: Duration = Field(default=75.0, gt=0)
    drain: Duration = Field(default=10.0, ge=0)


class EmbeddedBus(Section):
    """The log on this machine, kept by this process alone."""

    kind: Literal["embedded"] = "embedded"
    path: FilePath = Path("linkspan-data")
    durability: Literal["fsync", "os"] = "fsync"
    """`os`: acknowledged events survive kill -9, not a power cut."""
    segment: Size = Field(default=64 * 2**20, ge=2**20, le=2 * 2**30)


class KafkaSecurity(Section):
    """How to reach Kafka; the words are Kafka's own."""

    protocol: Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_upper)] = (
        "PLAINTEXT"
    )
    mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None, BeforeValidator(_upper)
    ] = None
    username: str | None = None
    password: SecretStr | None = None
    """With OAUTHBEARER: the token."""
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None


class KafkaBus(Section):
    """The log in Apache Kafka, shared by any number of instances."""

    STAND_INS: ClassVar[Mapping[str, Any]] = {"bootstrap": "unknown:9092"}

    kind: Literal["kafka"] = "kafka"
    bootstrap: Annotated[tuple[str, ...], BeforeValidator(_comma_list)] = Field(min_length=1)
    security: KafkaSecurity = KafkaSecurity()

    @field_validator("bootstrap")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            if not _ADDRESS.match(address) or int(address.rpartition(":")[2]) > 65535:
                raise ValueError("expected HOST:PORT, or several with commas between them")
        return addresses


class Retention(Section):
    """Whichever bound is reached first; absent: the bus's own."""

    time: RetentionTime | None = Field(default=None, ge=-1)
    bytes: RetentionBytes | None = Field(default=None, ge=-1)


class TopicDefaultsConfig(Section):
    """Attributes for messages that are no CloudEvents."""

    type: str | None = Field(default=None, min_length=1, max_length=1024)


class TopicConfig(Section):
    """A topic that is created at start when it does not exist; an existing one is not altered."""

    partitions: int | None = Field(default=None, ge=1, le=10_000)
    replication: int | None = Field(default=None, ge=1, le=100)
    retention: Retention = Retention()
    cleanup: Literal["delete", "compact"] | None = None
    compression: Compression | None = None
    defaults: TopicDefaultsConfig = TopicDefaultsConfig()

    @property
    def settings(self) -> TopicSettings:
        """As the bus takes them."""
        return TopicSettings(
            partitions=self.partitions,
            replication=self.replication,
            retention_ms=self.retention.time,
            retention_bytes=self.retention.bytes,
            cleanup=self.cleanup,
            compression=self.compression,
        )


class TopicsConfig(Section):
    """In a file the topics stand beside `auto_create`; `create` is where they are kept here."""

    auto_create: bool = False
    create: Mapping[str, TopicConfig] = {}


class WorkflowConfig(Section):
    """A named target of routes. Its topic is made at start when it does not exist; absent: the workflow's name."""

    topic: str | None = None
    description: str = Field(default="", max_length=1000)


class AuthConfig(Section):
    """`anonymous: true` permits clients without credentials off loopback."""

    anonymous: bool = False


class LogSettings(Section):
    """`auto` is console on a terminal and JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class TelemetryConfig(Section):
    logs: LogSettings = LogSettings()


class Config(Section):
    """Everything, checked. `Config()` has no listeners: those that exist are `load`'s to know."""

    name: str = Field(default="linkspan", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    bus: EmbeddedBus | KafkaBus = EmbeddedBus()
    listeners: Mapping[str, tuple[SerializeAsAny[ListenerSettings], ...]] = {}
    auth: AuthConfig = AuthConfig()
    limits: Limits = Limits()
    topics: TopicsConfig = TopicsConfig()
    routes: tuple[Mapping[str, Any], ...] = ()
    """As they were written, checked."""
    workflows: Mapping[str, WorkflowConfig] = {}
    workers: int = Field(default=1, ge=1, le=1024)
    telemetry: TelemetryConfig = TelemetryConfig()

    def masked(self) -> dict[str, Any]:
        """As it would stand in a file, with every secret as `**********`; JSON values only."""
        dump: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        dump["topics"].update(dump["topics"].pop("create"))
        return dump


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
