"""What becomes of invalid events, and what their publisher is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.errors import BusUnavailable, LinkspanError, OutcomeUnknown
from gateway.event import Event
from gateway.validation import (
    Diverted,
    Division,
    Outcome,
    Published,
    TopicSchema,
    mark,
    published_members,
    refusal,
)

REASONS = {1: "is wrong", 3: "is missing"}


def divided(stored: Any, diverted: Any, count: int = 4) -> list[Outcome]:
    answers: list[Outcome] = []
    division = Division(count, REASONS if count == 4 else {0: "no"}, "bad", answers.append)
    division.diverted(diverted)
    if division.good:
        assert answers == []
        division.stored(stored)
    return answers


def test_the_answer_for_a_division_has_all_positions() -> None:
    (answer,) = divided([(0, 7), (0, 8)], [(1, 1), (1, 2)])
    assert isinstance(answer, Published)
    assert answer == [(0, 7), None, (0, 8), None]
    assert msgspec.json.decode(msgspec.json.encode(published_members(answer))) == {
        "count": 4,
        "positions": [[0, 7], None, [0, 8], None],
        "diverted": [
            {"index": 1, "topic": "bad", "position": [1, 1], "reason": "is wrong"},
            {"index": 3, "topic": "bad", "position": [1, 2], "reason": "is missing"},
        ],
    }


def test_a_publish_may_be_diverted_as_a_whole() -> None:
    (answer,) = divided(None, [(0, 0)], count=1)
    assert answer == [None]
    assert isinstance(answer, Published)
    assert answer.diverted == (Diverted(0, "bad", (0, 0), "no"),)


def test_without_anything_diverted_the_answer_is_as_ever() -> None:
    assert published_members([(0, 1)]) == {"count": 1, "positions": [(0, 1)]}


def test_when_nothing_was_stored_the_error_is_told_as_it_is() -> None:
    away = BusUnavailable("away")
    assert divided(away, BusUnavailable("too")) != [away]
    (answer,) = divided(away, away)
    assert answer is away


@pytest.mark.parametrize(
    ("stored", "diverted", "positions", "count"),
    [
        ([(0, 7), (0, 8)], BusUnavailable("away"), [(0, 7), None, (0, 8), None], 0),
        (BusUnavailable("away"), [(1, 1), (1, 2)], [None] * 4, 2),
        (OutcomeUnknown("half", positions=[(0, 7), None]), [(1, 1), (1, 2)], [(0, 7), None, None, None], 2),
        (OutcomeUnknown("none"), OutcomeUnknown("half", positions=[(1, 1), None]), [None] * 4, 1),
        (OutcomeUnknown("none"), BusUnavailable("away"), [None] * 4, 0),
    ],
)
def test_when_only_one_part_was_stored_the_outcome_is_what_is_known(
    stored: Any, diverted: Any, positions: list[Any], count: int
) -> None:
    (answer,) = divided(stored, diverted)
    assert isinstance(answer, LinkspanError)
    assert type(answer) is OutcomeUnknown
    assert answer.detail["positions"] == positions
    assert len(answer.detail["diverted"]) == count


def test_a_refusal_tells_of_each_event() -> None:
    error = refusal(dict.fromkeys(range(30), "is wrong"))
    assert error.message == "the topic's schema refuses this: events[0].data is wrong (and 29 more)"
    assert [fault.index for fault in error.faults] == list(range(20))


def test_marks_are_attributes() -> None:
    events = [Event({"id": str(n)}) for n in range(4)]
    mark(events, REASONS)
    assert [event.attributes.get("schemaerror") for event in events] == [None, "is wrong", None, "is missing"]


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (TopicSchema("s"), None), (TopicSchema("s", on_invalid="divert", divert_to="bad"), None),
        (TopicSchema("s", on_invalid="divert"), "it is missing"), (TopicSchema("s", divert_to="bad"), "divert alone"),
        (TopicSchema("s", on_invalid="divert", divert_to="t"), "another topic"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_told(schema: TopicSchema, fault: str | None) -> None:
    found = schema.faults("t")
    assert [one.where for one in found] == ([] if fault is None else ["schema.divert_to"])
    assert fault is None or fault in found[0].message
