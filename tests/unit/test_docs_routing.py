"""docs/routing.md and docs/examples/intelligence.yaml are true: they load, their examples hold, and they answer so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import load
from gateway.config.routing import workflow_topics
from gateway.event import Event
from routing.route_spec import KEYS
from tests.conftest import ROOT
from tests.unit.cli_support import run
from tests.unit.http_support import client, house
from tests.unit.routes_support import routed

pytestmark = pytest.mark.timeout(20)
PAGE = (ROOT / "docs" / "routing.md").read_text()
INTELLIGENCE = ROOT / "docs" / "examples" / "intelligence.yaml"
JSON = re.findall(r"^```json\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
def test_every_example_is_a_configuration_whose_examples_hold(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert load(path, environment={}).config.routes


def test_every_key_of_a_route_is_documented() -> None:
    assert [key for key in KEYS if f"| `{key}` |" not in PAGE] == []


def test_the_shown_table_is_what_the_command_says(capsys: Any) -> None:
    code, out, _ = run(capsys, "routes", "test", str(INTELLIGENCE))
    assert code == 0
    assert f"$ linkspan routes test docs/examples/intelligence.yaml\n{out}```" in PAGE


def test_the_shown_circle_is_what_is_said(tmp_path: Path) -> None:
    from gateway.config.faults import ConfigError

    path = tmp_path / "linkspan.yaml"
    path.write_text(
        "\n" * 5 + "routes:\n  - {name: other, from: x, to: y}\n\n  - {name: enrich, from: a/**, to: b/x}\n"
        "  - {name: publish, from: b/**, to: a/x}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path, environment={})
    (fault,) = caught.value.faults
    assert str(fault).removeprefix(f"{tmp_path}/") in PAGE


async def test_the_bench_answers_as_shown() -> None:
    pairs = list(zip(JSON[::2], JSON[1::2], strict=True))
    assert len(pairs) == 4
    async with house() as made, client(made) as web:
        for asked, shown in pairs:
            path = "evaluate" if "expression" in json.loads(asked) else "try"
            answer = await web.post(f"/v1/routing/{path}", json=json.loads(asked))
            told = await answer.json()
            assert told == json.loads(shown)
            caret = (told.get("error") or {}).get("caret")
            assert caret is None or f"```text\n{caret}\n```" in PAGE


async def test_the_workflows_of_the_example_get_what_they_are_for() -> None:
    config = load(INTELLIGENCE, environment={}).config
    flows = workflow_topics(config.workflows)
    topics = [*config.topics.create, *flows.values()]
    attributes = {
        "specversion": "1.0", "id": "1", "source": "/desk", "type": "signal", "subject": "equities/AAPL",
        "datatype": "signal", "qualitytier": "gold", "confidence": "0.95", "symbol": "AAPL",
    }  # fmt: skip
    async with routed(*config.routes, topics=topics, workflows=flows) as house:
        event = Event(dict(attributes), b'{"price": 189.5, "change": -0.05}')
        rumour = Event({**attributes, "id": "2", "qualitytier": "rumour"}, b"{}")
        positions = await house.publish(event, rumour, topic="signals")
        assert (positions[0] is None, positions[1]) == (False, None)
        (decided,) = await house.stored(flows["trading-decision"])
        assert (decided.subject, decided.attributes["priority"], decided.attributes["desk"]) == ("AAPL", 9, "equities")
        assert await house.ids(flows["market-prediction"]) == ["1"]
        assert await house.ids(flows["instrument-analysis"]) == []
        assert await house.ids("quarantine") == ["2"]
        assert await house.ids("watchlist") == ["1"]
        received = {each["name"]: each["counters"]["received"] for each in house.router.described_workflows()}
        assert received == {"trading-decision": 1, "instrument-analysis": 0, "market-prediction": 1}
