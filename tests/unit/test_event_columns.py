"""Events as columns: the same events, made into objects only when somebody looks at one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bus.partitioner import Partitioner
from gateway.bus.records import decode_records, encode_records
from gateway.columns import Column, Columns, data_at, take
from gateway.event import Event

VALUES = st.one_of(st.text("ab\u00e9", max_size=3), st.booleans(), st.integers(-5, 5))


def columns(count: int = 10) -> Columns:
    values: dict[str, Column] = {
        "specversion": "1.0",
        "id": [str(n) for n in range(count)],
        "source": "/s",
        "type": ["t"] * count,
        "subject": [f"s/{n % 3}" for n in range(count)],
        "rank": list(range(count)),
    }
    return Columns(values, [b"%d" % n for n in range(count)], count)


def test_they_are_a_sequence_of_events() -> None:
    there = columns(3)
    assert (len(there), there.intact) == (3, True)
    assert [event.attributes["id"] for event in there] == ["0", "1", "2"]
    assert not there.intact
    assert there[1].attributes == {
        "specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "s/1", "rank": 1,
    }  # fmt: skip
    assert there[1] is there.events()[1]
    assert [event.data for event in there[1:]] == [b"1", b"2"]
    assert there == there.events()


def test_what_is_changed_in_an_event_counts() -> None:
    there = columns(3)
    there[0].attributes["subject"] = "other"
    decoded = decode_records(encode_records(there, 1), "t", 0).events
    assert [event.subject for event in decoded] == ["other", "s/1", "s/2"]


def test_some_are_taken_without_making_any() -> None:
    there = columns(6)
    some = take(there, [5, 1])
    assert there.intact
    assert data_at(there, 5) == b"5"
    assert [event.attributes["id"] for event in some] == ["5", "1"]
    assert [event.data for event in some] == [b"5", b"1"]
    assert take(there, range(6)) is there
    _ = there[0]
    assert [event.data for event in take(there, [2])] == [b"2"]
    assert data_at(there, 2) == b"2"
    made = [Event({}) for _ in range(3)]
    assert take(made, [2]) == [made[2]]


def test_events_without_data() -> None:
    there = Columns({"specversion": "1.0", "id": ["1", "2"]}, None, 2)
    assert data_at(there, 0) is None
    assert [event.data for event in take(there, [1])] == [None]
    assert [event.data for event in there] == [None, None]


@pytest.mark.parametrize("source", ["subject", "partitionkey", None])
def test_they_go_where_their_events_would(source: str | None) -> None:
    def made() -> Columns:
        values: dict[str, Column] = {"specversion": "1.0", "id": [str(n) for n in range(50)]}
        if source == "partitionkey":
            values["partitionkey"] = list(range(50))
        if source is not None:
            values["subject"] = [f"s/{n}" for n in range(50)]
        return Columns(values, None, 50)

    assert Partitioner().split(made(), 7) == Partitioner().split(made().events(), 7)


@given(st.lists(st.tuples(VALUES, VALUES, st.one_of(st.none(), st.binary(max_size=5))), min_size=1, max_size=20))
def test_columns_and_their_events_are_encoded_alike(
    rows: list[tuple[str | int | bool, str | int | bool, bytes | None]],
) -> None:
    def made() -> Columns:
        one, two, datas = (list(column) for column in zip(*rows, strict=True))
        values: dict[str, Column] = {"specversion": "1.0", "one": one, "partitionkey": two}
        return Columns(values, datas, len(rows))

    events = [Event(dict(event.attributes), event.data) for event in made()]
    assert encode_records(made(), 5) == encode_records(events, 5)
