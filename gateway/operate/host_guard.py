"""Which `Host` and `Origin` a door answers to: no web page reaches a gateway that is not its own.

A browser sends any page's requests to 127.0.0.1, and by DNS rebinding under the page's own
name. Both headers are set by the browser, so an allow list stops it; clients that are no
browsers send no `Origin`, and the `Host` that they were told to connect to.

An address as `Host` is always accepted when the listener is bound to it or to all interfaces:
rebinding needs a name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from gateway.config.model import is_loopback
from gateway.errors import Forbidden, HostNotAllowed, OriginNotAllowed

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::([0-9]{1,5}))?\Z")
_ORIGIN = re.compile(r"(https?)://([^/?#@\s]+)\Z")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_ANY = ("0.0.0.0", "::")


class HostGuard:
    """The allow list of one listener. Pure; `check` costs a regular expression and a set look-up.

    `allowed_hosts`: `example.org` (any port), `example.org:8080`, `*.example.org`, `*` (all).
    `allowed_origins`: `https://example.org`, `https://*.example.org`, `null`, `*` (all).
    """

    def __init__(
        self, bound: Iterable[str], allowed_hosts: Iterable[str] = (), allowed_origins: Iterable[str] = ()
    ) -> None:
        self._bound = {host.lower() for host in bound}
        self._everywhere = not self._bound.isdisjoint(_ANY)
        self._hosts = {host.lower().rstrip(".") for host in allowed_hosts}
        self._origins = {origin.lower().rstrip("/") for origin in allowed_origins}

    def refusal(self, host: str | None, origin: str | None) -> Forbidden | None:
        """The error for these two headers (None: absent), or None when they are allowed.

        A missing `Host` is allowed: no browser leaves it out, health checks by HTTP/1.0 do.
        """
        if host is not None and not self._host_allowed(host):
            return HostNotAllowed(
                f"this gateway does not answer to the host {host[:100]!r}; the listener's allowed_hosts can name it"
            )
        if origin is not None and not self._origin_allowed(origin, host):
            return OriginNotAllowed(
                f"pages of {origin[:100]!r} may not use this gateway; the listener's allowed_origins can name them"
            )
        return None

    def check(self, host: str | None, origin: str | None) -> None:
        """Raise HostNotAllowed or OriginNotAllowed."""
        refusal = self.refusal(host, origin)
        if refusal is not None:
            raise refusal

    def _host_allowed(self, host: str) -> bool:
        match = _HOST.match(host)
        if match is None:
            return "*" in self._hosts
        name = (match[1] or match[2]).lower().rstrip(".")
        if is_loopback(name) or name in self._bound:
            return True
        if self._everywhere and _is_address(name):
            return True
        return self._listed(name, match[3])

    def _listed(self, name: str, port: str | None) -> bool:
        if not self._hosts:
            return False
        if "*" in self._hosts or name in self._hosts or (port and f"{name}:{port}" in self._hosts):
            return True
        return any(f"*.{parent}" in self._hosts for parent in _parents(name))

    def _origin_allowed(self, origin: str, host: str | None) -> bool:
        folded = origin.lower()
        if "*" in self._origins or folded in self._origins:
            return True
        match = _ORIGIN.match(folded)
        place = _HOST.match(match[2]) if match else None
        if match is None or place is None:
            return False
        scheme, netloc = match[1], match[2]
        name = (place[1] or place[2]).rstrip(".")
        # The page came from this very door, perhaps through a proxy that ends TLS.
        if host is not None and _without_default_port(netloc, scheme) == _without_default_port(host.lower(), scheme):
            return True
        port = f":{place[3]}" if place[3] else ""
        return is_loopback(name) or any(f"{scheme}://*.{parent}{port}" in self._origins for parent in _parents(name))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(1, len(parts))]


def _without_default_port(netloc: str, scheme: str) -> str:
    return netloc.removesuffix(":" + _DEFAULT_PORTS[scheme])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
