"""Requests are byte for byte those of another implementation, where that has them."""

from __future__ import annotations

import struct

from aiokafka.protocol.admin import (
    CreatePartitionsRequest_v1,
    CreateTopicsRequest_v3,
    DeleteTopicsRequest_v3,
    DescribeConfigsRequest_v1,
)
from aiokafka.protocol.produce import ProduceRequest_v8, ProduceResponse_v8
from aiokafka.protocol.transaction import InitProducerIdRequest_v0

from gateway.bus.kafka import messages
from gateway.bus.kafka.messages import Outcome, Produced
from gateway.bus.kafka.wire import INT32, Cursor, array, string


def test_produce() -> None:
    theirs = ProduceRequest_v8(None, -1, 1000, [("a", [(0, b"x"), (3, b"yy")]), ("b", [(1, b"")])])
    assert messages.produce({"a": [(0, b"x"), (3, b"yy")], "b": [(1, b"")]}, 1000).body == theirs.encode()


def test_the_answer_to_produce_says_which_record_is_to_blame() -> None:
    theirs = ProduceResponse_v8(
        topics=[("a", [(0, 0, 40, -1, 0, [], None), (1, 87, -1, -1, 0, [(2, "no key"), (5, None)], "bad")])],
        throttle_time_ms=0,
    )
    answer = messages.produce({}, 1).parse(Cursor(theirs.encode()))
    assert answer[("a", 0)] == Produced(0, 40, -1, None, ())
    assert answer[("a", 1)] == Produced(87, -1, -1, "no key", (2, 5))


def test_init_producer_id() -> None:
    request = messages.init_producer_id()
    assert request.body == InitProducerIdRequest_v0(None, -1).encode()
    assert request.parse(Cursor(struct.pack(">ihqh", 0, 0, 7, 1))) == (0, 7, 1)


def test_create_topics() -> None:
    theirs = CreateTopicsRequest_v3([("t", -1, -1, [], [("a", "b")])], 500, False)
    request = messages.create_topic("t", -1, -1, {"a": "b"}, 500)
    assert request.body == theirs.encode()
    answer = INT32.pack(0) + array([string("t") + struct.pack(">h", 40) + string("why")])
    assert request.parse(Cursor(answer)) == Outcome(40, "why")


def test_create_partitions() -> None:
    theirs = CreatePartitionsRequest_v1([("t", (5, None))], 500, True)
    assert messages.create_partitions("t", 5, 500, validate_only=True).body == theirs.encode()


def test_delete_topics() -> None:
    request = messages.delete_topic("t", 500)
    assert request.body == DeleteTopicsRequest_v3(["t"], 500).encode()
    assert request.parse(Cursor(INT32.pack(0) + array([string("t") + struct.pack(">h", 3)]))) == Outcome(3)


def test_describe_configs() -> None:
    theirs = DescribeConfigsRequest_v1([(2, "t", ["a", "b"])], False)
    request = messages.describe_configs(["t"], ["a", "b"])
    assert request.body == theirs.encode()
    setting = string("a") + string("1") + b"\x00\x05\x00" + array(())
    answer = INT32.pack(0) + array([struct.pack(">h", 0) + string(None) + b"\x02" + string("t") + array([setting])])
    assert request.parse(Cursor(answer))["t"].configs == {"a": "1"}


def test_alter_configs_sets_what_is_named_and_resets_nothing() -> None:
    request = messages.alter_configs("t", {"a": "1"}, validate_only=True)
    assert request.body == array([b"\x02" + string("t") + array([string("a") + b"\x00" + string("1")])]) + b"\x01"
    answer = INT32.pack(0) + array([struct.pack(">h", 40) + string("why") + b"\x02" + string("t")])
    assert request.parse(Cursor(answer)) == Outcome(40, "why")


def test_fetch_reads_every_field_of_its_answer() -> None:
    topic = bytes(range(16))
    request = messages.fetch({topic: [(3, 77)]}, max_wait_ms=5, max_bytes=6, partition_bytes=7)
    assert topic + b"\x02" + struct.pack(">iiqiqi", 3, -1, 77, -1, -1, 7) in request.body
    partition = struct.pack(">ihqqq", 3, 0, 100, 90, 10) + b"\x02" + struct.pack(">qq", 5, 80) + b"\x00"
    partition += INT32.pack(-1) + b"\x04abc" + b"\x00"
    answer = struct.pack(">ihi", 0, 0, 0) + b"\x02" + topic + b"\x02" + partition + b"\x00\x00"
    code, fetched = request.parse(Cursor(answer))
    assert code == 0
    one = fetched[topic, 3]
    assert (one.code, one.stable_offset, one.start_offset, one.aborted, one.records) == (0, 90, 10, ((5, 80),), b"abc")


def test_list_offsets() -> None:
    request = messages.list_offsets({"t": [2]}, messages.EARLIEST)
    assert request.body == struct.pack(">ib", -1, 1) + array([string("t") + array([struct.pack(">iiq", 2, -1, -2)])])
    answer = INT32.pack(0) + array([string("t") + array([struct.pack(">ihqqi", 2, 0, -1, 55, 0)])])
    assert request.parse(Cursor(answer)) == {("t", 2): (0, 55)}
