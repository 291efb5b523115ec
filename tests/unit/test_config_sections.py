"""Sections are checked one by one; a broken one stands at its defaults and is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.model import Config, ListenerSettings, TopicConfig
from gateway.config.sections import NOT_YET, PluginInfo, build
from gateway.config.yaml_lines import parse_yaml


def test_what_is_faulty_stands_at_its_default_and_the_rest_is_kept() -> None:
    text = (
        "bus: {kind: x}\nlimits: {page: 5, body: x}\ntopics: {a: {partitions: x, replication: 2}, b/c: {}}\nworkers: x"
    )
    document = parse_yaml(text, "f")
    config = build(document, {}, Path()).config
    assert (config.limits.page, config.limits.body, config.workers) == (5, Config().limits.body, 1)
    assert config.topics.create == {"a": TopicConfig(replication=2)}
    assert config.bus == Config().bus
    assert document.known(("limits", "page"))
    assert not document.known(("limits", "body"))


def test_every_key_of_the_design_is_known() -> None:
    design = "name bus listeners auth limits topics subscriptions routes workflows bridges cluster workers telemetry"
    known = set(Config.model_fields) | {str(path[0]) for path in NOT_YET}
    assert known == set(design.split())


@pytest.mark.parametrize("tls", [True, False])
def test_the_default_port_depends_on_tls(tls: bool) -> None:
    text = "listeners: {mqtt: {tls: {certificate: c, key: k}}}" if tls else "listeners: {mqtt: {}}"
    built = build(parse_yaml(text, "f"), {"mqtt": PluginInfo(ListenerSettings, 1883, 8883)}, Path("/etc"))
    assert built.config.listeners["mqtt"][0].port == (8883 if tls else 1883)
