"""gateway/cli/topics.py: topics from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from tests.unit.cli_support import Scripted, reply, run, scripted

VIEW = {
    "name": "signals",
    "partitions": 4,
    "replication": 1,
    "retention": {"time": "7d", "bytes": "unlimited"},
    "cleanup": "delete",
    "compression": "zstd",
    "defaults": {"type": None},
}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        script.answer = lambda asked, to: reply(to, VIEW)
        yield script


def test_topics_are_listed_as_a_table(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: reply(to, {"topics": [VIEW]})
    code, out, _ = run(capsys, "topics", "ls", "--url", server.url)
    assert code == 0
    assert out.splitlines()[0].split() == [
        "NAME", "PARTITIONS", "REPLICATION", "RETENTION", "TIME", "RETENTION", "BYTES", "CLEANUP", "COMPRESSION",
    ]  # fmt: skip
    assert out.splitlines()[1].split() == ["signals", "4", "1", "7d", "unlimited", "delete", "zstd"]


def test_topics_are_listed_as_json(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: reply(to, [VIEW])
    assert json.loads(run(capsys, "topics", "ls", "--json", "--url", server.url)[1]) == [VIEW]


def test_a_topic_is_created_with_what_was_named(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: reply(to, VIEW, 201)
    words = ["topics", "create", "signals", "--partitions", "4", "--retention-time", "7d", "--type", "x.y"]
    code, out, _ = run(capsys, *words, "--url", server.url)
    assert code == 0
    assert out.startswith("signals created\nname: signals\n")
    [asked] = server.asked
    assert (asked.method, asked.path) == ("PUT", "/v1/topics/signals")
    assert json.loads(asked.body) == {"partitions": 4, "retention": {"time": "7d"}, "defaults": {"type": "x.y"}}


def test_creating_one_that_exists_says_so(server: Scripted, capsys: Any) -> None:
    assert "exists" in run(capsys, "topics", "create", "signals", "--url", server.url)[1]


def test_a_topic_is_shown_line_by_line(server: Scripted, capsys: Any) -> None:
    out = run(capsys, "topics", "show", "signals", "--url", server.url)[1]
    assert "retention.time: 7d\n" in out
    assert "defaults.type" not in out


def test_settings_are_changed_by_patch(server: Scripted, capsys: Any) -> None:
    code, out, _ = run(capsys, "topics", "set", "a.b", "--cleanup", "compact", "--json", "--url", server.url)
    assert (code, json.loads(out)) == (0, VIEW)
    assert (server.asked[0].method, server.asked[0].path) == ("PATCH", "/v1/topics/a.b")
    assert json.loads(server.asked[0].body) == {"cleanup": "compact"}


def test_setting_nothing_is_wrong_use(server: Scripted, capsys: Any) -> None:
    assert run(capsys, "topics", "set", "signals", "--url", server.url)[0] == 2


def test_deleting_needs_a_yes(server: Scripted, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _, err = run(capsys, "topics", "rm", "signals", "--url", server.url)
    assert code == 2
    assert "--yes" in err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda _: False)
    assert run(capsys, "topics", "rm", "signals", "--url", server.url)[0] == 1
    assert server.asked == []
    monkeypatch.setattr(typer, "confirm", lambda _: True)
    assert run(capsys, "topics", "rm", "signals", "--url", server.url)[1] == "signals deleted\n"


def test_deleting_answers_in_json(server: Scripted, capsys: Any) -> None:
    out = run(capsys, "topics", "rm", "signals", "--yes", "--json", "--url", server.url)[1]
    assert json.loads(out) == {"deleted": "signals"}
    assert server.asked[0].method == "DELETE"


def test_an_unknown_topic_is_refused(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: reply(to, {"code": "unknown_topic", "detail": "topic 'x' does not exist"}, 404)
    code, _, err = run(capsys, "topics", "show", "x", "--url", server.url)
    assert code == 4
    assert "topic 'x' does not exist (unknown_topic)" in err


@pytest.mark.parametrize("words", [["create"], ["show"], ["set", "--partitions", "2"], ["rm", "--yes"], ["rm"]])
@pytest.mark.parametrize("name", ["a/b", "", "_internal"])
def test_an_illegal_name_is_wrong_use_and_sends_nothing(
    server: Scripted, capsys: Any, words: list[str], name: str
) -> None:
    code, _, err = run(capsys, "topics", *words, name, "--url", server.url, "--json")
    assert code == 2
    assert json.loads(err)["error"]["code"] == "invalid_address"
    assert server.asked == []
