"""The bench's own small parts; what it does is tested through HTTP."""

from __future__ import annotations

import pytest

from gateway.trial import _text_at


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("filters[0].expr", "a"), ("filters[1]", "b"), ("filters[0]", "a"), ("filters[9].expr", None),
        ("filters.x", None), ("", None), ("filters[0].expr.deeper", None), ("filters[2].all[0].sql", "c"),
    ],
)  # fmt: skip
def test_the_text_that_a_place_is_in_is_found(where: str, text: str | None) -> None:
    assert _text_at({"filters": [{"expr": "a"}, "b", {"all": [{"sql": "c"}]}]}, where) == text
