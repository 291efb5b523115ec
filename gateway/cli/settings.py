"""From flags to a checked configuration, or all its faults and exit code 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.output import WRONG_USE, CommandError

if TYPE_CHECKING:
    from gateway.config.faults import ConfigFault
    from gateway.config.load import Loaded
    from gateway.plugin import Plugin


def load_settings(
    config: Path | None = None,
    *,
    data: Path | None = None,
    kafka: str | None = None,
    overrides: Sequence[str] = (),
    examples: bool = True,
) -> tuple[Loaded, Mapping[str, Plugin]]:
    """The configuration and the installed plug-ins. Raises CommandError that lists every fault; `examples`:
    those of routes that do not hold are faults."""
    from gateway.config.load import ConfigError, load
    from gateway.plugins import PluginBroken, infos, installed

    try:
        plugins = installed()
    except PluginBroken as error:
        raise CommandError(error.message, code=error.code) from None
    try:
        loaded = load(config, overrides=overrides, data=data, kafka=kafka, plugins=infos(plugins), examples=examples)
        return loaded, plugins
    except ConfigError as error:
        faults = [{"where": str(fault.place), "message": _message(fault)} for fault in error.faults]
        raise CommandError(
            f"the configuration has {len(faults)} fault{'' if len(faults) == 1 else 's'}; nothing was started",
            WRONG_USE,
            code="invalid_config",
            faults=faults,
        ) from None


def _message(fault: ConfigFault) -> str:
    return str(fault).removeprefix(f"{fault.place}: ")
