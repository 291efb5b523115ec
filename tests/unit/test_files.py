"""The open-file limit is raised to what is allowed and never lowered."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from gateway.operate.files import ENOUGH, OpenFiles, raise_open_files


@pytest.fixture(autouse=True)
def _restored() -> Iterator[tuple[int, int]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_towards_the_hard_one() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    result = raise_open_files(300)
    assert result == OpenFiles(256, 300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard)


def test_a_limit_that_is_high_enough_is_left_alone() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert raise_open_files(64) == OpenFiles(soft, soft)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_an_infinite_hard_limit_is_not_taken_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert raise_open_files() == OpenFiles(1024, ENOUGH)
    assert asked == [(ENOUGH, resource.RLIM_INFINITY)]
    monkeypatch.undo()


def test_a_refusal_of_the_system_is_reported_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("not allowed")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_open_files() == OpenFiles(1024, 1024)
    monkeypatch.undo()
