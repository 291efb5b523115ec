"""The steps that put something in: set (the value of an expression) and enrich (a row of a table)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from routing.attributes import CHECKS, canonical
from routing.shape import MISSING
from routing.transforms.codecs import finite
from routing.transforms.document import Document, text_of
from routing.transforms.expression import MAX_EXPRESSION, Compute, compile_value
from routing.transforms.failure import Refusal
from routing.transforms.paths import Path, parse_path, path_text
from routing.transforms.spec import (
    Context,
    Run,
    Step,
    Tables,
    attribute,
    below,
    choice,
    entries,
    members,
    named,
    path,
    refuse,
    text,
)

_INT32: Final = range(-(2**31), 2**31)
_Put: TypeAlias = Callable[[Document, Any], None]


def attribute_value(name: str, value: object) -> object:
    """A computed value as an attribute: what CloudEvents has no type for becomes text, null is refused."""
    if type(value) is str or (type(value) is bool and name not in CHECKS):
        return value
    if type(value) is int and (name in CHECKS or value not in _INT32):
        return str(value)
    if type(value) is bool:
        return canonical(value)
    if type(value) is float or isinstance(value, Decimal):
        if not finite(value):
            raise Refusal(f"attribute {name}: {value} is no number that an event can hold")
        return str(value)
    return value


def set_(value: Any, where: str, context: Context) -> Step:
    """`{attribute: NAME, to: EXPRESSION}` or `{data: PATH, to: EXPRESSION}`."""
    spec = members(value, where, ("attribute", "data", "to"), ("to",))
    if ("attribute" in spec) == ("data" in spec):
        refuse("needs 'attribute' or 'data', one of them", where)
    expression = text(spec["to"], f"{where}.to", MAX_EXPRESSION)
    if "attribute" in spec:
        name = attribute(spec["attribute"], f"{where}.attribute")
        compute = compile_value(expression, f"{where}.to", exact=False)
        return Step("set", ("attribute", name, compute.key), _set_attribute(name, compute, f"{where}.to"))
    target = path(spec["data"], f"{where}.data")
    compute = compile_value(expression, f"{where}.to", exact=True)
    return Step("set", ("data", path_text(target), compute.key), _set_data(target, compute))


def _set_attribute(name: str, compute: Compute, where: str) -> Run:
    run, constant = compute.run, compute.constant
    if constant is not MISSING:
        # What can never be legal is refused when it is made.
        trial = Document({}, None, None)
        try:
            trial.set_attribute(name, attribute_value(name, constant))
        except Refusal as error:
            refuse(str(error), where)
        fixed = trial.attributes[name]
        if name != "datacontenttype":
            return lambda document: document.attributes.__setitem__(name, fixed)

    def set_attribute(document: Document) -> None:
        document.set_attribute(name, attribute_value(name, run(document)))

    return set_attribute


def _set_data(target: Path, compute: Compute) -> Run:
    run = compute.run
    flat = target[0] if len(target) == 1 and isinstance(target[0], str) else None

    def set_data(document: Document) -> None:
        root = document.members()
        node = run(document)
        if type(node) is str:
            size = len(node)
        elif type(node) is msgspec.Raw:
            size = memoryview(node).nbytes
        else:
            node, size = document.codec.node(node)
        document.grow(size)
        if flat is None:
            document.put(target, node)
        else:
            root[flat], document.changed = node, True

    return set_data


class _Key(NamedTuple):
    """Where the key of a row is in an event: an attribute, or a path into the data."""

    attribute: str | None
    path: Path

    def of(self, document: Document) -> str | None:
        """None: there is none."""
        if self.attribute is not None:
            held = document.attributes.get(self.attribute)
            return None if held is None else canonical(held)
        if document.data is None:
            return None
        node = document.get(self.path)
        if node is MISSING:
            return None
        try:
            single = document.scalar(node)
        except Refusal as error:
            raise Refusal(f"the key at data.{path_text(self.path)} {error}") from None
        return None if single is None else text_of(single)

    @property
    def text(self) -> str:
        return self.attribute or "data." + path_text(self.path)


def enrich(value: Any, where: str, context: Context) -> Step:
    """`{table, key, into, miss: error | skip | default, default}`: the row of a key, put into the event.

    `into: {data: PATH}` takes the whole row; `into: {data: {PATH: FIELD}}` and
    `into: {attributes: {NAME: FIELD}}` take fields of it. A field that the row lacks is a miss too.
    """
    needed = ("table", "key", "into")
    spec = members(value, where, (*needed, "miss", "default"), needed)
    table = text(spec["table"], f"{where}.table", 249)
    tables = context.tables
    if tables is None or not tables.known(table):
        refuse(f"there is no table {named(table)}", f"{where}.table")
    key = _key(spec["key"], f"{where}.key")
    puts = _puts(spec["into"], f"{where}.into")
    miss = choice(spec.get("miss", "error"), f"{where}.miss", ("error", "skip", "default"))
    default = _default(spec, where, miss)
    about = (table, key.text, [put[:3] for put in puts], miss, default)
    return Step("enrich", about, _enrich(tables, table, key, [(f, put) for _, _, f, put in puts], miss, default))


def _key(value: Any, where: str) -> _Key:
    whole = text(value, where, MAX_EXPRESSION)
    if whole.startswith("data."):
        return _Key(None, path(whole.removeprefix("data."), where))
    if whole.startswith("data["):
        return _Key(None, path(whole.removeprefix("data"), where))
    if not whole.isalnum():
        refuse(f"is an attribute or a path such as 'data.symbol', not {named(whole)}", where)
    return _Key(attribute(whole, where), ())


def _puts(value: Any, where: str) -> list[tuple[str, str, str, _Put]]:
    """Where what goes: its kind, its place, the field of the row ("": all of it), and the act."""
    spec = members(value, where, ("attributes", "data"))
    puts: list[tuple[str, str, str, _Put]] = []
    if type(spec.get("data")) is str:
        target = path(spec["data"], f"{where}.data")
        puts.append(("data", path_text(target), "", _put_data(target)))
    elif "data" in spec:
        for to, field in entries(spec["data"], f"{where}.data"):
            place = below(f"{where}.data", to)
            target = path(to, place)
            puts.append(("data", path_text(target), path_text(path(field, place)), _put_data(target)))
    if "attributes" in spec:
        for to, field in entries(spec["attributes"], f"{where}.attributes"):
            place = below(f"{where}.attributes", to)
            name = attribute(to, place)
            puts.append(("attribute", name, path_text(path(field, place)), _put_attribute(name)))
    if not puts:
        refuse("needs 'attributes' or 'data'", where)
    return sorted(puts, key=lambda put: put[:3])  # equal steps do the same in the same order


def _default(spec: Mapping[str, Any], where: str, miss: str) -> dict[str, Any]:
    if ("default" in spec) != (miss == "default"):
        refuse("'default', a row, goes with miss: default", where)
    if miss != "default":
        return {}
    row = spec["default"]
    if not isinstance(row, Mapping):
        refuse(f"expected a row, a mapping, not {named(row)}", f"{where}.default")
    try:
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row), type=dict[str, Any])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        refuse(f"cannot be written as JSON: {error}", f"{where}.default")
    return found


def _put_data(target: Path) -> _Put:
    def put(document: Document, value: Any) -> None:
        document.members()
        node, size = document.codec.node(value)
        document.grow(size)
        document.put(target, node)

    return put


def _put_attribute(name: str) -> _Put:
    def put(document: Document, value: Any) -> None:
        document.set_attribute(name, attribute_value(name, value))

    return put


def _enrich(
    tables: Tables, table: str, key: _Key, puts: list[tuple[str, _Put]], miss: str, default: dict[str, Any]
) -> Run:
    fields = [(parse_path(field) if field else (), put) for field, put in puts]

    def run(document: Document) -> None:
        text = key.of(document)
        row = None if text is None else tables.get(table, text)
        if row is None:
            if miss == "error":
                about = f"{key.text} is missing" if text is None else f"table {table} has no row {text[:100]!r}"
                raise Refusal(about)
            row = default
        for field, put in fields:
            value = _field(row, field)
            if value is MISSING and row is not default:
                if miss == "error":
                    raise Refusal(f"the row {text!r:.100} of table {table} has no {path_text(field)}")
                value = _field(default, field)
            if value is not MISSING:
                put(document, value)

    return run


def _field(row: Any, field: Path) -> Any:
    if row is not None and not field:
        return row or MISSING
    value = row
    for step in field:
        if type(value) is dict:
            value = value.get(step, MISSING)
        elif type(value) is list and type(step) is int and step < len(value):
            value = value[step]
        else:
            return MISSING
    return value
