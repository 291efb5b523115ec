"""From the flags of `up` and `demo` to a checked configuration, or all its faults and exit code 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.output import WRONG_USE, CommandError

if TYPE_CHECKING:
    from gateway.config.load import Loaded
    from gateway.plugin import Plugin


def load_settings(
    config: Path | None = None, *, data: Path | None = None, kafka: str | None = None, overrides: Sequence[str] = ()
) -> tuple[Loaded, Mapping[str, Plugin]]:
    """The configuration and the installed plug-ins. Raises CommandError that lists every fault."""
    from gateway.app import discover
    from gateway.config.load import ConfigError, PluginInfo, load

    plugins = discover()
    known = {name: PluginInfo(plugin.settings, plugin.default_port) for name, plugin in plugins.items()}
    try:
        return load(config, overrides=overrides, data=data, kafka=kafka, plugins=known), plugins
    except ConfigError as error:
        faults = [{"where": str(fault.place), "message": _text(fault)} for fault in error.faults]
        count = len(faults)
        raise CommandError(
            f"the configuration has {count} fault{'' if count == 1 else 's'}; nothing was started",
            WRONG_USE,
            code="invalid_config",
            faults=faults,
        ) from None


def _text(fault: object) -> str:
    return str(fault).removeprefix(f"{getattr(fault, 'place', '')}: ")
