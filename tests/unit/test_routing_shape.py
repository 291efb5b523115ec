"""Which fields of a payload are decoded, and when it is decoded as a whole instead."""

from __future__ import annotations

import pickle

import pytest

from routing.shape import MISSING, MOST_FIELDS, MOST_LEVELS, Path, Plan, plan_of, walk


def only(plan: Plan, path: Path, data: bytes) -> object:
    return plan.column(path, plan.decode([data])[0])[0]


def test_the_fields_of_a_plan_are_decoded_and_others_skipped() -> None:
    plan = plan_of(frozenset([("a",), ("b", "c"), ("tags", 1, "x")]))
    data = b'{"a":1,"skipped":1e999,"b":{"c":2,"d":3},"tags":[0,{"x":"y"}]}'
    assert [only(plan, path, data) for path in (("a",), ("b", "c"), ("tags", 1, "x"))] == [1, 2, "y"]
    assert plan_of(frozenset([("b", "c"), ("a",), ("tags", 1, "x")])) is plan


def test_payloads_that_are_missing_or_bad_leave_the_others_in_their_places() -> None:
    plan = plan_of(frozenset([("a",)]))
    datas = [None, b'{"a":1}', b"{", None, b"[]", b'{"a":1e400}', b'{"a":2}', None]
    records, bad = plan.decode(datas)
    assert plan.column(("a",), records) == [MISSING, 1, MISSING, MISSING, MISSING, MISSING, 2, MISSING]
    assert bad == 1
    with pytest.raises(TypeError):
        plan.decode([5])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "paths",
    [[], [()], [(), ("a",)], [(0,)], [('a"',), ("b",)], [("a\n",)], [(f"k{n}",) for n in range(MOST_FIELDS + 1)]],
)
def test_what_cannot_be_picked_is_decoded_as_a_whole(paths: list[Path]) -> None:
    assert Plan(paths).whole


def test_paths_below_the_most_levels_are_walked() -> None:
    path: Path = ("a",) * (MOST_LEVELS + 2)
    plan = Plan([path])
    assert not plan.whole
    deep = MOST_LEVELS + 2
    assert only(plan, path, b'{"a":' * deep + b"5" + b"}" * deep) == 5
    assert only(plan, path, b'{"a":' * 3 + b"5" + b"}" * 3) is MISSING


def test_a_walk_goes_through_objects_by_key_and_arrays_by_place() -> None:
    value = {"a": [1, {"b": 2}]}
    assert walk(value, ()) is value
    assert walk(value, ("a", 1, "b")) == 2
    for path in [("b",), ("a", "b"), ("a", 2), ("a", -1), ("a", 0, "x"), ("a", True)]:
        assert walk(value, path) is MISSING


def test_missing_is_one_of_a_kind() -> None:
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
