"""`${ENV}`, `${ENV:-default}` and `${file:path}` in values; `$${` is a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config.document import Document
from gateway.config.faults import KeyPath
from gateway.config.model import FlagText, resolve_path

MAX_FILE = 2**20

_REFERENCE = re.compile(r"\$(\$\{)|\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?\Z", re.DOTALL)


class _Unresolved(Exception):
    """The reason why a reference has no value."""


def interpolate(document: Document, environment: Mapping[str, str], folder: Path) -> None:
    """Put the referenced values in, in place. Relative files are looked up in `folder`.

    A value made so is noted as hidden. What cannot be resolved is a fault, and the value
    becomes None.
    """
    document.value = _walk(document.value, (), document, environment, folder)


def _walk(value: Any, path: KeyPath, document: Document, environment: Mapping[str, str], folder: Path) -> Any:
    if isinstance(value, dict):
        return {k: _walk(v, (*path, k), document, environment, folder) for k, v in value.items()}
    if isinstance(value, list):
        return [_walk(v, (*path, i), document, environment, folder) for i, v in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return "${"
        document.hidden.add(path)
        return _resolve(match[2], environment, folder)

    try:
        text = _REFERENCE.sub(replace, value)
    except _Unresolved as error:
        document.fault(path, str(error))
        return None
    return FlagText(text) if isinstance(value, FlagText) else text


def _resolve(reference: str, environment: Mapping[str, str], folder: Path) -> str:
    if reference.startswith("file:"):
        return _read(reference.removeprefix("file:"), folder)
    match = _VARIABLE.match(reference)
    if match is None:
        raise _Unresolved("a reference is ${NAME}, ${NAME:-default} or ${file:path}; write $${ for a plain ${")
    name, default = match.groups()
    # As in a shell, ":-" also replaces an empty value.
    value = environment.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise _Unresolved(f"the variable {name} is not set (${{{name}:-default}} gives a default)")
    return value


def _read(name: str, folder: Path) -> str:
    try:
        path = resolve_path(name, folder)
    except ValueError as error:
        raise _Unresolved(str(error)) from None
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise _Unresolved(f"cannot read the file {path}: {error.strerror or error}") from None
    if len(data) > MAX_FILE:
        raise _Unresolved(f"the file {path} is larger than 1 MiB")
    try:
        # An editor ends a file with a line break that is no part of a password.
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise _Unresolved(f"the file {path} is not UTF-8 text") from None
