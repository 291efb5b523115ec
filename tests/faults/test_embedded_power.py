"""Power cuts and failing syncs, on a file system that forgets what was not synced: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.bus.contract import TopicSettings
from gateway.bus.embedded import EmbeddedBus
from gateway.errors import BusUnavailable, OutcomeUnknown, Unavailable
from tests.faults.embedded_ledger import Ledger
from tests.faults.embedded_load import SETTINGS, Loads
from tests.faults.forgetful_fs import ForgetfulDisk
from tests.harness.events import event, ids, read_topic


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[ForgetfulDisk]:
    lacking = ForgetfulDisk.lacking()
    if lacking:
        pytest.skip(lacking)
    with ForgetfulDisk(tmp_path / "disk") as mounted:
        yield mounted


async def cut_again_and_again(disk: ForgetfulDisk, log: Path, rounds: int, *, torn: bool) -> Ledger:
    """Loads on one log, each of which loses its power; `torn`: of what was not synced, any part may survive."""
    chance = random.Random()
    ledger = Ledger(power=True, torn=torn)
    with Loads(log) as loads:
        for number in range(rounds):
            # Two folders deep: the names above the log must be made durable as well.
            loads.start(disk.path / "var" / "data", number)
            await asyncio.sleep(0.03 + chance.random() * 0.4)
            await asyncio.to_thread(disk.cut)
            ledger.note(loads.kill())
            seed = chance.randrange(2**32) if torn else None
            await asyncio.to_thread(disk.on, seed)
            await ledger.check(disk.path / "var" / "data", thoroughly=number == rounds - 1)
            assert ledger.faults == [], f"round {number}, seed {seed}"
    return ledger


def show(capsys: pytest.CaptureFixture[str], rounds: int, ledger: Ledger, what: str) -> None:
    with capsys.disabled():
        sys.stdout.write(
            f"\npower cut ({what}): rounds {rounds}, acknowledged {ledger.acknowledged:,}, lost {ledger.lost}, "
            f"unacknowledged and reported as damaged {ledger.unreadable} "
        )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("torn", [False, True], ids=["all of it is forgotten", "any part of it survives"])
async def test_what_was_acknowledged_outlives_a_power_cut(
    disk: ForgetfulDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, torn: bool
) -> None:
    ledger = await cut_again_and_again(disk, tmp_path / "load.txt", 8, torn=torn)
    show(capsys, 8, ledger, "some unsynced blocks survive" if torn else "all that is not synced is gone")
    assert ledger.acknowledged > 200


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("torn", [False, True], ids=["all of it is forgotten", "any part of it survives"])
async def test_what_was_acknowledged_outlives_100_power_cuts(
    disk: ForgetfulDisk, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, torn: bool
) -> None:
    ledger = await cut_again_and_again(disk, tmp_path / "load.txt", 100, torn=torn)
    show(capsys, 100, ledger, "some unsynced blocks survive" if torn else "all that is not synced is gone")


async def opened(folder: Path) -> EmbeddedBus:
    bus = EmbeddedBus(folder, maintenance_interval=3600, **SETTINGS)  # type: ignore[arg-type]
    await bus.start()
    return bus


async def test_a_log_made_in_a_new_folder_outlives_a_power_cut(disk: ForgetfulDisk) -> None:
    bus = await opened(disk.path / "var" / "data")
    await bus.create_topic("t", TopicSettings())
    await bus.append("t", [event(1)])
    await asyncio.to_thread(disk.cut)
    with contextlib.suppress(Unavailable):
        await bus.close()
    await asyncio.to_thread(disk.on)
    bus = await opened(disk.path / "var" / "data")
    assert ids(await read_topic(bus, "t")) == [1]
    await bus.close()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
async def test_a_failing_sync_takes_no_acknowledged_event_and_gives_no_refused_one(
    disk: ForgetfulDisk, count: int
) -> None:
    bus = await opened(disk.path / "data")
    await bus.create_topic("t", TopicSettings())
    stored, unknown = [], []
    await asyncio.to_thread(disk.break_syncs, 0)
    for number in range(10):
        await bus.append("t", [event(number)])
        stored.append(number)
    await asyncio.to_thread(disk.break_syncs, count)
    refused = 0
    for number in range(10, 40):
        try:
            [(_, offset)] = await bus.append("t", [event(number)])
        except OutcomeUnknown:
            unknown.append(number)
        except BusUnavailable:
            refused += 1
        else:
            stored.append(number)
            assert offset == len(stored) - 1
    assert refused + len(unknown) >= 1
    assert stored[-1] == 39, "appends did not work again"
    assert bus.health().ready
    assert ids(await read_topic(bus, "t")) == stored
    await bus.close()
    # The pages of a failed sync look written and are not: only now it shows who trusted them.
    await asyncio.to_thread(disk.cut)
    await asyncio.to_thread(disk.on)
    bus = await opened(disk.path / "data")
    found = ids(await read_topic(bus, "t"))
    assert [number for number in found if number not in unknown] == stored
    assert bus.health().reasons == ()
    await bus.close()


async def test_a_sync_that_keeps_failing_is_told_by_health_until_it_works_again(disk: ForgetfulDisk) -> None:
    bus = EmbeddedBus(disk.path / "data", maintenance_interval=3600)
    await bus.start()
    await bus.create_topic("t", TopicSettings())
    await asyncio.to_thread(disk.break_syncs, 1_000_000)
    with pytest.raises(Unavailable):
        await bus.append("t", [event(1)])
    assert not bus.health().ready
    assert "'t'" in bus.health().reasons[0]
    await bus.maintain()
    assert not bus.health().ready
    await asyncio.to_thread(disk.break_syncs, 0)
    await bus.maintain()
    assert bus.health().ready
    assert await bus.append("t", [event(2)]) == [(0, 0)]
    await bus.close()
