"""A real browser for tests: headless Chromium, led over its DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LISTENING = re.compile(rb"DevTools listening on (ws://\S+)")
#: A name that the browser takes for this machine.
FOREIGN = "foreign.example"
START = 30.0


class BrowserMissing(Exception):
    """No browser here; the message says what to install."""


class Page:
    """One page. `console` is what it logged, and what it threw."""

    def __init__(self, connection: ClientConnection, session: str) -> None:
        self._connection, self._session = connection, session
        self._numbers = itertools.count(1)
        self.console: list[str] = []

    async def call(self, method: str, **params: Any) -> Any:
        """A DevTools command; its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, "sessionId": self._session}
        await self._connection.send(json.dumps(message))
        async with asyncio.timeout(START):
            while True:
                told = json.loads(await self._connection.recv())
                if told.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                    self.console.append(json.dumps(told["params"])[:500])
                if told.get("id") == number and told.get("sessionId") == self._session:
                    if "error" in told:
                        raise AssertionError(f"{method}: {told['error']}")
                    return told["result"]

    async def open(self, url: str) -> None:
        await self.call("Runtime.enable")
        await self.call("Log.enable")
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise AssertionError(f"{expression}: {told['exceptionDetails']}")
        return told["result"].get("value")


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A browser with one empty page. Raises BrowserMissing."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        raise BrowserMissing("there is no browser: apt-get install chromium")
    flags = [
        "--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu", "--disable-extensions",
        "--disable-background-networking", "--disable-dev-shm-usage", "--disable-component-update",
        f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1",
    ]  # fmt: skip
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # it refuses to run as root without
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            program, *flags, f"--user-data-dir={folder}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"HOME": folder},
        )  # fmt: skip
        try:
            async with connect(await _address(process), max_size=None, proxy=None, compression=None) as connection:
                yield await _page(connection)
        finally:
            process.terminate()
            try:
                await asyncio.wait_for(process.communicate(), 10)
            except TimeoutError:
                process.kill()
                await process.communicate()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = b""
    async with asyncio.timeout(START):
        while line := await process.stderr.readline():
            found = _LISTENING.search(line)
            if found:
                return found[1].decode()
            said += line
    raise BrowserMissing(f"the browser did not start: {said[-1000:].decode(errors='replace')}")


async def _page(connection: ClientConnection) -> Page:
    outside = Page(connection, "")

    async def call(method: str, **params: Any) -> Any:
        number = next(outside._numbers)
        await connection.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(START):
            while True:
                told = json.loads(await connection.recv())
                if told.get("id") == number:
                    return told["result"]

    target = await call("Target.createTarget", url="about:blank")
    session = await call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
    page = Page(connection, session["sessionId"])
    page._numbers = outside._numbers
    return page
