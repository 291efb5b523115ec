"""The WebSocket door as a plug-in: entry point `websocket` of the group `linkspan.protocols`."""

from __future__ import annotations

from gateway.plugin import Gateway, Listener
from protocols.websocket.listener import WebSocketListener
from protocols.websocket.settings import WebSocketSettings


class WebSocketPlugin:
    name = "websocket"
    default_port = 8081
    settings = WebSocketSettings

    def build(self, settings: WebSocketSettings, gateway: Gateway) -> Listener:
        return WebSocketListener(settings, gateway)


plugin = WebSocketPlugin()
