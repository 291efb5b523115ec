"""A process that appends to an embedded log until it is killed, and tells what was acknowledged.

`python -m tests.faults.embedded_load` forks a load for each line `FOLDER ROUND` that it reads, so that a round
costs no start of an interpreter. It answers on stdout, a line for each thing that was acknowledged:

    pid N                            the load runs
    made TOPIC EPOCH                 a topic was created
    going TOPIC EPOCH                a topic is about to be deleted: from here on it may be there or not
    gone TOPIC EPOCH                 a topic was deleted
    kept TOPIC FIRST P:O P:O ...     events with the ids FIRST, FIRST + 1, ... were appended at these places
    failed TOPIC REASON              the log refused, as it may when the power is off; the load waits for its end
    ended STATUS                     the load is dead
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import structlog
import uvloop

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.errors import Unavailable
from gateway.event import Event

ROOT = Path(__file__).resolve().parent.parent.parent
#: Ids of one round begin at its number times this.
SPAN = 10_000_000
#: What the load appends to: segments small, so that they are closed, removed and compacted all the time.
TOPICS = {
    "plain": TopicSettings(partitions=1, retention_ms=-1),
    "spread": TopicSettings(partitions=3, retention_ms=-1, compression="zstd"),
    "latest": TopicSettings(partitions=2, cleanup="compact", compression="lz4"),
    "short": TopicSettings(partitions=1, retention_bytes=512 * 1024),
}
SETTINGS = {"segment_bytes": 128 * 1024, "memory": 256 * 1024}
KEYS = 40


def event_of(topic: str, number: int) -> Event:
    """The event with this id; all of it follows from the id. In `latest`, some are tombstones."""
    attributes: dict[str, str | int | bool] = {
        "id": str(number), "source": "//load", "type": "load", "specversion": "1.0", "subject": f"k/{number % KEYS}",
    }  # fmt: skip
    return Event(attributes, data_of(topic, number), f"k{number % KEYS}".encode())


def data_of(topic: str, number: int) -> bytes | None:
    if topic == "latest" and number % 11 == 0:
        return None
    return f"{number}:".encode() * (1 + number % 37)


async def load(folder: Path, number: int) -> None:
    """Append to all topics, and make and delete others, until the process is killed."""
    bus = EmbeddedBus(folder, maintenance_interval=0.02, **SETTINGS)  # type: ignore[arg-type]
    try:
        await bus.start()
        for name in sorted(TOPICS.keys() - set(await bus.topics())):
            info = await bus.create_topic(name, TOPICS[name])
            tell("made", name, info.epoch)
    except Unavailable as error:
        await wait_for_the_end("-", error)
        return
    ids = iter(range(number * SPAN, (number + 1) * SPAN))
    async with asyncio.TaskGroup() as tasks:
        for name in TOPICS:
            for _ in range(2):
                tasks.create_task(append(bus, name, ids))
        tasks.create_task(come_and_go(bus, number))


async def wait_for_the_end(topic: str, error: Unavailable) -> None:
    tell("failed", topic, error.message[:500])
    await asyncio.sleep(3600)


async def append(bus: EmbeddedBus, topic: str, ids: Iterator[int]) -> None:
    chance = random.Random()
    while True:
        numbers = [next(ids) for _ in range(chance.choice((1, 2, 7, 60)))]
        events = [event_of(topic, number) for number in numbers]
        try:
            positions = await bus.append(topic, events)
        except Unavailable as error:
            return await wait_for_the_end(topic, error)
        # Ids of one call follow one another: nothing else runs between taking them.
        tell("kept", topic, numbers[0], *(f"{partition}:{offset}" for partition, offset in positions))


async def come_and_go(bus: EmbeddedBus, number: int) -> None:
    for turn in range(1000):
        name = f"passing-{number}-{turn}"
        try:
            info = await bus.create_topic(name, TopicSettings())
            tell("made", name, info.epoch)
            await append_once(bus, name, turn)
            if turn % 3:
                tell("going", name, info.epoch)
                await bus.delete_topic(name)
                tell("gone", name, info.epoch)
        except Unavailable as error:
            await wait_for_the_end(name, error)
            return
        await asyncio.sleep(0.01)


async def append_once(bus: EmbeddedBus, topic: str, number: int) -> None:
    [(partition, offset)] = await bus.append(topic, [event_of(topic, number)])
    tell("kept", topic, number, f"{partition}:{offset}")


def tell(*words: object) -> None:
    """One write: a pipe takes a short line as a whole or not at all, whatever happens next."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def serve() -> None:
    """Fork a load for each line of stdin, one after the other."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for line in sys.stdin:
        folder, number = line.rsplit(maxsplit=1)
        pid = os.fork()
        if pid == 0:
            try:
                tell("pid", os.getpid())
                uvloop.run(load(Path(folder), int(number)))
            finally:
                os._exit(1)
        tell("ended", os.waitpid(pid, 0)[1])


class Loads:
    """Starts loads and kills them. Use as a context manager; `log` takes what they write to stderr."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __enter__(self) -> Loads:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.embedded_load"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def start(self, folder: Path, number: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder} {number}\n")
        self._process.stdin.flush()
        words = self._line()
        assert words[0] == "pid", words
        self._victim = os.pidfd_open(int(words[1]))

    def kill(self) -> Iterator[list[str]]:
        """kill -9, then everything that was acknowledged until then, as words."""
        try:
            signal.pidfd_send_signal(self._victim, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself, which the last line then says
        finally:
            os.close(self._victim)
        while (words := self._line())[0] != "ended":
            yield words
        assert words[1] == str(int(signal.SIGKILL)), f"the load ended by itself: {self._log.read_text()[-3000:]}"

    def _line(self) -> list[str]:
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        assert words, self._log.read_text()[-3000:]
        return words


if __name__ == "__main__":
    serve()
