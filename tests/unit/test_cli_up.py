"""gateway/cli/up.py: a gateway in this process, and what it says."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import up as module
from gateway.config.model import EmbeddedBus, KafkaBus
from tests.unit.cli_support import run

FREE = [word for door in ("http", "websocket", "admin") for word in ("--set", f"listeners.{door}.port=0")]


@pytest.fixture
def stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is up, the gateway gets SIGTERM."""
    announce = module.announce

    def announced(*args: Any) -> None:
        announce(*args)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(module, "announce", announced)


@pytest.mark.usefixtures("stops_at_once")
def test_every_door_is_told_as_json(capsys: Any, tmp_path: Path) -> None:
    code, out, _ = run(capsys, "up", "--data", str(tmp_path / "data"), *FREE, "--json")
    assert code == 0
    doors = {door["listener"]: door for door in map(json.loads, out.splitlines())}
    assert {"http", "admin"} <= doors.keys()
    assert doors["http"]["port"] > 0


@pytest.mark.usefixtures("stops_at_once")
def test_every_door_is_told_in_words(capsys: Any, tmp_path: Path) -> None:
    code, out, _ = run(capsys, "up", "--data", str(tmp_path / "data"), *FREE)
    assert code == 0
    assert out.startswith("linkspan is up\n")
    assert "stop it with Ctrl-C" in out


def test_a_folder_that_cannot_be_made_is_told_without_a_trace(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "up", "--data", str(tmp_path / "file" / "data"), *FREE)
    assert code == 1
    assert str(tmp_path / "file" / "data") in err


def test_the_log_is_named_as_it_is() -> None:
    assert "durability: fsync" in module.what_is_the_log(EmbeddedBus())
    kafka = KafkaBus.model_validate({"kind": "kafka", "bootstrap": "a:1,b:2"})
    assert module.what_is_the_log(kafka) == "Apache Kafka at a:1, b:2"
