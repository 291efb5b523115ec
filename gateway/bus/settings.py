"""What keeps topic settings from holding, all of it at once and in the same words on every bus."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.bus.contract import TopicInfo, TopicSettings
from gateway.errors import Fault, InvalidSetting

#: Faults that one error names.
SHOWN = 20


class SettingBounds(msgspec.Struct, frozen=True):
    """What a bus can do. `retention`: the least of both kinds, in ms and bytes. `copies_from`: where
    the bound of the copies comes from."""

    partitions: int
    replication: int
    copies_from: str
    retention: int = 0


def setting_faults(asked: TopicSettings, now: TopicInfo | None, bounds: SettingBounds) -> tuple[Fault, ...]:
    """What of `asked` cannot hold for a new topic, or for the one that is as `now` says."""
    faults: list[Fault] = []
    partitions, replication = asked.partitions, asked.replication
    if partitions is not None and not 1 <= partitions <= bounds.partitions:
        faults.append(Fault("partitions", f"must be 1 to {bounds.partitions}, not {partitions}"))
    elif partitions is not None and now is not None and partitions < now.partitions:
        faults.append(Fault("partitions", f"is {now.partitions} and can only grow"))
    if replication is not None and now is not None and replication != now.replication:
        faults.append(Fault("replication", f"is {now.replication} and cannot be changed here"))
    elif replication is not None and now is None and not 1 <= replication <= bounds.replication:
        most = "1" if bounds.replication == 1 else f"1 to {bounds.replication}"
        faults.append(Fault("replication", f"must be {most}, not {replication}: {bounds.copies_from}"))
    for name, value in (("retention.time", asked.retention_ms), ("retention.bytes", asked.retention_bytes)):
        if value is not None and value < bounds.retention and value != -1:
            faults.append(Fault(name, f"must be at least {bounds.retention}, or -1 for no limit"))
    return tuple(faults)


def refuse(faults: Sequence[Fault]) -> None:
    """Raise InvalidSetting if there are any."""
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InvalidSetting(f"{faults[0].where} {faults[0].message}{more}", faults=tuple(faults[:SHOWN]))
