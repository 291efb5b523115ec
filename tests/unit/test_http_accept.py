"""Which answer a client gets."""

from __future__ import annotations

import pytest

from protocols.http.accept import choose
from protocols.http.problem import NotAcceptable

OFFERS = ("application/cloudevents-batch+json", "text/event-stream", "application/json")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, 0), ("", 0), ("*/*", 0), ("application/*", 0), ("text/event-stream", 1), ("TEXT/Event-Stream", 1),
        ("text/*", 1), ("text/event-stream, */*", 1), ("application/json", 2), ("*/*;q=0.1, application/json;q=0.9", 2),
        ("text/html, application/xhtml+xml, */*;q=0.8", 0), ("text/event-stream;q=0, */*", 0),
        ("text/event-stream;q=x", 1),
        ("application/json;q=0.5, text/event-stream;q=0.6", 1), ("application/json;charset=utf-8", 2),
        ("application/cloudevents-batch+json;q=0, application/*", 2),
    ],
)  # fmt: skip
def test_the_best_offer_is_chosen(accept: str | None, chosen: int) -> None:
    assert choose(accept, OFFERS) == OFFERS[chosen]


@pytest.mark.parametrize("accept", ["text/html", "image/*", "*/*;q=0", "application/cloudevents+json", "nonsense"])
def test_nothing_acceptable_is_told(accept: str) -> None:
    with pytest.raises(NotAcceptable) as error:
        choose(accept, OFFERS)
    assert error.value.detail["offered"] == list(OFFERS)
