"""The bucket that bounds how fast a client may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.websocket.limits import Bucket


def test_a_second_of_the_rate_is_there_at_once_and_the_rest_has_to_wait() -> None:
    bucket = Bucket(1000, now=0.0)
    assert bucket.take(1000, 0.0) == 0
    assert bucket.take(500, 0.0) == pytest.approx(0.5)
    assert bucket.take(0, 0.5) == 0
    assert bucket.take(1, 0.5) == pytest.approx(0.001)


def test_who_was_quiet_has_no_more_than_a_second_saved() -> None:
    bucket = Bucket(1000, now=0.0)
    assert bucket.take(1500, 100.0) == pytest.approx(0.5)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_who_waits_as_told_never_gets_beyond_the_rate(sizes: list[int]) -> None:
    now, bucket = 0.0, Bucket(1000, now=0.0)
    for size in sizes:
        now += bucket.take(size, now)
    assert sum(sizes) <= 1000 + 1000 * now + 1e-6
