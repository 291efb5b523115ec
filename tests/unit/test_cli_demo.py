"""gateway/cli/demo.py: the demo in this process, from its gateway to its summary."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import demo as module
from gateway.cli.board import Board
from gateway.cli.demo import Feed, Screen, commands, http_url, seconds_of, taken, view
from gateway.cli.options import DEFAULT_URL
from gateway.cli.output import CommandError
from gateway.cli.telemetry import TOPIC
from gateway.plugin import BoundAddress
from tests.conftest import ROOT
from tests.unit.cli_support import reply, run, scripted


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def test_the_demo_publishes_and_receives_and_ends_by_itself(capsys: Any) -> None:
    code, out, err = run(capsys, "demo", "--for", "1200ms", "--json")
    assert code == 0, err
    *events, last = map(json.loads, out.splitlines())
    assert last["summary"]["received"] == last["summary"]["published"] == len(events) > 0


def test_the_demo_shows_lines_where_there_is_no_terminal(capsys: Any, tmp_path: Path) -> None:
    code, out, _ = run(capsys, "demo", "--for", "1s", "--data", str(tmp_path / "kept"))
    assert code == 0
    assert "Try in a second terminal:" in out
    assert "host/memory/used" in out
    assert "events received" in out.splitlines()[-1]
    assert (tmp_path / "kept" / "topics" / "host").is_dir()


def test_the_demo_shows_a_table_on_a_terminal(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "wants_color", lambda stream: True)
    with view(Board("host"), "http://127.0.0.1:8080", "embedded", as_json=False) as shown:
        assert isinstance(shown, Screen)
    code, out, _ = run(capsys, "demo", "--for", "1s")
    assert code == 0
    assert "ADDRESS" in out
    assert "host/cpu/0" in out


def test_a_failing_client_ends_the_demo_with_its_error() -> None:
    with scripted() as server:
        server.answer = lambda asked, to: reply(to, {"code": "unavailable", "detail": "no room"}, 503)
        feed = Feed(server.url, "host")
        with pytest.raises(CommandError, match="no room"):
            feed.start()
        feed._guard(feed._read)
        assert feed.failure is not None
        feed.close()


def test_the_commands_name_the_url_only_when_they_need_it() -> None:
    assert all("--url" not in text for text in commands("http://127.0.0.1:8080", "host"))
    curl, subscribe, publish = commands("http://127.0.0.1:9", "host")
    assert "http://127.0.0.1:9/v1/topics/host/events" in curl
    assert subscribe.endswith("--url http://127.0.0.1:9")
    assert publish.endswith("--url http://127.0.0.1:9")


def test_a_taken_port_is_noticed() -> None:
    with listening() as port:
        assert taken("127.0.0.1", port)
    assert not taken("127.0.0.1", port)
    assert not taken("::1", 0)


def test_durations_are_read() -> None:
    assert seconds_of(None) is None
    assert seconds_of("20s") == 20.0
    with pytest.raises(CommandError) as raised:
        seconds_of("soon")
    assert raised.value.exit_code == 2


def test_without_the_http_plug_in_there_is_no_demo() -> None:
    with pytest.raises(CommandError, match="not installed"):
        http_url([BoundAddress("admin", "http://x", "x", 1)])


def test_the_readme_shows_the_commands_that_the_demo_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [".venv/bin/linkspan"])
    readme = (ROOT / "README.md").read_text()
    assert "in a second terminal" in readme
    for text in commands(DEFAULT_URL, TOPIC):
        assert f"    {text}\n" in readme
