"""Payload formats as a transform sees them: opened level by level, written back once.

A **node** is a part of a payload: a dict or list that was opened, a scalar, or `msgspec.Raw`,
a part that nobody has looked into, which keeps its very bytes. `1.10` and
`12345678901234567890` so survive in all that no step touches.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from decimal import Decimal
from keyword import iskeyword
from typing import Any, Final, Protocol, TypeAlias

import cbor2
import msgspec

from routing.formats import Undecodable, decode_cbor
from routing.transforms.failure import Refusal

Node: TypeAlias = Any
Raw = msgspec.Raw

#: Levels of a payload that is decoded as a whole.
MAX_DEPTH: Final = 100

#: Members that are picked; for more it is quicker to decode all.
MAX_PICKED: Final = 16

_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)


class Codec(Protocol):
    """One format. Everything raises Refusal."""

    name: str

    def load(self, data: bytes) -> Node:
        """A payload, its outermost level opened when that is an object."""
        ...

    def whole(self, data: bytes | Raw) -> object:
        """A payload decoded through and through."""
        ...

    def open(self, node: Raw) -> Node:
        """One level of a part: a dict, a list, or the same Raw, which is a scalar."""
        ...

    def plain(self, node: Node) -> object:
        """The value of a part, decoded through and through."""
        ...

    def number(self, node: Node) -> str | None:
        """The exact text of a number that nobody touched, where the format has one."""
        ...

    def node(self, value: object) -> tuple[Node, int]:
        """A node of its own for a value that comes from elsewhere, and about how many bytes it has."""
        ...

    def dump(self, node: Node) -> bytes: ...


#: Bytes of a number, about.
_NUMBER: Final = 24


def finite(value: object) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return not isinstance(value, Decimal) or value.is_finite()


_OBJECT, _ARRAY = b"{["


class Json:
    """JSON (RFC 8259). Of members given twice the last one counts, as for every reader."""

    name = "json"

    _object = msgspec.json.Decoder(dict[str, Raw]).decode
    _array = msgspec.json.Decoder(list[Raw]).decode
    _any = msgspec.json.Decoder().decode
    _encode = msgspec.json.Encoder(decimal_format="number").encode

    def load(self, data: bytes) -> Node:
        try:
            if not data.isascii():
                data.decode()  # strings that are passed over are not looked into
            return Json._object(data)
        except msgspec.ValidationError:
            return self.whole(data)
        except _UNREADABLE as error:
            raise Refusal(f"the payload is not JSON: {error}") from None

    def whole(self, data: bytes | Raw) -> object:
        try:
            return Json._any(data)
        except _UNREADABLE as error:
            raise Refusal(f"the payload is not JSON: {error}") from None

    def open(self, node: Raw) -> Node:
        first = memoryview(node)[0]
        try:
            if first == _OBJECT:
                return Json._object(node)
            return Json._array(node) if first == _ARRAY else node
        except _UNREADABLE as error:
            raise Refusal(f"the payload is not JSON: {error}") from None

    def plain(self, node: Node) -> object:
        if type(node) is Raw:
            return self.whole(node)
        return self.whole(self.dump(node)) if type(node) in (dict, list) else node

    def number(self, node: Node) -> str | None:
        if type(node) is Raw:
            text = bytes(node)
            if text[:1] in b"-0123456789":
                return text.decode()
        return None

    def node(self, value: object) -> tuple[Node, int]:
        if type(value) is str:
            return value, len(value)
        if not finite(value):
            raise Refusal(f"{value} is no JSON number")
        if type(value) is float or type(value) is bool:
            return value, _NUMBER
        raw = self.dump(value)
        return Raw(raw), len(raw)

    def dump(self, node: Node) -> bytes:
        try:
            return Json._encode(node)
        except _UNWRITABLE as error:
            raise Refusal(f"cannot be written as JSON: {error}") from None


def picker(names: frozenset[str]) -> Callable[[bytes], dict[str, Node]] | None:
    """A decoder for just these members of JSON objects, which takes half the time; None: they cannot be fields."""
    if len(names) > MAX_PICKED or not all(
        name.isidentifier() and name[0] != "_" and not iskeyword(name) for name in names
    ):
        return None
    fields = [(name, Raw, msgspec.UNSET) for name in sorted(names)]
    decode = msgspec.json.Decoder(msgspec.defstruct("Picked", fields, gc=False)).decode
    whole = msgspec.structs.asdict

    def pick(data: bytes) -> dict[str, Node]:
        found = whole(decode(data))
        if msgspec.UNSET in found.values():
            return {name: node for name, node in found.items() if node is not msgspec.UNSET}
        return found

    return pick


class MessagePack:
    """MessagePack. Members of objects need text keys; extensions are kept."""

    name = "msgpack"

    _object = msgspec.msgpack.Decoder(dict[str, Raw]).decode
    _array = msgspec.msgpack.Decoder(list[Raw]).decode
    _any = msgspec.msgpack.Decoder().decode
    _encode = msgspec.msgpack.Encoder(decimal_format="number").encode

    def load(self, data: bytes) -> Node:
        return self._opened(data, data[:1])

    def whole(self, data: bytes | Raw) -> object:
        try:
            return MessagePack._any(data)
        except (*_UNREADABLE, TypeError) as error:  # TypeError: a key that cannot be one
            raise Refusal(f"the payload is not MessagePack: {error}") from None

    def open(self, node: Raw) -> Node:
        return self._opened(node, bytes(memoryview(node)[:1]))

    def _opened(self, data: Any, first: bytes) -> Node:
        try:
            if b"\x80" <= first <= b"\x8f" or first in (b"\xde", b"\xdf"):
                return MessagePack._object(data)
            if b"\x90" <= first <= b"\x9f" or first in (b"\xdc", b"\xdd"):
                return MessagePack._array(data)
        except _UNREADABLE as error:
            raise Refusal(f"the payload is not MessagePack with text keys: {error}") from None
        return data if type(data) is Raw else self.whole(data)

    def plain(self, node: Node) -> object:
        if type(node) is Raw:
            return self.whole(node)
        return self.whole(self.dump(node)) if type(node) in (dict, list) else node

    def number(self, node: Node) -> str | None:
        return None

    def node(self, value: object) -> tuple[Node, int]:
        if type(value) is str:
            return value, len(value)
        raw = self.dump(value)
        return Raw(raw), len(raw)

    def dump(self, node: Node) -> bytes:
        try:
            return MessagePack._encode(node)
        except _UNWRITABLE as error:
            raise Refusal(f"cannot be written as MessagePack: {error}") from None


def _kept_tag(number: int) -> Any:
    def keep(value: object, immutable: bool) -> cbor2.CBORTag:
        return cbor2.CBORTag(number, value)

    return keep


class Cbor:
    """CBOR (RFC 8949): one data item, decoded at once. Tags are kept as they came."""

    name = "cbor"

    # Shared values may be cyclic or grow without end, expressions and big fractions cost what they
    # like: of the tags that the library would interpret only big integers and decimals are.
    _KEPT = (0, 1, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
    _tags: Final = {number: _kept_tag(number) for number in _KEPT}

    def load(self, data: bytes) -> Node:
        source = io.BytesIO(data)
        try:
            decoder = cbor2.CBORDecoder(
                source, max_depth=MAX_DEPTH, allow_duplicate_keys=False, semantic_decoders=Cbor._tags
            )
            value = decoder.decode()
        except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Refusal(f"the payload is not CBOR: {error}") from None
        if source.tell() != len(data):
            raise Refusal(f"the payload is not CBOR: {len(data) - source.tell()} bytes follow the item")
        return value

    def whole(self, data: bytes | Raw) -> object:
        return self.load(data)

    def open(self, node: Node) -> Node:
        return node

    def plain(self, node: Node) -> object:
        if type(node) not in (dict, list, cbor2.CBORTag):
            return node
        try:
            return decode_cbor(self.dump(node))
        except Undecodable as error:
            raise Refusal(f"the payload {error}") from None

    def number(self, node: Node) -> str | None:
        return None

    def node(self, value: object) -> tuple[Node, int]:
        if type(value) is str:
            return value, len(value)
        data = self.dump(value)
        return (self.load(data) if type(value) in (dict, list) else value), len(data)

    def dump(self, node: Node) -> bytes:
        try:
            return cbor2.dumps(node)
        except (cbor2.CBORError, *_UNWRITABLE) as error:
            raise Refusal(f"cannot be written as CBOR: {error}") from None


JSON: Final = Json()
MESSAGEPACK: Final = MessagePack()
CBOR: Final = Cbor()
CODECS: Final[dict[str, Codec]] = {"json": JSON, "msgpack": MESSAGEPACK, "cbor": CBOR}
