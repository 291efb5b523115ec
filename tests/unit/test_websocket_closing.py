"""Close codes, and the page that explains them and the settings."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from gateway.config.load import PluginInfo, load
from protocols.websocket.closing import MAX_BAD, Code
from protocols.websocket.settings import WebSocketSettings
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "websocket.md").read_text()


def test_every_code_is_explained_and_its_range_says_whether_to_come_back() -> None:
    rows = {int(code): back for code, back in re.findall(r"^\| (\d{4}) \|.*\| ([^|]*) \|$", PAGE, re.MULTILINE)}
    assert {int(code) for code in Code} <= set(rows)
    for code, back in rows.items():
        if code >= 4000:
            assert back.startswith("yes") is (code >= 4500), code
    assert MAX_BAD == 10  # the page says "ten"


def test_every_setting_is_explained_and_the_example_is_a_good_configuration(tmp_path: Path) -> None:
    own = set(WebSocketSettings.model_fields) - {"host", "port", "tls", "allowed_hosts", "allowed_origins"}
    table = " ".join(re.findall(r"^\| (`[^|]*) \|", PAGE[PAGE.index("## Settings and limits") :], re.MULTILINE))
    assert own <= set(re.findall(r"`(\w+)`", table))
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert set(yaml.safe_load(example)["listeners"]["websocket"]) >= own
    path = tmp_path / "linkspan.yaml"
    path.write_text(example)
    [made] = load(path, plugins={"websocket": PluginInfo(WebSocketSettings, 8081)}).config.listeners["websocket"]
    defaults = WebSocketSettings(port=8081)
    assert isinstance(made, WebSocketSettings)
    assert made == defaults.model_copy(update={"publish_rate": 10 * 2**20, "allowed_origins": ("https://app.example",)})
