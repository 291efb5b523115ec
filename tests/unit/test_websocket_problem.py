"""Refusals of handshakes as HTTP answers."""

from __future__ import annotations

import json

from gateway.errors import Draining, Unauthenticated, UnknownTopic
from protocols.websocket.problem import MethodNotAllowed, TooSlow, UpgradeRequired, answer
from tests.unit.http_support import split


def test_an_answer_is_a_problem_and_the_end_of_the_connection() -> None:
    status, headers, body = split(answer(UnknownTopic("t")))
    assert (status, headers["content-type"], headers["connection"]) == (404, "application/problem+json", "close")
    assert int(headers["content-length"]) == len(body)
    told = json.loads(body)
    assert (told["code"], told["topic"], told["status"], told["retriable"]) == ("unknown_topic", "t", 404, False)


def test_headers_go_with_the_errors_that_need_them() -> None:
    def headers(error: Exception) -> dict[str, str]:
        return split(answer(error))[1]  # type: ignore[arg-type]

    assert headers(UpgradeRequired("no"))["upgrade"] == "websocket"
    assert headers(UpgradeRequired("no"))["connection"] == "upgrade, close"
    assert headers(MethodNotAllowed("no"))["allow"] == "get"
    assert headers(Draining("later"))["retry-after"] == "1"
    assert headers(TooSlow("late"))["retry-after"] == "1"
    assert headers(Unauthenticated("who?"))["www-authenticate"] == "bearer"


def test_a_detail_that_json_does_not_know_does_not_break_the_answer() -> None:
    status, _, body = split(answer(Draining("later", odd=object())))
    assert status == 503
    assert json.loads(body)["odd"].startswith("<object")
