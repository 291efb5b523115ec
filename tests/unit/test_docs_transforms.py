"""docs/transforms.md is true: every example gives what is shown."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
import yaml

from routing.errors import InvalidTransform
from routing.transforms import StepFailed, compile_transform
from routing.transforms.transform import MAX_STEPS, STEPS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "transforms.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```\n```(json|text)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
GIVEN = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0]
BLANKS = re.compile(r"\s+")


class Instruments:
    def known(self, table: str) -> bool:
        return table == "instruments"

    def get(self, table: str, key: str) -> dict[str, Any] | None:
        return {"name": "Apple", "lot": 100, "sector": "technology"} if key == "AAPL" else None


def taken_apart(text: str) -> tuple[dict[str, Any], bytes]:
    members = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    data = bytes(members.pop("data"))
    return {name: msgspec.json.decode(value) for name, value in members.items()}, data


def said(steps: Any) -> str:
    attributes, data = taken_apart(GIVEN)
    try:
        compile_transform(steps, tables=Instruments()).apply(attributes, data)
    except (InvalidTransform, StepFailed) as error:
        return str(error)
    return "nothing"


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_gives_what_is_shown(example: tuple[str, str, str]) -> None:
    text, kind, shown = example
    steps = yaml.safe_load(text)
    if kind == "text":
        assert said(steps) == shown.strip()
        return
    attributes, data = compile_transform(steps, tables=Instruments()).apply(*taken_apart(GIVEN))
    expected, expected_data = taken_apart(shown)
    assert attributes == expected
    assert data is not None
    assert BLANKS.sub("", data.decode()) == BLANKS.sub("", expected_data.decode())  # digits as they are


def test_every_step_is_described() -> None:
    for name in STEPS:
        assert f"[`{name}`](#" in PAGE
    assert f"| steps of a transform | {MAX_STEPS} |" in PAGE
