"""`linkspan version`."""

from __future__ import annotations

from gateway.cli.options import Json
from gateway.cli.output import command, line, record


@command
def version(as_json: Json = False) -> None:
    """Show the versions of Linkspan, of Python and of what matters most."""
    import platform
    from importlib.metadata import entry_points
    from importlib.metadata import version as of

    versions = {name: of(name) for name in ("linkspan", "aiokafka", "aiohttp", "uvloop")}
    doors = sorted(point.name for point in entry_points(group="linkspan.protocols"))
    if as_json:
        record(versions | {"python": platform.python_version(), "doors": doors})
        return
    line(f"linkspan {versions.pop('linkspan')} (Python {platform.python_version()}, {platform.system()})")
    line("  " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    line("  doors: " + (", ".join(doors) or "none"))
