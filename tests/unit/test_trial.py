"""The bench's own small parts; what it does is tested through HTTP."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
import yaml

from gateway.operate.metrics import Metrics
from gateway.routes import Router
from gateway.trial import Trial, _text_at
from tests.conftest import CONFORMANCE

TCK = CONFORMANCE / "cesql_tck"
BASE = {"specversion": "1.0", "id": "1", "source": "/tck", "type": "tck"}


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("filters[0].expr", "a"), ("filters[1]", "b"), ("filters[0]", "a"), ("filters[9].expr", None),
        ("filters.x", None), ("", None), ("filters[0].expr.deeper", None), ("filters[2].all[0].sql", "c"),
    ],
)  # fmt: skip
def test_the_text_that_a_place_is_in_is_found(where: str, text: str | None) -> None:
    assert _text_at({"filters": [{"expr": "a"}, "b", {"all": [{"sql": "c"}]}]}, where) == text


@pytest.mark.skipif(not TCK.is_dir(), reason="the CESQL compatibility kit is not there")
def test_expressions_of_the_compatibility_kit_have_the_values_that_it_says() -> None:
    metrics = Metrics(process=False)
    trial = Trial(cast(Any, None), Router((), (), metrics, cast(Any, None)))
    tried = 0
    for file in sorted(TCK.glob("*.yaml")):
        cases, plain = (yaml.load(file.read_text(), loader)["tests"] for loader in (yaml.SafeLoader, yaml.BaseLoader))
        for case, text in zip(cases, plain, strict=True):
            expression = text["expression"]
            if expression == "NOT 10":
                continue  # the specification's cast table has another answer (tests/unit/test_cesql_tck.py)
            event = {**(case.get("event") or BASE), **(case.get("eventOverrides") or {})}
            body = json.dumps({"dialect": "cesql", "expression": expression, "event": event}, default=_time)
            told = json.loads(trial.evaluate(body.encode()))
            assert (told["error"] or {}).get("kind") == case.get("error"), text
            result = case.get("result")
            if type(result) not in (str, int, bool, type(None)):
                result = text["result"]
            assert result is None or (told["value"], type(told["value"])) == (result, type(result)), text
            tried += 1
    assert tried == 274


def _time(value: Any) -> str:
    """YAML reads the times of events as such."""
    return str(value.isoformat()).replace("+00:00", "Z")
