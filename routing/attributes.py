"""What is legal as an attribute: the rules of CloudEvents 1.0.2. Pure.

One set of rules for what comes in through a door and what a transform or a route makes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

Value: TypeAlias = str | int | bool

REQUIRED: Final = ("id", "source", "type", "specversion")
#: Attribute values are at most this long once encoded; the whole set is bounded by the bus.
MAX_ATTRIBUTE_BYTES: Final = 64 * 1024
#: Kafka stores the subject as a header and a key; this keeps both far below its limits.
MAX_SUBJECT_BYTES: Final = 4096
#: Of subjects and of patterns: what matching costs is their product.
MAX_SEGMENTS: Final = 128

_NAME = re.compile(r"[a-z0-9]{1,64}\Z")
# 2.4 (String): no control characters, surrogates or noncharacters.
STRING_ILLEGAL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
SEGMENT_ILLEGAL: Final = re.compile(r"[+#\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TIME = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)\Z",
    re.ASCII,
)
# RFC 3986, 2: neither reserved nor unreserved, or a percent sign without its two digits.
_URI_ILLEGAL = re.compile(r'[\s<>"{}|\\^`]|%(?![0-9A-Fa-f]{2})')
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# RFC 9110, 8.3.1; it becomes a header on several wires, so it stays ASCII.
_MEDIA_TYPE = re.compile(r"[\w!#$%&'*+.^`|~-]+/[\w!#$%&'*+.^`|~-]+ *(?:;[ -~]*)?\Z", re.ASCII)
_DAYS = {"04": "30", "06": "30", "09": "30", "11": "30"}
_INTEGER = range(-(2**31), 2**31)


def canonical(value: Value) -> str:
    """The canonical string of an attribute value (2.4)."""
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def attribute_fault(name: str, value: object) -> str | None:
    """Say what is wrong with one attribute, or None when it is legal.

    Clause: CloudEvents 1.0.2, sections 2.3 to 2.5 and 3.1. Names of up to 64 characters
    are accepted where the specification recommends 20.
    """
    if name not in CHECKS and not _NAME.match(name):
        return "an attribute name has 1 to 64 characters of a-z and 0-9"
    if name == "data":
        return "'data' is no attribute name"
    if type(value) is bool or type(value) is int:
        if name in CHECKS:
            return f"must be a string, not {canonical(value)}"
        return None if type(value) is bool or value in _INTEGER else "integers have 32 bits"
    if type(value) is not str:
        return f"must be a string, an integer or a boolean, not {type(value).__name__}"
    # isprintable() is quick; what it refuses (an emoji joiner, say) may still be legal.
    if not value.isprintable() and STRING_ILLEGAL.search(value):
        return "has a control character, surrogate or noncharacter"
    if len(value) > MAX_ATTRIBUTE_BYTES // 4 and len(value.encode()) > MAX_ATTRIBUTE_BYTES:
        return f"is longer than {MAX_ATTRIBUTE_BYTES} bytes"
    check = CHECKS.get(name)
    return check(value) if check else None


def name_legal(name: str) -> bool:
    """Whether an attribute may have this name (see `attribute_fault`)."""
    return _NAME.match(name) is not None and name != "data"


def name_fault(name: str) -> str | None:
    """Say what is wrong with the name of an attribute, or None when it is legal."""
    return attribute_fault(name, "x") if name not in CHECKS else None


def event_fault(attributes: Mapping[str, object]) -> str | None:
    """The first fault of a whole set of attributes, with its name; None when it is legal."""
    for name in REQUIRED:
        if name not in attributes:
            return f"attribute {name} is required"
    for name, value in attributes.items():
        fault = attribute_fault(name, value) if type(name) is str else "a name is a string"
        if fault:
            return f"attribute {ascii(name)[:80]}: {fault}"
    return None


def _not_empty(value: str) -> str | None:
    return None if value else "must not be empty"


def _uri_reference(value: str) -> str | None:
    if not value:
        return "must not be empty"
    return "is not a URI reference" if _URI_ILLEGAL.search(value) else None


def _uri(value: str) -> str | None:
    return "is not an absolute URI" if not _SCHEME.match(value) or _URI_ILLEGAL.search(value) else None


def _time(value: str) -> str | None:
    if not _TIME.match(value):
        return "is not an RFC 3339 time"
    month, day = value[5:7], value[8:10]
    if month == "02" and day > "28":
        year = int(value[:4])
        last = "29" if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else "28"
    else:
        last = _DAYS.get(month, "31")
    return "names a day that its month does not have" if day > last else None


def _version(value: str) -> str | None:
    return None if value == "1.0" else f"must be '1.0', not {value[:20]!r}"


def subject_fault(subject: str) -> str | None:
    """Say what is wrong with a subject, or None."""
    if SEGMENT_ILLEGAL.search(subject):
        return "a subject has no '+', '#' or control characters"
    if "*" in subject and not {"*", "**"}.isdisjoint(subject.split("/")):
        return "'*' and '**' are wildcards, not subject segments"
    if len(subject) > MAX_SUBJECT_BYTES // 4 and len(subject.encode()) > MAX_SUBJECT_BYTES:
        return f"a subject has at most {MAX_SUBJECT_BYTES} bytes"
    if len(subject) >= MAX_SEGMENTS and subject.count("/") >= MAX_SEGMENTS:
        return f"a subject has at most {MAX_SEGMENTS} segments"
    return None


def _subject(value: str) -> str | None:
    return subject_fault(value) if value else "must not be empty (leave it out instead)"


def _media_type(value: str) -> str | None:
    return None if _MEDIA_TYPE.match(value) else "is not a media type"


#: Attributes with rules of their own beside those for all; they are strings.
CHECKS: Final = {
    "id": _not_empty,
    "source": _uri_reference,
    "type": _not_empty,
    "specversion": _version,
    "subject": _subject,
    "time": _time,
    "expirytime": _time,
    "dataschema": _uri,
    "datacontenttype": _media_type,
}
