"""JSON Schema, by a compiled validator: drafts 4, 6, 7, 2019-09 and 2020-12, the last by default.

Patterns run in an engine whose time grows with the text alone; look-around and back references,
which it does not have, are refused. `format` is checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import msgspec

from routing.formats import Undecodable, decode_json, encode_json
from routing.schemas.json_bounds import deepest, depth_of
from routing.schemas.schema import InvalidSchema, Schema, short

#: Bytes of one compiled pattern.
_REGEX_BYTES = 2**20
_PATTERNS = jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES)
#: Characters of a value in a reason.
_SHOWN = 60
_decode = msgspec.json.Decoder().decode


class JsonSchema(Schema):
    kind = "json"

    def __init__(self, text: str) -> None:
        """Raises InvalidSchema."""
        super().__init__(text)
        self.document = parse_json(text)
        if not isinstance(self.document, (dict, bool)):
            raise InvalidSchema("a JSON Schema is an object or a boolean")
        self._deepest = deepest(self.document)
        self._validator = _compile(self.document)
        #: Whether a plain object is what the schema says, whatever it costs.
        self.valid: Callable[[object], bool] = self._validator.is_valid

    def check(self, data: bytes) -> str | None:
        try:
            value = _decode(data)
            if self._deepest is None and self.valid(value):
                return None
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
            pass  # told below
        return self._why(data)

    def _why(self, data: bytes) -> str | None:
        try:
            value = decode_json(data)
        except Undecodable as error:
            return short(str(error))
        if self._deepest is not None and depth_of(value) > self._deepest:
            return f"is nested more than {self._deepest} levels deep, too deep for this schema"
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return short(_told(error))
        except (ValueError, TypeError, RecursionError) as error:
            return short(f"cannot be checked: {error}")
        return None

    def decode(self, data: bytes) -> object:
        return decode_json(data)

    def encode(self, value: object) -> bytes:
        return encode_json(value)


def _told(error: jsonschema_rs.ValidationError) -> str:
    """Where in the data, and what is wrong there; the value itself only as far as it is short."""
    message, value = error.message, encode_json(error.instance).decode()
    if len(value) > _SHOWN and message.startswith(value):
        message = f"{value[:_SHOWN]}...{message[len(value) :]}"
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path)
    return f"{place.removeprefix('.')}: {message}" if place else message


def parse_json(text: str) -> Any:
    """Raises InvalidSchema with the place."""
    try:
        # Names given twice, and numbers that only Python reads, are mistakes in a schema.
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidSchema(f"is not JSON: {error.msg}", position=error.pos) from None
    except ValueError as error:
        raise InvalidSchema(f"is not JSON: {error}") from None
    except RecursionError:
        raise InvalidSchema("is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)[:60]!r} is given twice")
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _compile(document: Any) -> Any:
    try:
        return jsonschema_rs.validator_for(document, offline=True, validate_formats=True, pattern_options=_PATTERNS)
    except jsonschema_rs.ValidationError as error:
        place = "/".join(map(str, error.instance_path))
        told = f"{place}: {error.message}" if place else error.message
        if "regex" in error.message:
            told += "; patterns have no look-around and no back references, and a bounded size"
        raise InvalidSchema(short(told)) from None
    except (ValueError, TypeError, RecursionError, OverflowError, jsonschema_rs.ReferencingError) as error:
        raise InvalidSchema(short(str(error))) from None
