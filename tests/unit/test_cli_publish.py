"""gateway/cli/publish.py: one event, or one for each line."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.cli.publish import attributes_from, content_type, lots
from gateway.event import event_faults
from tests.unit.cli_support import Asked, Scripted, reply, run, scripted


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as script:
        script.answer = lambda asked, to: reply(
            to, {"count": len(batch_of(asked)), "positions": [[0, 7]] * len(batch_of(asked))}
        )
        yield script


def batch_of(asked: Asked) -> list[dict[str, Any]]:
    content = json.loads(asked.body)
    kind = "application/cloudevents-batch+json" if isinstance(content, list) else "application/cloudevents+json"
    assert asked.headers["Content-Type"] == kind
    return content if isinstance(content, list) else [content]


def sent(server: Scripted) -> list[dict[str, Any]]:
    return [event for asked in server.asked for event in batch_of(asked)]


def data_of(event: dict[str, Any]) -> bytes:
    return base64.b64decode(event["data_base64"])


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A pipe as standard input: write to it, then close it."""
    reading, writing = os.pipe()
    source = os.fdopen(reading)
    monkeypatch.setattr(sys, "stdin", source)
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        yield pipe
    source.close()


def test_an_event_that_the_topics_schema_diverted_is_told_as_such(server: Scripted, capsys: Any) -> None:
    told = {"index": 0, "topic": "bad", "position": [1, 3], "reason": "is wrong"}
    server.answer = lambda asked, to: reply(to, {"count": 1, "positions": [None], "diverted": [told]})
    code, out, _ = run(capsys, "publish", "signals/equities/AAPL", "5", "--url", server.url)
    assert (code, out) == (0, "diverted to bad: partition 1, offset 3, since its data is wrong\n")


def test_an_event_that_a_route_moved_is_told_as_such(server: Scripted, capsys: Any) -> None:
    server.answer = lambda asked, to: reply(to, {"count": 1, "positions": [None]})
    code, out, _ = run(capsys, "publish", "signals/AAPL", "5", "--url", server.url)
    assert (code, out) == (0, "published to signals/AAPL: a route moved it to another topic\n")


def test_an_event_is_a_valid_cloudevent_at_its_address(server: Scripted, capsys: Any) -> None:
    code, out, _ = run(capsys, "publish", "signals/equities/AAPL", '{"price": 1.50}', "--url", server.url)
    assert code == 0
    assert out == "published to signals/equities/AAPL: partition 0, offset 7\n"
    [event] = sent(server)
    assert server.asked[0].path == "/v1/topics/signals/events"
    assert server.asked[0].headers["Content-Type"] == "application/cloudevents+json"
    assert event["subject"] == "equities/AAPL"
    assert event["datacontenttype"] == "application/json"
    assert data_of(event) == b'{"price": 1.50}'  # byte for byte
    assert event_faults({name: value for name, value in event.items() if name != "data_base64"}) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": 1}', "application/json"),
        (b"3.5", "application/json"),
        (b"hello", "text/plain"),
        (b'{"a": 1} {"b": 2}', "text/plain"),
        (b"NaN", "text/plain"),
        (b"[" * 100_000, "text/plain"),
        (b"", "text/plain"),
        (b"\xff\xfe", "application/octet-stream"),
    ],
)
def test_the_content_type_is_sniffed(data: bytes, expected: str) -> None:
    assert content_type(data) == expected


def test_type_and_attributes_are_taken(server: Scripted, capsys: Any) -> None:
    words = ["publish", "t", "x", "--type", "my.type", "-a", "symbol=AAPL", "-a", "id=1", "--url", server.url, "--json"]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert json.loads(out) == {"count": 1, "positions": [[0, 7]]}
    [event] = sent(server)
    assert (event["type"], event["symbol"], event["id"]) == ("my.type", "AAPL", "1")
    assert "subject" not in event


def test_each_line_of_stdin_is_an_event(server: Scripted, capsys: Any, stdin: Any) -> None:
    stdin.write(b'{"n": 1}\r\n\nplain\nlast without an end')
    stdin.close()
    code, out, _ = run(capsys, "publish", "t/s", "-", "--url", server.url)
    assert code == 0
    assert out == "published 3 events to t\n"
    assert [data_of(event) for event in sent(server)] == [b'{"n": 1}', b"plain", b"last without an end"]


def test_without_data_stdin_is_read(server: Scripted, capsys: Any, stdin: Any) -> None:
    stdin.write(b"x\n")
    stdin.close()
    code, out, _ = run(capsys, "publish", "t", "--url", server.url, "--json")
    assert (code, json.loads(out)) == (0, {"count": 1})


