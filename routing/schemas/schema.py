"""What every kind of schema gives: whether a payload is right, and the way to plain objects and back."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, TypeAlias

from routing.errors import Invalid
from routing.formats import CONTENT_TYPES, Format, format_of

SchemaKind: TypeAlias = Literal["json", "avro", "protobuf"]
KINDS: tuple[SchemaKind, ...] = ("json", "avro", "protobuf")
#: Bytes of a schema's text.
MAX_TEXT = 2**20
#: Characters of a reason.
MAX_REASON = 300
_UNPRINTABLE = re.compile(r"[^ -~\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd]+")


class InvalidSchema(Invalid):
    """A schema that cannot be used."""


class Schema(ABC):
    """A compiled schema. Immutable; safe to use from any thread."""

    kind: ClassVar[SchemaKind]
    descriptors: str | None = None
    """What compiling the text again can be spared with (Protobuf)."""

    def __init__(self, text: str, message: str | None = None) -> None:
        self.text, self.message = text, message

    @property
    def format(self) -> Format:
        return self.kind

    def validate(self, data: bytes | None, content_type: str | None) -> str | None:
        """Why the payload is not what the schema says, in one line; None when it is.

        A payload of another format is not. One without a content type is judged by its bytes.
        """
        if (
            content_type is not None
            and content_type != CONTENT_TYPES[self.kind]
            and format_of(content_type) != self.kind
        ):
            return short(f"is {content_type}, where the schema asks for {CONTENT_TYPES[self.kind]}")
        if data is None:
            return "is missing: the topic has a schema"
        return self.check(data)

    @abstractmethod
    def check(self, data: bytes) -> str | None:
        """`validate` for bytes that are known to be of this format."""

    @abstractmethod
    def decode(self, data: bytes) -> object:
        """The plain object. Raises Undecodable."""

    @abstractmethod
    def encode(self, value: object) -> bytes:
        """Raises Unencodable."""


def short(reason: str) -> str:
    """A reason as one line that an attribute can hold (CloudEvents 1.0.2, 2.4: String)."""
    line = _UNPRINTABLE.sub(" ", reason).strip()
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 3] + "..."
