"""gateway/cli/subscribe.py: the live stream on a terminal."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.cli import subscribe as module
from gateway.cli.client import Client
from tests.unit.cli_support import Scripted, reply, run, scripted, sse, stream


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        yield script


def test_events_are_shown_with_address_and_data(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: stream(to, sse(1, "cpu/0"), sse(2, "cpu/1"))
    words = ["subscribe", "host/cpu/*", "--start", "earliest", "--filter", "a = 1", "-n", "2", "--url", server.url]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert out == 'host/cpu/0\t{"n": 1}\nhost/cpu/1\t{"n": 2}\n'
    assert server.asked[0].path == "/v1/events?from=host/cpu/*&start=earliest&filter=a+%3D+1&limit=2"


def test_json_is_the_structured_event_as_it_came(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: stream(to, sse(1))
    code, out, _ = run(capsys, "subscribe", "host/**", "-n", "1", "--json", "--url", server.url)
    assert code == 0
    assert json.loads(out)["data"] == {"n": 1}


def test_several_patterns_go_into_one_stream(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: stream(to, sse(1))
    code, out, _ = run(capsys, "subscribe", "a/**", "b/**", "-n", "1", "--url", server.url)
    assert code == 0
    assert out == 'a/b\t{"n": 1}\n'  # the subject alone: the topic could be either
    assert server.asked[0].path == "/v1/events?from=a/**&from=b/**&start=latest&limit=1"


def test_a_gap_is_told_beside_the_stream(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: stream(to, b'event: gap\ndata: {"topic": "t"}\n\n', sse(1))
    code, out, err = run(capsys, "subscribe", "t/**", "-n", "1", "--url", server.url)
    assert code == 0
    assert out.count("\n") == 1
    assert 'gap: {"topic": "t"}' in err


def test_a_broken_connection_is_told_and_resumed(
    server: Scripted, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.client.BACKOFF_FIRST", 0.01)
    server.answer = lambda asked, to: (
        stream(to, sse(2)) if "Last-Event-ID" in asked.headers else stream(to, sse(1), end=False)
    )
    code, out, err = run(capsys, "subscribe", "t/**", "-n", "2", "--url", server.url)
    assert code == 0
    assert out.count("\n") == 2
    assert "connection lost" in err


def test_ctrl_c_is_the_ordinary_end(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "follow", interrupted)
    assert run(capsys, "subscribe", "t/**") == (0, "", "")


@pytest.mark.parametrize("pattern", ["", "_x/**", "t/a+b"])
def test_an_illegal_pattern_is_wrong_use(server: Scripted, capsys: Any, pattern: str) -> None:
    assert run(capsys, "subscribe", pattern, "--url", server.url)[0] == 2
    assert server.asked == []


def test_what_is_not_available_is_a_failure(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: reply(to, {"code": "not_available", "detail": "no filters yet"}, 400)
    code, _, err = run(capsys, "subscribe", "t/**", "--filter", "x", "--json", "--url", server.url)
    assert code == 1
    assert json.loads(err)["error"]["code"] == "not_available"


@pytest.mark.parametrize(
    ("members", "shown"),
    [
        ('"data":{"a" : [1e999,1.50,12345678901234567890]}', '{"a" : [1e999,1.50,12345678901234567890]}'),
        ('"data": {"a":\n   "x\\ny"\n}', '{"a": "x\\ny" }'),
        ('"data":"a\\u00e4"', '"a\\u00e4"'),
        ('"datacontenttype":"application/x+json; a=b","data":"x"', '"x"'),
        ('"datacontenttype":"text/plain","data":"1e999 \\u001b[2J"', "1e999 \\x1b[2J"),
        ('"datacontenttype":"text/plain","data":{"a":1}', '{"a":1}'),
        ('"data_base64":"WzEuMF0="', "[1.0]"),
        ('"data":"\x9b"', '"\\x9b"'),
    ],
)
def test_the_data_is_shown_as_it_was_published(members: str, shown: str) -> None:
    assert module.data_of(module.as_written(f'{{"type":"t",{members},"n":1}}')) == shown


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({"data": {"a": [1]}}, '{"a": [1]}'),
        ({"data": "two\nlines\x1b[2J"}, "two\\nlines\\x1b[2J"),
        ({"data_base64": base64.b64encode(b"text").decode()}, "text"),
        ({"data_base64": base64.b64encode(b"\xff\x00").decode()}, "(2 bytes)"),
        ({}, ""),
    ],
)
def test_data_is_one_harmless_line(event: dict[str, Any], shown: str) -> None:
    assert module.data_of(event) == shown


@pytest.mark.parametrize(
    ("data", "said"),
    [('{"code": "x", "detail": "in words"}', "in words"), ('{"a": 1}', '{"a": 1}'), ("no json\x07", "no json\\x07")],
)
def test_a_notice_is_told_in_words_where_it_has_them(data: str, said: str) -> None:
    assert module.notice(data) == said


def test_an_event_without_a_subject_shows_its_topic_or_its_type() -> None:
    assert module.described({"type": "t", "data": 1}, "host") == "host\t1"
    assert module.described({"type": "t", "data": 1}, "") == "t\t1"


@pytest.mark.parametrize("start", ["foo", "last:0", "-5x", "2026-13-01T00:00:00Z"])
def test_what_is_no_start_is_wrong_use(server: Scripted, capsys: Any, start: str) -> None:
    code, _, err = run(capsys, "subscribe", "t/**", "--start", start, "--url", server.url)
    assert code == 2
    assert err.startswith(f"error: --start '{start}'")
    assert server.asked == []


def test_a_bare_topic_gets_a_hint(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: stream(to, sse(1))
    code, out, err = run(capsys, "subscribe", "host", "a/**", "-n", "1", "--json", "--url", server.url)
    assert (code, err) == (0, "host means events of host without a subject; 'host/**' means all of them\n")
    assert json.loads(out)
    assert run(capsys, "subscribe", "host/*", "**", "-n", "1", "--url", server.url)[2] == ""
