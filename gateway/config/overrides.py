"""`--set key.path=value`, `--data` and `--kafka` on top of a file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.config.document import Document
from gateway.config.faults import ConfigFault, KeyPath, Place, path_text
from gateway.config.model import FlagText
from gateway.config.yaml_lines import parse_yaml_value

_PART = re.compile(r'"([^"]+)"|([^."\[\]]+)|\[([0-9]{1,4})\]')


def apply_overrides(document: Document, overrides: Sequence[str], data: Path | None, kafka: str | None) -> None:
    """Change the document; later flags win. What is wrong with a flag is a fault that names it."""
    if data is not None and kafka is not None:
        document.faults.append(
            ConfigFault(Place("--data"), "", "cannot be used with --kafka: there is no data folder on Kafka")
        )
    elif kafka is not None:
        _use_kafka(document, kafka)
    elif data is not None:
        _use_folder(document, data)
    for override in overrides:
        _apply(document, override)


def _use_kafka(document: Document, bootstrap: str) -> None:
    place = Place("--kafka")
    bus = document.value.get("bus")
    if not isinstance(bus, dict) or bus.get("kind") != "kafka":
        # What is said about the embedded log means nothing to Kafka.
        document.value["bus"] = bus = {"kind": "kafka"}
        document.replace(("bus",), place)
    bus["bootstrap"] = FlagText(bootstrap)
    document.replace(("bus", "bootstrap"), place)


def _use_folder(document: Document, data: Path) -> None:
    place = Place("--data")
    bus = document.value.get("bus")
    if isinstance(bus, dict) and bus.get("kind") == "kafka":
        document.faults.append(ConfigFault(place, "", "there is no data folder: the bus is Kafka"))
        return
    if bus is None:
        document.value["bus"] = bus = {}
    if isinstance(bus, dict):
        bus["path"] = FlagText(data)
        document.replace(("bus", "path"), place)


def _apply(document: Document, override: str) -> None:
    key, equals, text = override.partition("=")
    path = _parse_path(key)
    if not equals or path is None:
        # The value may be a secret: only what stands before the "=" is repeated.
        shown = key[:60] if equals else ""
        document.faults.append(ConfigFault(Place("--set"), shown, "expected key.path=value"))
        return
    place = Place(f"--set {path_text(path)}")
    found = _holder(document, path, place)
    if found is None:
        return
    holder, path = found
    document.replace(path, place)
    holder[path[-1]] = _from_flag(parse_yaml_value(text, document, path), document, path, place)


def _parse_path(key: str) -> KeyPath | None:
    parts: list[str | int] = []
    at = 0
    while True:
        match = _PART.match(key, at)
        if match is None or (match[3] and not parts):
            return None
        parts.append(int(match[3]) if match[3] else match[1] or match[2])
        at = match.end()
        if at == len(key):
            return tuple(parts)
        if key[at] == ".":
            at += 1
        elif key[at] != "[":
            return None


def _holder(document: Document, path: KeyPath, place: Place) -> tuple[Any, KeyPath] | None:
    """The mapping or list that holds the last part of `path`, which comes back with list indexes as int.

    Missing mappings are made. None when there is no such place; that is then a fault.
    """
    current: Any = document.value
    for at, part in enumerate(path):
        here = path_text(path[:at])
        if isinstance(current, list):
            index = int(part) if str(part).isdecimal() else len(current)
            if index >= len(current):
                _no_place(document, place, f"{here} is a list of {len(current)}: {here}[0] is its first entry")
                return None
            path = (*path[:at], index, *path[at + 1 :])
        elif not isinstance(current, dict) or isinstance(part, int):
            kind = "a mapping, not a list" if isinstance(current, dict) else "a single value, not a mapping"
            _no_place(document, place, f"{here} is {kind}")
            return None
        if at == len(path) - 1:
            return current, path
        if isinstance(current, dict) and current.get(part) is None:
            current[part] = {}
            document.mark(path[: at + 1], place)
        current = current[path[at]]
    return None


def _no_place(document: Document, place: Place, message: str) -> None:
    document.faults.append(ConfigFault(place, "", message))


def _from_flag(value: Any, document: Document, path: KeyPath, place: Place) -> Any:
    """Mark the value and everything in it as the flag's."""
    document.mark(path, place)
    if isinstance(value, list):
        return [_from_flag(item, document, (*path, index), place) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {key: _from_flag(item, document, (*path, key), place) for key, item in value.items()}
    return FlagText(value) if isinstance(value, str) else value
