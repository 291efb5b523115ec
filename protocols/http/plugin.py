"""The HTTP door as a plug-in: entry point `http` of the group `linkspan.protocols`."""

from __future__ import annotations

from gateway.plugin import Gateway, Listener, WebListenerSettings
from protocols.http.server import HttpListener


class HttpSettings(WebListenerSettings):
    """`listeners.http: {host, port, tls, allowed_hosts, allowed_origins}`."""


class HttpPlugin:
    name = "http"
    default_port = 8080
    settings = HttpSettings

    def build(self, settings: HttpSettings, gateway: Gateway) -> Listener:
        return HttpListener(settings, gateway)


plugin = HttpPlugin()
