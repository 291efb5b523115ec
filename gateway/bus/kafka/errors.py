"""What a Kafka broker's error codes mean to us.

The wall at which foreign failures become ours: nothing outside this package sees an error code
or an exception of the client library.
"""

from __future__ import annotations

from gateway.errors import BusUnavailable, Conflict, Fault, InvalidAddress, InvalidSetting, LinkspanError, TopicExists
from gateway.errors import UnknownTopic as UnknownTopic

NONE = 0
OFFSET_OUT_OF_RANGE = 1
CORRUPT_MESSAGE = 2
UNKNOWN_TOPIC_OR_PARTITION = 3
LEADER_NOT_AVAILABLE = 5
NOT_LEADER_OR_FOLLOWER = 6
REQUEST_TIMED_OUT = 7
BROKER_NOT_AVAILABLE = 8
REPLICA_NOT_AVAILABLE = 9
MESSAGE_TOO_LARGE = 10
NETWORK_EXCEPTION = 13
COORDINATOR_LOAD_IN_PROGRESS = 14
INVALID_TOPIC = 17
RECORD_LIST_TOO_LARGE = 18
NOT_ENOUGH_REPLICAS = 19
NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
TOPIC_AUTHORIZATION_FAILED = 29
CLUSTER_AUTHORIZATION_FAILED = 31
INVALID_TIMESTAMP = 32
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_REPLICATION_FACTOR = 38
INVALID_CONFIG = 40
NOT_CONTROLLER = 41
INVALID_REQUEST = 42
POLICY_VIOLATION = 44
OUT_OF_ORDER_SEQUENCE = 45
DUPLICATE_SEQUENCE = 46
INVALID_PRODUCER_EPOCH = 47
KAFKA_STORAGE_ERROR = 56
UNKNOWN_PRODUCER_ID = 59
REASSIGNMENT_IN_PROGRESS = 60
FENCED_LEADER_EPOCH = 74
UNKNOWN_LEADER_EPOCH = 75
OFFSET_NOT_AVAILABLE = 78
INVALID_RECORD = 87
THROTTLING_QUOTA_EXCEEDED = 89
UNKNOWN_TOPIC_ID = 100
INCONSISTENT_TOPIC_ID = 103

_NAMES = {number: name for name, number in globals().items() if type(number) is int}

#: Ask for fresh metadata and try again: the leader moved, or is not there yet.
MOVED = frozenset(
    {
        UNKNOWN_TOPIC_OR_PARTITION,
        LEADER_NOT_AVAILABLE,
        NOT_LEADER_OR_FOLLOWER,
        BROKER_NOT_AVAILABLE,
        REPLICA_NOT_AVAILABLE,
        KAFKA_STORAGE_ERROR,
        FENCED_LEADER_EPOCH,
        UNKNOWN_LEADER_EPOCH,
        OFFSET_NOT_AVAILABLE,
        UNKNOWN_TOPIC_ID,
        INCONSISTENT_TOPIC_ID,
    }
)
#: A produce whose fate the broker does not know; the same bytes may be sent again. A broker that
#: loses the lead while it waits for replicas, or just as it answers, has stored the batch before.
UNDECIDED = frozenset(
    {
        NOT_LEADER_OR_FOLLOWER,
        REQUEST_TIMED_OUT,
        NETWORK_EXCEPTION,
        NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KAFKA_STORAGE_ERROR,
    }
)
#: A produce that was refused as a whole, for a reason that passes: nothing of it was stored,
#: unless the answer names an offset all the same.
REFUSED_FOR_NOW = (MOVED | {NOT_ENOUGH_REPLICAS, CORRUPT_MESSAGE, THROTTLING_QUOTA_EXCEEDED}) - UNDECIDED
#: The broker and we disagree about the producer's sequence: only a new producer id helps.
SEQUENCE_LOST = frozenset({OUT_OF_ORDER_SEQUENCE, INVALID_PRODUCER_EPOCH, UNKNOWN_PRODUCER_ID, 49, 90})
TOO_LARGE = frozenset({MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE})
#: An administrative request that may succeed a moment later.
ADMIN_RETRY = frozenset({NOT_CONTROLLER, REQUEST_TIMED_OUT, NETWORK_EXCEPTION, BROKER_NOT_AVAILABLE, 14, 15})

#: A refusal of settings, and which of them it is about as far as the code tells.
_SETTINGS = {
    INVALID_PARTITIONS: "partitions",
    INVALID_REPLICATION_FACTOR: "replication",
    INVALID_CONFIG: "settings",
    INVALID_REQUEST: "settings",
    POLICY_VIOLATION: "settings",
}


class Unreachable(Exception):
    """A broker cannot be reached, or the connection broke or timed out. Never leaves this package."""


class Retry(Exception):
    """This attempt failed for a reason that fresh metadata or time may cure."""


def name_of(code: int) -> str:
    """The broker's name of an error, as its documentation and logs spell it."""
    return _NAMES.get(code, f"error {code}")


def admin_error(code: int, message: str | None, topic: str) -> LinkspanError:
    """What an administrative request was refused with, in the broker's own words."""
    said = message or name_of(code)
    if code in (UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID):
        return UnknownTopic(topic)
    if code == TOPIC_ALREADY_EXISTS:
        return TopicExists(f"topic {topic!r} exists already")
    if code == INVALID_TOPIC:
        return InvalidAddress(f"topic {topic!r}: {said}")
    if code in _SETTINGS:
        return InvalidSetting(
            f"topic {topic!r}: Kafka refuses the settings: {said}",
            faults=(Fault(_SETTINGS[code], f"is refused: {said}"),),
        )
    if code == REASSIGNMENT_IN_PROGRESS:
        return Conflict(f"topic {topic!r}: {said}")
    return BusUnavailable(f"topic {topic!r}: Kafka refuses: {said} ({name_of(code)})")
