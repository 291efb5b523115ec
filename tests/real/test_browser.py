"""The example page in a real browser: events by EventSource and by WebSocket side by side."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.conftest import ROOT, eventually
from tests.harness.browser import FOREIGN, BrowserMissing, Page, browser
from tests.harness.lacking import lack
from tests.real.test_cli import Running, gateway

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]
PANES = ("sse", "socket")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The origin of a web server that has the examples."""
    handler = functools.partial(Quiet, directory=str(ROOT / "docs" / "examples"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    try:
        async with browser() as made:
            yield made
    except BrowserMissing as missing:
        lack(missing)


def flags(origin: str) -> list[str]:
    return ["--set", f'listeners.http.allowed_origins=["{origin}"]']


def address(site: str, running: Running, **more: str) -> str:
    asked = {"http": running.urls["http"], "ws": running.urls["websocket"], "pattern": "signals/**", "start": "latest"}
    return f"{site}/live.html?{urlencode(asked | more)}"


def post(running: Running, first: int, count: int) -> None:
    events = [
        {
            "specversion": "1.0",
            "id": f"n{number}",
            "source": "/s",
            "type": "t",
            "subject": "a",
            "data": {"text": "<b>é"},
        }
        for number in range(first, first + count)
    ]
    httpx.post(
        f"{running.urls['http']}/v1/topics/signals/events",
        content=json.dumps(events),
        headers={"Content-Type": "application/cloudevents-batch+json"},
    ).raise_for_status()


async def shown(page: Page, pane: str, name: str) -> str:
    text: str = await page.evaluate(f"document.querySelector('#{pane} .{name}')?.textContent ?? ''")
    return text


async def shown_to_start(page: Page, pane: str, text: str) -> bool:
    return (await shown(page, pane, "state")).startswith(text)


async def wait_for(page: Page, name: str, text: str) -> None:
    """Both panes show `text`."""
    for pane in PANES:

        async def reached(pane: str = pane) -> bool:
            return await shown(page, pane, name) == text

        await eventually(reached, 30, f"{pane}: {name} is {text!r}")


async def test_events_published_by_http_arrive_in_both_panes(site: str, page: Page, tmp_path: Path) -> None:
    with gateway(tmp_path / "data", *flags(site)) as running:
        httpx.put(f"{running.urls['http']}/v1/topics/signals").raise_for_status()
        await page.open(address(site, running))
        await wait_for(page, "state", "live")
        post(running, 0, 500)
        await wait_for(page, "count", "500")
        for pane in PANES:
            lines = await page.evaluate(f"[...document.querySelectorAll('#{pane} li')].map((item) => item.textContent)")
            assert lines[0] == 'a t n499 {"text":"<b>é"}'
            assert len(lines) == 20
            assert await shown(page, pane, "cursor")
        await page.evaluate("document.getElementById('stop').click()")
        await wait_for(page, "state", "stopped")


async def test_both_panes_resume_by_cursor_when_the_gateway_comes_back(site: str, page: Page, tmp_path: Path) -> None:
    with gateway(tmp_path / "data", *flags(site)) as running:
        httpx.put(f"{running.urls['http']}/v1/topics/signals").raise_for_status()
        post(running, 0, 5)
        await page.open(address(site, running, start="earliest"))
        await wait_for(page, "count", "5")
    ports = [
        word
        for door, url in running.urls.items()
        if door != "admin"
        for word in ("--set", f"listeners.{door}.port={httpx.URL(url.replace('ws://', 'http://')).port}")
    ]
    with gateway(tmp_path / "data", *flags(site), *ports) as running:
        post(running, 5, 7)
        await wait_for(page, "count", "12")


async def test_a_page_of_a_foreign_origin_gets_nothing(site: str, page: Page, tmp_path: Path) -> None:
    with gateway(tmp_path / "data") as running:
        httpx.put(f"{running.urls['http']}/v1/topics/signals").raise_for_status()
        await page.open(address(site.replace("127.0.0.1", FOREIGN), running))
        await eventually(lambda: shown_to_start(page, "sse", "refused"), 30)
        await eventually(lambda: shown_to_start(page, "socket", "closed: 1006"), 30)
        assert [await shown(page, pane, "count") for pane in PANES] == ["0", "0"]
