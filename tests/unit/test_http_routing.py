"""`/v1/routes`, `/v1/workflows` and the bench at `/v1/routing`, through HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.bus.contract import TopicSettings
from gateway.routes import Workflow
from tests.unit.http_support import House, client, event, house

pytestmark = pytest.mark.timeout(20)
ROUTE = {
    "name": "hot", "from": ["t/**"], "when": "confidence >= 0.8 AND data.n > 1", "action": "move",
    "to": [{"workflow": "trading"}], "set": {"priority": 8}, "on_error": {"topic": "errors"},
}  # fmt: skip
SIGNAL = event(2, confidence="0.9", subject="equities/AAPL")


@pytest.fixture
async def made() -> AsyncIterator[House]:
    async with house(routes=[ROUTE], workflows=[Workflow("trading", "flow", "what to buy")]) as made:
        await made.bus.create_topic("flow", TopicSettings(partitions=1))
        await made.bus.create_topic("errors", TopicSettings(partitions=1))
        yield made


@pytest.fixture
async def web(made: House) -> AsyncIterator[ClientSession]:
    async with client(made) as web:
        yield web


async def post(web: ClientSession, path: str, body: Any, status: int = 200) -> dict[str, Any]:
    answer = await web.post(f"/v1/routing/{path}", json=body)
    told: dict[str, Any] = await answer.json(content_type=None)
    assert answer.status == status, told
    return told


async def test_what_is_published_is_routed_and_counted(made: House, web: ClientSession) -> None:
    batch = [SIGNAL, event(1, confidence="0.1")]
    answer = await web.post(
        "/v1/topics/t/events", json=batch, headers={"Content-Type": "application/cloudevents-batch+json"}
    )
    assert await answer.json() == {"count": 2, "positions": [None, [0, 0]]}
    one = await web.post("/v1/topics/t/events", json=SIGNAL, headers={"Content-Type": "application/cloudevents+json"})
    assert await one.json() == {"count": 1, "positions": [None]}
    (first, _) = await made.stored("flow")
    assert (first.attributes["priority"], first.subject) == (8, "equities/AAPL")
    (route,) = (await (await web.get("/v1/routes")).json())["routes"]
    assert route.pop("counters").keys() == {"matched", "passed", "failed", "seconds"}
    assert route == ROUTE
    (workflow,) = (await (await web.get("/v1/workflows")).json())["workflows"]
    assert workflow == {
        "name": "trading", "topic": "flow", "description": "what to buy", "routes": ["hot"],
        "counters": {"received": 2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "expression", "value"),
    [
        ("cesql", "type = 't.made'", True),
        ("cesql", "1 + 2", 3),
        ("cesql", "flag", True),
        ("cesql", "number + 1", 8),
        ("expr", "data.price", 1.5),
        ("expr", "data.price > 1", True),
        ("expr", "data.name", "x"),
        ("expr", "data.large", 10**30),
        ("cesql", "TRUE AND FALSE OR TRUE", True),
    ],
)
async def test_an_expression_has_a_value(web: ClientSession, dialect: str, expression: str, value: object) -> None:
    given = {"type": "t.made", "flag": True, "number": 7, "data": {"price": 1.5, "name": "x", "large": 10**30}}
    told = await post(web, "evaluate", {"dialect": dialect, "expression": expression, "event": given})
    assert told == {"value": value, "error": None}
    assert type(told["value"]) is type(value)


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        ("a = ", "parse", False),
        ("NOSUCH(1)", "missingFunction", False),
        ("5 / 0", "math", 0),
        ("gone = 'x'", "missingAttribute", False),
        ("INT('x')", "cast", 0),
    ],
)
async def test_an_expression_that_fails_is_an_answer(
    web: ClientSession, expression: str, kind: str, value: object
) -> None:
    told = await post(web, "evaluate", {"dialect": "cesql", "expression": expression, "event": {}})
    assert told["value"] == value
    assert told["error"]["kind"] == kind
    assert set(told["error"]) == {"kind", "message", "position"}
    assert told["error"]["message"]


async def test_an_event_goes_through_filters_a_transform_and_a_route(web: ClientSession) -> None:
    rules = {
        "filters": [{"exact": {"type": "t.made"}}, {"expr": "data.n > 1"}],
        "transform": [{"set": {"attribute": "desk", "to": "'a'"}}],
        "route": {"from": ["t/**"], "to": ["alerts/{symbol}", {"workflow": "trading"}], "action": "move"},
    }
    told = await post(web, "try", {"event": SIGNAL, **rules})
    assert told["passed"] is True
    assert (told["to"], told["stays"]) == (["alerts/AAPL", "flow/equities/AAPL"], False)
    assert told["event"]["desk"] == "a"
    assert told["event"]["subject"] == "AAPL"
    assert told["event"]["data"] == {"n": 2}
    assert "failed_step" not in told


@pytest.mark.parametrize(
    ("rules", "step", "message", "caret"),
    [
        ({"filters": [{"exact": {"type": "t.made"}}, {"exact": {"type": "x"}}]}, "filters[1]", None, None),
        ({"filters": [{"expr": "gone > 1"}]}, "filters[0]", "gone", "gone > 1\n^"),
        ({"filters": [{"expr": "data.n >"}]}, "filters[0].expr", "expected", "data.n >\n        ^"),
        ({"filters": [{"not": {"sql": "NOSUCH(1)"}}]}, "filters[0].not.sql", "NOSUCH", "NOSUCH(1)\n^"),
        ({"filters": [{"exakt": {}}]}, "filters[0].exakt", "", None),
        ({"transform": [{"keep": {"data": ["n"]}}, {"mosk": {}}]}, "transform[1]", "mosk", None),
        ({"transform": [{"set": {"attribute": "x", "to": "1 +"}}]}, "transform[0].set.to", "", "1 +\n   ^"),
        ({"transform": [{"enrich": {"table": "gone", "key": "id", "to": "data.x"}}]}, "transform", "", None),
        ({"route": {"to": "x"}}, "route.from", "is required", None),
        ({"route": {"from": "u/**", "to": "x"}, "topic": "t"}, "route.from", None, None),
        ({"route": {"from": "t/**", "to": "x", "when": "data.n > 5"}}, "route.when", None, None),
        ({"route": {"from": "t/**", "to": "x", "when": "gone = 1"}}, "route.when", "gone", "gone = 1\n^"),
        ({"route": {"from": "t/**", "to": "x", "when": "a ="}}, "route.when", "expected", "a =\n   ^"),
        ({"route": {"from": "t/**", "to": "x/{gone}"}}, "route.to[0].subject", "{gone} is not there", None),
        ({"route": {"from": "t/**", "to": "x/{gone"}}, "route.to", "closes", "x/{gone\n  ^"),
        ({"route": {"from": "t/**", "to": {"workflow": "x"}}}, "route.to.workflow", "'x'", None),
    ],
)
async def test_the_step_that_fails_is_named_with_its_place(
    web: ClientSession, rules: dict[str, Any], step: str, message: str | None, caret: str | None
) -> None:
    told = await post(web, "try", {"event": SIGNAL, **rules})
    assert (told["passed"], told["event"]) == (False, None)
    assert told["failed_step"].startswith(step)
    if message is None:
        assert "error" not in told
    else:
        assert message in told["error"]["message"]
        assert told["error"].get("caret") == caret


async def test_a_transform_that_fails_on_the_event_is_told(web: ClientSession) -> None:
    told = await post(web, "try", {"event": SIGNAL, "transform": [{"set": {"attribute": "x", "to": "data.gone"}}]})
    assert told["failed_step"] == "transform[0].set"
    assert told["error"]["message"]


async def test_an_event_without_anything_to_try_passes(web: ClientSession) -> None:
    told = await post(web, "try", {"event": {"data_base64": "AAE="}})
    assert told == {
        "passed": True,
        "event": {
            "specversion": "1.0",
            "id": "example",
            "source": "/example",
            "type": "example",
            "data_base64": "AAE=",
        },
    }


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("evaluate", {"dialect": "sql", "expression": "1"}, "invalid_request"),
        ("evaluate", {"event": {}}, "invalid_request"),
        ("evaluate", {"expression": "1", "event": {"a": 1.5}}, "invalid_event"),
        ("evaluate", {"expression": "1", "event": {"a": [1]}}, "invalid_event"),
        ("evaluate", {"expression": "1", "event": []}, "invalid_event"),
        ("evaluate", [], "invalid_request"),
        ("try", {"filters": []}, "invalid_request"),
        ("try", {"event": {}, "rute": {}}, "invalid_request"),
    ],
)
async def test_a_request_that_is_wrong_is_an_error(web: ClientSession, path: str, body: Any, code: str) -> None:
    assert (await post(web, path, body, 400))["code"] == code


async def test_a_body_must_be_json_and_within_bounds(web: ClientSession) -> None:
    answer = await web.post("/v1/routing/try", data=b"{", headers={"Content-Type": "application/json"})
    assert (answer.status, (await answer.json())["code"]) == (400, "invalid_request")
    answer = await web.post("/v1/routing/try", data=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status == 415
    answer = await web.post(
        "/v1/routing/evaluate", data=BytesIO(b"x" * 2**21), headers={"Content-Type": "application/json"}
    )
    assert answer.status == 413