def test_many_lines_go_in_batches(server: Scripted, capsys: Any, tmp_path: Any, monkeypatch: Any) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"".join(b"%d\n" % n for n in range(2500)))
    with path.open() as source:
        monkeypatch.setattr(sys, "stdin", source)
        code, _, _ = run(capsys, "publish", "t", "-", "--url", server.url)
    assert code == 0
    assert [len(json.loads(asked.body)) for asked in server.asked] == [1000, 1000, 500]
    assert [int(data_of(event)) for event in sent(server)] == list(range(2500))


def test_a_lot_ends_before_it_grows_too_large(tmp_path: Any) -> None:
    path = tmp_path / "lines"
    path.write_bytes((b"x" * 3_000_000 + b"\n") * 3)
    with path.open() as source:
        assert [len(lot) for lot in lots(source.fileno())] == [1, 1, 1]


def test_a_failure_in_the_middle_says_how_far_it_came(
    server: Scripted, capsys: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x\n" * 1500)
    server.answer = lambda asked, to: (
        reply(to, {"count": 1000})
        if len(server.asked) == 1
        else reply(to, {"code": "disk_full", "detail": "no room"}, 503)
    )
    with path.open() as source:
        monkeypatch.setattr(sys, "stdin", source)
        code, _, err = run(capsys, "publish", "t", "-", "--url", server.url)
    assert code == 1
    assert err == "error: no room; 1,000 events were published before (disk_full)\n"


@pytest.mark.parametrize("address", ["", "/x", "_internal/x", "a b/x", "t/a/+/b", "t/*"])
def test_an_illegal_address_is_wrong_use_and_sends_nothing(server: Scripted, capsys: Any, address: str) -> None:
    code, _, err = run(capsys, "publish", address, "x", "--url", server.url)
    assert code == 2
    assert err.startswith("error: ")
    assert server.asked == []


def test_an_attribute_needs_a_name_and_a_value(server: Scripted, capsys: Any) -> None:
    assert run(capsys, "publish", "t", "x", "-a", "novalue", "--url", server.url)[0] == 2
    assert attributes_from(["a=b=c"]) == {"a": "b=c"}


def test_an_empty_type_is_wrong_use(server: Scripted, capsys: Any) -> None:
    code, _, err = run(capsys, "publish", "t", "x", "--type", "", "--url", server.url)
    assert (code, err) == (2, "error: --type is empty\n")
    assert server.asked == []


def test_what_is_wrong_with_a_single_event_names_no_batch(server: Scripted, capsys: Any) -> None:
    fault = {"where": "events[0].data", "message": "has 9 bytes, at most 8 are taken", "index": 0}
    server.answer = lambda asked, to: reply(
        to, {"code": "too_large", "detail": "event 0 is too large", "faults": [fault]}, 413
    )
    code, _, err = run(capsys, "publish", "t", "x", "--url", server.url, "--json")
    assert code == 4
    assert json.loads(err)["error"] == {
        "code": "too_large",
        "message": "refused: data has 9 bytes, at most 8 are taken",
        "faults": [{"where": "data", "message": "has 9 bytes, at most 8 are taken"}],
    }


def test_what_is_wrong_with_one_of_many_lines_names_the_line(server: Scripted, capsys: Any, stdin: Any) -> None:
    faults = [
        {"where": "events[1].data", "message": "is large", "index": 1}, {"where": "body", "message": "is odd"},
        {"where": "events[9]", "message": "is not of this lot", "index": 9},
    ]  # fmt: skip
    server.answer = lambda asked, to: reply(to, {"code": "too_large", "detail": "x", "faults": faults}, 413)
    stdin.write(b"one\n\nlarge\nthree")
    stdin.close()
    code, _, err = run(capsys, "publish", "t", "-", "--url", server.url)
    assert code == 4
    assert err == (
        "error: refused: line 3: data is large (and 2 more); 0 events were published before (too_large)\n"
        "  line 3: data: is large\n  body: is odd\n  events[9]: is not of this lot\n"
    )


def test_a_lot_that_is_too_large_for_one_request_is_divided_down_to_its_line(
    server: Scripted, capsys: Any, stdin: Any
) -> None:
    refusal = {"code": "too_large", "detail": "a body has at most 900 bytes"}
    server.answer = lambda asked, to: (
        reply(to, refusal, 413) if len(asked.body) > 900 else reply(to, {"count": len(batch_of(asked))})
    )
    stdin.write(b"a\nb\nc\n" + b"x" * 900 + b"\nd\n")
    stdin.close()
    code, _, err = run(capsys, "publish", "t", "-", "--url", server.url)
    assert code == 4
    assert err == (
        "error: line 4 is too large: a body has at most 900 bytes; 3 events were published before (too_large)\n"
    )
