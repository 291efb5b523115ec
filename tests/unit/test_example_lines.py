"""docs/examples/lines: the plug-in of docs/plugins.md is found by its entry point and works."""

from __future__ import annotations

import asyncio
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.app import App
from gateway.config.load import load
from gateway.plugins import infos, installed

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "lines"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as if it were installed: its module and its metadata on the path."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    metadata = tmp_path / "linkspan_lines-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
    points = project["entry-points"]["linkspan.protocols"]
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[linkspan.protocols]\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield
    sys.modules.pop("linkspan_lines", None)


def test_it_has_fewer_than_a_hundred_lines_and_sees_only_the_seam() -> None:
    text = (EXAMPLE / "linkspan_lines.py").read_text()
    assert len(text.splitlines()) < 100
    imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert imports == ["from __future__ import annotations", "import asyncio", "from gateway import plugin as seam"]


@pytest.mark.usefixtures("example")
async def test_events_go_in_and_out_as_lines(tmp_path: Path) -> None:
    plugins = installed()
    overrides = [
        "listeners.http=null",
        "listeners.websocket=null",
        "listeners.admin=null",
        "listeners.lines.port=0",
        "topics.t.partitions=1",
    ]
    loaded = load(data=tmp_path / "data", overrides=overrides, plugins=infos(plugins))
    app = App.build(loaded, plugins)
    try:
        [address] = await app.start()
        assert address.listener == "lines"
        reader, writer = await asyncio.open_connection(address.host, address.port)
        other, to_other = await asyncio.open_connection(address.host, address.port)
        to_other.write(b"NONSENSE\nPUB nowhere/x 1\nPUB t/a one\n")
        assert await other.readline() == b"ERR invalid_request say PUB address data, or SUB pattern\n"
        assert (await other.readline()).startswith(b"ERR unknown_topic ")
        assert await other.readline() == b"OK 0 0\n"
        writer.write(b"SUB t/**\n")
        await writer.drain()

        async def publish_until_seen() -> bytes:
            waiting = asyncio.ensure_future(reader.readline())
            while not waiting.done():
                to_other.write(b"PUB t/a two\rEVENT forged\n")
                await other.readline()
            return await waiting

        async with asyncio.timeout(10):
            assert await publish_until_seen() == b"EVENT t/a two EVENT forged\n"
        for each in (writer, to_other):
            each.close()
    finally:
        await app.drain()
        await app.close()
