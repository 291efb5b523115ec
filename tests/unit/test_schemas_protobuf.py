"""Protobuf: .proto text or descriptors, messages to plain objects and back."""

from __future__ import annotations

import base64
import importlib.util
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.formats import Undecodable, Unencodable
from routing.schemas import InvalidSchema, compile_schema, protoc
from routing.schemas.protobuf import ProtobufSchema

pytestmark = pytest.mark.timeout(60)
SOURCE = """
syntax = "proto3";
package market;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/any.proto";
enum Side { UNKNOWN = 0; BUY = 1; }
message Tick {
  string symbol = 1;
  double price = 2;
  int64 size = 3;
  Side side = 4;
  google.protobuf.Timestamp at = 5;
  repeated string tags = 6;
  map<bool, int32> flags = 7;
  optional int32 lot = 8;
  bytes raw = 9;
  google.protobuf.Int64Value wide = 10;
  oneof more { string text = 11; int32 number = 12; }
  google.protobuf.Struct free = 13;
  Tick inner = 14;
  google.protobuf.Any any = 15;
}
"""
FULL: dict[str, Any] = {
    "symbol": "A", "price": 1.5, "size": 2**60, "side": "BUY", "at": "2026-01-01T00:00:00Z", "tags": ["x"],
    "flags": {"true": 1}, "lot": 0, "raw": "eA==", "wide": 5, "number": 0, "free": {"a": [None, "b"]},
}  # fmt: skip
EMPTY = {"symbol": "", "price": 0.0, "size": 0, "side": "UNKNOWN", "tags": [], "flags": {}, "raw": ""}


def made(text: str, message: str | None = None) -> ProtobufSchema:
    schema = compile_schema("protobuf", text, message)
    assert isinstance(schema, ProtobufSchema)
    return schema


@pytest.fixture(scope="module")
def tick() -> ProtobufSchema:
    return made(SOURCE)


def test_a_message_goes_round(tick: ProtobufSchema) -> None:
    data = tick.encode(FULL | {"inner": {"symbol": "B"}})
    assert tick.decode(data) == FULL | {"inner": EMPTY | {"symbol": "B"}}
    assert tick.validate(data, "application/protobuf") is None
    assert (tick.message, tick.format) == ("market.Tick", "protobuf")


def test_fields_without_presence_have_their_defaults(tick: ProtobufSchema) -> None:
    assert tick.decode(b"") == EMPTY
    assert tick.decode(b"\x20\x09") == EMPTY | {"side": 9}, "a value that an open enum does not know"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff", "is no market.Tick: Wire format was corrupt"), (b"\x0a\x02\xff\xfe", "bad UTF-8"),
        (b"\x08\x05", "has fields that market.Tick does not know"), (b"\xfa\x01\x02hi", "does not know"),
        (b"\x72\x02\x08\x05", "does not know"), (b"\x72\x01" * 5, "corrupt"),
    ],
)  # fmt: skip
def test_other_bytes_are_told(tick: ProtobufSchema, data: bytes, reason: str) -> None:
    told = tick.check(data)
    assert told is not None
    assert reason in told
    with pytest.raises(Undecodable):
        tick.decode(data)


@pytest.mark.parametrize(
    "value", [5, {"nope": 1}, {"symbol": 5}, {"side": "HOLD"}, {"size": 2**70}, {"any": {"@type": "x/y"}}, {"raw": 1}]
)
def test_objects_that_do_not_fit_are_told(tick: ProtobufSchema, value: object) -> None:
    with pytest.raises(Unencodable):
        tick.encode(value)


def test_an_any_of_an_unknown_type_is_a_message_that_cannot_be_read(tick: ProtobufSchema) -> None:
    data = b"\x7a\x07\x0a\x05nope/"
    assert tick.check(data) is None
    with pytest.raises(Undecodable, match="has a Any that cannot be read"):
        tick.decode(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_judged(data: bytes) -> None:
    reason = _TICK.check(data)
    assert reason is None or reason.isprintable()


def test_nesting_has_an_end(tick: ProtobufSchema) -> None:
    data = b""
    for _ in range(150):
        length = len(data)
        data = b"\x72" + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + data
    assert tick.check(data) is not None


def test_required_fields_of_proto2_are_required() -> None:
    old = made('syntax = "proto2"; message A { required int32 a = 1; enum E { X = 0; } optional E e = 2; }')
    assert old.check(b"") == "is no A: it lacks a"
    assert old.decode(b"\x08\x01") == {"a": 1}
    assert old.check(b"\x08\x01\x10\x05") is not None, "a closed enum"


def test_descriptors_in_base64_need_no_compiler(tick: ProtobufSchema, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protoc, "find_spec", lambda name: None)
    assert tick.descriptors is not None
    assert made(tick.descriptors, "Tick").message == "market.Tick"
    assert ProtobufSchema(SOURCE, "market.Tick", tick.descriptors).text == SOURCE
    with pytest.raises(InvalidSchema, match="needs grpcio-tools"):
        made(SOURCE)


@pytest.mark.parametrize(
    ("text", "message", "reason"),
    [
        ('syntax = "proto3";\nmessage A { B b = 1; }', None, r'line 2:13: "B" is not defined'),
        ("message A {", None, "line 1:12: Reached end of input"),
        ('import "/etc/passwd"; message A {}', None, "was not found"),
        ('import "../x.proto"; message A {}', None, "was not found"),
        ('syntax = "proto3"; message A {} message B {}', None, "which one is meant: A, B"),
        ('syntax = "proto3"; message A {}', "C", "has no message 'C'; there are A"),
        ('syntax = "proto3";', None, "there is none"), ("zzz!", None, "is neither"), ("", None, "holds no file"),
        (base64.b64encode(b"abc").decode(), None, "no FileDescriptorSet"),
        (base64.b64encode(b"\x0a\x0a\x0a\x01a\x1a\x05b.txt").decode(), None, "do not fit together"),
        ('syntax = "proto3"; message A {' + "".join(f"int32 f{n} = {n + 1};" for n in range(1001)) + "}", None, "1001"),
        ('syntax = "proto3";' + "message A {" * 5000 + "}" * 5000, None, "recursion limit"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_is_refused(text: str, message: str | None, reason: str) -> None:
    with pytest.raises(InvalidSchema, match=reason):
        made(text, message)


def test_a_message_may_be_named_without_its_package() -> None:
    assert made('syntax = "proto3"; package p; message A {} message B {}', "B").message == "p.B"


def test_only_protobuf_has_messages() -> None:
    with pytest.raises(InvalidSchema, match="not for json"):
        compile_schema("json", "{}", "A")


def test_a_compiler_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("protoc", 10)

    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(InvalidSchema, match="longer than 10 s"):
        made(SOURCE)


def test_the_compiler_is_there() -> None:
    assert importlib.util.find_spec("grpc_tools") is not None


_TICK = made(SOURCE)
