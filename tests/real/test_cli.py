"""The command `linkspan` as a user types it: a real gateway, real processes, real pipes and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

LINKSPAN = [sys.executable, "-m", "gateway.cli.main"]
FREE_PORTS = [word for door in ("http", "websocket", "admin") for word in ("--set", f"listeners.{door}.port=0")]
TIMEOUT = 30


class Running(NamedTuple):
    process: subprocess.Popen[str]
    urls: dict[str, str]
    log: Path


def linkspan(*words: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*LINKSPAN, *words],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
        cwd=ROOT,
        env=os.environ | env,
    )


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def spawn(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LINKSPAN, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        # A shell ignores SIGINT for what it runs in the background, and the tests may be just that.
        preexec_fn=_interruptible,
    )


@contextmanager
def gateway(data: Path, *flags: str) -> Iterator[Running]:
    log = data.parent / f"{data.name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*LINKSPAN, "up", "--data", str(data), *FREE_PORTS, "--json", *flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
        )
    try:
        assert process.stdout is not None
        urls: dict[str, str] = {}
        while not {"http", "websocket", "admin"} <= urls.keys():
            line = process.stdout.readline()
            assert line, f"the gateway did not start: {log.read_text()}"
            address = json.loads(line)
            urls[address["listener"]] = address["url"]
        yield Running(process, urls, log)
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with gateway(tmp_path_factory.mktemp("cli") / "data") as up:
        yield up


@pytest.fixture
def url(running: Running) -> str:
    return running.urls["http"]


@pytest.fixture
def topic(url: str, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"[^a-z_]", "", request.node.originalname)[:80]
    assert linkspan("topics", "create", name, "--url", url).returncode == 0
    return name


def test_up_drains_on_sigterm_and_exits_with_0(tmp_path: Path) -> None:
    with gateway(tmp_path / "data") as up:
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(TIMEOUT) == 0
    assert "Traceback" not in up.log.read_text()


def test_up_says_where_it_can_be_reached(tmp_path: Path) -> None:
    process = spawn("up", "--data", str(tmp_path / "data"), *FREE_PORTS)
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "Ctrl-C" not in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    text = "".join(lines)
    assert "\x1b" not in text
    assert re.search(r"http +http://127\.0\.0\.1:\d+\n", text)
    assert re.search(r"admin +http://127\.0\.0\.1:\d+\n", text)
    assert f"embedded, in {tmp_path / 'data'}" in text


def test_off_a_terminal_results_and_logs_have_a_stream_each(tmp_path: Path) -> None:
    for flags in ([], ["--json"]):
        process = spawn("up", "--data", str(tmp_path / "data"), *FREE_PORTS, *flags)
        assert process.stdout is not None
        first = process.stdout.readline()
        while flags and '"websocket"' not in first:
            first += process.stdout.readline()
        while not flags and "Ctrl-C" not in first:
            first += process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, err = process.communicate(timeout=TIMEOUT)
        assert [json.loads(line)["event"] for line in err.splitlines()] == ["started", "draining", "stopped"]
        out = (first + rest).splitlines()
        if flags:
            assert [json.loads(line)["listener"] for line in out] == ["admin", "http", "websocket"]
        else:
            assert out[0] == "linkspan is up"
            assert not any(line.startswith("{") for line in out)


def test_with_kafka_away_the_doors_open_in_a_moment_and_say_why_they_are_not_ready(tmp_path: Path) -> None:
    process = spawn("up", "--kafka", "127.0.0.1:1", *FREE_PORTS, "--json")
    assert process.stdout is not None
    admin = json.loads(process.stdout.readline())["url"]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{admin}/health/ready", timeout=TIMEOUT)
    with caught.value as answer:
        assert answer.status == 503
        assert "127.0.0.1:1" in answer.read().decode()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    [waiting] = [line for line in map(json.loads, err.splitlines()) if line["event"] == "started_without_log"]
    assert "127.0.0.1:1" in waiting["waiting_for"]
    [started] = [line for line in map(json.loads, err.splitlines()) if line["event"] == "started"]
    assert admin in started["addresses"]


def test_a_port_in_use_is_named_with_what_to_do(running: Running, tmp_path: Path) -> None:
    port = running.urls["http"].rpartition(":")[2]
    done = linkspan("up", "--data", str(tmp_path / "d"), *FREE_PORTS, "--set", f"listeners.http.port={port}")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_gateway_on_one_data_folder_is_refused(tmp_path: Path) -> None:
    with gateway(tmp_path / "data"):
        done = linkspan("up", "--data", str(tmp_path / "data"), *FREE_PORTS)
    assert done.returncode == 1
    assert str(tmp_path / "data") in done.stderr
    assert "Traceback" not in done.stderr


def test_a_faulty_flag_starts_nothing(tmp_path: Path) -> None:
    done = linkspan("up", "--data", str(tmp_path / "data"), "--set", "limits.boddy=1", "--set", "listeners.http.port=x")
    assert done.returncode == 2
    assert "2 faults" in done.stderr
    assert not (tmp_path / "data").exists()


def test_what_is_published_can_be_subscribed_to(url: str, topic: str) -> None:
    for data in ('{"price": 1.50}', "plain text"):
        assert linkspan("publish", f"{topic}/a/b", data, "--url", url).returncode == 0
    done = linkspan("subscribe", f"{topic}/**", "--start", "earliest", "-n", "2", "--url", url)
    assert done.returncode == 0
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == [f"{topic}/a/b"] * 2
    assert done.stdout.splitlines()[0] == f'{topic}/a/b\t{{"price": 1.50}}'
    done = linkspan("subscribe", f"{topic}/a/*", "--start", "earliest", "-n", "2", "--json", LINKSPAN_URL=url)
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["data"] == {"price": 1.5}
    assert (second["data"], second["datacontenttype"]) == ("plain text", "text/plain")


def test_ten_thousand_lines_go_in_order(url: str, topic: str) -> None:
    lines = "".join(f'{{"n": {n}}}\n' for n in range(10_000))
    done = linkspan("publish", f"{topic}/x", "-", "--url", url, stdin=lines)
    assert (done.returncode, done.stdout) == (0, f"published 10,000 events to {topic}\n")
    done = linkspan("subscribe", f"{topic}/x", "--start", "earliest", "-n", "10000", "--json", "--url", url)
    assert [json.loads(line)["data"]["n"] for line in done.stdout.splitlines()] == list(range(10_000))


def test_bytes_that_are_no_text_come_back_unchanged(url: str, topic: str) -> None:
    raw = b"\x00\xff\r\x80"
    command = [*LINKSPAN, "publish", topic, "-", "--url", url]
    subprocess.run(command, input=raw + b"\n", check=True, timeout=TIMEOUT, cwd=ROOT, capture_output=True)
    done = linkspan("subscribe", f"{topic}/**", "--start", "earliest", "-n", "1", "--json", "--url", url)
    assert json.loads(done.stdout)["data_base64"] == "AP8NgA=="


def test_a_reader_that_has_enough_ends_the_command_quietly(url: str, topic: str) -> None:
    linkspan("publish", f"{topic}/x", "-", "--url", url, stdin="x\n" * 5000)
    shell = f"{' '.join(LINKSPAN)} subscribe '{topic}/**' --start earliest --url {url} | head -n 3"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False, timeout=TIMEOUT, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 3


def test_ctrl_c_ends_a_live_subscription_cleanly(url: str, topic: str) -> None:
    process = spawn("subscribe", f"{topic}/**", "--start", "earliest", "--url", url)
    assert linkspan("publish", f"{topic}/x", "seen", "--url", url).returncode == 0
    assert process.stdout is not None
    assert process.stdout.readline() == f"{topic}/x\tseen\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_subscription_outlives_a_restart_of_the_gateway(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    at, url = ["--set", f"listeners.http.port={port}"], f"http://127.0.0.1:{port}"
    with gateway(tmp_path / "data", *at):
        linkspan("topics", "create", "t", "--url", url)
        linkspan("publish", "t/x", "one", "--url", url)
        process = spawn("subscribe", "t/**", "--start", "earliest", "-n", "2", "--url", url)
        assert process.stdout is not None
        assert process.stdout.readline() == "t/x\tone\n"
    with gateway(tmp_path / "data", *at):
        assert linkspan("publish", "t/x", "two", "--url", url).returncode == 0
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (0, "t/x\ttwo\n")
    assert "resuming" in err


def test_topics_are_made_shown_changed_and_deleted(url: str) -> None:
    made = linkspan("topics", "create", "papers", "--partitions", "2", "--retention-time", "7d", "--url", url, "--json")
    assert json.loads(made.stdout)["partitions"] == 2
    changed = linkspan("topics", "set", "papers", "--retention-bytes", "1GiB", "--type", "p.q", "--url", url, "--json")
    told = json.loads(changed.stdout)
    assert (told["retention"], told["defaults"]) == ({"time": "7d", "bytes": "1GiB"}, {"type": "p.q"})
    assert "papers" in linkspan("topics", "ls", "--url", url).stdout
    assert linkspan("topics", "rm", "papers", "--yes", "--url", url).returncode == 0
    gone = linkspan("topics", "show", "papers", "--url", url)
    assert gone.returncode == 4
    assert "unknown_topic" in gone.stderr


def test_refusals_say_what_is_wrong(url: str, topic: str) -> None:
    assert linkspan("publish", "no-such-topic/x", "y", "--url", url).returncode == 4
    bad = linkspan("publish", f"{topic}/x", "y", "-a", "time=yesterday", "--url", url, "--json")
    assert bad.returncode == 4
    error = json.loads(bad.stderr)["error"]
    assert error["code"] == "invalid_event"
    assert "RFC 3339" in error["message"]
    assert "events[" not in bad.stderr
    lines = linkspan("publish", f"{topic}/x", "-", "--url", url, stdin="a\n\n" + "x" * 1_200_000 + "\nb\n")
    assert lines.returncode == 4
    assert "line 3" in lines.stderr
    wrong = linkspan("subscribe", f"{topic}/**", "--filter", "a =", "--url", url)
    assert wrong.returncode == 4
    assert "invalid_filter" in wrong.stderr


def test_log_verify_walks_a_log_that_was_closed(tmp_path: Path) -> None:
    with gateway(tmp_path / "data") as up:
        linkspan("topics", "create", "t", "--url", up.urls["http"])
        linkspan("publish", "t/x", "-", "--url", up.urls["http"], stdin="x\n" * 3000)
    good = linkspan("log", "verify", "--data", str(tmp_path / "data"))
    assert good.returncode == 0, good.stderr
    [segment] = (tmp_path / "data" / "topics" / "t").glob("*.log")
    content = bytearray(segment.read_bytes())
    content[segment.stat().st_size // 8] ^= 0x10
    where = content.index(b"linkspan/cli")
    content[where] ^= 0x10
    segment.write_bytes(content)
    bad = linkspan("log", "verify", "--data", str(tmp_path / "data"))
    assert bad.returncode == 1
    assert segment.name in bad.stdout + bad.stderr


def test_the_bench_measures_both_directions(url: str) -> None:
    done = linkspan("bench", "--seconds", "0.3", "--connections", "2", "--batch", "50", "--url", url, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["publish_events_per_s"] > 0
    assert figures["read_events_per_s"] > 0
    assert linkspan("topics", "ls", "--url", url).stdout.count("bench-") == 0


def test_the_demo_ends_by_itself_and_lost_nothing() -> None:
    done = linkspan("demo", "--for", "2s", "--json")
    assert done.returncode == 0, done.stderr
    *events, last = map(json.loads, done.stdout.splitlines())
    summary = last["summary"]
    assert summary["received"] == summary["published"] == len(events) > 0
    assert summary["latency_p99_ms"] > 0
    assert any(event["subject"].startswith("cpu/") for event in events)
    assert {"datatype", "qualitytier", "confidence"} <= events[0].keys()


def test_the_demo_takes_free_ports_when_its_own_are_taken() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # then somebody else has it, which is as good
        done = linkspan("demo", "--for", "1s")
    assert done.returncode == 0, done.stderr
    assert "port 8080 is taken: http is on a free one" in done.stderr
    assert re.search(r"linkspan subscribe 'host/memory/\*' --start last:5 --url http://127\.0\.0\.1:\d+", done.stdout)


def test_the_demo_ends_on_ctrl_c_with_its_summary(tmp_path: Path) -> None:
    process = spawn("demo", "--data", str(tmp_path / "kept"))
    assert process.stdout is not None
    while "host/cpu/0" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    assert "events received" in out
    assert (tmp_path / "kept" / "topics" / "host").is_dir()


def test_the_demos_time_must_be_a_duration() -> None:
    done = linkspan("demo", "--for", "soon")
    assert done.returncode == 2
    assert "--for 'soon'" in done.stderr


def test_the_commands_of_the_readme_work_as_they_stand(url: str) -> None:
    text = (ROOT / "README.md").read_text().replace("\\\n", "")
    commands = [line.strip() for line in text.splitlines() if re.match(r"    curl ", line)]
    assert len(commands) == 4
    _demo, create, follow, publish = (command.replace("http://127.0.0.1:8080", url) for command in commands)
    for command in (create, publish):
        done = subprocess.run(
            ["bash", "-c", f"{command} --fail-with-body -sS"],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["count"] == 1
    stream = subprocess.Popen(["bash", "-c", f"exec {follow.removesuffix('&')} -sS"], stdout=subprocess.PIPE, text=True)
    assert stream.stdout is not None
    while '"price"' not in (seen := stream.stdout.readline()):
        assert seen
    stream.terminate()
    stream.communicate(timeout=TIMEOUT)


def test_help_is_fast() -> None:
    import time

    times = []
    for _ in range(5):
        began = time.monotonic()
        assert linkspan("--help").returncode == 0
        times.append(time.monotonic() - began)
    # 0.2 s where nothing else runs; the best of five, with room for a busy machine.
    assert min(times) < 0.6
