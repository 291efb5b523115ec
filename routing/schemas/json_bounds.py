"""What a JSON Schema may cost: known before it is used, since publishers choose the data.

A schema is taken apart into its subschemas. Keywords such as `allOf` and `$ref` look at the same
place of the data again, keywords such as `properties` go one level down. From that follows how
often one place may be looked at for a given depth of the data. References that lead out of the
text are refused, and so are those that lead nowhere new.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from routing.schemas import looks
from routing.schemas.schema import InvalidSchema

MAX_SUBSCHEMAS = 10_000
#: Levels of nesting within the schema itself.
MAX_NESTING = 100

_IN_PLACE_ONE = ("not", "if", "then", "else")
_IN_PLACE_MANY = ("allOf", "anyOf", "oneOf")
_IN_PLACE_MAP = ("dependentSchemas", "dependencies")
#: Of lists, and of objects.
_DOWN_ONE = (
    ("items", "additionalItems", "unevaluatedItems", "contains"),
    ("additionalProperties", "unevaluatedProperties", "propertyNames"),
)
_LISTS, _OBJECTS = 0, 1
_DOWN_MANY = ("items", "prefixItems")
_DEFINITIONS = ("$defs", "definitions")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def deepest(schema: Any) -> int | None:
    """The levels of data that this schema may be asked about; None: as many as one likes.

    Raises InvalidSchema for references out of the schema or in a circle, and for a schema
    that costs too much whatever the data.
    """
    try:
        levels = looks.deepest(_Graph(schema).read())
    except looks.Circle:
        raise InvalidSchema("a $ref leads back to itself without going into the data") from None
    if levels is not None and levels < 1:
        raise InvalidSchema("asks for the same part of the data too many times, by allOf, anyOf, oneOf or $ref")
    return levels


def depth_of(value: object) -> int:
    """Levels of nesting of a plain object; 0 for a scalar."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, (dict, list))]:
        level = [child for one in level for child in _children(one)]
        depth += 1
    return depth


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value) if isinstance(value, list) else iter(())


class _Graph:
    """Reads a schema into nodes."""

    def __init__(self, schema: Any) -> None:
        self._root = schema
        self._nodes: list[looks.Node] = []
        self._places: dict[int, int] = {}
        self._anchors: dict[str, Any] = {}
        self._todo: list[tuple[Any, int]] = []

    def read(self) -> list[looks.Node]:
        """The nodes, the root first."""
        self._find_anchors(self._root)
        self._node(self._root, 0)
        while self._todo:
            schema, nesting = self._todo.pop()
            self._fill(self._nodes[self._places[id(schema)]], schema, nesting + 1)
        return self._nodes

    def _node(self, schema: Any, nesting: int) -> int:
        if not isinstance(schema, (dict, bool)):
            raise InvalidSchema(f"a subschema must be an object or a boolean, not {str(schema)[:60]}")
        if nesting > MAX_NESTING:
            raise InvalidSchema(f"is nested more than {MAX_NESTING} levels deep")
        if isinstance(schema, bool):
            self._nodes.append(looks.Node())
            return len(self._nodes) - 1
        place = self._places.get(id(schema))
        if place is None:
            place = self._places[id(schema)] = len(self._nodes)
            self._nodes.append(looks.Node())
            self._todo.append((schema, nesting))
            if place >= MAX_SUBSCHEMAS:
                raise InvalidSchema(f"has more than {MAX_SUBSCHEMAS} subschemas")
        return place

    def _fill(self, node: looks.Node, schema: dict[str, Any], nesting: int) -> None:
        if nesting > 1 and isinstance(schema.get("$id", schema.get("id")), str) and "$ref" not in schema:
            raise InvalidSchema("only the outermost schema may have an $id")
        for word in _REFERENCES:
            if isinstance(schema.get(word), str):
                node.in_place.append(self._node(self._resolve(schema[word]), 0))
        for word in _IN_PLACE_ONE:
            if word in schema:
                node.in_place.append(self._node(schema[word], nesting))
        for word in _IN_PLACE_MANY:
            node.in_place += [self._node(one, nesting) for one in _list(schema.get(word))]
        for word in _IN_PLACE_MAP:
            inner = _dict(schema.get(word)).values()
            node.in_place += [self._node(one, nesting) for one in inner if not isinstance(one, list)]
        for kind, words in enumerate(_DOWN_ONE):
            many = [schema[word] for word in words if word in schema and not isinstance(schema[word], list)]
            node.down[kind].extend(self._node(one, nesting) for one in many)
        for word in _DOWN_MANY:
            node.by_name[_LISTS].extend(self._node(one, nesting) for one in _list(schema.get(word)))
        named, patterns = _dict(schema.get("properties")), _dict(schema.get("patternProperties"))
        node.by_name[_OBJECTS].extend(self._node(one, nesting) for one in named.values())
        node.down[_OBJECTS].extend(self._node(one, nesting) for one in patterns.values())
        for word in _DEFINITIONS:
            for one in _dict(schema.get(word)).values():
                self._node(one, nesting)

    def _find_anchors(self, schema: Any) -> None:
        todo = [(schema, 0)]
        while todo:
            value, nesting = todo.pop()
            if nesting > 2 * MAX_NESTING:
                raise InvalidSchema(f"is nested more than {MAX_NESTING} levels deep")
            if isinstance(value, dict):
                for word in ("$anchor", "$dynamicAnchor"):
                    if isinstance(value.get(word), str):
                        self._anchors.setdefault(value[word], value)
            todo += [(child, nesting + 1) for child in _children(value)]

    def _resolve(self, reference: str) -> Any:
        own = self._root.get("$id")
        if isinstance(own, str) and own and reference.startswith(own.rstrip("#") + "#"):
            reference = reference[len(own.rstrip("#")) :]
        if not reference.startswith("#"):
            raise InvalidSchema(f"$ref {reference[:100]!r} leads out of the schema: put it into $defs")
        if reference == "#":
            return self._root
        if not reference.startswith("#/"):
            if reference[1:] not in self._anchors:
                raise InvalidSchema(f"$ref {reference[:100]!r} leads nowhere")
            return self._anchors[reference[1:]]
        return pointed(self._root, reference)


def pointed(root: Any, reference: str) -> Any:
    """What `#/a/b` means in a schema (RFC 6901). Raises InvalidSchema."""
    value = root
    for part in reference[2:].split("/"):
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name[:9]) < len(value):
            value = value[int(name)]
        else:
            raise InvalidSchema(f"$ref {reference[:100]!r} leads nowhere")
    return value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
