"""routing/transforms/paths.py: paths as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.transforms.paths import EVERY, MAX_STEPS, BadPath, Path, parse_path, path_text, without_covered

STEPS = st.text(max_size=6) | st.integers(0, 999_999_999) | st.just(EVERY)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("price", ("price",)),
        ("a.b.c", ("a", "b", "c")),
        ("legs[0].px", ("legs", 0, "px")),
        ("legs[*].px", ("legs", EVERY, "px")),
        ("m[0][1]", ("m", 0, 1)),
        ('["odd.key"].a', ("odd.key", "a")),
        ('a["x \\"y\\""]', ("a", 'x "y"')),
        ("[3]", (3,)),
        ("größe-1", ("größe-1",)),
    ],
)
def test_a_path_is_read(text: str, path: Path) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        (".a", 0),
        ("a..b", 1),
        ("a.", 1),
        ("a[", 1),
        ("a[-1]", 1),
        ("a[b]", 1),
        ("a b", 1),
        ('["\\x"]', 1),
        ("a[0]b", 4),
    ],
)
def test_what_is_no_path_is_refused_at_its_place(text: str, position: int) -> None:
    with pytest.raises(BadPath) as caught:
        parse_path(text)
    assert caught.value.position == position


def test_paths_are_bounded() -> None:
    parse_path(".".join("a" * MAX_STEPS))
    with pytest.raises(BadPath, match="at most 32 steps"):
        parse_path(".".join("a" * (MAX_STEPS + 1)))
    with pytest.raises(BadPath, match="at most 1000 characters"):
        parse_path("a" * 1001)


@given(st.lists(STEPS, min_size=1, max_size=6).map(tuple))
def test_the_text_of_a_path_gives_the_path_again(path: Path) -> None:
    text = path_text(path)
    assert parse_path(text) == path


def test_paths_below_others_are_left_out() -> None:
    paths = [parse_path(text) for text in ("a.b", "a", "c[0]", "c[0].d", "c[2]", "a", "c[*]")]
    assert [path_text(path) for path in without_covered(paths)] == ["a", "c[*]", "c[2]", "c[0]"]


def test_every_element_has_a_name_for_people() -> None:
    assert repr(EVERY) == "EVERY"
