"""Reading steps as people write them: what is wrong is told with its place, and what may have been meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

from routing.attributes import REQUIRED, name_fault
from routing.errors import InvalidTransform
from routing.schemas.schema import Schema
from routing.transforms.document import Document
from routing.transforms.paths import EVERY, BadPath, Path, parse_path, path_text

#: Entries of one list or mapping of a step.
MAX_LIST = 256
MAX_NAME = 200

Run: TypeAlias = Callable[[Document], None]


class Tables(Protocol):
    """Topics read as tables: the newest row of each key."""

    def known(self, table: str) -> bool: ...

    def get(self, table: str, key: str) -> dict[str, Any] | None: ...


class Schemas(Protocol):
    """Schemas by name; None: there is no such."""

    def get(self, name: str) -> Schema | None: ...


Call: TypeAlias = Callable[[dict[str, Any], bytes | None], tuple[dict[str, Any], bytes | None]]


class Context(NamedTuple):
    """What steps may refer to by name."""

    tables: Tables | None
    schemas: Schemas | None
    callables: Mapping[str, Call]


class Step(NamedTuple):
    """A step, ready to run; steps with equal `name` and `canonical` do the same."""

    name: str
    canonical: object
    run: Run


def refuse(message: str, where: str, position: int | None = None) -> NoReturn:
    raise InvalidTransform(message, kind="generic" if position is None else "parse", position=position, where=where)


def hint(word: object, candidates: Iterable[str]) -> str:
    """` (did you mean ...?)` where one of the candidates is close."""
    close = get_close_matches(str(word)[:MAX_NAME].lower(), list(candidates), 1, 0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def named(word: object) -> str:
    """A word of the specification as it is shown: short, and printable."""
    return ascii(word if isinstance(word, str) else str(word))[: MAX_NAME // 2]


def below(where: str, key: object) -> str:
    """The place of a key that people have chosen."""
    plain = type(key) is str and key.isascii() and key.isprintable() and len(key) <= MAX_NAME
    return f"{where}.{key if plain else named(key)}"


def members(value: object, where: str, allowed: Sequence[str], required: Sequence[str] = ()) -> Mapping[str, Any]:
    """A mapping with some of the keys, all of the required ones, and no other."""
    if not isinstance(value, Mapping):
        refuse(f"expected a mapping with {_list(allowed)}, not {_type(value)}", where)
    for key in value:
        if key not in allowed:
            refuse(f"has no key {named(key)}{hint(key, allowed)}; it takes {_list(allowed)}", where)
    for key in required:
        if key not in value:
            refuse(f"needs {key!r}", where)
    return value


def text(value: object, where: str, longest: int = MAX_NAME) -> str:
    if type(value) is not str:
        refuse(f"expected text, not {_type(value)}", where)
    if not value:
        refuse("must not be empty", where)
    if len(value) > longest:
        refuse(f"has more than {longest} characters", where)
    return value


def choice(value: object, where: str, options: Sequence[str]) -> str:
    if type(value) is not str or value not in options:
        refuse(f"is one of {_list(options)}, not {named(value)}{hint(value, options)}", where)
    return value


def listed(value: object, where: str) -> list[Any]:
    """A list with something in it; text alone is a list of one."""
    if type(value) is str:
        return [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        refuse(f"expected a list, not {_type(value)}", where)
    return _counted(list(value), where)


def entries(value: object, where: str) -> list[tuple[Any, Any]]:
    """The pairs of a mapping with something in it."""
    if not isinstance(value, Mapping):
        refuse(f"expected a mapping, not {_type(value)}", where)
    return _counted(list(value.items()), where)


def path(value: object, where: str, *, every: bool = False) -> Path:
    """A path below the data; with `[*]` in it only if `every`."""
    if type(value) is not str:
        refuse(f"expected a path such as 'price' or 'legs[0].px', not {_type(value)}", where)
    try:
        found = parse_path(value)
    except BadPath as error:
        refuse(f"{named(value)} is not a path: {error}", where, error.position)
    if value.startswith(("data.", "data[")):
        # It would silently find nothing, and a mask must not do that.
        rest, member = path_text(found[1:]), '["data"]' + value[4:]
        refuse(f"paths begin below the data: write {rest!r}, or {member!r} for a member 'data'", where)
    if not every and EVERY in found:
        refuse("'[*]' is for keep, drop and mask", where, value.find("[*]"))
    return found


def paths(value: object, where: str) -> list[Path]:
    return [path(each, f"{where}[{place}]", every=True) for place, each in enumerate(listed(value, where))]


def attribute(value: object, where: str) -> str:
    """The name of an attribute."""
    name = text(value, where)
    fault = name_fault(name)
    if fault:
        refuse(f"{named(name)}: {fault}", where)
    return name


def attributes(value: object, where: str) -> list[str]:
    return [attribute(each, f"{where}[{place}]") for place, each in enumerate(listed(value, where))]


def removable(name: str, where: str) -> str:
    """An attribute that an event can do without."""
    if name in REQUIRED:
        refuse(f"every event needs {name!r}", where)
    if name == "datacontenttype":
        refuse("'datacontenttype' says what the data is; 'convert' changes both", where)
    return name


def _counted(values: list[Any], where: str) -> list[Any]:
    if not values:
        refuse("must not be empty", where)
    if len(values) > MAX_LIST:
        refuse(f"has {len(values)} entries, more than {MAX_LIST}", where)
    return values


def _list(words: Sequence[str]) -> str:
    shown = [repr(word) for word in words]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"


def _type(value: object) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
