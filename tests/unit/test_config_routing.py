"""Routes and workflows in a configuration: faults with file and line, circles, examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import routing
from gateway.config.faults import ConfigError
from gateway.config.load import Loaded, load

GOOD = """
workflows:
  trading: {topic: flow.trading, description: what to buy}
  analysis:
routes:
  - name: hot
    from: [signals/**]
    when: confidence >= 0.8
    to: [{workflow: trading}, "alerts/{symbol}"]
    set: {priority: 8}
    examples:
      - at: signals/equities/AAPL
        given: {confidence: 0.9}
        expect: {to: [flow.trading/equities/AAPL, alerts/AAPL], attributes: {priority: 8}}
"""


def read(folder: Path, text: str, *, examples: bool = True) -> Loaded:
    path = folder / "c.yaml"
    path.write_text(text)
    return load(path, environment={"SECRET": "hunter 2"}, examples=examples)


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [str(fault).removeprefix(f"{folder / 'c.yaml'}:") for fault in caught.value.faults]


def test_routes_and_workflows_are_read(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD).config
    assert [route["name"] for route in config.routes] == ["hot"]
    assert routing.workflow_topics(config.workflows) == {"trading": "flow.trading", "analysis": "analysis"}
    assert config.masked()["routes"][0]["when"] == "confidence >= 0.8"


def test_all_faults_come_with_their_line(tmp_path: Path) -> None:
    text = """
workflows:
  tradng: {topc: x}
  a b: {}
  c: {topic: _x}
routes:
  - name: hot
    from: [signals/**]
    when: confidence >=
    to: {workflow: trading}
    acton: move
  - name: hot
    from: signals/**
    to: "alerts/{symbol"
"""
    assert faults(tmp_path, text) == [
        "3: workflows.tradng.topc: unknown key (did you mean 'topic'?)",
        '4: workflows."a b": a name has 1 to 100 of the characters A-Z a-z 0-9 . _ -',
        "5: workflows.c.topic: topic '_x' is internal: names that begin with '_' are reserved",
        (
            "9: routes[0].when: expected a value (an attribute, a literal, a function, "
            "or an expression in parentheses), found the end (at character 14)"
        ),
        "10: routes[0].to.workflow: there is no workflow 'trading'; did you mean 'tradng'?",
        "11: routes[0].acton: unknown key; did you mean 'action'?",
        "12: routes[1].name: is also the name of routes[0]",
        "14: routes[1].to: a '{' that no '}' closes; write '{{' for the character (at character 8)",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("routes: {}", "1: routes: expected a list of routes"),
        ("workflows: []", "1: workflows: expected a mapping of names to workflows"),
        ("routes: [1]", "1: routes[0]: expected a mapping, not a number"),
        (
            "workflows: {w: }\nroutes: [{name: r, from: w/**, to: {workflow: w}}]",
            "2: routes[0]: goes in a circle: what 'r' writes is what it reads from; keep the addresses apart",
        ),
        (
            "routes: [{name: r, from: a, to: b}, {name: s, from: b, to: a}]",
            "1: routes[0]: goes in a circle: r -> s -> r; keep what they write apart from what they read",
        ),
    ],
)
def test_each_fault_is_said_where_it_is(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text) == [fault]


def test_an_example_that_does_not_hold_is_a_fault(tmp_path: Path) -> None:
    text = GOOD.replace("alerts/AAPL]", "alerts/MSFT]")
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(
        "12: routes[0].examples[0]: does not hold: expected to: flow.trading/equities/AAPL, alerts/M"
    )
    assert read(tmp_path, text, examples=False).config.routes


def test_there_is_a_bound_to_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MAX_ROUTES", 1)
    assert "more than 1 routes" in faults(tmp_path, "routes: [{name: r, from: a, to: b}, {name: s, from: b, to: c}]")[0]


def test_a_value_from_outside_is_never_repeated(tmp_path: Path) -> None:
    text = """
routes:
  - {name: r, from: t, to: {topic: "${SECRET}"}, examples: [{given: {}, expect: {matched: true}}]}
  - {name: s, from: t, to: u, examples: [{given: {}, expect: {to: "${SECRET}"}}]}
"""
    found = faults(tmp_path, text)
    assert len(found) == 2
    assert "hunter" not in "".join(found)
