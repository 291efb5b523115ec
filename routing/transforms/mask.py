"""The step that hides values: redacted, hashed with a key, or cut short.

It fails closed: a payload that cannot be looked into is refused, never passed on. What it makes
of a value holds nothing of it but what the way says.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from routing.transforms.document import Document, text_of
from routing.transforms.failure import Refusal
from routing.transforms.paths import Path, path_text, without_covered
from routing.transforms.shape import both
from routing.transforms.spec import Context, Run, Step, attributes, choice, members, paths, refuse, text

REDACTED: Final = "[redacted]"
MAX_KEEP: Final = 1000
#: Keys shorter than this can be guessed.
MIN_KEY: Final = 16

# Masked, these would not be legal, or say nothing; everything else may be REDACTED.
_UNMASKABLE: Final = ("specversion", "datacontenttype", "time", "expirytime", "dataschema")
# Secrets are part of what makes two steps equal; nobody who sees that may try out secrets.
_SALT: Final = os.urandom(32)

_Cover = Callable[[object], str | None]
"""From a single value (None: null) to what stands for it."""


class _Way(NamedTuple):
    canonical: tuple[object, ...]
    cover: _Cover | None
    """None: redact, whatever the value is."""


def mask(value: Any, where: str, context: Context) -> Step:
    """`{data: [...], attributes: [...], with: redact | {hash: {key, key_id}} | {truncate: ...}}`."""
    spec = members(value, where, ("attributes", "data", "with"))
    way = _way(spec.get("with", "redact"), f"{where}.with")
    names = wanted = None
    if "attributes" in spec:
        names = sorted(set(attributes(spec["attributes"], f"{where}.attributes")))
        for name in names:
            _maskable(name, way, f"{where}.attributes")
    if "data" in spec:
        wanted = without_covered(paths(spec["data"], f"{where}.data"))
    if names is None and wanted is None:
        refuse("needs 'attributes' or 'data'", where)
    canonical = {
        "attributes": names,
        "data": None if wanted is None else [path_text(each) for each in wanted],
        "with": way.canonical,
    }
    run = both(
        None if names is None else _mask_attributes(names, way.cover),
        None if wanted is None else _mask_data(wanted, way.cover),
    )
    return Step("mask", canonical, run)


def _maskable(name: str, way: _Way, where: str) -> None:
    if name in _UNMASKABLE:
        refuse(f"{name!r} cannot be masked{'' if name in _UNMASKABLE[:2] else '; drop it'}", where)
    if name == "id" and way.canonical[0] != "hash":
        refuse("'id' can only be hashed: events with the same id and source are the same event", where)


def _way(value: Any, where: str) -> _Way:
    if type(value) is str:
        if choice(value, where, ("redact", "hash", "truncate")) != "redact":
            refuse(f"needs more than its name: {{{value}: ...}}", where)
        return _Way(("redact",), None)
    spec = members(value, where, ("hash", "truncate"))
    if len(spec) != 1:
        refuse("is one of redact, {hash: ...} and {truncate: ...}", where)
    if "hash" in spec:
        return _hash(spec["hash"], f"{where}.hash")
    return _truncate(spec["truncate"], f"{where}.truncate")


def _hash(value: Any, where: str) -> _Way:
    spec = members(value, where, ("key", "key_id"), ("key", "key_id"))
    key = text(spec["key"], f"{where}.key", 10_000).encode(errors="replace")
    if len(key) < MIN_KEY:
        refuse(f"a key has at least {MIN_KEY} bytes", f"{where}.key")
    key_id = text(spec["key_id"], f"{where}.key_id", 50)
    if not key_id.isascii() or not key_id.replace("-", "").replace(".", "").replace("_", "").isalnum():
        refuse("has only letters, digits, '-', '.' and '_'", f"{where}.key_id")

    keyed = hmac.new(key, digestmod=hashlib.sha256)

    def cover(single: object) -> str | None:
        if single is None:
            return None
        digest = keyed.copy()  # has taken the key in already
        digest.update(single if isinstance(single, bytes) else text_of(single).encode())
        return f"{key_id}:{digest.hexdigest()}"

    secret = hashlib.blake2b(key, key=_SALT, digest_size=16).hexdigest()
    return _Way(("hash", key_id, secret), cover)


def _truncate(value: Any, where: str) -> _Way:
    """`4` or `{first: 4}`: the first four characters; `{last: 4}`: the last."""
    spec = members({"first": value} if type(value) is int else value, where, ("first", "last"))
    if len(spec) != 1:
        refuse("needs 'first' or 'last'", where)
    ((end, count),) = spec.items()
    if type(count) is not int or not 1 <= count <= MAX_KEEP:
        refuse(f"is a number of characters from 1 to {MAX_KEEP}", f"{where}.{end}")

    def cover(single: object) -> str | None:
        if single is None:
            return None
        whole = text_of(single)
        if len(whole) <= count:
            return REDACTED  # all of it would be left
        return whole[:count] if end == "first" else whole[-count:]

    return _Way(("truncate", end, count), cover)


def _mask_attributes(names: list[str], cover: _Cover | None) -> Run:
    def run(document: Document) -> None:
        for name in names:
            held = document.attributes.get(name)
            if held is not None:
                document.set_attribute(name, REDACTED if cover is None else cover(held))

    return run


def _mask_data(wanted: list[Path], cover: _Cover | None) -> Run:
    def run_flat(document: Document) -> None:
        if document.data is None:
            return
        root: dict[Any, Any] = document.members()
        for path in wanted:
            name = path[0]
            if name in root:
                root[name] = REDACTED if cover is None else _covered(document, path, root[name], cover)
                document.changed = True

    def run(document: Document) -> None:
        if document.data is None:
            return
        document.members()
        for path in wanted:
            for parent, step in document.parents(path):
                parent[step] = REDACTED if cover is None else _covered(document, path, parent[step], cover)

    return run_flat if all(len(path) == 1 for path in wanted) else run


def _covered(document: Document, path: Path, node: Any, cover: _Cover) -> str | None:
    """What stands for a single value. Raises Refusal for an object or an array."""
    try:
        return cover(document.scalar(node))
    except Refusal as error:
        raise Refusal(f"{path_text(path)}: {error}") from None
