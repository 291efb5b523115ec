"""Refinements: filtered, then transformed, at the same places in the log; failures are told."""

from __future__ import annotations

from gateway.delivery.refine import Refinement
from gateway.event import Event
from routing.filters.filter import compile_filters
from routing.transforms.failure import StepFailed
from routing.transforms.transform import compile_transform


def stored(offset: int, kind: str, data: bytes = b'{"price": 1}') -> Event:
    attributes: dict[str, str | int | bool] = {"specversion": "1.0", "id": "x", "source": "/", "type": kind}
    attributes["datacontenttype"] = "application/json"
    return Event(attributes, data, b"k", "t", 2, offset, 1000 + offset)


def never(event: Event, failure: StepFailed) -> None:
    raise AssertionError(failure)


def test_a_filter_keeps_what_passes_in_order() -> None:
    refinement = Refinement(compile_filters([{"exact": {"type": "a"}}]), None, never)
    events = [stored(0, "a"), stored(1, "b"), stored(2, "a")]
    assert [event.offset for event in refinement.passing(events)] == [0, 2]
    assert refinement.transformed(events) is events


def test_what_passes_whole_is_the_same_list() -> None:
    refinement = Refinement(compile_filters([{"exact": {"type": "a"}}]), None, never)
    events = [stored(0, "a")]
    assert refinement.passing(events) is events
    assert refinement.passing([]) == []
    assert Refinement(None, None, never).passing(events) is events


def test_a_transformed_event_stands_where_the_original_does() -> None:
    refinement = Refinement(None, compile_transform([{"set": {"attribute": "desk", "to": "'a'"}}]), never)
    [event] = refinement.transformed([stored(7, "a")])
    assert (event.topic, event.partition, event.offset, event.timestamp_ms, event.key) == ("t", 2, 7, 1007, b"k")
    assert event.attributes["desk"] == "a"
    assert event.data == b'{"price": 1}'


def test_events_that_fail_are_left_out_and_told() -> None:
    told: list[tuple[int, str]] = []

    def report(event: Event, failure: StepFailed) -> None:
        told.append((event.offset, failure.name))

    refinement = Refinement(None, compile_transform([{"keep": {"data": ["price"]}}]), report)
    events = [stored(0, "a"), stored(1, "a", b"not json"), stored(2, "a")]
    assert [event.offset for event in refinement.transformed(events)] == [0, 2]
    assert told == [(1, "keep")]


def test_equal_refinements_have_equal_keys() -> None:
    def made(kind: str, errors: str | None = None, step: str = "price") -> object:
        transform = compile_transform([{"keep": {"data": [step]}}])
        return Refinement(compile_filters([{"exact": {"type": kind}}]), transform, never, errors).key

    assert made("a") == made("a")
    assert len({made("a"), made("b"), made("a", "errors"), made("a", step="other")}) == 4
    plain = compile_filters([{"exact": {"type": "a"}}])
    assert Refinement(plain, None, never, "x").key == Refinement(plain, None, never, "y").key
