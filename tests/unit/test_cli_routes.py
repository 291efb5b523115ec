"""`linkspan routes test`: a table for people, one line for programs, and an exit code for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli_support import run

TEXT = """
workflows:
  trading: {topic: flow.trading}
routes:
  - name: hot
    from: signals/**
    when: confidence >= 0.8
    to: {workflow: trading}
    examples:
      - {name: sure, at: signals/AAPL, given: {confidence: 0.9}, expect: {to: [flow.trading/AAPL]}}
      - {given: {confidence: 0.1}, expect: {matched: false}}
  - {name: bare, from: news/**, to: copies}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(TEXT)
    return path


def test_examples_that_hold(capsys: Any, file: Path) -> None:
    code, out, _ = run(capsys, "routes", "test", str(file))
    assert code == 0
    assert out.splitlines() == [
        "    ROUTE  EXAMPLE    GIVEN AT      GOT",
        "ok  hot    sure       signals/AAPL  copy to flow.trading/AAPL",
        "ok  hot    example 2  signals       not matched",
        "note  bare has no examples",
        "2 examples: all hold",
    ]
    code, out, _ = run(capsys, "check-config", str(file))
    assert (code, out.splitlines()[:2]) == (0, [f"{file}: no faults", "  2 examples of routes: all hold"])


def test_an_example_that_does_not_hold(capsys: Any, file: Path) -> None:
    file.write_text(TEXT.replace("confidence: 0.9", "confidence: 0.7"))
    code, out, _ = run(capsys, "routes", "test", str(file))
    assert code == 1
    assert "FAILED  hot" in out
    assert "failed  hot, sure: expected a match, got none" in out
    assert out.endswith("1 of 2 examples failed\n")
    code, out, _ = run(capsys, "routes", "test", str(file), "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["passed"], told["failed"], told["without"]) == (1, False, 1, 1, ["bare"])
    assert told["examples"][1] == {
        "route": "hot", "example": "example 2", "at": "signals", "passed": True, "got": "not matched",
    }  # fmt: skip
    assert told["examples"][0]["faults"]
    code, _, err = run(capsys, "check-config", str(file))
    assert code == 2
    assert "c.yaml:10: routes[0].examples[0]: does not hold: expected a match, got none" in err


def test_a_faulty_configuration_is_wrong_use(capsys: Any, file: Path) -> None:
    file.write_text("routes: [{name: r, from: t, to: 'x/{'}]")
    code, _, err = run(capsys, "routes", "test", str(file))
    assert code == 2
    assert "routes[0].to: a '{' that no '}' closes" in err


def test_a_configuration_without_routes_has_nothing_to_test(capsys: Any, file: Path) -> None:
    file.write_text("name: x")
    assert run(capsys, "routes", "test", str(file))[:2] == (0, "0 examples: all hold\n")
