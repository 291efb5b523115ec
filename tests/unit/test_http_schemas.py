"""`/v1/schemas` and a topic's `schema`: from adding a version to what a publisher is answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.unit.http_support import BATCH, STRUCTURED, House, batch, client, event, house

pytestmark = pytest.mark.timeout(30)
TICK = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
VERSIONS = "/v1/schemas/tick/versions"


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with house() as made:
        yield made


@pytest.fixture
async def web(home: House) -> AsyncIterator[ClientSession]:
    async with client(home) as session:
        added = await session.post(VERSIONS, json={"kind": "json", "schema": TICK})
        assert added.status == 201
        yield session


async def publish(web: ClientSession, *events: dict[str, Any], topic: str = "t") -> tuple[int, Any]:
    answer = await web.post(
        f"/v1/topics/{topic}/events", data=batch(events), headers={"Content-Type": BATCH}
    )  # fmt: skip
    return answer.status, await answer.json()


async def test_a_schema_is_added_shown_changed_listed_and_deleted(web: ClientSession) -> None:
    wider = {**TICK, "properties": {"n": {"type": "number"}}}
    added = await web.post(VERSIONS, json={"kind": "json", "schema": wider, "compatibility": "backward"})
    assert (added.status, added.headers["Location"]) == (201, f"{VERSIONS}/2")
    told = await added.json()
    assert told.pop("created").endswith("Z")
    assert told == {"name": "tick", "version": 2, "kind": "json", "schema": wider}
    again = await web.post(VERSIONS, json={"kind": "json", "schema": wider})
    assert (again.status, (await again.json())["version"]) == (200, 2)
    info = {"name": "tick", "compatibility": "backward", "versions": [1, 2]}
    assert await (await web.get("/v1/schemas")).json() == {"schemas": [info]}
    assert await (await web.get("/v1/schemas/tick")).json() == info
    assert await (await web.get(VERSIONS)).json() == {"name": "tick", "versions": [1, 2]}
    assert (await (await web.get(f"{VERSIONS}/1")).json())["schema"] == TICK
    assert (await (await web.get(f"{VERSIONS}/latest")).json())["version"] == 2
    changed = await web.patch("/v1/schemas/tick", json={"compatibility": "none"})
    assert (await changed.json())["compatibility"] == "none"
    assert (await web.delete("/v1/schemas/tick")).status == 204
    assert (await (await web.get("/v1/schemas/tick")).json())["code"] == "unknown_schema"


async def test_schemas_of_the_other_kinds_are_given_as_text_or_as_they_are(web: ClientSession) -> None:
    proto = 'syntax = "proto3";\nmessage A { int32 n = 1; }'
    answer = await web.post("/v1/schemas/p/versions", json={"kind": "protobuf", "schema": proto})
    told = await answer.json()
    assert (told["schema"], told["message"]) == (proto, "A")
    answer = await web.post("/v1/schemas/a/versions", json={"kind": "avro", "schema": '"int"'})
    assert (await answer.json())["schema"] == "int"
    answer = await web.post("/v1/schemas/a/versions", json={"kind": "avro", "schema": {"type": "long"}})
    assert (answer.status, (await answer.json())["schema"]) == (201, {"type": "long"})


@pytest.mark.parametrize(
    ("body", "status", "code", "where"),
    [
        ({}, 400, "invalid_setting", ["kind", "schema"]),
        ({"kind": "xml", "schema": {}, "messages": 1}, 400, "invalid_setting", ["messages", "kind"]),
        ({"kind": "json", "schema": {}, "compatibility": "some", "message": 5}, 400, "invalid_setting",
         ["compatibility", "message"]),
        ({"kind": "json", "schema": {}, "message": "A"}, 400, "invalid_schema", ["schema"]),
        ({"kind": "json", "schema": {"$ref": "http://x"}}, 400, "invalid_schema", ["schema"]),
        ({"kind": "json", "schema": {"required": ["n", "m"]}}, 409, "incompatible_schema", ["schema"]),
    ],
)  # fmt: skip
async def test_bad_versions_are_refused(
    web: ClientSession, body: dict[str, Any], status: int, code: str, where: list[str]
) -> None:
    answer = await web.post(VERSIONS, json=body)
    told = await answer.json()
    assert (answer.status, told["code"]) == (status, code)
    assert [fault["where"] for fault in told["faults"]] == where


async def test_the_place_in_the_text_is_shown(web: ClientSession) -> None:
    told = await (await web.post(VERSIONS, json={"kind": "json", "schema": '{"type": oops}'})).json()
    assert (told["code"], told["position"]) == ("invalid_schema", 9)
    assert told["caret"].splitlines() == ['{"type": oops}', "         ^"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/schemas/none", None, 404, "unknown_schema"), ("GET", f"{VERSIONS}/7", None, 404, "unknown_schema"),
        ("GET", f"{VERSIONS}/x", None, 404, "unknown_schema"), ("GET", "/v1/schemas/_x", None, 400, "invalid_request"),
        ("PATCH", "/v1/schemas/tick", {}, 400, "invalid_setting"),
        ("PATCH", "/v1/schemas/tick", {"compatibility": "some"}, 400, "invalid_setting"),
        ("PATCH", "/v1/schemas/tick", {"level": "none"}, 400, "invalid_setting"),
        ("DELETE", "/v1/schemas/none", None, 404, "unknown_schema"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused(
    web: ClientSession, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = await web.request(method, path, json=body)
    assert (answer.status, (await answer.json())["code"]) == (status, code)


async def test_a_topic_takes_a_schema_shows_it_and_gives_it_up(web: ClientSession) -> None:
    changed = await (await web.put("/v1/topics/t", json={"schema": {"name": "tick"}})).json()
    assert changed["schema"] == {"name": "tick", "version": "latest", "on_invalid": "reject"}
    kept = await (await web.patch("/v1/topics/t", json={"defaults": {"type": "x"}})).json()
    assert (kept["schema"], kept["defaults"]) == (changed["schema"], {"type": "x"})
    assert await (await web.put("/v1/topics/t", json=kept)).json() == kept
    refused = await web.delete("/v1/schemas/tick")
    assert (refused.status, (await refused.json())["topics"]) == (409, ["t"])
    gone = await (await web.patch("/v1/topics/t", json={"schema": {}})).json()
    assert ("schema" in gone, gone["defaults"]) == (False, {"type": "x"})
    assert (await web.delete("/v1/schemas/tick")).status == 204


async def test_the_schema_of_an_earlier_topic_of_that_name_holds_nothing(web: ClientSession, home: House) -> None:
    await web.put("/v1/topics/x", json={"schema": {"name": "tick"}})
    await home.bus.delete_topic("x")
    assert (await web.delete("/v1/schemas/tick")).status == 204


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"name": "none"}, ["schema.name"]), ({"name": "tick", "version": 2}, ["schema.version"]),
        ({"name": "tick", "version": "newest"}, ["schema.version"]), ({"version": 1}, ["schema.name"]),
        ({"name": 5}, ["schema.name", "schema.name"]), ({"name": "tick", "on_invalid": "drop"}, ["schema.on_invalid"]),
        ({"name": "tick", "on_invalid": "divert"}, ["schema.divert_to"]),
        ({"name": "tick", "divert_to": "bad"}, ["schema.divert_to", "schema.divert_to"]),
        ({"name": "tick", "on_invalid": "divert", "divert_to": "t"}, ["schema.divert_to"]),
        ({"name": "tick", "on_invalid": "divert", "divert_to": "_x"}, ["schema.divert_to"]),
        ({"name": "tick", "verson": 1}, ["schema.verson"]), ("tick", ["schema"]),
        ({"name": "tick", "version": True}, ["schema.version"]),
    ],
)  # fmt: skip
async def test_a_topics_schema_that_cannot_be_is_refused(web: ClientSession, schema: Any, where: list[str]) -> None:
    answer = await web.put("/v1/topics/t", json={"schema": schema, "partitions": 1})
    told = await answer.json()
    assert (answer.status, told["code"]) == (400, "invalid_setting")
    assert [fault["where"] for fault in told["faults"]] == where


async def test_reject_refuses_the_publish_with_a_fault_for_each(web: ClientSession, home: House) -> None:
    await web.put("/v1/topics/t", json={"schema": {"name": "tick"}})
    status, told = await publish(web, event(1), event(2, data={"n": "x"}), event(3, data={}))
    assert (status, told["code"]) == (400, "invalid_event")
    assert told["faults"] == [
        {"where": "events[1].data", "message": 'n: "x" is not of type "integer"', "index": 1},
        {"where": "events[2].data", "message": '"n" is a required property', "index": 2},
    ]
    assert await home.stored() == []
    assert await publish(web, event(1)) == (200, {"count": 1, "positions": [[0, 0]]})
    plain = await web.post("/v1/topics/t/events", data=b"hello", headers={"Content-Type": "text/plain"})
    assert "is text/plain, where the schema asks for application/json" in (await plain.json())["detail"]
    assert 'linkspan_schema_invalid_events_total{action="reject"} 3.0' in home.metrics.render().decode()


async def test_mark_stores_the_event_with_the_reason(web: ClientSession, home: House) -> None:
    await web.put("/v1/topics/t", json={"schema": {"name": "tick", "on_invalid": "mark"}})
    status, told = await publish(web, event(1, schemaerror="forged"), event(2, data={}))
    assert (status, told) == (200, {"count": 2, "positions": [[0, 0], [0, 1]]})
    assert [one.attributes.get("schemaerror") for one in await home.stored()] == [None, '"n" is a required property']


async def test_divert_stores_the_event_elsewhere_and_says_so(web: ClientSession, home: House) -> None:
    await web.put("/v1/topics/bad", json={"partitions": 1})
    setting = {"name": "tick", "version": 1, "on_invalid": "divert", "divert_to": "bad"}
    shown = await (await web.put("/v1/topics/t", json={"schema": setting})).json()
    assert shown["schema"] == setting
    status, told = await publish(web, event(1), event(2, data={}), event(3))
    assert (status, told) == (
        200,
        {
            "count": 3, "positions": [[0, 0], None, [0, 1]],
            "diverted": [{"index": 1, "topic": "bad", "position": [0, 0], "reason": '"n" is a required property'}],
        },
    )  # fmt: skip
    assert [one.attributes["id"] for one in await home.stored()] == ["1", "3"]
    (diverted,) = await home.stored("bad")
    assert (diverted.attributes["id"], diverted.attributes["schemaerror"]) == ("2", '"n" is a required property')
    answer = await web.post(
        "/v1/topics/t/events", data=json.dumps(event(4, data={})), headers={"Content-Type": STRUCTURED}
    )
    told = await answer.json()
    assert (told["positions"], told["diverted"][0]["position"]) == ([None], [0, 1])


async def test_events_that_a_topic_cannot_divert_are_told_as_not_stored(web: ClientSession, home: House) -> None:
    await web.put("/v1/topics/bad", json={"partitions": 1})
    await web.put("/v1/topics/t", json={"schema": {"name": "tick", "on_invalid": "divert", "divert_to": "bad"}})
    await web.delete("/v1/topics/bad")
    status, told = await publish(web, event(1), event(2, data={}))
    assert (status, told["code"], told["positions"]) == (503, "outcome_unknown", [[0, 0], None])
    status, told = await publish(web, event(2, data={}))
    assert (status, told["code"]) == (404, "unknown_topic")


async def test_a_new_version_counts_at_once_for_topics_that_take_the_latest(web: ClientSession) -> None:
    await web.put("/v1/topics/t", json={"schema": {"name": "tick"}})
    await web.put("/v1/topics/pinned", json={"schema": {"name": "tick", "version": 1}})
    wider = {"kind": "json", "schema": {"type": "object"}}
    assert (await web.post(VERSIONS, json=wider)).status == 201
    assert (await publish(web, event(1, data={})))[0] == 200
    assert (await publish(web, event(1, data={}), topic="pinned"))[0] == 400


async def test_compacted_topics_take_what_deletes_a_key(web: ClientSession, home: House) -> None:
    await web.put("/v1/topics/table", json={"cleanup": "compact", "schema": {"name": "tick"}})
    gone = event(1, subject="a")
    del gone["data"]
    assert (await publish(web, event(1, subject="a"), gone, topic="table"))[0] == 200
    del gone["subject"]
    assert (await publish(web, gone))[0] == 200, "a topic without a schema takes anything"
