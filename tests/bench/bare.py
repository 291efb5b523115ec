"""The floor that the HTTP door is measured against: a bare aiohttp handler that reads the same body."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web


async def handle(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response({"count": 1, "size": len(body)})


async def serve() -> None:
    app = web.Application()
    app.router.add_post("/v1/topics/bench/events", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        uvloop.run(serve())
    except KeyboardInterrupt:
        sys.exit(0)
