"""One event on its way through the steps: decoded when a step first needs it, encoded once at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from routing.attributes import Value, attribute_fault, canonical
from routing.formats import format_of
from routing.shape import MISSING
from routing.transforms.codecs import CODECS, JSON, Codec, Node
from routing.transforms.failure import Refusal
from routing.transforms.paths import EVERY, Path, PathStep, path_text

#: What comes out has at most so many times the bytes of what went in, or so many more.
MAX_GROWTH: Final = 16
MAX_MORE: Final = 1024 * 1024
#: Elements that `[*]` leads to, of one event in all steps together: some tenths of a second.
MAX_ELEMENTS: Final = 100_000

# The usual ones; without one the payload is JSON (CloudEvents 1.0.2, JSON format, 3.1).
_CODECS: Final[dict[Value | None, Codec]] = {None: JSON, "application/json": JSON}


class Document(msgspec.Struct, gc=False, eq=False):
    """Attributes and payload under change. The event that they come from is never touched.

    `attributes` are its own; of the data nothing is changed in place. `came` is the data that came
    in; `root` is the opened payload, in the format of `codec`, and MISSING until it is asked for;
    `changed` means that it has to be encoded. Every method raises Refusal for what this event does
    not allow.
    """

    attributes: dict[str, Value]
    data: bytes | None
    came: bytes | None
    root: Any = MISSING
    codec: Codec = JSON
    changed: bool = False
    limit: int = 0
    grown: int = 0
    visited: int = 0

    # The payload as bytes

    def payload(self) -> bytes | None:
        """The payload as it is now; the very bytes that came while no step has changed it."""
        if self.changed:
            self.replace(self.codec.dump(self.root))
        return self.data

    def replace(self, data: bytes | None) -> None:
        """Go on with another payload."""
        if data is not None and len(data) > MAX_MORE and len(data) > self._limit():
            raise Refusal(f"the payload grows to {len(data)} bytes, more than the {self.limit} that it may have")
        self.data, self.root, self.changed = data, MISSING, False

    def grow(self, size: int) -> None:
        """Count bytes that a step is about to add, before what is built of them is too large."""
        self.grown += size
        if self.grown > MAX_MORE and self.grown > self._limit():
            raise Refusal(f"the steps add more than the {self.limit} bytes that the payload may have")

    def visit(self, elements: int) -> None:
        """Count elements that a step is about to look at one by one."""
        self.visited += elements
        if self.visited > MAX_ELEMENTS:
            raise Refusal(f"'[*]' leads to more than {MAX_ELEMENTS} elements")

    def _limit(self) -> int:
        if not self.limit:
            size = len(self.came) if self.came else 0
            self.limit = max(size * MAX_GROWTH, size + MAX_MORE)
        return self.limit

    # The payload as an object

    def members(self) -> dict[str, Node]:
        """The outermost level of the payload, which is an object. Whoever changes it sets `changed`."""
        root = self.root
        if root is MISSING:
            root = self.opened_root()
        if type(root) is dict:
            return root
        raise Refusal(f"the payload is {_kind(root)}, not an object")

    def opened_root(self) -> Node:
        """The payload, whatever it is, opened by one level."""
        root = self.root
        if root is MISSING:
            if self.data is None:
                raise Refusal("the event has no data")
            self.codec = self._declared()
            root = self.root = self.codec.load(self.data)
        return root

    def pick(self, names: frozenset[str], decode: Callable[[bytes], dict[str, Node]] | None) -> None:
        """Keep some members of the outermost level; `decode` gives just these of JSON, where one could be made."""
        if self.root is MISSING and decode is not None and self.data is not None:
            self.codec = codec = self._declared()
            if codec is JSON:
                try:
                    if not self.data.isascii():
                        self.data.decode()  # strings that are passed over are not looked into
                    self.root, self.changed = decode(self.data), True
                    return
                except (msgspec.DecodeError, ValueError, RecursionError):
                    self.root = MISSING  # decoding all of it says what is wrong
        root = self.members()
        self.set_object({name: node for name, node in root.items() if name in names})

    def set_object(self, root: dict[str, Node]) -> None:
        self.root, self.changed = root, True

    def _declared(self) -> Codec:
        """The format that the content type tells of."""
        content_type = self.attributes.get("datacontenttype")
        found = _CODECS.get(content_type)
        if found is None:
            found = CODECS.get(format_of(str(content_type)) or "")
            if found is None:
                raise Refusal(f"a payload of type {str(content_type)[:80]} has no members; convert it to JSON first")
        return found

    def opened(self, parent: Any, step: PathStep) -> Node:
        """A member or element, opened by one level; MISSING where there is none."""
        if type(step) is str:
            node = parent.get(step, MISSING) if type(parent) is dict else MISSING
        elif type(parent) is list and type(step) is int and step < len(parent):
            node = parent[step]
        else:
            return MISSING
        if type(node) is msgspec.Raw:
            found = self.codec.open(node)
            if found is not node:
                parent[step] = found
            return found
        return node

    def parents(self, path: Path) -> Iterator[tuple[Any, PathStep]]:
        """What holds the ends of a path, with the last step: containers that have it. They may be changed."""
        return self._parents(self.members(), path, 0)

    def _parents(self, node: Any, path: Path, at: int) -> Iterator[tuple[Any, PathStep]]:
        step = path[at]
        steps: Any = (step,)
        if step is EVERY:
            steps = range(len(node) - 1, -1, -1) if type(node) is list else ()
            self.visit(len(steps))
        if at < len(path) - 1:
            for each in steps:
                yield from self._parents(self.opened(node, each), path, at + 1)
            return
        for each in steps:
            if (type(node) is dict and each in node) or (type(node) is list and type(each) is int and each < len(node)):
                self.changed = True
                yield node, each

    def get(self, path: Path) -> Node:
        """The node at a path without `[*]`, or MISSING. It may be a part that is not opened."""
        node: Any = self.opened_root()
        if not path:
            return node
        for step in path[:-1]:
            node = self.opened(node, step)
        last = path[-1]
        if type(node) is dict:
            return node.get(last, MISSING)
        return node[last] if type(node) is list and type(last) is int and last < len(node) else MISSING

    def put(self, path: Path, node: Node) -> None:
        """Set what is at a path without `[*]`; objects on the way are made, array elements must be there."""
        parent: Any = self.members()
        if len(path) == 1 and type(path[0]) is str:
            parent[path[0]], self.changed = node, True
            return
        for at, step in enumerate(path[:-1]):
            inner = self.opened(parent, step)
            if inner is MISSING and type(parent) is dict and type(step) is str:
                inner = parent[step] = {}
            if type(inner) not in (dict, list):
                raise Refusal(f"{path_text(path[: at + 1])} is {_kind(inner)}, so {path_text(path)} cannot be set")
            parent = inner
        last = path[-1]
        if type(last) is not (str if type(parent) is dict else int):
            raise Refusal(f"{path_text(path[:-1])} is {_kind(parent)}, so {path_text(path)} cannot be set")
        if type(last) is int and last >= len(parent):
            raise Refusal(f"{path_text(path)} is past the end of its array")
        parent[last] = node
        self.changed = True

    def plain(self, path: Path) -> object:
        """The value at a path, decoded; MISSING where there is nothing."""
        node = self.get(path)
        return MISSING if node is MISSING else self.codec.plain(node)

    def scalar(self, node: Node) -> object:
        """A scalar as text, bytes, True, False or None: numbers have their exact text. Else Refusal."""
        number = self.codec.number(node)
        if number is not None:
            return number
        value = self.codec.plain(node)
        if value is None or type(value) in (str, bool, bytes):
            return value
        if type(value) in (dict, list):
            raise Refusal(f"is {_kind(value)}, not a single value")
        return str(value)

    # Attributes

    def set_attribute(self, name: str, value: Any) -> None:
        """Raises Refusal for what is no legal attribute."""
        fault = attribute_fault(name, value)
        if fault:
            raise Refusal(f"attribute {name}: {fault}")
        if name == "datacontenttype":
            self.replace(self.payload())  # what was read and written so far has the old type
        self.attributes[name] = value


def _kind(value: object) -> str:
    """What a node is, for people."""
    if type(value) is msgspec.Raw:
        return "a single value"
    if value is MISSING:
        return "missing"
    if value is None:
        return "null"
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false", bytes: "binary"}
    return names.get(type(value), "a number" if type(value) in (int, float) else "a single value")


def text_of(value: object) -> str:
    """The text of a scalar as `Document.scalar` gives it; null is no text and must be dealt with before."""
    if type(value) is bytes:
        return value.hex()
    return canonical(value) if isinstance(value, str | int) else str(value)
