"""The plug-in and its settings."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.config.model import Limits
from gateway.plugins import installed
from protocols.websocket.listener import WebSocketListener
from protocols.websocket.plugin import plugin
from protocols.websocket.settings import WebSocketSettings
from tests.unit.websocket_support import Port


async def test_the_plugin_is_found_under_its_name_and_builds_without_side_effects() -> None:
    found: object = installed()["websocket"]
    assert found is plugin
    assert (plugin.name, plugin.default_port) == ("websocket", 8081)
    assert isinstance(plugin.build(WebSocketSettings(), Port(Limits())), WebSocketListener)


def test_settings_are_written_as_people_write_them() -> None:
    made = WebSocketSettings.model_validate(
        {
            "max_message": "4MiB",
            "publish_rate": "10MB",
            "ping_interval": "5s",
            "slow_timeout": "1h",
            "compression": False,
        }
    )
    assert (made.max_message, made.publish_rate, made.ping_interval, made.slow_timeout) == (2**22, 10**7, 5.0, 3600.0)
    assert not made.compression


def test_the_defaults_are_those_of_the_documentation() -> None:
    made = WebSocketSettings()
    assert (made.max_message, made.subscriptions, made.publish_rate) == (2**20, 100, None)
    assert (made.ping_interval, made.ping_timeout, made.slow_timeout, made.compression) == (20.0, 20.0, 300.0, True)


@pytest.mark.parametrize(
    "wrong", [{"max_message": 10}, {"subscriptions": 0}, {"ping_interval": "0"}, {"publish_rate": "1"}, {"rate": 1}]
)
def test_what_makes_no_sense_is_a_fault(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        WebSocketSettings.model_validate(wrong)
