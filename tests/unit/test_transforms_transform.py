"""routing/transforms/transform.py: steps in their order, failures with their place, and figures."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.batch import Plain
from routing.errors import InvalidTransform
from routing.transforms import StepFailed, compile_transform
from routing.transforms.transform import MAX_STEPS
from tests.unit.transforms_support import ATTRIBUTES, TRADE, Rows, fault, transform

STEPS: list[Any] = [
    {"keep": {"data": ["price", "a", "l[*].x"]}},
    {"keep": {"attributes": ["desk"]}},
    {"drop": {"data": ["a"], "attributes": ["subject"]}},
    {"rename": {"data": {"price": "px"}}},
    {"set": {"data": "a.b", "to": "data.price"}},
    {"set": {"attribute": "desk", "to": "CONCAT(symbol, data.a)"}},
    {"mask": {"data": ["a", "l[*]"]}},
    "flatten",
    {"convert": "msgpack"},
    {"convert": "json"},
    {"enrich": {"table": "instruments", "key": "symbol", "into": {"data": "i"}}},
]
PAYLOADS = st.sampled_from(
    [
        TRADE,
        None,
        b"{}",
        b"[1]",
        b"{",
        b'{"a":1.10}',
        b'{"a":{"b":2},"price":1}',
        b'{"l":[{"x":1},2]}',
        b'{"px":1,"price":2}',
        b"\xff",
    ]
)
ROWS = Rows({"AAPL": {"name": "Apple"}})


@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=5), st.lists(PAYLOADS, max_size=8))
def test_a_batch_gives_what_its_events_give_one_by_one(steps: list[Any], payloads: list[bytes | None]) -> None:
    one, many = transform(*steps, tables=ROWS), transform(*steps, tables=ROWS)
    passed, failed = [], []
    for place, data in enumerate(payloads):
        try:
            passed.append(one.apply(ATTRIBUTES, data))
        except StepFailed as error:
            failed.append((place, str(error)))
    before = dict(ATTRIBUTES)
    results, failures = many.apply_batch([Plain(ATTRIBUTES, data) for data in payloads])
    assert before == ATTRIBUTES
    assert results == passed
    assert [(place, str(error)) for place, error in failures] == failed
    assert [(stats.passed, stats.failed) for stats in one.stats] == [
        (stats.passed, stats.failed) for stats in many.stats
    ]


def test_a_large_batch_keeps_its_order() -> None:
    events = [Plain(ATTRIBUTES, b'{"n":%d}' % number if number % 100 else b"[]") for number in range(1000)]
    results, failures = transform({"set": {"data": "m", "to": "data.n"}}, {"keep": {"data": ["m"]}}).apply_batch(events)
    assert [place for place, _ in failures] == list(range(0, 1000, 100))
    assert [data for _, data in results] == [b'{"m":%d}' % number for number in range(1000) if number % 100]


def test_a_failure_says_which_step_and_why() -> None:
    made = transform(
        {"keep": {"attributes": ["symbol"]}}, {"set": {"data": "a", "to": "data.nope"}}, {"drop": {"data": ["a"]}}
    )
    with pytest.raises(StepFailed) as caught:
        made.apply(ATTRIBUTES, b"{}")
    error = caught.value
    assert (error.step, error.name, error.reason) == (1, "set", "data.nope is missing")
    assert str(error) == "step 2 (set): data.nope is missing"
    assert [(stats.name, stats.passed, stats.failed) for stats in made.stats] == [
        ("keep", 1, 0),
        ("set", 0, 1),
        ("drop", 0, 0),
    ]
    assert all(stats.seconds >= 0 for stats in made.stats)
    assert made.stats[0].seconds > 0


def test_what_cannot_be_written_fails_the_last_step() -> None:
    rows = Rows({"AAPL": {"a": float("nan")}})
    step = {"enrich": {"table": "instruments", "key": "symbol", "into": {"data": {"n": "a"}}}}
    with pytest.raises(StepFailed, match=r"step 1 \(enrich\): nan is no JSON number"):
        transform(step, tables=rows).apply(ATTRIBUTES, b"{}")
    control = {"set": {"data": "b", "to": "REPLACE(data.a, 'x', '\x01')"}}  # each character is six bytes of JSON
    made = transform(control, *[{"set": {"data": name, "to": "data.b"}} for name in "cde"])
    wide = msgspec.json.encode({"a": "x" * 100_000})
    with pytest.raises(StepFailed) as caught:
        made.apply(ATTRIBUTES, wide)
    assert caught.value.step == 3
    assert [(stats.passed, stats.failed) for stats in made.stats] == [(1, 0), (1, 0), (1, 0), (0, 1)]
    assert made.apply_batch([Plain(ATTRIBUTES, wide)])[0] == []
    assert [(stats.passed, stats.failed) for stats in made.stats][2:] == [(2, 0), (0, 2)]


def test_a_table_that_breaks_fails_the_event_and_no_more() -> None:
    class Broken(Rows):
        def get(self, table: str, key: str) -> dict[str, Any] | None:
            raise OSError("secret of the table")

    step = {"enrich": {"table": "instruments", "key": "symbol", "into": {"data": "i"}}}
    made = transform(step, tables=Broken({}))
    with pytest.raises(StepFailed, match="failed unexpectedly: OSError"):
        made.apply(ATTRIBUTES, b"{}")
    assert made.apply_batch([Plain(ATTRIBUTES, b"{}")])[0] == []


def test_reasons_are_one_line_that_an_attribute_can_hold() -> None:
    with pytest.raises(StepFailed) as caught:
        transform({"rename": {"data": {"x": "new\u0007"}}}).apply(ATTRIBUTES, b'{"x":1,"new\\u0007":2}')
    assert caught.value.reason.isprintable()


# Keys


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"keep": {"data": ["a", "b"]}}, {"keep": {"data": ["b", "a", "a"]}}),
        ({"keep": {"data": ["a"]}}, {"keep": {"data": ["a", "a.b"]}}),
        ({"keep": {"data": "a"}}, {"keep": {"data": ['["a"]']}}),
        ({"rename": {"data": {"a": "b", "c": "d"}}}, {"rename": {"data": {"c": "d", "a": "b"}}}),
        ({"mask": {"data": ["a"]}}, {"mask": {"data": ["a"], "with": "redact"}}),
        (
            {"mask": {"data": ["a"], "with": {"truncate": 4}}},
            {"mask": {"data": ["a"], "with": {"truncate": {"first": 4}}}},
        ),
        ("flatten", {"flatten": {"separator": "_", "arrays": "leave"}}),
        ({"convert": "messagepack"}, {"convert": {"to": "msgpack"}}),
        ({"set": {"data": "a", "to": "data.b+1"}}, {"set": {"to": " data.b + 1", "data": "a"}}),
    ],
)
def test_transforms_that_do_the_same_have_one_key(one: Any, other: Any) -> None:
    assert transform(one).key == transform(other).key


def test_transforms_that_differ_have_different_keys() -> None:
    keys = {transform(step, tables=ROWS).key for step in STEPS}
    keys |= {
        transform(*STEPS[:2]).key,
        transform(*STEPS[1::-1]).key,
        transform({"set": {"attribute": "a", "to": "data.price"}}).key,
    }
    assert len(keys) == len(STEPS) + 3


# Refused when made


@pytest.mark.parametrize(
    ("steps", "where", "message"),
    [
        ([], "transform", "has no steps"),
        ("keep", "transform", "expected a list of steps"),
        ({"keep": {}}, "transform", "expected a list of steps"),
        ([{}], "transform[0]", "a step is a mapping with one key, its name"),
        (["keep it"], "transform[0]", "a step is a mapping with one key, its name"),
        ([{"keep": {}, "drop": {}}], "transform[0]", "a step is a mapping with one key, its name"),
        (["flatten"] * (MAX_STEPS + 1), "transform", "has 51 steps, more than 50"),
        (["keep"], "transform[0].keep", "expected a mapping with 'attributes' or 'data', not nothing"),
    ],
)
def test_what_is_no_list_of_steps_is_refused(steps: Any, where: str, message: str) -> None:
    with pytest.raises(InvalidTransform) as caught:
        compile_transform(steps)
    assert (caught.value.where, caught.value.message) == (where, message)


def test_an_unknown_step_is_refused_with_what_may_have_been_meant() -> None:
    error = fault("flatten", {"kepp": {"data": ["a"]}})
    assert error.where == "transform[1]"
    assert error.message.startswith("there is no step 'kepp' (did you mean 'keep'?); there are keep, drop, ")
    with pytest.raises(InvalidTransform, match=r"subscriptions.x.transform\[0\]: there is no step '5'"):
        compile_transform([{5: {}}], where="subscriptions.x.transform")  # type: ignore[dict-item]  # YAML can say so


def test_lists_are_bounded() -> None:
    assert fault({"keep": {"data": ["a"] * 257}}).message == "has 257 entries, more than 256"
    assert fault({"keep": {"data": 5}}).message == "expected a list, not a number"
    assert fault({"rename": {"data": ["a"]}}).message == "expected a mapping, not a list"
    assert fault({"call": "x" * 300}).message == "has more than 200 characters"
