"""gateway/cli/log.py: damage is found with its place, a torn write is no damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.bus.embedded.verify import Checked, Finding, verify
from gateway.event import Event
from tests.unit.cli_support import run


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A log with one topic and twenty batches, closed in good order."""
    bus = EmbeddedBus(tmp_path / "data", "os")
    await bus.start()
    await bus.create_topic("t", TopicSettings(partitions=1))
    for at in range(20):
        attributes: dict[str, Any] = {"id": str(at), "source": "/s", "type": "t", "specversion": "1.0"}
        await bus.append("t", [Event(dict(attributes), b"x" * 500)])
    await bus.close()
    return tmp_path / "data"


def verified(data: Path) -> list[Finding]:
    return [told for told in verify(data) if not isinstance(told, Checked)]


def file_of(data: Path, suffix: str) -> Path:
    return next((data / "topics" / "t").glob(f"*{suffix}"))


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x04
    path.write_bytes(content)


async def test_a_good_log_has_no_findings(data: Path) -> None:
    assert verified(data) == []


async def test_a_flipped_bit_in_any_byte_of_any_file_is_found(data: Path) -> None:
    for path in (file_of(data, ".log"), file_of(data, ".idx"), data / "topics" / "t" / "topic"):
        whole = path.read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 150)):
            flip(path, position)
            findings = [finding for finding in verified(data) if finding.damage]
            assert [Path(finding.file) for finding in findings] == [path], (path, position)
            assert findings[0].position <= position
            path.write_bytes(whole)


async def test_damage_says_which_offsets_are_gone(data: Path) -> None:
    log = file_of(data, ".log")
    flip(log, log.read_bytes().index(b"x" * 100) + 50)
    [finding] = verified(data)
    assert (finding.partition, finding.offset) == (0, 0)


async def test_a_torn_write_at_the_end_is_a_note(data: Path) -> None:
    log = file_of(data, ".log")
    with log.open("ab") as file:
        file.write(b"\xc5LSF torn")
    [finding] = verified(data)
    assert not finding.damage
    assert "torn" in finding.message


async def test_a_segment_cut_short_is_damage(data: Path) -> None:
    log = file_of(data, ".log")
    log.write_bytes(log.read_bytes()[:-700])
    assert "short" in [finding.kind for finding in verified(data)]


async def test_the_command_lists_damage_and_fails(data: Path, capsys: Any) -> None:
    assert "no damage" in run(capsys, "log", "verify", "--data", str(data))[1]
    log = file_of(data, ".log")
    flip(log, log.read_bytes().index(b"x" * 100) + 50)
    code, out, _ = run(capsys, "log", "verify", "--data", str(data))
    assert code == 1
    assert f"damaged  {log}:" in out
    assert "offset 0 of partition 0" in out
    assert json.loads(run(capsys, "log", "verify", "--data", str(data), "--json")[1])["findings"][0]["offset"] == 0


def test_a_folder_without_a_log_is_wrong_use(tmp_path: Path, capsys: Any) -> None:
    assert run(capsys, "log", "verify", "--data", str(tmp_path))[0] == 2


async def test_a_folder_that_is_no_topic_is_named(data: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    topics = data / "topics"
    (topics / "stray").mkdir()
    (topics / "~new-1").mkdir()
    (topics / "odd" / "topic").mkdir(parents=True)
    shutil.copytree(topics / "t", topics / "copy")
    told = {(Path(finding.file).relative_to(topics).as_posix(), finding.kind) for finding in verified(data)}
    assert told == {
        ("copy/topic", "settings"), ("odd/topic", "unreadable"), ("stray/topic", "settings"), ("stray", "short"),
    }  # fmt: skip
    code, out, _ = run(capsys, "log", "verify", "--data", str(data))
    assert code == 1
    assert "these are the settings of topic 't'" in out
    assert "4 damaged places" in out
