"""docs/schemas.md is true: every example, run in its order, answers what is shown."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.unit.http_support import BATCH, client, house

pytestmark = pytest.mark.timeout(60)
PAGE = (ROOT / "docs" / "schemas.md").read_text()
EXAMPLES = re.findall(r"^```http\n(\w+) (\S+)\n(.*?)^```\n```json\n(\d+) (.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def alike(shown: Any, told: Any) -> bool:
    """`...` stands for any text."""
    if isinstance(shown, dict) and isinstance(told, dict):
        return shown.keys() == told.keys() and all(alike(value, told[name]) for name, value in shown.items())
    return shown == told or (shown == "..." and isinstance(told, str))


async def test_every_example_answers_what_is_shown() -> None:
    assert len(EXAMPLES) == PAGE.count("```http")
    async with house() as made, client(made) as web:
        for topic in ("ticks", "ticks.invalid"):
            await web.put(f"/v1/topics/{topic}", json={"partitions": 1})
        for method, path, body, status, shown in EXAMPLES:
            kind = BATCH if path.endswith("/events") else "application/json"
            answer = await web.request(method, path, data=body, headers={"Content-Type": kind})
            told = await answer.json(content_type=None)
            assert (answer.status, alike(json.loads(shown), told)) == (int(status), True), (path, told)
