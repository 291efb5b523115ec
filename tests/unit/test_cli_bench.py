"""gateway/cli/bench.py: figures from a gateway that answers at once."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from gateway.cli.bench import body_of
from gateway.formats import decode_batch
from tests.unit.cli_support import Asked, reply, run, scripted

WORDS = ["bench", "--seconds", "0.2", "--connections", "2", "--batch", "10"]


def answers(asked: Asked, to: BaseHTTPRequestHandler) -> None:
    if asked.method != "GET":
        reply(to, {"count": 10})
        return
    body = b"[]" if "start=end" in asked.path else body_of(10, 50)
    to.send_response(200)
    to.send_header("Linkspan-Cursor", "end")
    to.send_header("Content-Length", str(len(body)))
    to.end_headers()
    to.wfile.write(body)


def test_the_batch_is_valid() -> None:
    events = decode_batch(body_of(20, 200), 20)
    assert len(events) == 20
    assert 150 < len(events[0].data or b"") < 250


def test_both_directions_are_measured_and_the_topic_is_removed(capsys: Any) -> None:
    with scripted() as server:
        server.answer = answers
        code, out, err = run(capsys, *WORDS, "--url", server.url, "--json")
        assert code == 0, err
        figures = json.loads(out)
        assert figures["publish_events_per_s"] > 0
        assert figures["read_events_per_s"] > 0
        assert [server.asked[0].method, server.asked[-1].method] == ["PUT", "DELETE"]
        assert "events/s" in run(capsys, *WORDS, "--url", server.url)[1]


def test_a_refusal_in_the_middle_is_the_commands_error(capsys: Any) -> None:
    with scripted() as server:
        server.answer = lambda asked, to: (
            reply(to, {"code": "disk_full", "detail": "no room"}, 503) if asked.method == "POST" else reply(to, {})
        )
        code, _, err = run(capsys, *WORDS, "--url", server.url)
    assert code == 1
    assert "no room" in err
