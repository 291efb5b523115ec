"""YAML with line marks, without YAML's traps.

The core schema of YAML 1.2 (null, true, false, numbers, text), and stricter where a slip costs
a night: a duplicate key and a bare `no`, `yes`, `on` or `off` are faults that say what to write.
No tags, so nothing is ever constructed; aliases and `<<` work, within a bound on their expansion.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.config.document import Document
from gateway.config.faults import KeyPath, Place

#: Values in a file after its aliases are expanded; a "billion laughs" ends here.
MAX_VALUES = 100_000
MAX_DEPTH = 50

_PREFIX = "tag:yaml.org,2002:"
_STR, _NULL, _BOOL, _INT, _FLOAT, _MERGE = (_PREFIX + name for name in ("str", "null", "bool", "int", "float", "merge"))
_LEGAL_TAGS = {_STR, _NULL, _BOOL, _INT, _FLOAT, _MERGE, _PREFIX + "map", _PREFIX + "seq"}
_QUOTED = re.compile(r"'([^']*)'")
_OLD_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the resolver of the YAML 1.2 core schema (10.3.2) in place of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    (_NULL, r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    (_INT, r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (_FLOAT, r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    (_MERGE, r"<<$", ["<"]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def parse_yaml(text: str, source: str) -> Document:
    """Read a YAML mapping. Never raises: what is wrong stands in the document's `faults`."""
    document = Document(source)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, max(0, error.position)) + 1
        document.fault((), "a character that YAML does not allow", place=Place(source, line))
        return document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.fault((), _explain(error), place=Place(source, mark.line + 1 if mark else 1))
        return document
    except RecursionError:
        document.fault((), f"nested deeper than {MAX_DEPTH} levels")
        return document
    if node is None or (isinstance(node, ScalarNode) and node.tag == _NULL):
        return document
    if not isinstance(node, MappingNode):
        document.fault((), "expected a mapping of keys to values", place=_place(source, node))
        return document
    document.value = _Builder(document).mapping(node, (), 0)
    return document


def parse_yaml_value(text: str, document: Document, path: KeyPath) -> Any:
    """One value as after a key, for a flag; faults go to `document` at the place of `path`."""
    scratch = parse_yaml(f"value: {text}", "")
    for fault in scratch.faults:
        document.fault(path, fault.message, fault.suggestion)
    return scratch.value.get("value")


def _explain(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "not YAML"
    if r"'\t'" in problem:
        return "a tab: YAML is indented, and its values are set apart, with blanks only"
    if "undefined alias" in problem:
        return "a value that begins with '*' must be quoted (it is read as an alias, which is not defined)"
    if "could not find expected ':'" in problem:
        return "expected 'key: value'"
    # What is quoted may be a piece of a secret, such as a password that begins with '&'.
    return "not valid YAML: " + _QUOTED.sub(_masked, problem)


def _masked(quoted: re.Match[str]) -> str:
    harmless = len(quoted[1]) < 2 or re.fullmatch("<[a-z ]+>", quoted[1])
    return quoted[0] if harmless else "'...'"


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == _MERGE


def _place(source: str, node: Node) -> Place:
    return Place(source, node.start_mark.line + 1)


class _Builder:
    """Turns nodes into plain values and notes the line of each."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0

    def mapping(self, node: MappingNode, path: KeyPath, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        # Merged keys first, so that the mapping's own win wherever `<<` stands (YAML merge key type).
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                self._merge(result, value_node, path, depth + 1)
        for key_node, value_node in node.value:
            place = _place(self._document.source, key_node)
            key = None if _is_merge(key_node) else self._key(key_node, path, place)
            if key is None:
                continue
            if key in lines:
                self._document.fault((*path, key), f"duplicate key; the first one is on line {lines[key]}", place=place)
                continue
            lines[key] = place.line
            self._document.mark((*path, key), place)
            result[key] = self._value(value_node, (*path, key), depth + 1)
        return result

    def _key(self, node: Node, path: KeyPath, place: Place) -> str | None:
        if not isinstance(node, ScalarNode) or node.tag not in (_STR, _INT, _FLOAT, _BOOL):
            self._document.fault(path, "a key must be text", place=place)
            return None
        value = str(node.value)
        if node.style is None and (value.lower() in _OLD_BOOLEANS or node.tag == _BOOL):
            self._document.fault(path, f"the key {value} must be quoted: YAML reads it as a truth value", place=place)
            return None
        return value

    def _merge(self, into: dict[str, Any], node: Node, path: KeyPath, depth: int) -> None:
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            if not self._within_bounds(path, depth):
                return
            if not isinstance(source, MappingNode):
                place = _place(self._document.source, source)
                self._document.fault(path, "'<<' takes a mapping or a list of mappings", place=place)
                continue
            for key, value in self.mapping(source, path, depth).items():
                into.setdefault(key, value)

    def _within_bounds(self, path: KeyPath, depth: int) -> bool:
        self._values += 1
        if self._values == MAX_VALUES + 1:
            self._document.fault(path, f"more than {MAX_VALUES} values once its aliases are expanded")
        elif depth > MAX_DEPTH and self._values <= MAX_VALUES:
            self._document.fault(path, f"nested deeper than {MAX_DEPTH} levels")
            self._values = MAX_VALUES + 1  # one such fault is enough
        return self._values <= MAX_VALUES

    def _value(self, node: Node, path: KeyPath, depth: int) -> Any:
        if not self._within_bounds(path, depth):
            return None
        if node.tag not in _LEGAL_TAGS:
            self._document.fault(path, "tags ('!...') are not supported; quote a text that begins with '!'")
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            return self._sequence(node, path, depth)
        return self._scalar(str(node.value), node, path)

    def _sequence(self, node: SequenceNode, path: KeyPath, depth: int) -> list[Any]:
        result = []
        for index, item in enumerate(node.value):
            self._document.mark((*path, index), _place(self._document.source, item))
            result.append(self._value(item, (*path, index), depth + 1))
        return result

    def _scalar(self, text: str, node: Node, path: KeyPath) -> Any:
        if getattr(node, "style", None) is None and text.lower() in _OLD_BOOLEANS:
            meant = _OLD_BOOLEANS[text.lower()]
            self._document.fault(path, f'bare {text} is not a truth value here: write {meant}, or "{text}" for text')
            return None
        try:
            return _read(node.tag, text)
        except ValueError:
            self._document.fault(path, "a number that is too long to be one, or not of its tag")
            return None


def _read(tag: str, text: str) -> Any:
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return text.lower() == "true"
    if tag == _INT:
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if tag == _FLOAT else text
