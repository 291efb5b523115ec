"""Whether one Protobuf schema can read what another wrote.

By field numbers, as the wire has them, and by names, since filters and JSON use those: a field
keeps its number, name, type and cardinality. A number that is given up is reserved, so that
nobody uses it again. Types may become wider ones of the same encoding.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from routing.schemas.protobuf import ProtobufSchema

#: Reasons that are told.
MAX_REASONS = 20
_NAMES: dict[int, str] = {
    number: name.removeprefix("TYPE_").lower() for name, number in descriptor_pb2.FieldDescriptorProto.Type.items()
}
#: Type of the writer -> types of readers that read all of its values the same way.
_WIDER = {
    "int32": ("int64",),
    "uint32": ("uint64", "int64"),
    "bool": ("int32", "int64", "uint32", "uint64"),
    "sint32": ("sint64",),
    "string": ("bytes",),
    "enum": ("int32", "int64"),
}


def cannot_read(writer: ProtobufSchema, reader: ProtobufSchema) -> list[str]:
    """Why the reader's schema cannot read what was written by the writer's; empty when it can."""
    comparison = _Comparison()
    comparison.messages(writer.type, reader.type)
    return comparison.reasons[:MAX_REASONS]


class _Comparison:
    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()
        self.reasons: list[str] = []

    def messages(self, writer: Descriptor, reader: Descriptor) -> None:
        todo = [(writer, reader)]
        while todo:
            ours, theirs = todo.pop()
            if (ours.full_name, theirs.full_name) in self._seen:
                continue
            self._seen.add((ours.full_name, theirs.full_name))
            todo += self._message(ours, theirs)

    def _message(self, writer: Descriptor, reader: Descriptor) -> list[tuple[Descriptor, Descriptor]]:
        """Says what is wrong, and gives the messages within."""
        inner = []
        reserved = _reserved(reader)
        for number, ours in writer.fields_by_number.items():
            theirs = reader.fields_by_number.get(number)
            where = f"{writer.full_name}.{ours.name}"
            if theirs is not None:
                self._field(ours, theirs, where)
                if ours.message_type is not None and theirs.message_type is not None:
                    inner.append((ours.message_type, theirs.message_type))
            elif not any(number in numbers for numbers in reserved):
                self._say(where, f"is gone, and its number {number} is not reserved")
        for number, theirs in reader.fields_by_number.items():
            if number not in writer.fields_by_number and theirs.is_required:
                self._say(f"{reader.full_name}.{theirs.name}", "is required and was not there")
        return inner

    def _field(self, ours: FieldDescriptor, theirs: FieldDescriptor, where: str) -> None:
        if ours.name != theirs.name:
            self._say(where, f"is named {theirs.name} now: the number {ours.number} belongs to another name")
        if ours.is_repeated != theirs.is_repeated:
            self._say(where, f"is {'repeated' if theirs.is_repeated else 'single'} now")
        if theirs.is_required and not ours.is_required:
            self._say(where, "is required now")
        if _oneof(ours) != _oneof(theirs):
            self._say(where, f"moved from {_oneof(ours) or 'no oneof'} to {_oneof(theirs) or 'none'}")
        before, now = _NAMES[ours.type], _NAMES[theirs.type]
        if before != now:
            if now not in _WIDER.get(before, ()):
                self._say(where, f"was {before} and is {now}")
        elif ours.enum_type is not None and theirs.enum_type is not None:
            self._enum(ours.enum_type, theirs.enum_type, where)
        elif ours.message_type is not None and theirs.message_type is not None:
            self._type_name(ours.message_type, theirs.message_type, where)

    def _type_name(self, ours: Descriptor, theirs: Descriptor, where: str) -> None:
        # A well-known type has a form of its own in JSON: another name is another form.
        known = "google.protobuf."
        if ours.full_name != theirs.full_name and known in (ours.full_name + theirs.full_name):
            self._say(where, f"was {ours.full_name} and is {theirs.full_name}")

    def _enum(self, ours: EnumDescriptor, theirs: EnumDescriptor, where: str) -> None:
        for number, value in ours.values_by_number.items():
            now = theirs.values_by_number.get(number)
            if now is not None and now.name != value.name:
                self._say(where, f"has {now.name} for {number}, which was {value.name}")
            elif now is None and theirs.is_closed:
                self._say(where, f"lacks {value.name}, which the closed enum {theirs.name} cannot read")

    def _say(self, where: str, reason: str) -> None:
        self.reasons.append(f"{where} {reason}")


def _oneof(field: FieldDescriptor) -> str:
    oneof = field.containing_oneof
    # An optional field of proto3 is the only one of a oneof that nobody wrote.
    synthetic = oneof is not None and len(oneof.fields) == 1 and oneof.name == f"_{field.name}"
    return "" if oneof is None or synthetic else oneof.name


def _reserved(type_: Descriptor) -> list[range]:
    proto: Any = descriptor_pb2.DescriptorProto()
    type_.CopyToProto(proto)
    return [range(reserved.start, reserved.end) for reserved in proto.reserved_range]
