"""What brokers say, in our words."""

from __future__ import annotations

import pytest

from gateway.bus.kafka import errors
from gateway.errors import BusUnavailable, Conflict, InvalidAddress, InvalidSetting, TopicExists, UnknownTopic


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errors.UNKNOWN_TOPIC_OR_PARTITION, UnknownTopic),
        (errors.UNKNOWN_TOPIC_ID, UnknownTopic),
        (errors.TOPIC_ALREADY_EXISTS, TopicExists),
        (errors.INVALID_TOPIC, InvalidAddress),
        (errors.INVALID_PARTITIONS, InvalidSetting),
        (errors.INVALID_CONFIG, InvalidSetting),
        (errors.POLICY_VIOLATION, InvalidSetting),
        (errors.REASSIGNMENT_IN_PROGRESS, Conflict),
        (errors.TOPIC_AUTHORIZATION_FAILED, BusUnavailable),
        (4711, BusUnavailable),
    ],
)
def test_an_administrative_refusal_becomes_the_error_of_its_kind(code: int, kind: type[Exception]) -> None:
    assert type(errors.admin_error(code, None, "t")) is kind


def test_the_brokers_own_words_are_passed_on() -> None:
    assert "must be at least 14" in str(errors.admin_error(errors.INVALID_CONFIG, "must be at least 14", "t"))
    assert "INVALID_CONFIG" in str(errors.admin_error(errors.INVALID_CONFIG, None, "t"))


def test_codes_have_the_names_of_kafkas_documentation() -> None:
    assert errors.name_of(6) == "NOT_LEADER_OR_FOLLOWER"
    assert errors.name_of(4711) == "error 4711"


def test_what_was_certainly_not_stored_and_what_is_in_doubt_do_not_overlap() -> None:
    assert not errors.REFUSED_FOR_NOW & errors.UNDECIDED
    assert not errors.REFUSED_FOR_NOW & errors.TOO_LARGE
    assert not errors.SEQUENCE_LOST & (errors.UNDECIDED | errors.REFUSED_FOR_NOW)
