"""What can be configured at a WebSocket listener, beside what every listener has."""

from __future__ import annotations

from pydantic import Field

from gateway.plugin import Duration, Size, WebListenerSettings


class WebSocketSettings(WebListenerSettings):
    """`listeners.websocket`. Sizes in bytes, times in seconds."""

    max_message: Size = Field(default=2**20, ge=1024, le=256 * 2**20)
    """One message of a client, inflated and put together."""
    subscriptions: int = Field(default=100, ge=1, le=100_000)
    """Of one connection."""
    publish_rate: Size | None = Field(default=None, ge=1024)
    """Bytes a second that a connection may send; beyond them it is read more slowly. Absent: as fast as it goes."""
    ping_interval: Duration = Field(default=20.0, gt=0)
    """Silence after which a client is asked whether it is there."""
    ping_timeout: Duration = Field(default=20.0, gt=0)
    """How long it may take to answer."""
    slow_timeout: Duration = Field(default=300.0, gt=0)
    """How long a client whose machine answers may take nothing of what was sent to it."""
    compression: bool = True
    """Whether permessage-deflate is agreed to."""
