"""Errors as problem details."""

from __future__ import annotations

import json

import pytest

from gateway import errors
from gateway.errors import Fault, LinkspanError
from protocols.http import problem
from protocols.http.openapi import CODES
from protocols.http.problem import HttpError, problem_of, reply_of, status_of


def all_classes(base: type[LinkspanError]) -> list[type[LinkspanError]]:
    return [base, *(found for below in base.__subclasses__() for found in all_classes(below))]


def test_every_code_that_a_client_can_meet_is_explained() -> None:
    ours = [found for found in all_classes(LinkspanError) if found.__module__ in (errors.__name__, problem.__name__)]
    assert {found.code for found in ours} - set(CODES) == set()


def test_a_problem_has_what_rfc_9457_asks_and_the_faults() -> None:
    error = errors.InvalidEvent("two faults", faults=(Fault("events[1].id", "is required", 1), Fault("body", "odd")))
    assert problem_of(error)["type"] == "/v1/docs#invalid_event"
    reply = reply_of(error)
    told = json.loads(reply.body)
    assert (reply.status, told["status"], told["title"], told["detail"]) == (400, 400, "Bad Request", "two faults")
    assert (told["code"], told["retriable"]) == ("invalid_event", False)
    assert told["faults"] == [
        {"where": "events[1].id", "message": "is required", "index": 1},
        {"where": "body", "message": "odd"},
    ]
    assert "Retry-After" not in dict(reply.headers)


def test_details_come_along_but_do_not_replace_members() -> None:
    error = errors.OutcomeUnknown("half", positions=[(0, 1), None], status=7, odd={1, 2}.__class__)
    told = json.loads(reply_of(error).body)
    assert (told["positions"], told["status"], told["code"]) == ([[0, 1], None], 503, "outcome_unknown")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnknownTopic("t"), 404), (errors.TopicExists("t"), 409), (errors.Expired("x"), 410),
        (errors.OffsetOutOfRange("t", 0, 1, 2, 3), 410), (errors.NotAvailable("x"), 400), (errors.CorruptData("x"),
        500),
        (errors.TooLarge("x"), 413), (errors.UnsupportedContent("x"), 415), (errors.Forbidden("x"), 403),
        (problem.NotBuilt("x"), 501), (problem.TooSlow("x"), 408), (problem.HeadersTooLarge("x"), 431),
    ],
)  # fmt: skip
def test_statuses(error: LinkspanError, status: int) -> None:
    assert status_of(error) == reply_of(error).status == status


def test_what_may_succeed_later_says_when() -> None:
    assert dict(reply_of(errors.Draining("x")).headers)["Retry-After"] == "1"
    assert dict(reply_of(errors.Limited("x", retry_after=7)).headers)["Retry-After"] == "7"


def test_credentials_are_asked_for() -> None:
    assert dict(reply_of(errors.Unauthenticated("x")).headers)["WWW-Authenticate"] == "Bearer"


def test_headers_of_an_error_go_along() -> None:
    assert ("Allow", "GET") in reply_of(HttpError("x", headers=(("Allow", "GET"),))).headers
