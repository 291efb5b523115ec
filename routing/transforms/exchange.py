"""The steps that deal with the payload as a whole: convert, validate, and callables of plug-ins."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from routing.attributes import event_fault
from routing.formats import CONTENT_TYPES, Undecodable, Unencodable, decoder_for, encoder_for, format_of
from routing.schemas.schema import Schema
from routing.transforms.codecs import MAX_DEPTH
from routing.transforms.document import Document
from routing.transforms.failure import Refusal, StepFailed
from routing.transforms.spec import Context, Step, choice, hint, members, named, refuse, text

_SELF_DESCRIBED: Final = ("json", "msgpack", "cbor")
_BY_SCHEMA: Final = ("avro", "protobuf")
_ALIASES: Final = {"messagepack": "msgpack"}
_MAX_REASON: Final = 300


class _Side(NamedTuple):
    """A format, with its schema where it needs one."""

    format: Any
    schema: Schema | None
    canonical: object


def convert(value: Any, where: str, context: Context) -> Step:
    """`json`, or `{to: FORMAT, from: FORMAT}`; a format is json, msgpack, cbor, {avro: NAME} or {protobuf: NAME}.

    Without `from`, the payload is what its content type says.
    """
    spec = {"to": value} if type(value) is str else members(value, where, ("to", "from", *_BY_SCHEMA))
    if any(key in spec for key in _BY_SCHEMA):
        spec = {"to": spec}
    if "to" not in spec:
        refuse("needs 'to'", where)
    to = _side(spec["to"], f"{where}.to", context)
    source = _side(spec["from"], f"{where}.from", context) if "from" in spec else None
    encode = encoder_for(to.format, to.schema)
    content_type = CONTENT_TYPES[to.format]
    exact = to.format == "json"

    def run(document: Document) -> None:
        data = document.payload()
        if data is None:
            return
        try:
            value = _reader(document, source)(data)
            if exact:
                _check_numbers(value, 0)
            converted = encode(value)
        except (Undecodable, Unencodable) as error:
            raise Refusal(f"the payload {error}") from None
        document.replace(converted)
        document.attributes["datacontenttype"] = content_type
        document.attributes.pop("dataschema", None)  # it described the other form

    return Step("convert", {"to": to.canonical, "from": source and source.canonical}, run)


def _reader(document: Document, source: _Side | None) -> Callable[[bytes], object]:
    if source is not None:
        return decoder_for(CONTENT_TYPES[source.format], source.schema)
    content_type = document.attributes.get("datacontenttype")
    if content_type is None:
        return decoder_for(None)
    found = format_of(str(content_type))
    if found is None:
        raise Refusal(f"a payload of type {str(content_type)[:80]} cannot be converted")
    if found in _BY_SCHEMA:
        raise Refusal(f"a payload of type {str(content_type)[:80]} needs its schema: from: {{FORMAT: NAME}}")
    return decoder_for(str(content_type))


def _side(value: Any, where: str, context: Context) -> _Side:
    if type(value) is str:
        name = _ALIASES.get(value, value)
        if name in _BY_SCHEMA:
            refuse(f"needs a schema: {{{name}: NAME}}", where)
        choice(name, where, _SELF_DESCRIBED)
        return _Side(name, None, name)
    spec = members(value, where, _BY_SCHEMA)
    if len(spec) != 1:
        refuse("is one format", where)
    ((format_, name),) = spec.items()
    schema = _schema(name, f"{where}.{format_}", context)
    if schema.format != format_:
        refuse(f"schema {named(name)} is of kind {schema.format}", f"{where}.{format_}")
    return _Side(format_, schema, (format_, name, _fingerprint(schema)))


def _schema(value: Any, where: str, context: Context) -> Schema:
    name = text(value, where)
    if context.schemas is None:
        refuse("there are no schemas here", where)
    schema = context.schemas.get(name)
    if schema is None:
        refuse(f"there is no schema {named(name)}", where)
    return schema


def _fingerprint(schema: Schema) -> str:
    """Tells versions apart that have one name."""
    whole = f"{schema.kind}\0{schema.message}\0{schema.text}"
    return hashlib.sha256(whole.encode(errors="replace")).hexdigest()


def _check_numbers(value: object, depth: int) -> None:
    """Refuse what JSON has no number for: it would become null."""
    if type(value) is float:
        if not math.isfinite(value):
            raise Refusal(f"has the number {value}, which JSON cannot hold")
    elif type(value) is dict or type(value) is list:
        if depth > MAX_DEPTH:
            raise Refusal(f"the payload has more than {MAX_DEPTH} levels")
        for inner in value.values() if type(value) is dict else value:
            _check_numbers(inner, depth + 1)


def validate(value: Any, where: str, context: Context) -> Step:
    """`NAME` or `{schema: NAME}`: the payload is what the schema says, or the step fails."""
    spec = {"schema": value} if type(value) is str else members(value, where, ("schema",), ("schema",))
    schema = _schema(spec["schema"], f"{where}.schema", context)
    check = schema.validate

    def run(document: Document) -> None:
        data = document.payload()
        if data is None:
            raise Refusal("the event has no data")
        content_type = document.attributes.get("datacontenttype")
        fault = check(data, None if content_type is None else str(content_type))
        if fault is not None:
            raise Refusal(fault[:_MAX_REASON])

    return Step("validate", (spec["schema"], _fingerprint(schema)), run)


def call(value: Any, where: str, context: Context) -> Step:
    """`NAME`: a callable of the entry-point group `linkspan.transforms`."""
    name = text(value, where)
    function = context.callables.get(name)
    if function is None:
        known = sorted(context.callables)
        refuse(f"no plug-in has a transform {named(name)}{hint(name, known)}", where)

    def run(document: Document) -> None:
        try:
            result = function(document.attributes.copy(), document.payload())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001
            # Somebody else's code: whatever it raises is this event's failure and nobody else's.
            raise Refusal(_reason(error)) from None
        attributes, data = _checked(result)
        document.replace(data)
        document.attributes = attributes

    return Step("call", name, run)


def _reason(error: BaseException) -> str:
    if isinstance(error, Refusal | StepFailed):
        return str(error)[:_MAX_REASON]
    return f"{type(error).__name__}: {error}"[:_MAX_REASON]


def _checked(result: Any) -> tuple[dict[str, Any], bytes | None]:
    if type(result) is not tuple or len(result) != 2:
        raise Refusal("returned something other than (attributes, data)")
    attributes, data = result
    if type(attributes) is not dict:
        raise Refusal("returned attributes that are no dict")
    if data is not None and type(data) is not bytes:
        raise Refusal("returned data that is neither bytes nor None")
    fault = event_fault(attributes)
    if fault:
        raise Refusal(f"returned an event that is not legal: {fault}")
    return attributes.copy(), data
