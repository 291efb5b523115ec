"""Finds the installed protocol plug-ins: the one door, for built-in and foreign ones alike."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

import structlog

from gateway.config.load import PluginInfo
from gateway.errors import LinkspanError
from gateway.plugin import Plugin

GROUP = "linkspan.protocols"
_log = structlog.get_logger("linkspan.plugins")


class PluginBroken(LinkspanError):
    """A plug-in is installed and cannot be loaded; the gateway does not start without it."""

    code = "plugin_broken"


def installed() -> dict[str, Plugin]:
    """All plug-ins by listener name. Raises PluginBroken with the entry point and the reason."""
    found: dict[str, Plugin] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        if point.name in found:
            raise PluginBroken(f"two installed packages offer the listener {point.name!r}: {point.value}")
        found[point.name] = _load(point)
    return found


def infos(plugins: Mapping[str, Plugin]) -> dict[str, PluginInfo]:
    """What the configuration needs to know of them."""
    return {name: PluginInfo(plugin.settings, plugin.default_port) for name, plugin in plugins.items()}


def _load(point: EntryPoint) -> Plugin:
    try:
        plugin: Plugin = point.load()
    except Exception as error:  # whatever a foreign package raises while it is imported
        raise PluginBroken(f"the plug-in {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    missing = [name for name in ("name", "default_port", "settings", "build") if not hasattr(plugin, name)]
    if missing:
        raise PluginBroken(f"the plug-in {point.name!r} ({point.value}) lacks {', '.join(missing)}")
    return plugin
