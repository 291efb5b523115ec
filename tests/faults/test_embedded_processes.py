"""One data folder, one process: the second one is told who holds it, and a dead holder holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.errors import BusUnavailable
from tests.harness.events import event, ids, read_topic

ROOT = Path(__file__).resolve().parent.parent.parent
HOLD = """
import asyncio, sys
from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from tests.harness.events import event

async def hold():
    bus = EmbeddedBus(sys.argv[1])
    await bus.start()
    await bus.create_topic("t", TopicSettings())
    await bus.append("t", [event(1)])
    sys.stderr.write("held\\n")
    await asyncio.sleep(600)

asyncio.run(hold())
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the log in `data` open and has appended event 1 to `t`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "data")], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline() == "held\n"
        yield process
        process.kill()


async def test_a_second_process_is_kept_out_and_told_who_holds_the_folder(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in sorted((tmp_path / "data").rglob("*")) if path.is_file()}
    with pytest.raises(BusUnavailable) as refused:
        await EmbeddedBus(tmp_path / "data").start()
    assert str(holder.pid) in refused.value.message
    assert str(tmp_path / "data") in refused.value.message
    assert {path: path.read_bytes() for path in before} == before, "the refused one changed something"


async def test_a_killed_holder_holds_nothing(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    holder.wait(5)
    bus = EmbeddedBus(tmp_path / "data")
    await bus.start()
    assert ids(await read_topic(bus, "t")) == [1]
    await bus.close()


async def test_the_same_process_cannot_open_it_twice_either(tmp_path: Path) -> None:
    bus = EmbeddedBus(tmp_path / "data")
    await bus.start()
    with pytest.raises(BusUnavailable, match=str(os.getpid())):
        await EmbeddedBus(tmp_path / "data").start()
    await bus.create_topic("t", TopicSettings())
    assert await bus.append("t", [event(1)]) == [(0, 0)], "the refused one broke the one that holds it"
    await bus.close()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BusUnavailable, match=str(tmp_path / "file" / "data")):
        await EmbeddedBus(tmp_path / "file" / "data").start()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere: the next test has a read-only file system")
async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(BusUnavailable, match=str(tmp_path / "data")):
        await EmbeddedBus(tmp_path / "data").start()


@pytest.mark.skipif(os.getuid() != 0, reason="only root mounts")
async def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "linkspan-test", str(tmp_path / "disk")]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("no mounts are allowed here")
    try:
        with pytest.raises(BusUnavailable, match=str(tmp_path / "disk")):
            await EmbeddedBus(tmp_path / "disk" / "data").start()
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)
