"""The WebSocket door as its users meet it: a real gateway process, and other people's clients."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_sync
from websockets.typing import Subprotocol

from tests.conftest import ROOT, wait_until
from tests.harness import node
from tests.harness.lacking import lack
from tests.real.test_cli import Running, gateway

pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]
NATIVE, CLOUDEVENTS = Subprotocol("linkspan.v1"), Subprotocol("cloudevents.json")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with gateway(tmp_path_factory.mktemp("websocket") / "data") as made:
        yield made


def make_topic(running: Running, name: str) -> None:
    httpx.put(f"{running.urls['http']}/v1/topics/{name}", json={"partitions": 2}).raise_for_status()


def event(id: str, **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": id, "source": "/s", "type": "t", "subject": "k"} | more


def post(running: Running, topic: str, *events: dict[str, Any]) -> None:
    httpx.post(
        f"{running.urls['http']}/v1/topics/{topic}/events",
        content=json.dumps(events),
        headers={"Content-Type": "application/cloudevents-batch+json"},
    ).raise_for_status()


async def ask(client: ClientConnection, message: dict[str, Any]) -> dict[str, Any]:
    await client.send(json.dumps(message))
    answer: dict[str, Any] = json.loads(await client.recv())
    return answer


async def collect(client: ClientConnection, count: int) -> tuple[list[str], str]:
    """Ids of the next events, and the last cursor; answers to publishes are skipped."""
    seen: list[str] = []
    cursor = ""
    async with asyncio.timeout(30):
        while len(seen) < count:
            message = json.loads(await client.recv())
            assert "error" not in message, message
            if "events" in message:
                seen += [found["id"] for found in message["events"]]
                cursor = message["cursor"]
    return seen, cursor


async def test_websockets_subscribes_publishes_and_loses_nothing(running: Running) -> None:
    make_topic(running, "live")
    async with (
        connect(running.urls["websocket"], subprotocols=[NATIVE]) as reader,
        connect(running.urls["websocket"], subprotocols=[NATIVE], compression=None) as plain,
        connect(running.urls["websocket"], subprotocols=[NATIVE]) as writer,
    ):
        assert "permessage-deflate" in reader.response.headers["Sec-WebSocket-Extensions"]  # type: ignore[union-attr]
        for client in (reader, plain):
            assert (await ask(client, {"id": 1, "subscribe": {"from": "live/**"}}))["ok"]["sid"] == 1
        for first in range(0, 1000, 100):
            events = [event(str(number), data="é" * 50) for number in range(first, first + 100)]
            told = await ask(writer, {"id": first, "publish": {"topic": "live", "events": events}})
            assert told["ok"]["count"] == 100
        wanted = [str(number) for number in range(1000)]
        assert (await collect(reader, 1000))[0] == wanted
        assert (await collect(plain, 1000))[0] == wanted


async def test_a_client_resumes_by_cursor_after_a_restart_of_the_gateway(tmp_path: Path) -> None:
    with gateway(tmp_path / "data") as made:
        make_topic(made, "resumes")
        post(made, "resumes", *(event(str(number)) for number in range(10)))
        async with connect(made.urls["websocket"], subprotocols=[NATIVE]) as client:
            await ask(client, {"id": 1, "subscribe": {"from": "resumes/**", "start": "earliest", "limit": 4}})
            seen, cursor = await collect(client, 4)
            made.process.terminate()
            await asyncio.wait_for(client.wait_closed(), 20)
            assert (client.close_code, "resume" in (client.close_reason or "")) == (1012, True)
        wait_until(lambda: made.process.poll() is not None, 20)
    with gateway(tmp_path / "data") as made:
        async with connect(made.urls["websocket"], subprotocols=[NATIVE]) as client:
            await ask(client, {"id": 1, "subscribe": {"from": "resumes/**", "start": cursor}})
            seen += (await collect(client, 6))[0]
    assert sorted(seen, key=int) == [str(number) for number in range(10)]


async def test_websockets_speaks_plain_cloudevents_both_ways(running: Running) -> None:
    make_topic(running, "plain")
    url = f"{running.urls['websocket']}?from=plain/**&to=plain"
    async with connect(url, subprotocols=[CLOUDEVENTS]) as client:
        assert client.subprotocol == CLOUDEVENTS
        await client.send(json.dumps(event("1", data={"a": [1, 2]})))
        post(running, "plain", event("2"))
        told = {found["id"]: found for found in [json.loads(await client.recv()) for _ in range(2)]}
        assert told["1"]["data"] == {"a": [1, 2]}
        await client.send(json.dumps({"id": "3"}))
        refused = json.loads(await client.recv())
        assert (refused["type"], refused["data"]["id"]) == ("io.linkspan.error", "3")


def test_a_refused_handshake_can_be_read(running: Running) -> None:
    for options, status in (
        ({"subprotocols": [Subprotocol("mqtt")]}, 400),
        ({"subprotocols": [NATIVE], "origin": "https://evil.example"}, 403),
        ({"subprotocols": [NATIVE], "additional_headers": {"Authorization": "Bearer x"}}, 401),
    ):
        with pytest.raises(InvalidStatus) as refused, connect_sync(running.urls["websocket"], **options):
            pass
        answer = refused.value.response
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
        assert json.loads(answer.body or b"")["status"] == status
    plain = httpx.get(running.urls["websocket"].replace("ws://", "http://"))
    assert (plain.status_code, plain.json()["code"]) == (426, "upgrade_required")


def test_websocket_client_follows_from_a_thread_and_answers_pings(running: Running) -> None:
    make_topic(running, "threads")
    opened, done = threading.Event(), threading.Event()
    seen: list[str] = []

    def message(app: websocket.WebSocketApp, text: str) -> None:
        told = json.loads(text)
        if told.get("id") == 1:
            opened.set()
        seen.extend(found["id"] for found in told.get("events", ()))
        if len(seen) >= 50:
            app.close()

    app = websocket.WebSocketApp(
        running.urls["websocket"],
        subprotocols=["linkspan.v1"],
        on_open=lambda app: app.send(json.dumps({"id": 1, "subscribe": {"from": "threads/**"}})),
        on_message=message,
        on_close=lambda app, code, reason: done.set(),
    )
    thread = threading.Thread(target=app.run_forever, kwargs={"ping_interval": 1, "ping_timeout": 0.5})
    thread.start()
    try:
        assert opened.wait(10)
        for number in range(50):
            post(running, "threads", event(str(number)))
        assert done.wait(20)
        assert seen == [str(number) for number in range(50)]
    finally:
        app.close()
        thread.join(10)


def test_websocket_client_sends_a_message_in_fragments(running: Running) -> None:
    client = websocket.create_connection(running.urls["websocket"], subprotocols=["linkspan.v1"], timeout=10)
    try:
        text = json.dumps({"id": "fragments", "ping": {}})
        for place, char in enumerate(text):
            opcode = websocket.ABNF.OPCODE_CONT if place else websocket.ABNF.OPCODE_TEXT
            client.send_frame(websocket.ABNF.create_frame(char, opcode, int(place == len(text) - 1)))
        assert json.loads(client.recv()) == {"id": "fragments", "ok": {}}
        client.send_binary(b"{}")
        opcode, reason = client.recv_data()
        assert (opcode, int.from_bytes(reason[:2], "big")) == (websocket.ABNF.OPCODE_CLOSE, 1003)
    finally:
        client.shutdown()  # type: ignore[no-untyped-call]


def test_ws_of_node_follows_and_publishes(running: Running) -> None:
    make_topic(running, "node")
    post(running, "node", *(event(f"http-{number}", data={"text": "x" * 1000}) for number in range(20)))
    try:
        told = node.run("follow.mjs", running.urls["websocket"], "node/**", "30", "10")
    except node.NodeMissing as missing:
        lack(missing)
    assert sorted(told["seen"]) == sorted(
        [*(f"http-{number}" for number in range(20)), *(f"ws-{number}" for number in range(10))]
    )
    assert [found for found in told["seen"] if found.startswith("ws")] == [f"ws-{number}" for number in range(10)]
    assert all(answer["ok"]["count"] == 1 for answer in told["answers"])
    assert (told["code"], told["reason"], told["extensions"]) == (1000, "enough", "permessage-deflate")


# The documentation


def examples(language: str) -> list[str]:
    text = (ROOT / "docs" / "websocket.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def without_cursors(message: dict[str, Any]) -> dict[str, Any]:
    for holder in (message, message.get("ok", {})):
        if "cursor" in holder:
            assert holder["cursor"]
            holder["cursor"] = "..."
    return message


def test_every_example_of_the_documentation_runs_and_says_what_it_shows(tmp_path: Path) -> None:
    with gateway(tmp_path / "data") as made:
        http, socket = made.urls["http"], made.urls["websocket"]

        def run(*command: str, example: str) -> str:
            here = example.replace("http://127.0.0.1:8080", http).replace("//127.0.0.1:8081/v1/ws", socket[3:])
            done = subprocess.run([*command, here], capture_output=True, text=True, check=False, timeout=20)
            assert done.returncode == 0, f"{example}\n{done.stderr}"
            return done.stdout

        make, refused = examples("sh")
        first, second = examples("python")
        run("bash", "-ec", example=make)
        told = [json.loads(line) for line in run(sys.executable, "-c", example=first).splitlines()]
        assert sorted(next(iter(message)) for message in told) == ["id", "id", "sid"]
        [transcript] = examples("text")
        replay(socket, transcript)
        event, error = run(sys.executable, "-c", example=second).splitlines()
        assert (json.loads(event)["id"], "source is required" in error) == ("8", True)
        assert json.loads(run("bash", "-ec", example=refused))["code"] == "upgrade_required"


def replay(url: str, transcript: str) -> None:
    """Say the client's lines, and compare what comes; an answer and an event may change places."""
    with connect_sync(url, subprotocols=[NATIVE]) as client:
        wanted: list[dict[str, Any]] = []
        for line in [*transcript.splitlines(), "> "]:
            if line.startswith("< "):
                wanted.append(json.loads(line[2:]))
                continue
            told = [without_cursors(json.loads(client.recv(10))) for _ in wanted]
            assert sorted(map(json.dumps, told)) == sorted(map(json.dumps, wanted))
            wanted = []
            if line[2:]:
                client.send(line[2:])
