"""kill -9 at random moments under load: nothing acknowledged is lost, doubled or served torn."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

import pytest

from gateway.bus.embedded.verify import Finding, verify
from tests.faults.embedded_ledger import Ledger
from tests.faults.embedded_load import Loads


async def kill_again_and_again(folder: Path, rounds: int, longest: float) -> Ledger:
    """Loads on one log, each killed after up to `longest` seconds: while it recovers, rolls, compacts, removes."""
    chance = random.Random()
    ledger = Ledger()
    with Loads(folder.with_name("load.txt")) as loads:
        for number in range(rounds):
            loads.start(folder, number)
            await asyncio.sleep(chance.random() * longest)
            ledger.note(loads.kill())
            # Not after each: else a load would only ever find a log that was closed in good order.
            if chance.random() < 0.4:
                await ledger.check(folder)
            assert ledger.faults == [], f"round {number}"
    await ledger.check(folder, thoroughly=True)
    assert ledger.faults == []
    return ledger


def show(capsys: pytest.CaptureFixture[str], rounds: int, ledger: Ledger, seconds: float) -> None:
    with capsys.disabled():
        sys.stdout.write(
            f"\nkill -9: rounds {rounds}, acknowledged {ledger.acknowledged:,}, lost {ledger.lost} ({seconds:.0f} s) "
        )


def damage(folder: Path) -> list[Finding]:
    return [found for found in verify(folder) if isinstance(found, Finding)]


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_outlives_50_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    ledger = await kill_again_and_again(tmp_path / "data", 50, 0.3)
    show(capsys, 50, ledger, time.monotonic() - began)
    assert ledger.acknowledged > 1000
    assert damage(tmp_path / "data") == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_what_was_acknowledged_outlives_500_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    ledger = await kill_again_and_again(tmp_path / "data", 500, 0.6)
    show(capsys, 500, ledger, time.monotonic() - began)
    assert ledger.acknowledged > 10_000
    assert damage(tmp_path / "data") == []
