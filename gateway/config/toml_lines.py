"""TOML with line marks: the standard parser for the values, a light scan for the lines."""

from __future__ import annotations

import re
import tomllib

from gateway.config.document import Document
from gateway.config.faults import KeyPath, Place

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEYS = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_KEYS})\s*\]")
_KEY = re.compile(rf"\s*({_KEYS})\s*=\s*(.*)", re.DOTALL)
_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")


def parse_toml(text: str, source: str) -> Document:
    """Read a TOML document. Never raises: what is wrong stands in the document's `faults`."""
    document = Document(source)
    try:
        document.value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        line = int(at[1]) if at and at[1] else text.count("\n") + 1
        # What is quoted may be a piece of a secret.
        problem = re.sub(r"'[^']{2,}'|\"[^\"]{2,}\"", "'...'", _AT.sub("", str(error)))
        document.fault((), f"not valid TOML: {problem}", place=Place(source, line))
    except RecursionError:
        document.fault((), "nested too deeply")
    else:
        _mark(document, text)
    return document


def _mark(document: Document, text: str) -> None:
    """Note the line of every table header and key; keys of an inline table get the line of the table's key."""
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    closing: str | None = None
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        if closing is None and depth == 0:
            if header := _TABLE.match(line):
                table = _table(document, header, counts, number)
                continue
            if not (pair := _KEY.match(line)):
                continue
            _mark_key(document, (*table, *_split(pair[1])), number)
            line = pair[2]
        closing, depth = _skip(line, closing, depth)


def _table(document: Document, header: re.Match[str], counts: dict[KeyPath, int], number: int) -> KeyPath:
    path: KeyPath = ()
    keys = _split(header[2])
    for index, key in enumerate(keys):
        path = (*path, key)
        if header[1] == "[[" and index == len(keys) - 1:
            counts[path] = counts.get(path, -1) + 1
        _mark_key(document, path, number)
        if path in counts:
            path = (*path, counts[path])
            _mark_key(document, path, number)
    return path


def _mark_key(document: Document, path: KeyPath, number: int) -> None:
    place = Place(document.source, number)
    for length in range(1, len(path)):
        document.mark_once(path[:length], place)
    document.mark(path, place)


def _split(keys: str) -> list[str]:
    parts = re.findall(_PART, keys)
    return [str(next(iter(tomllib.loads(f"{part} = 0")))) for part in parts]


def _skip(line: str, closing: str | None, depth: int) -> tuple[str | None, int]:
    """Follow strings and brackets through a line: the open quotes, and how many brackets are open."""
    at = 0
    while at < len(line):
        if closing is not None:
            end = _end_of_string(line, at, closing)
            if end < 0:
                # Only the tripled quotes go on in the next line.
                return (closing, depth) if len(closing) == 3 else (None, depth)
            at, closing = end, None
            continue
        character = line[at]
        if character == "#":
            break
        if character in "\"'":
            closing = character * 3 if line.startswith(character * 3, at) else character
            at += len(closing)
            continue
        depth += (character in "[{") - (character in "]}")
        at += 1
    return closing, depth


def _end_of_string(line: str, at: int, closing: str) -> int:
    while at < len(line):
        if line[at] == "\\" and closing[0] == '"':
            at += 2
        elif line.startswith(closing, at):
            return at + len(closing)
        else:
            at += 1
    return -1
