"""Expressions of CESQL and `expr` over batches, and one event at a time."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import pytest

from routing.batch import Batch, Paths, Plain, Value
from routing.errors import InvalidFilter
from routing.filters.compile import compile_cesql, compile_expr

BASE: dict[str, Value] = {"id": "1", "source": "/s", "type": "x", "specversion": "1.0"}


def event(data: Any = None, **attributes: Value) -> Plain:
    return Plain({**BASE, **attributes}, None if data is None else json.dumps(data).encode())


def value(text: str, data: Any = None, **attributes: Value) -> Any:
    """The value of an `expr`, or the kind of its error."""
    one = event(data, **attributes)
    found, error = compile_expr(text).one(one.attributes, one.data)
    return error.kind if error else found


def places(text: str, *events: Plain) -> tuple[list[int], int]:
    expression = compile_expr(text, boolean=True)
    return expression.places(Batch(events, Paths(expression.paths)))


class TestBatches:
    def test_the_places_of_what_is_true_are_given_in_order(self) -> None:
        assert places("type = 'x'", event(), event(type="y"), event()) == ([0, 2], 0)

    def test_an_event_with_an_error_does_not_pass_and_is_counted(self) -> None:
        assert places("n > 5", event(n="7"), event(n="many"), event(), event(n="3")) == ([0], 2)

    def test_an_error_in_what_is_not_needed_is_none(self) -> None:
        assert places("type = 'y' AND n > 5", event(), event(type="y", n="9")) == ([1], 0)
        assert places("type = 'x' OR n > 5", event(), event(type="y")) == ([0], 1)

    def test_an_error_in_a_part_is_one_of_the_whole_whatever_the_rest(self) -> None:
        assert places("n > 5 OR type = 'x'", event(), event(n=6)) == ([1], 1)

    def test_only_the_events_asked_for_are_looked_at(self) -> None:
        expression = compile_expr("type = 'x' AND data.n > 1")
        batch = Batch([event({"n": k}) for k in range(6)], Paths(expression.paths))
        assert expression.places(batch, [0, 1, 3, 5]) == ([3, 5], 0)
        assert expression.places(batch, []) == ([], 0)

    def test_a_payload_is_not_decoded_for_an_event_that_its_attributes_rule_out(self) -> None:
        seen: list[str] = []

        def decode(one: Any) -> object:
            seen.append(one.attributes["id"])
            return {"n": 5}

        events = [event({"n": 0}, id=str(k), type="x" if k == 2 else "y", datacontenttype="a/b") for k in range(5)]
        assert compile_expr("type = 'x' AND data.n = 5").places(Batch(events, decode=decode)) == ([2], 0)
        assert seen == ["2"]

    def test_what_is_not_a_boolean_does_not_pass(self) -> None:
        assert places("a", event(a=True), event(a="true"), event(a=1), event()) == ([0], 1)
        assert compile_cesql("a").places(Batch([event(a=True), event(a="x")])) == ([0], 0)

    def test_a_filter_that_gives_text_or_a_number_is_refused(self) -> None:
        for text in ("LOWER(a)", "a + 1", "5"):
            with pytest.raises(InvalidFilter, match="a filter is true or false"):
                compile_expr(text, boolean=True)
        with pytest.raises(InvalidFilter, match="this is an integer"):
            compile_cesql("a + 1", boolean=True)

    def test_a_column_has_a_value_for_each_event_and_zero_values_for_errors(self) -> None:
        batch = Batch([event(n="4"), event(), event(n=-1)])
        assert compile_expr("n * 2").column(batch) == ([8, 0, -2], 1)
        assert compile_cesql("LOWER(n)").column(batch) == (["4", "", "-1"], 1)
        assert compile_expr("1 + 1").column(batch) == ([2, 2, 2], 0)

    def test_other_formats_give_the_same(self) -> None:
        packed = Plain({**BASE, "datacontenttype": "application/msgpack"}, msgspec.msgpack.encode({"n": [1, 2.5]}))
        assert places("data.n[1] = 2.5", packed, event({"n": [0, 2.5]})) == ([0, 1], 0)

    def test_a_payload_that_cannot_be_decoded_has_no_fields(self) -> None:
        broken = Plain(dict(BASE), b"{")
        assert places("data.n = 1", broken, event({"n": 1}), event()) == ([1], 2)
        assert places("EXISTS data.n", broken, event({"n": 1}), event({"n": None})) == ([1], 0)


class TestWhatIsTold:
    def test_paths_attributes_result_and_key(self) -> None:
        one = compile_expr("type = 'x' AND data.a[0].b > EPOCH(time)")
        assert one.paths == {("a", 0, "b")}
        assert one.attributes == {"type", "time"}
        assert (one.result, one.dialect) == ("bool", "expr")
        assert compile_expr(" type='x'  and (data.a[0].b) > epoch(TIME)").key == one.key
        assert compile_cesql("type = 'x'").key != compile_expr("type = 'x'").key
        assert compile_expr("a = 1").key != compile_expr("a = TRUE").key
        assert repr(one) == "<expr \"type = 'x' AND data.a[0].b > EPOCH(time)\">"

    def test_an_error_tells_its_kind_place_and_what(self) -> None:
        found, error = compile_expr("type = 'x' AND data.n > 5").one(BASE, b'{"n": "many"}')
        assert found is False
        assert error is not None
        assert (error.kind, error.position) == ("cast", 15)
        assert error.message == "'many' cannot be read as a number"
        assert error.caret("type = 'x' AND data.n > 5").splitlines()[1] == " " * 15 + "^"

    def test_what_is_missing_is_named(self) -> None:
        for text, told in (("n + 1", "the attribute n"), ("data.a['odd name'] + 1", "data.a['odd name']")):
            _, error = compile_expr(text).one(BASE, b"{}")
            assert error is not None
            assert (error.kind, error.message) == ("missingAttribute", f"{told} is not there")


class TestEarlyRefusals:
    @pytest.mark.parametrize(
        ("text", "position", "told"),
        [
            ("n > 'x' - 1", 8, "'x' cannot be read as a number"),
            ("data.n + 'x'", 9, "'x' cannot be read as a number"),
            ("5 / 0 = 1", 2, "this fails for every event: 5 / 0"),
            ("TIME('soon') < time", 5, "'soon' cannot be read as a time"),
            ("TIME(time) > 5", 13, "5 cannot be read as a time"),
            ("LENGTH(type) = NOW()", 0, "a number cannot be read as a time"),
            ("LENGTH(type) IN (1, 'x')", 20, "'x' cannot be read as a number"),
            ("type = 'x' AND 'yes'", 15, "'yes' cannot be read as true or false"),
            ("EXISTS n < 'x'", 11, "'x' is no number to compare true or false with"),
            ("FLOR(data.x) = 1", 0, "there is no function FLOR"),
            ("LEFT(type) = 'x'", 0, "LEFT takes 2 arguments, not 1"),
            ("CONCAT_WS() = 'x'", 0, "CONCAT_WS takes 1 or more arguments, not 0"),
            ("IF(a, b) = 'x'", 0, "IF takes 3 arguments, not 2"),
            ("COALESCE(a) = 'x'", 0, "COALESCE takes 2 arguments or more, not 1"),
            ("COALESCE(a + 1, 5) = 5", 11, "COALESCE tries attributes and fields"),
        ],
    )
    def test_what_can_never_work_is_refused(self, text: str, position: int, told: str) -> None:
        with pytest.raises(InvalidFilter) as refused:
            compile_expr(text)
        assert told in refused.value.message
        assert text[refused.value.position or 0 :].startswith(text[position : position + 3])

    def test_functions_of_expr_are_named_to_who_writes_cesql(self) -> None:
        with pytest.raises(InvalidFilter, match="FLOOR is a function of the 'expr' dialect") as refused:
            compile_cesql("FLOOR(n) = 1")
        assert refused.value.kind == "missingFunction"

    def test_evaluation_of_a_single_event_lets_them_be_tried(self) -> None:
        found, error = compile_cesql("5 / 0", strict=False).one(BASE)
        assert (found, error and error.kind) == (0, "math")


class TestExpr:
    def test_paths_lead_into_objects_and_arrays(self) -> None:
        data = {"a": {"b": 7}, "tags": ["x", {"deep": True}], "odd name": "o", "in": 3, "0": "zero"}
        assert value("data.a.b", data) == 7
        assert value("data.tags[0] = 'x'", data) is True
        assert value("data.tags[1].deep", data) is True
        assert value("data['odd name'] = 'o'", data) is True
        assert value("data.in = 3", data) is True
        assert value("data['0'] = 'zero'", data) is True
        assert value("data.tags[5]", data) == "missingAttribute"
        assert value("data > 4", 5) is True

    def test_decimals_are_what_is_written(self) -> None:
        assert value("data.a + data.b = 0.3", {"a": 0.1, "b": 0.2}) is True
        assert value("data.a * 3 = 0.3", {"a": 0.1}) is True
        assert value("data.a = 100", {"a": 100.0}) is True
        assert value("data.a = '187.5'", {"a": 187.5}) is True
        assert value("1.10 = 1.1") is True
        assert value("0.1 + 0.7 = 0.8") is True

    def test_attributes_of_a_numbers_form_compare_as_numbers_with_numbers(self) -> None:
        assert value("confidence >= 0.8", confidence="0.85") is True
        assert value("confidence >= 0.8", confidence="0.8000") is True
        assert value("confidence >= 0.8", confidence="1e-1") is False
        assert value("confidence = 0.85", confidence="0.850") is True
        assert value("confidence >= 0.8", confidence="high") == "cast"
        assert value("0.8 <= confidence", confidence=1) is True

    def test_whole_numbers_divide_as_in_cesql_and_those_of_payloads_exactly(self) -> None:
        assert value("5 / 3") == 1
        assert value("5.0 / 2") == 2.5
        assert value("n / 2", n="5") == 2
        assert value("data.n / 2", {"n": 5}) == 2.5
        assert value("data.n % 3", {"n": -7}) == -1

    def test_order_of_texts_numbers_and_times(self) -> None:
        assert value("hop < ttl", hop="5", ttl="10") is True
        assert value("a < b", a="5", b="10x") is False
        assert value("data.name < 'm'", {"name": "anna"}) is True
        assert value("'m' > data.name", {"name": "anna"}) is True
        assert value("data.name < 'm'", {"name": 5}) == "cast"
        assert value("a < '10'", a="9") is True
        assert value("a < '10'", a="nine") == "cast"
        assert value("time > '2024-01-01T00:00:00Z'", time="2024-01-01T00:30:00+01:00") is False
        assert value("a < b", a="2024-01-01T00:30:00+01:00", b="2024-01-01T00:00:00Z") is True
        assert value("LOWER(type) < 'y'") is True

    def test_times(self) -> None:
        assert (
            value("TIME(time) = TIME(data.at)", {"at": "2024-01-01T01:00:00+01:00"}, time="2024-01-01T00:00:00Z")
            is True
        )
        assert value("TIME(time) = '2024-01-01T00:00:00.000Z'", time="2024-01-01T00:00:00Z") is True
        assert value("TIME(time) - TIME('2023-12-31T23:59:00Z')", time="2024-01-01T00:00:00.5Z") == 60.5
        assert value("TIME(time) + 60 > '2024-01-01T00:00:59Z'", time="2024-01-01T00:00:00Z") is True
        assert value("HOUR(time) >= 9 AND WEEKDAY(time) = 1", time="2024-01-01T09:15:00Z") is True
        assert value("STRING(TIME(time))", time="2024-01-01T01:00:00.250+01:00") == "2024-01-01T00:00:00.25Z"
        assert value("EPOCH('1970-01-01T00:01:00Z')") == 60
        assert value("NOW() - TIME(time) < 3600", time=dt.datetime.now(dt.UTC).isoformat()) is True
        assert value("TIME(data.at)", {"at": "soon"}) == "cast"

    def test_lists_and_arrays(self) -> None:
        assert value("data.side IN ('buy', 'sell')", {"side": "buy"}) is True
        assert value("data.n IN (1, 2.5)", {"n": 2.5}) is True
        assert value("data.n NOT IN (1, 2)", {"n": 3}) is True
        assert value("'x' IN data.tags", {"tags": ["y", "x"]}) is True
        assert value("5 IN data.tags", {"tags": [None, {}, "y", 5.0]}) is True
        assert value("'x' NOT IN data.tags", {"tags": []}) is True
        assert value("'x' IN data.tags", {"tags": "x"}) == "cast"
        assert value("data.a IN data.b", {"a": {}, "b": [1]}) == "cast"
        assert value("type IN (LOWER(a), data.t)", {"t": "x"}, a="Y") is True

    def test_presence(self) -> None:
        assert value("EXISTS data.a", {"a": 0}) is True
        assert value("EXISTS data.a", {"a": None}) is False
        assert value("NOT EXISTS data", None) is True
        assert value("EXISTS type AND NOT EXISTS subject") is True
        assert value("COALESCE(data.a, b, 'none')", {"a": None}) == "none"
        assert value("COALESCE(data.a, b, 'none')", {"a": None}, b="b") == "b"
        assert value("IF(EXISTS b, b, 'none')") == "none"
        assert value("IF(TRUE, 1, no)") == 1

    def test_functions(self) -> None:
        assert value("STARTS_WITH(a, 'ab') AND ENDS_WITH(a, 'yz') AND CONTAINS(a, 'm')", a="ab m yz") is True
        assert value("POSITION(a, 'm')", a="ab m") == 4
        assert value("REPLACE(a, '-', '')", a="1-2-3") == "123"
        assert value("REPLACE(a, '', 'x')", a="1") == "1"
        assert value("ROUND(data.x, 2)", {"x": 2.675}) == 2.68
        assert value("ROUND(2.5)") == 3
        assert value("ROUND(-2.5)") == -3
        assert value("FLOOR(-1.5) + CEIL(1.2) + INT(-1.9)") == -1
        assert value("LEAST(3, data.x, 2) + GREATEST(1, 5)", {"x": 1}) == 6
        assert value("SIZE(data.tags) + LENGTH(data.name)", {"tags": [1, 2], "name": "abc"}) == 5
        assert value("SIZE(data.n)", {"n": 5}) == "cast"
        assert value("NUMBER(a) + 1", a="0.5") == 1.5
        assert value("ABS(data.x)", {"x": -0.5}) == 0.5
        assert value("LEFT(data.name, 2)", {"name": "abc"}) == "ab"

    def test_numbers_of_more_than_64_bits_are_errors_not_wrong_results(self) -> None:
        assert value("data.n > 5", {"n": 2**70}) is True
        assert value("data.n + 1", {"n": 2**70}) == "math"
        assert value("data.n * data.n", {"n": 2**62}) == "math"
        assert value("data.n * data.n", {"n": 1e200}) == "math"
        assert value("n + 1", n="9" * 30) == "cast"
        assert value("STRING(data.n)", {"n": 10**60}) == "cast"
        assert value("-data.n", {"n": -(2**63)}) == "math"
        assert value("ABS(data.n)", {"n": -(2**63)}) == "math"

    def test_no_string_grows_without_bound(self) -> None:
        text = "x" * 600_000
        assert value("CONCAT(data.t, data.t)", {"t": text}) == "functionEvaluation"
        assert value("CONCAT_WS(data.t, 'a', 'b', 'c')", {"t": text}) == "functionEvaluation"
        assert value("REPLACE(data.t, 'x', 'yyyy')", {"t": text}) == "functionEvaluation"

    def test_objects_and_arrays_are_values_only_of_themselves(self) -> None:
        assert value("data.o", {"o": {"a": 1}}) == {"a": 1}
        assert value("data.o = 'x'", {"o": {}}) == "cast"
        assert value("data.o = data.o", {"o": {}}) == "cast"
        assert value("data.o LIKE '%'", {"o": []}) == "cast"

    def test_xor_of_several_is_whether_an_odd_number_is_true(self) -> None:
        assert value("TRUE XOR TRUE XOR TRUE") is True
        assert value("EXISTS a XOR EXISTS b XOR EXISTS type", a="1") is False


class TestDeepAndLong:
    @pytest.mark.parametrize(
        "wrap", ["({})", "NOT ({})", "({}) = TRUE", "({}) IN (TRUE)", "IF({}, TRUE, TRUE)", "a LIKE 'x' OR ({})"]
    )
    def test_the_deepest_expression_compiles(self, wrap: str) -> None:
        text = "EXISTS a"
        compiled = 0
        for _ in range(64):
            text = wrap.format(text)
            try:
                expression = compile_expr(text)
            except InvalidFilter as error:
                assert "nested deeper than 64 levels" in error.message  # noqa: PT017
                break
            compiled += 1
            expression.one({**BASE, "a": "x"})
        assert compiled > 25

    def test_a_long_chain_compiles(self) -> None:
        text = " AND ".join(["type = 'x'"] * 500)
        assert compile_expr(text).places(Batch([event()])) == ([0], 0)
        text = " OR ".join(["type = 'y'"] * 500)
        assert compile_expr(text).places(Batch([event()])) == ([], 0)
        assert compile_expr("type IN (" + ", ".join(f"'{k}'" for k in range(1000)) + ")").equality is not None

    def test_deep_sums_and_long_texts_are_refused(self) -> None:
        with pytest.raises(InvalidFilter, match="nested deeper than 64"):
            compile_expr(" + ".join(["n"] * 70) + " > 5")
        with pytest.raises(InvalidFilter, match="at most 8192 characters"):
            compile_expr("type = '" + "x" * 9000 + "'")


def test_nothing_of_the_text_is_run() -> None:
    for text in ("__import__('os')", "a.__class__", "data.x.__class__ = 1", "data['\\'); import os; (\\''] = 1"):
        try:
            _, error = compile_expr(text).one(BASE, b"{}")
        except InvalidFilter:
            continue
        assert error is not None
        assert error.kind == "missingAttribute"
