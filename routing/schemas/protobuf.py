"""Protobuf: messages of the binary format, by descriptors that are made at run time.

Bytes are a message when they can be parsed and nothing in them is unknown to the schema: with
unknown fields let through nearly any bytes are some message.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, cast

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from routing.formats import Undecodable, Unencodable
from routing.schemas.protoc import descriptors_of, set_of
from routing.schemas.schema import InvalidSchema, Schema, short

#: Fields of one message: an empty message of two bytes takes eight bytes of memory for each.
MAX_FIELDS = 1000
_WELL_KNOWN = "google.protobuf."
_WRAPPERS = frozenset(
    f"{_WELL_KNOWN}{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


class ProtobufSchema(Schema):
    kind = "protobuf"

    def __init__(self, text: str, message: str | None = None, descriptors: str | None = None) -> None:
        """`text`: a .proto file, or a FileDescriptorSet in base64 whose last file counts.

        `message` names the message, and may be left out where the file has only one.
        `descriptors` is what an earlier schema of this text had, which saves compiling it.
        Raises InvalidSchema.
        """
        known = self.descriptors = descriptors or descriptors_of(text)
        self.type = _find(known, message)
        super().__init__(text, self.type.full_name)
        _bound(self.type)
        self._class = message_factory.GetMessageClass(self.type)

    def check(self, data: bytes) -> str | None:
        try:
            self._message(data)
        except Undecodable as error:
            return short(str(error))
        return None

    def decode(self, data: bytes) -> object:
        """Fields by their names in the .proto file; 64-bit integers are numbers, enums their names.

        Fields without presence are there with their defaults, as readers of Protobuf see them.
        """
        return _plain(self._message(data))

    def encode(self, value: object) -> bytes:
        """The JSON mapping of Protobuf; names in either spelling."""
        if not isinstance(value, dict):
            raise Unencodable(f"the object is no {self.type.full_name}")
        try:
            made = json_format.ParseDict(value, self._class(), descriptor_pool=self.type.file.pool)
            return made.SerializeToString()
        except (json_format.ParseError, EncodeError, TypeError, ValueError, RecursionError) as error:
            raise Unencodable(short(f"does not fit the schema: {error}")) from None

    def _message(self, data: bytes) -> Message:
        try:
            made = self._class.FromString(data)
        except DecodeError as error:
            raise Undecodable(f"is no {self.type.full_name}: {str(error).rpartition(': ')[2]}") from None
        if not made.IsInitialized():
            lacking = ", ".join(cast(Any, made).FindInitializationErrors())
            raise Undecodable(f"is no {self.type.full_name}: it lacks {lacking}")
        size = made.ByteSize()
        made.DiscardUnknownFields()
        if made.ByteSize() != size:
            raise Undecodable(f"has fields that {self.type.full_name} does not know")
        return made


def _find(descriptors: str, message: str | None) -> Descriptor:
    files = descriptor_pb2.FileDescriptorSet()
    try:
        files.ParseFromString(set_of(descriptors))
    except DecodeError:
        raise InvalidSchema("the base64 holds no FileDescriptorSet") from None
    if not files.file:
        raise InvalidSchema("the FileDescriptorSet holds no file")
    pool = descriptor_pool.DescriptorPool()
    try:
        for file in files.file:
            pool.Add(file)
        last = pool.FindFileByName(files.file[-1].name)
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidSchema(short(f"the descriptors do not fit together: {error}")) from None
    names = [found.full_name for found in last.message_types_by_name.values()]
    if message is None:
        if len(names) != 1:
            raise InvalidSchema(f"message must say which one is meant: {', '.join(names[:20]) or 'there is none'}")
        message = names[0]
    for name in (message, f"{last.package}.{message}"):
        try:
            return pool.FindMessageTypeByName(name)
        except KeyError:
            continue
    raise InvalidSchema(f"has no message {message[:80]!r}; there are {', '.join(names[:20]) or 'none'}")


def reachable(type_: Descriptor) -> dict[str, Descriptor]:
    """All messages that one of this type can hold, itself included, by name."""
    found, todo = {type_.full_name: type_}, [type_]
    while todo:
        for field in todo.pop().fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in found:
                found[inner.full_name] = inner
                todo.append(inner)
    return found


def _bound(type_: Descriptor) -> None:
    for one in reachable(type_).values():
        if len(one.fields) > MAX_FIELDS:
            raise InvalidSchema(f"{one.full_name} has {len(one.fields)} fields, at most {MAX_FIELDS} are taken")


def _plain(message: Message) -> Any:
    type_ = message.DESCRIPTOR
    if type_.full_name.startswith(_WELL_KNOWN):
        return _well_known(message)
    made = {}
    for field in type_.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if not field.is_repeated:
            made[field.name] = _value(field, value)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            made[field.name] = {_key(key): _value(inner, value[key]) for key in value}
        else:
            made[field.name] = [_value(field, one) for one in value]
    return made


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _well_known(message: Message) -> Any:
    """Times as RFC 3339, durations as 1.5s, wrappers as what they wrap, the others as Protobuf's JSON has them."""
    try:
        if message.DESCRIPTOR.full_name in _WRAPPERS:
            return _value(message.DESCRIPTOR.fields_by_name["value"], getattr(message, "value"))  # noqa: B009
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (TypeError, ValueError, KeyError, AttributeError, json_format.Error) as error:
        raise Undecodable(f"has a {message.DESCRIPTOR.name} that cannot be read: {error}") from None
