"""`/v1/topics`: settings in and out, and every fault of a body at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from gateway.bus.contract import TopicInfo
from gateway.errors import NotAvailable
from gateway.topics import TopicDefaults, TopicView
from protocols.http.topics import shown, wanted
from tests.unit.http_support import House, client, house

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
async def there() -> AsyncIterator[House]:
    async with house() as made:
        yield made


@pytest.fixture
async def web(there: House) -> AsyncIterator[ClientSession]:
    async with client(there) as session:
        yield session


def test_settings_are_read_as_people_write_them() -> None:
    settings, defaults, _, _ = wanted(
        {
            "partitions": 3, "replication": 1, "retention": {"time": "7d", "bytes": "10GiB"}, "cleanup": "compact",
            "compression": "zstd", "defaults": {"type": "my.type"}, "schema": None,
        }
    )  # fmt: skip
    assert (settings.partitions, settings.replication, settings.cleanup, settings.compression) == (
        3,
        1,
        "compact",
        "zstd",
    )
    assert (settings.retention_ms, settings.retention_bytes) == (7 * 86_400_000, 10 * 2**30)
    assert defaults == TopicDefaults("my.type")


@pytest.mark.parametrize("endless", [-1, "unlimited"])
def test_retention_may_have_no_bound(endless: Any) -> None:
    settings, defaults, _, _ = wanted({"retention": {"time": endless, "bytes": endless}})
    assert (settings.retention_ms, settings.retention_bytes, defaults) == (-1, -1, None)


def test_null_is_as_good_as_absent() -> None:
    nothing = dict.fromkeys(("partitions", "retention", "cleanup", "defaults", "dedup"))
    assert wanted(nothing) == wanted({})
    assert wanted({"defaults": {"type": None}})[1] == TopicDefaults()


def test_all_faults_are_told_at_once() -> None:
    found = wanted(
            {
                "partitions": 0, "replication": "1", "retention": {"time": 60, "bytes": "ten", "tme": 1},
                "cleanup": "both", "compression": ["zstd"], "defaults": {"type": 5}, "partitons": 3,
            }
        )[2]  # fmt: skip
    faults = {fault.where: fault.message for fault in found}
    assert set(faults) == {
        "partitions", "replication", "retention.time", "retention.bytes", "retention.tme", "cleanup", "compression",
        "defaults.type", "partitons",
    }  # fmt: skip
    assert "'partitions' was meant" in faults["partitons"]


@pytest.mark.parametrize(
    "body", [{"retention": 7}, {"defaults": "x"}, {"partitions": True}, {"retention": {"bytes": {}}}]
)
def test_values_of_the_wrong_kind_are_refused(body: dict[str, Any]) -> None:
    assert len(wanted(body)[2]) == 1


@pytest.mark.parametrize("name", ["dedup"])
def test_what_comes_later_is_not_available(name: str) -> None:
    with pytest.raises(NotAvailable, match=name) as refused:
        wanted({name: {"any": "thing"}})
    assert "not available in this version" in refused.value.faults[0].message


async def test_a_topic_is_made_shown_changed_listed_and_deleted(web: ClientSession) -> None:
    made = await web.put("/v1/topics/orders", json={"partitions": 2, "retention": {"time": "1h"}})
    assert (made.status, made.headers["Location"]) == (201, "/v1/topics/orders")
    told = await made.json()
    assert (told["name"], told["partitions"], told["retention"]["time"]) == ("orders", 2, "1h")
    again = await web.put("/v1/topics/orders", json={"partitions": 2})
    assert again.status == 200
    changed = await web.patch("/v1/topics/orders", json={"defaults": {"type": "order"}, "retention": {"bytes": "1GiB"}})
    told = await changed.json()
    assert (told["defaults"], told["retention"]) == ({"type": "order"}, {"time": "1h", "bytes": "1GiB"})
    kept = await (await web.patch("/v1/topics/orders", json={"retention": {"time": "2h"}})).json()
    assert kept["defaults"] == {"type": "order"}
    assert await (await web.get("/v1/topics/orders")).json() == kept
    listed = await (await web.get("/v1/topics")).json()
    assert [topic["name"] for topic in listed["topics"]] == ["orders", "t"]
    gone = await web.delete("/v1/topics/orders")
    assert (gone.status, await gone.read()) == (204, b"")
    missing = await web.get("/v1/topics/orders")
    assert (missing.status, (await missing.json())["code"]) == (404, "unknown_topic")


async def test_what_get_returned_can_be_put_again(web: ClientSession) -> None:
    await web.put("/v1/topics/round", json={"retention": {"bytes": 1000}, "defaults": {"type": "x"}})
    told = await (await web.get("/v1/topics/round")).json()
    again = await web.put("/v1/topics/round", json=told)
    assert (again.status, await again.json()) == (200, told)
    assert (await web.patch("/v1/topics/round", json=told | {"partitions": 2})).status == 200
    for name, value in (("name", "other"), ("epoch", "x"), ("max_event", "5MiB")):
        refused = await web.put("/v1/topics/round", json=told | {name: value, "partitions": 2})
        [fault] = (await refused.json())["faults"]
        assert (refused.status, fault["where"]) == (400, name)
        assert fault["message"].endswith("cannot be changed")


async def test_putting_again_keeps_what_is_not_named(web: ClientSession) -> None:
    await web.put("/v1/topics/kept", json={"defaults": {"type": "my.type"}, "retention": {"time": "1d"}})
    told = await (await web.put("/v1/topics/kept", json={"compression": "zstd"})).json()
    assert (told["defaults"], told["retention"]["time"], told["compression"]) == ({"type": "my.type"}, "1d", "zstd")
    told = await (await web.put("/v1/topics/kept", json={"defaults": {}})).json()
    assert (told["defaults"], told["retention"]["time"]) == ({}, "1d")


async def test_read_only_members_of_a_topic_that_is_to_be_made(web: ClientSession) -> None:
    assert (await web.put("/v1/topics/fresh", json={"name": "fresh", "epoch": None})).status == 201
    refused = await web.put("/v1/topics/other", json={"epoch": "1", "max_event": "1MiB"})
    assert [fault["message"] for fault in (await refused.json())["faults"]] == [
        "is set by the gateway: leave it out",
        "is set by the gateway: leave it out",
    ]


@pytest.mark.parametrize(
    ("body", "name"),
    [(b'{"partitions": 1, "partitions": 2}', "partitions"), (b'{"retention": {"time": "1d", "time": "2d"}}', "time")],
)
async def test_a_name_is_given_once(web: ClientSession, body: bytes, name: str) -> None:
    for method in ("PUT", "PATCH"):
        answer = await web.request(method, "/v1/topics/t", data=body, headers={"Content-Type": "application/json"})
        assert (answer.status, (await answer.json())["faults"]) == (
            400, [{"where": name, "message": "is given twice"}],
        )  # fmt: skip


async def test_a_body_with_settings_is_small(web: ClientSession) -> None:
    answer = await web.put("/v1/topics/t", data=b" " * 70_000, headers={"Content-Type": "application/json"})
    assert (answer.status, (await answer.json())["limit"]) == (413, 65536)
    deep = b'{"schema":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    answer = await web.put("/v1/topics/t", data=deep, headers={"Content-Type": "application/json"})
    assert answer.status == 400


def test_sizes_are_shown_in_their_largest_exact_unit() -> None:
    info = TopicInfo("t", "e", 1, 1, -1, 1000, "delete", "none", 1048588)
    view = shown(TopicView(info, TopicDefaults()))
    assert (view["max_event"], view["retention"]["bytes"]) == ("1048588", "1000")
    view = shown(TopicView(msgspec.structs.replace(info, max_event_bytes=2**20, retention_bytes=-1), TopicDefaults()))
    assert (view["max_event"], view["retention"]["bytes"]) == ("1MiB", "unlimited")


def test_faults_show_values_as_they_were_sent() -> None:
    faults = wanted({"partitions": True, "defaults": {"type": [None, "ü"]}}).faults
    assert [fault.message.partition("not ")[2] for fault in faults] == ["true", '[null, "ü"]']


async def test_a_topic_is_made_without_a_body(web: ClientSession) -> None:
    assert (await web.put("/v1/topics/plain")).status == 201


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/topics/_internal", {}, "invalid_address"), ("/v1/topics/a%20b", {}, "invalid_address"),
        ("/v1/topics/" + "x" * 250, {}, "invalid_address"), ("/v1/topics/", {}, "invalid_address"),
        ("/v1/topics/t", {"partitions": "2"}, "invalid_setting"), ("/v1/topics/t", {"dedup": {}}, "not_available"),
        ("/v1/topics/t?force=1", {}, "invalid_request"), ("/v1/topics/x",
        {"defaults": {"type": ""}}, "invalid_setting"),
    ],
)  # fmt: skip
async def test_bad_settings_are_refused(web: ClientSession, path: str, body: Any, code: str) -> None:
    answer = await web.put(path, json=body)
    assert (answer.status, (await answer.json())["code"]) == (400, code)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_what_the_door_the_bus_and_the_gateway_find_wrong_is_told_together(
    web: ClientSession, method: str
) -> None:
    await web.put("/v1/topics/wrong", json={"partitions": 2})
    body = {
        "partitions": 1, "replication": 5, "cleanup": "both", "defaults": {"type": ""}, "partitons": 3,
    }  # fmt: skip
    answer = await web.request(method, "/v1/topics/wrong", json=body)
    told = await answer.json()
    assert (answer.status, told["code"]) == (400, "invalid_setting")
    assert sorted(fault["where"] for fault in told["faults"]) == [
        "cleanup", "defaults.type", "partitions", "partitons", "replication",
    ]  # fmt: skip
    assert "and 4 more" in told["detail"]
    assert (await (await web.get("/v1/topics/wrong")).json())["partitions"] == 2


async def test_very_many_unknown_members_are_refused_in_no_time(web: ClientSession) -> None:
    await web.put("/v1/topics/t")
    began = time.process_time()
    async with web.patch("/v1/topics/t", json={f"partition{n}": 1 for n in range(3000)}) as response:
        assert response.status == 400
        faults = (await response.json())["faults"]
    assert time.process_time() - began < 0.3
    assert len(faults) == 20
    assert all("'partitions' was meant" in fault["message"] for fault in faults)


async def test_fewer_partitions_are_impossible(web: ClientSession) -> None:
    await web.put("/v1/topics/many", json={"partitions": 3})
    answer = await web.patch("/v1/topics/many", json={"partitions": 1})
    assert (answer.status, (await answer.json())["code"]) == (400, "invalid_setting")


@pytest.mark.parametrize(
    ("body", "type_", "status"),
    [(b"{", "application/json", 400), (b"[]", "application/json", 400), (b"\xff", "application/json", 400),
     (b"{}", "application/x-www-form-urlencoded", 415), (b"{}", "text/plain", 415)],
)  # fmt: skip
async def test_bodies_are_json_objects(web: ClientSession, body: bytes, type_: str, status: int) -> None:
    answer = await web.put("/v1/topics/x", data=body, headers={"Content-Type": type_})
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
