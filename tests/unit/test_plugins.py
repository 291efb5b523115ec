"""Plug-ins are found through one door, and one that is broken is named."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from gateway import plugins
from gateway.config.model import ListenerSettings
from gateway.plugins import GROUP, PluginBroken, infos, installed

WHOLE = SimpleNamespace(name="x", default_port=7, settings=ListenerSettings, build=None)
HALF = SimpleNamespace(name="x")


def offer(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    points = [EntryPoint(name.rstrip("_"), value, GROUP) for name, value in values.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)


def test_the_built_in_door_comes_through_it_too() -> None:
    found = installed()
    assert found["http"].name == "http"
    assert infos(found)["http"].default_port == 8080


def test_a_foreign_plug_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, x=f"{__name__}:WHOLE")
    assert installed() == {"x": WHOLE}


@pytest.mark.parametrize(
    ("value", "reason"),
    [("no.such.module:x", "cannot be loaded"), (f"{__name__}:HALF", "lacks default_port, settings, build")],
)
def test_a_broken_one_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch, value: str, reason: str) -> None:
    offer(monkeypatch, x=value)
    with pytest.raises(PluginBroken, match=reason):
        installed()


def test_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, x=f"{__name__}:WHOLE", x_=f"{__name__}:WHOLE")
    with pytest.raises(PluginBroken, match="two installed packages"):
        installed()
