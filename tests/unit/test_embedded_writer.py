"""The writer thread: group commit, and requests in their turn."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.embedded.messages import (
    Committed,
    Done,
    Failed,
    Finish,
    Grow,
    Outcome,
    Probe,
    Roll,
    Rolled,
)
from gateway.bus.embedded.writer import Writer
from gateway.errors import DiskFull, OutcomeUnknown
from tests.conftest import wait_until
from tests.unit.embedded_writing import Broken, Topic, kinds


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    return Broken(monkeypatch)


@pytest.fixture
def topic(tmp_path: Path) -> Iterator[Topic]:
    made = Topic(tmp_path / "t")
    yield made
    made.writer.close()


class Reports:
    def __init__(self) -> None:
        self.groups: list[list[Outcome]] = []

    def __call__(self, outcomes: list[Outcome]) -> None:
        self.groups.append(outcomes)

    @property
    def all(self) -> list[Outcome]:
        return [outcome for group in self.groups for outcome in group]


@pytest.fixture
def thread() -> Iterator[tuple[Writer, Reports]]:
    reports = Reports()
    writer = Writer(reports)
    writer.start()
    yield writer, reports
    assert writer.stop(10)


def test_what_queues_up_during_a_commit_goes_out_in_the_next(
    topic: Topic, thread: tuple[Writer, Reports], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reports = thread
    entered, gate, real = threading.Event(), threading.Event(), os.fdatasync

    def slow(fd: int) -> None:
        entered.set()
        gate.wait(10)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    writer.put(topic.append())
    assert entered.wait(10)
    for _ in range(7):
        writer.put(topic.append())
    gate.set()
    wait_until(lambda: len(reports.groups) == 2)
    assert [len(outcome.appends) for outcome in reports.all if isinstance(outcome, Committed)] == [1, 7]


def test_the_queue_is_taken_in_portions(
    topic: Topic, thread: tuple[Writer, Reports], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.bus.embedded.writer.COMMIT_BYTES", 1)
    writer, reports = thread
    for _ in range(5):
        writer.put(topic.append())
    wait_until(lambda: len(reports.groups) == 5)


def test_requests_are_carried_out_in_their_turn(topic: Topic, thread: tuple[Writer, Reports]) -> None:
    writer, reports = thread
    items: list[Any] = [
        Roll(topic.writer),
        topic.append(),
        Roll(topic.writer),
        Grow(topic.writer, 3),
        Probe(topic.writer, 10),
    ]
    for item in [*items, Finish(topic.writer)]:
        writer.put(item)
    wait_until(lambda: len(reports.all) == 6)
    assert kinds(reports.all) == [Done, Committed, Rolled, Done, Done, Done]
    assert all(outcome.error is None for outcome in reports.all if isinstance(outcome, Done))


def test_a_request_that_fails_says_why(topic: Topic, thread: tuple[Writer, Reports], broken: Broken) -> None:
    writer, reports = thread
    writer.put(topic.append())
    wait_until(lambda: reports.all)
    broken.fail("fsync", errno.ENOSPC, times=1)
    writer.put(Roll(topic.writer))
    wait_until(lambda: len(reports.all) == 2)
    done = reports.all[1]
    assert isinstance(done, Done)
    assert isinstance(done.error, DiskFull)


def test_a_defect_fails_the_append_and_not_the_thread(
    topic: Topic, thread: tuple[Writer, Reports], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reports = thread
    monkeypatch.setattr("gateway.bus.embedded.topic_writer.pack_header", lambda *_: 1 / 0)
    writer.put(topic.append())
    wait_until(lambda: reports.all)
    (failed,) = reports.all
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, OutcomeUnknown)
    monkeypatch.undo()
    topic.next, topic.generation = 0, 1
    writer.put(topic.append())
    wait_until(lambda: len(reports.all) == 3)
    assert kinds(reports.all[1:]) == [Rolled, Committed]
