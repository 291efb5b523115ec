"""The steps that say which members there are and what they are called: keep, drop, rename, flatten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from routing.attributes import REQUIRED
from routing.shape import MISSING
from routing.transforms.codecs import MAX_DEPTH, Node, picker
from routing.transforms.document import Document
from routing.transforms.failure import Refusal
from routing.transforms.paths import EVERY, Path, PathStep, path_text, without_covered
from routing.transforms.spec import (
    Context,
    Run,
    Step,
    attribute,
    attributes,
    below,
    choice,
    entries,
    members,
    path,
    paths,
    refuse,
    removable,
    text,
)

_PLACES = ("attributes", "data")
#: Members that one flattened payload has at most.
MAX_MEMBERS = 10_000

_Trie: TypeAlias = "dict[PathStep, _Trie | None]"


def both(attributes_: Run | None, data: Run | None) -> Run:
    """A step for attributes and one for data as one; at least one of them is there."""
    if attributes_ is None or data is None:
        found = attributes_ or data
        assert found is not None
        return found

    def run(document: Document) -> None:
        attributes_(document)
        data(document)

    return run


def keep(value: Any, where: str, context: Context) -> Step:
    """Only what is named stays; required attributes and the content type always do."""
    spec = _somewhere(value, where)
    kept = frozenset(attributes(spec["attributes"], f"{where}.attributes")) if "attributes" in spec else None
    wanted = without_covered(paths(spec["data"], f"{where}.data")) if "data" in spec else None
    canonical = {
        "attributes": None if kept is None else sorted(kept),
        "data": None if wanted is None else [path_text(each) for each in wanted],
    }
    run = both(
        None if kept is None else _keep_attributes(kept | {*REQUIRED, "datacontenttype"}),
        None if wanted is None else _keep_data(wanted),
    )
    return Step("keep", canonical, run)


def _somewhere(value: Any, where: str) -> Mapping[str, Any]:
    spec = members(value, where, _PLACES)
    if not spec:
        refuse("needs 'attributes' or 'data'", where)
    return spec


def _keep_attributes(kept: frozenset[str]) -> Run:
    def run(document: Document) -> None:
        document.attributes = {name: value for name, value in document.attributes.items() if name in kept}

    return run


def _keep_data(wanted: list[Path]) -> Run:
    names = frozenset(each[0] for each in wanted if isinstance(each[0], str))
    if all(len(each) == 1 for each in wanted):
        decode = picker(names)

        def run(document: Document) -> None:
            if document.data is not None:
                document.pick(names, decode)

        return run
    trie = _trie(wanted)

    def run_deep(document: Document) -> None:
        if document.data is not None:
            kept = _kept(document, document.members(), trie)
            document.set_object({} if kept is MISSING else kept)

    return run_deep


def _trie(wanted: list[Path]) -> _Trie:
    root: _Trie = {}
    for each in wanted:
        node: Any = root
        for step in each[:-1]:
            node = node.setdefault(step, {})  # never a leaf: no path is below another
        node[each[-1]] = None
    return root


def _kept(document: Document, node: Node, trie: _Trie) -> Node:
    """What the trie leaves of an opened node; MISSING when that is nothing."""
    found: Any
    if type(node) is dict:
        found = {}
        for name in [name for name in node if name in trie]:
            inner = _below(document, node, name, trie[name])
            if inner is not MISSING:
                found[name] = inner
    elif type(node) is list:
        found = []
        document.visit(len(node) if EVERY in trie else len(trie))
        for place in range(len(node)) if EVERY in trie else sorted(step for step in trie if type(step) is int):
            inner = _below(document, node, place, _merged(trie, place))
            if inner is not MISSING:
                found.append(inner)
    else:
        return MISSING
    return found or MISSING


def _below(document: Document, parent: Any, step: PathStep, trie: _Trie | None) -> Node:
    if trie is not None:
        return _kept(document, document.opened(parent, step), trie)
    if type(parent) is list and type(step) is int and step >= len(parent):
        return MISSING
    return parent[step]


def _merged(trie: _Trie, place: int) -> _Trie | None:
    """What is wanted of one element: by its index and by `[*]`."""
    if EVERY not in trie or place not in trie:
        return trie[place] if place in trie else trie[EVERY]
    return _joined(trie[place], trie[EVERY])


def _joined(one: _Trie | None, other: _Trie | None) -> _Trie | None:
    if one is None or other is None:
        return None
    result = dict(one)
    for step, inner in other.items():
        result[step] = _joined(result[step], inner) if step in result else inner
    return result


def drop(value: Any, where: str, context: Context) -> Step:
    """What is named goes; what is not there is no fault."""
    spec = _somewhere(value, where)
    names = wanted = None
    if "attributes" in spec:
        names = sorted(set(attributes(spec["attributes"], f"{where}.attributes")))
        for name in names:
            removable(name, f"{where}.attributes")
    if "data" in spec:
        wanted = without_covered(paths(spec["data"], f"{where}.data"))
    canonical = {"attributes": names, "data": None if wanted is None else [path_text(each) for each in wanted]}
    return Step("drop", canonical, both(names and _drop_attributes(names), wanted and _drop_data(wanted)))  # type: ignore[arg-type]  # neither is empty


def _drop_attributes(names: list[str]) -> Run:
    def run(document: Document) -> None:
        for name in names:
            document.attributes.pop(name, None)

    return run


def _drop_data(wanted: list[Path]) -> Run:
    def run_flat(document: Document) -> None:
        if document.data is not None:
            root: dict[Any, Node] = document.members()
            for each in wanted:
                if root.pop(each[0], MISSING) is not MISSING:
                    document.changed = True

    def run(document: Document) -> None:
        if document.data is not None:
            document.members()
            for each in wanted:
                for parent, step in document.parents(each):
                    del parent[step]

    return run_flat if all(len(each) == 1 for each in wanted) else run


def rename(value: Any, where: str, context: Context) -> Step:
    """Members and attributes get other names, all at once, so that two can change places."""
    spec = _somewhere(value, where)
    names = moves = None
    if "attributes" in spec:
        names = _attribute_names(spec["attributes"], f"{where}.attributes")
    if "data" in spec:
        moves = _moves(spec["data"], f"{where}.data")
    canonical = {
        "attributes": sorted(names) if names else None,
        "data": sorted((path_text(old), path_text(new)) for old, new in moves) if moves else None,
    }
    return Step("rename", canonical, both(names and _rename_attributes(names), moves and _rename_data(moves)))  # type: ignore[arg-type]  # neither is empty


def _attribute_names(value: Any, where: str) -> list[tuple[str, str]]:
    pairs = []
    for old, new in entries(value, where):
        place = below(where, old)
        pairs.append((removable(attribute(old, where), where), attribute(new, place)))
        if new in (*REQUIRED, "datacontenttype"):
            refuse(f"events have {new!r} already", place)
    _distinct([new for _, new in pairs], where)
    return sorted(pairs)


def _distinct(names: list[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            refuse(f"two are renamed to {name!r}", where)


def _moves(value: Any, where: str) -> list[tuple[Path, Path]]:
    moves = []
    for old, new in entries(value, where):
        place = below(where, old)
        move = path(old, place), path(new, place)
        if type(move[0][-1]) is not str or type(move[1][-1]) is not str:
            refuse("elements of an array have no names", place)
        moves.append(move)
    for side in zip(*moves, strict=True):
        _distinct([path_text(each) for each in side], where)
        if len(without_covered(list(side))) < len(moves):
            refuse("one of the paths is below another", where)
    return sorted(moves, key=lambda move: path_text(move[0]))


def _rename_attributes(pairs: list[tuple[str, str]]) -> Run:
    def run(document: Document) -> None:
        held = document.attributes
        taken = [(new, held.pop(old)) for old, new in pairs if old in held]
        for new, value in taken:
            if new in held:
                raise Refusal(f"there is an attribute {new} already")
            document.set_attribute(new, value)

    return run


def _rename_data(moves: list[tuple[Path, Path]]) -> Run:
    flat = [(old[0], new[0]) for old, new in moves if len(old) == len(new) == 1]
    first, called = flat[0] if flat else ("", "")

    def run_one(document: Document) -> None:
        if document.data is not None:
            root: dict[Any, Node] = document.members()
            if first in root:
                if called in root:
                    raise Refusal(f"there is a member {path_text((called,))} already")
                root[called] = root.pop(first)
                document.changed = True

    def run_flat(document: Document) -> None:
        if document.data is not None:
            root: dict[Any, Node] = document.members()
            taken = [(new, root.pop(old)) for old, new in flat if old in root]
            for new, node in taken:
                if new in root:
                    raise Refusal(f"there is a member {path_text((new,))} already")
                root[new] = node
            document.changed = True

    def run(document: Document) -> None:
        if document.data is not None:
            document.members()
            taken = [(new, parent.pop(step)) for old, new in moves for parent, step in list(document.parents(old))]
            for new, node in taken:
                if document.get(new) is not MISSING:
                    raise Refusal(f"there is a member {path_text(new)} already")
                document.put(new, node)

    if len(flat) < len(moves):
        return run
    return run_flat if len(flat) > 1 or first == called else run_one


def flatten(value: Any, where: str, context: Context) -> Step:
    """Nested objects become members of the outermost one, named by the way to them."""
    spec = members({} if value is None else value, where, ("separator", "arrays"))
    separator = text(spec.get("separator", "_"), f"{where}.separator", 10)
    arrays = choice(spec.get("arrays", "leave"), f"{where}.arrays", ("leave", "index"))
    indexed = arrays == "index"

    def run(document: Document) -> None:
        if document.data is not None:
            flat: dict[str, Node] = {}
            _flatten(document, document.members(), "", separator, indexed, flat, 0)
            document.set_object(flat)

    return Step("flatten", {"separator": separator, "arrays": arrays}, run)


def _flatten(
    document: Document, node: Any, prefix: str, separator: str, indexed: bool, flat: dict[str, Node], depth: int
) -> None:
    if depth > MAX_DEPTH:
        raise Refusal(f"the payload has more than {MAX_DEPTH} levels")
    for step in list(node) if type(node) is dict else range(len(node)):
        name = f"{prefix}{step}"
        inner = document.opened(node, step)
        if inner and (type(inner) is dict or (indexed and type(inner) is list)):
            _flatten(document, inner, name + separator, separator, indexed, flat, depth + 1)
            continue
        if name in flat:
            raise Refusal(f"two members are called {name[:80]!r} when flattened")
        if len(flat) >= MAX_MEMBERS:
            raise Refusal(f"the payload has more than {MAX_MEMBERS} members when flattened")
        document.grow(len(name))
        flat[name] = inner
