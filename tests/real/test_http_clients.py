"""The HTTP door as its users meet it: a real gateway process, and curl, httpx and aiohttp as clients."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import httpx
import pytest

from tests.conftest import ROOT, wait_until
from tests.real.test_cli import Running, gateway

pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]
EVENT = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
EXAMPLES = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/http.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with gateway(tmp_path_factory.mktemp("http") / "data") as made:
        yield made


@pytest.fixture
def url(running: Running) -> str:
    return running.urls["http"]


def curl(*words: str, stdin: bytes = b"") -> bytes:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (Debian package curl)")
    done = subprocess.run(["curl", "-sS", "--max-time", "20", *words], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_every_example_of_the_documentation_runs(url: str) -> None:
    assert len(EXAMPLES) >= 9
    for example in EXAMPLES:
        script = example.replace("http://127.0.0.1:8080", url)
        done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 0, f"{script}\n{done.stderr}"
        if '{"id": "1"}' in example:
            shown = json.loads(re.findall(r"```json\n(.*?)```", (ROOT / "docs/http.md").read_text(), re.DOTALL)[0])
            assert json.loads(done.stdout) == shown
        else:
            assert "problem" not in done.stdout, f"{script}\n{done.stdout}"
            assert done.stdout, script


def test_curl_sends_a_large_body_after_asking(url: str, tmp_path: Path) -> None:
    curl("-X", "PUT", f"{url}/v1/topics/large")
    body = tmp_path / "body"
    body.write_bytes(b"x" * 900_000)
    told = curl(f"{url}/v1/topics/large/events", "-H", "Content-Type: image/png", "--data-binary", f"@{body}")
    assert json.loads(told)["count"] == 1
    body.write_bytes(b"x" * 17_000_000)
    refused = curl(
        f"{url}/v1/topics/large/events",
        "-H",
        "Content-Type: image/png",
        "--data-binary",
        f"@{body}",
        "-w",
        "\n%{http_code}",
    )
    assert refused.endswith(b"\n413")


def test_curl_publishes_compressed_and_chunked(url: str, tmp_path: Path) -> None:
    import gzip

    curl("-X", "PUT", f"{url}/v1/topics/packed")
    packed = gzip.compress(json.dumps([EVENT] * 3).encode())
    told = curl(
        f"{url}/v1/topics/packed/events", "-H", "Content-Type: application/cloudevents-batch+json",
        "-H", "Content-Encoding: gzip", "-H", "Transfer-Encoding: chunked", "--data-binary", "@-", stdin=packed,
    )  # fmt: skip
    assert json.loads(told)["count"] == 3


def test_httpx_publishes_reads_pages_and_follows_links(url: str) -> None:
    with httpx.Client(base_url=url) as web:
        assert web.put("/v1/topics/pages", json={"partitions": 3}).status_code == 201
        many = [EVENT | {"id": str(number), "subject": f"s/{number % 7}"} for number in range(50)]
        answer = web.post(
            "/v1/topics/pages/events",
            content=json.dumps(many),
            headers={"Content-Type": "application/cloudevents-batch+json"},
        )
        assert answer.json()["count"] == 50
        path, seen = "/v1/topics/pages/events?limit=7", []
        while True:
            page = web.get(path)
            if not page.json():
                break
            seen += [event["id"] for event in page.json()]
            path = page.links["next"]["url"]
        assert sorted(seen, key=int) == [event["id"] for event in many]
        assert len(set(seen)) == 50


def test_httpx_reads_a_stream_line_by_line_and_resumes(url: str) -> None:
    with httpx.Client(base_url=url) as web:
        web.put("/v1/topics/lines")
        for number in range(4):
            web.post("/v1/topics/lines/events", content=str(number), headers={"Content-Type": "text/plain"})

        def read(count: int, **headers: str) -> tuple[list[str], str]:
            found, last = [], ""
            path = f"/v1/topics/lines/events?start=earliest&limit={count}"
            with web.stream("GET", path, headers={"Accept": "text/event-stream"} | headers) as answer:
                for line in answer.iter_lines():
                    if line.startswith("id: "):
                        last = line[4:]
                    elif line.startswith("data: "):
                        found.append(json.loads(line[6:])["data"])
            return found, last

        first, last = read(2)
        assert first == ["0", "1"]
        assert read(2, **{"Last-Event-ID": last})[0] == ["2", "3"]


async def test_aiohttp_streams_while_others_publish_and_nothing_is_missed(url: str) -> None:
    async with aiohttp.ClientSession(url) as web:
        await web.put("/v1/topics/live", json={"partitions": 4})
        streams = [
            await web.get("/v1/topics/live/events?limit=300", headers={"Accept": "text/event-stream"}) for _ in range(3)
        ]

        async def publish(sender: int) -> None:
            for number in range(100):
                headers = {"ce-specversion": "1.0", "ce-id": f"{sender}-{number}", "ce-source": "/s", "ce-type": "t"}
                async with web.post(f"/v1/topics/live/events?subject={sender}", data=b"x", headers=headers) as answer:
                    assert answer.status == 200

        async with asyncio.timeout(30):
            reading = [asyncio.create_task(stream.text()) for stream in streams]
            await asyncio.gather(*(publish(sender) for sender in range(3)))
            texts = await asyncio.gather(*reading)
    wanted = {f"{sender}-{number}" for sender in range(3) for number in range(100)}
    for text in texts:
        ids = [json.loads(line[6:])["id"] for line in text.splitlines() if line.startswith("data: ")]
        assert set(ids) == wanted
        assert len(ids) == 300
        for sender in range(3):
            own = [int(found.split("-")[1]) for found in ids if found.startswith(f"{sender}-")]
            assert own == sorted(own), "the order of one subject is kept"


def test_a_stream_is_told_when_the_gateway_stops(tmp_path: Path) -> None:
    with gateway(tmp_path / "data") as made:
        web = made.urls["http"]
        httpx.put(f"{web}/v1/topics/stops").raise_for_status()
        stream = subprocess.Popen(
            ["curl", "-sN", "-H", "Accept: text/event-stream", f"{web}/v1/topics/stops/events"], stdout=subprocess.PIPE
        )
        assert stream.stdout is not None
        assert stream.stdout.readline() == b"retry: 1000\n"
        made.process.terminate()
        rest = stream.stdout.read()
        assert b"event: closing" in rest
        assert stream.wait(20) == 0
        stream.stdout.close()
        wait_until(lambda: made.process.poll() is not None, 20)
