"""Errors as problem details, for every door that answers by HTTP."""

from __future__ import annotations

from gateway.errors import Draining, Fault, InvalidInput, Kind, Unauthenticated, UnknownTopic
from gateway.problems import STATUS, problem_headers, problem_members


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(Kind)


def test_a_problem_has_its_own_members_faults_and_the_details_of_the_error() -> None:
    assert problem_members(UnknownTopic("t"), 404) == {
        "type": "/v1/docs#unknown_topic",
        "title": "Not Found",
        "status": 404,
        "detail": "topic 't' does not exist",
        "code": "unknown_topic",
        "retriable": False,
        "topic": "t",
    }
    assert problem_members(InvalidInput("no", faults=(Fault("a", "is odd"),)), 400)["faults"] == (Fault("a", "is odd"),)


def test_a_detail_does_not_replace_a_member() -> None:
    assert problem_members(InvalidInput("no", status=200, title="yes"), 400)["status"] == 400


def test_headers_say_when_to_come_again_and_how_to_say_who_one_is() -> None:
    assert problem_headers(UnknownTopic("t"), 404) == []
    assert problem_headers(Draining("later"), 503) == [("Retry-After", "1")]
    assert problem_headers(Draining("later", retry_after=7), 503) == [("Retry-After", "7")]
    assert problem_headers(Unauthenticated("who?"), 401) == [("WWW-Authenticate", "Bearer")]
