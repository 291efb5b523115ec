"""From a file and flags to a checked `Config`: every fault at once, nothing started.

The order: parse with line marks, flags, `${...}`, each section against its model, then what
must fit together (`check`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from gateway.config.check import check
from gateway.config.document import Document
from gateway.config.faults import ConfigError, Place
from gateway.config.interpolate import interpolate
from gateway.config.model import Config
from gateway.config.overrides import apply_overrides
from gateway.config.sections import PluginInfo, build
from gateway.config.toml_lines import parse_toml
from gateway.config.yaml_lines import parse_yaml

MAX_FILE = 4 * 2**20


class Loaded(msgspec.Struct, frozen=True):
    """A configuration without faults, and what an operator should know about it."""

    config: Config
    notes: tuple[str, ...] = ()


def load(
    path: Path | None = None,
    *,
    overrides: Sequence[str] = (),
    data: Path | None = None,
    kafka: str | None = None,
    plugins: Mapping[str, PluginInfo] | None = None,
    environment: Mapping[str, str] | None = None,
    examples: bool = True,
) -> Loaded:
    """Read and check; `None` reads no file and gives the defaults. Raises ConfigError with all faults.

    `plugins` are the installed listeners by name; `admin` is the gateway's own. Paths in the file are
    relative to it, paths in flags to the working directory. `examples`: an example of a route that does
    not hold is a fault as well.
    """
    document = Document("defaults", 0) if path is None else _read(path)
    if document.faults and not document.value:
        raise ConfigError(document.faults)  # not even YAML or TOML: everything else would be guesswork
    folder = Path() if path is None else path.parent
    apply_overrides(document, overrides, data, kafka)
    interpolate(document, os.environ if environment is None else environment, folder)
    built = build(document, plugins or {}, folder, examples=examples)
    for where, message in list(check(built.config, document.known)):
        document.fault(document.spelled(where), message)
    if document.faults:
        raise ConfigError(document.faults)
    return Loaded(built.config, tuple(built.notes))


def _read(path: Path) -> Document:
    """Parse by suffix: `.toml` is TOML, everything else YAML."""
    source = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            return _unreadable(source, "the file is larger than 4 MiB")
        text = data.decode("utf-8-sig")
    except OSError as error:
        return _unreadable(source, f"cannot read the file: {error.strerror or error}")
    except UnicodeDecodeError as error:
        return _unreadable(source, "the file is not UTF-8 text", error.object.count(b"\n", 0, error.start) + 1)
    return parse_toml(text, source) if path.suffix.lower() == ".toml" else parse_yaml(text, source)


def _unreadable(source: str, message: str, line: int = 0) -> Document:
    document = Document(source, 0)
    document.fault((), message, place=Place(source, line))
    return document


__all__ = ["ConfigError", "Loaded", "PluginInfo", "load"]
