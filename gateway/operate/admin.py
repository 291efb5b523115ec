"""The operator's listener: health, metrics, addresses, views and debug, on a port of its own.

Read only. It shares no limit with the clients' doors, so that it answers when they are full.
"""

from __future__ import annotations

import asyncio
import gc
import platform
import ssl
import time
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
import psutil
from aiohttp import web

from gateway.config.model import AdminSettings
from gateway.errors import Forbidden
from gateway.operate.health import Health
from gateway.operate.host_guard import HostGuard
from gateway.operate.metrics import CONTENT_TYPE_OPENMETRICS, CONTENT_TYPE_TEXT, Metrics

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_MOST_TASK_NAMES: Final = 50
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminServer:
    """Serves one admin listener. `debug`, `listeners` and `views` give JSON values and are asked at each request."""

    def __init__(
        self,
        settings: AdminSettings,
        *,
        health: Health,
        metrics: Metrics,
        listeners: Callable[[], Any],
        views: Callable[[], Any],
        debug: Callable[[], Mapping[str, Any]],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings, self._tls = settings, tls
        self._health, self._metrics = health, metrics
        self._listeners, self._debug = listeners, debug
        self._guard = HostGuard([settings.host], settings.allowed_hosts, settings.allowed_origins)
        self._runner: web.AppRunner | None = None
        self._pages: dict[str, Callable[[web.Request], web.Response]] = {
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._show_metrics,
            "/listeners": lambda request: _json(self._listeners()),
            "/views": lambda request: _json(views()),
            "/debug": self._show_debug,
        }

    async def start(self) -> list[tuple[str, int]]:
        """Bind and serve; return the bound (host, port). Raises OSError when the port cannot be had."""
        app = web.Application(middlewares=[self._guarded], client_max_size=1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        self._runner = runner
        await runner.setup()
        site = web.TCPSite(runner, self._settings.host, self._settings.port, ssl_context=self._tls)
        await site.start()
        return [(str(address[0]), int(address[1])) for address in runner.addresses]

    async def close(self) -> None:
        """Stop serving. Idempotent; also right after a failed start."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        refusal = self._guard.refusal(request.headers.get("Host"), request.headers.get("Origin"))
        return _refused(refusal) if refusal is not None else await handler(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        page = self._pages.get(request.path)
        if page is None:
            return _problem(404, "not_found", f"the admin port serves {', '.join(self._pages)}")
        if request.method not in ("GET", "HEAD"):
            response = _problem(405, "method_not_allowed", "the admin port is read only: use GET")
            response.headers["Allow"] = "GET, HEAD"
            return response
        return page(request)

    def _live(self, request: web.Request) -> web.Response:
        # That this answers at all is the proof: it runs on the loop that serves the clients.
        return _json({"live": True})

    def _ready(self, request: web.Request) -> web.Response:
        readiness = self._health.readiness()
        return _json(readiness, 200 if readiness.ready else 503)

    def _show_metrics(self, request: web.Request) -> web.Response:
        wanted = "application/openmetrics-text" in request.headers.get("Accept", "")
        body = self._metrics.render(openmetrics_format=wanted)
        kind = CONTENT_TYPE_OPENMETRICS if wanted else CONTENT_TYPE_TEXT
        return web.Response(body=body, headers={"Content-Type": kind, "Cache-Control": "no-store"})

    def _show_debug(self, request: web.Request) -> web.Response:
        return _json({**self._debug(), "process": process_facts()})


def process_facts() -> dict[str, Any]:
    """What an operator asks first about a process that behaves oddly."""
    process = psutil.Process()
    tasks = Tally(task.get_name().rstrip("-0123456789") for task in asyncio.all_tasks())
    with process.oneshot():
        return {
            "pid": process.pid,
            "python": platform.python_version(),
            "uptime_seconds": round(time.time() - process.create_time(), 1),
            "memory_rss_bytes": process.memory_info().rss,
            "cpu_seconds": round(sum(process.cpu_times()[:2]), 2),
            "open_files": process.num_fds(),
            "threads": process.num_threads(),
            "gc_counts": gc.get_count(),
            "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
            "tasks": sum(tasks.values()),
            "tasks_by_name": dict(tasks.most_common(_MOST_TASK_NAMES)),
        }


def _json(value: Any, status: int = 200) -> web.Response:
    body = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2) + b"\n"
    return web.Response(body=body, status=status, headers={"Content-Type": _JSON, "Cache-Control": "no-store"})


def _problem(status: int, code: str, detail: str) -> web.Response:
    body = msgspec.json.encode({"type": "about:blank", "status": status, "code": code, "detail": detail})
    return web.Response(body=body, status=status, headers={"Content-Type": _PROBLEM})


def _refused(refusal: Forbidden) -> web.Response:
    return _problem(403, refusal.code, refusal.message)
