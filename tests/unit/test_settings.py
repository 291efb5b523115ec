"""What keeps topic settings from holding, told at once."""

from __future__ import annotations

import pytest

from gateway.bus.contract import TopicInfo, TopicSettings
from gateway.bus.settings import SettingBounds, refuse, setting_faults
from gateway.errors import Fault, InvalidSetting

BOUNDS = SettingBounds(8, 3, "there are three machines", retention=1)
NOW = TopicInfo("t", "e", 4, 2, -1, -1, "delete", "none", 1000)


def told(asked: TopicSettings, now: TopicInfo | None = None) -> dict[str, str]:
    return {fault.where: fault.message for fault in setting_faults(asked, now, BOUNDS)}


def test_what_is_not_asked_for_and_what_is_within_bounds_holds() -> None:
    for now in (None, NOW):
        assert told(TopicSettings(), now) == {}
    assert told(TopicSettings(partitions=8, replication=3, retention_ms=1, retention_bytes=-1)) == {}
    assert told(TopicSettings(partitions=4, replication=2), NOW) == {}


def test_a_new_topic_is_within_the_buss_bounds() -> None:
    assert told(TopicSettings(partitions=9, replication=4, retention_ms=0, retention_bytes=-2)) == {
        "partitions": "must be 1 to 8, not 9",
        "replication": "must be 1 to 3, not 4: there are three machines",
        "retention.time": "must be at least 1, or -1 for no limit",
        "retention.bytes": "must be at least 1, or -1 for no limit",
    }


def test_a_topic_that_is_there_grows_and_keeps_its_copies() -> None:
    assert told(TopicSettings(partitions=3, replication=3), NOW) == {
        "partitions": "is 4 and can only grow",
        "replication": "is 2 and cannot be changed here",
    }


def test_refusing_names_the_first_fault_and_counts_the_others() -> None:
    refuse(())
    with pytest.raises(InvalidSetting, match=r"^a is bad$"):
        refuse([Fault("a", "is bad")])
    with pytest.raises(InvalidSetting, match=r"^a is bad \(and 29 more\)$") as caught:
        refuse([Fault("a", "is bad")] * 30)
    assert len(caught.value.faults) == 20
