"""The documentation of the configuration is true: its examples load, and every key is in it with its default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from pydantic import BaseModel

from gateway.config.load import ConfigError, PluginInfo, load
from gateway.config.model import (
    AuthConfig,
    Config,
    EmbeddedBus,
    KafkaBus,
    Limits,
    TelemetryConfig,
    TopicConfig,
    WebListenerSettings,
    WorkflowConfig,
)
from gateway.config.units import format_duration, format_size
from gateway.operate.admin import AdminServer
from gateway.operate.metrics import Metrics
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
EXAMPLES = re.findall(r"^```(yaml|toml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PLUGINS = {"http": PluginInfo(WebListenerSettings, 8080)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the examples name."""
    authority = trustme.CA()
    leaf = authority.issue_cert("gate.example")
    (tmp_path / "tls").mkdir()
    (tmp_path / "secrets").mkdir()
    authority.cert_pem.write_to_path(tmp_path / "tls" / "ca.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "tls" / "cert.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "tls" / "key.pem")
    (tmp_path / "secrets" / "kafka-password").write_text("hunter2\n")
    return tmp_path


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_every_example_is_a_configuration_without_faults(folder: Path, kind: str, text: str) -> None:
    path = folder / f"linkspan.{kind}"
    path.write_text(text)
    assert load(path, plugins=PLUGINS, environment={}).config.masked()


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


def test_the_faults_that_are_shown_are_those_that_are_said(tmp_path: Path) -> None:
    path = tmp_path / "linkspan.yaml"
    path.write_text(
        "\n\nbus: {kind: kafca, bootstrap: a:1}\nlisteners:\n  http:\n    port: 1\n    prot: 1\n"
        "\n\n\n\nlimits:\n  body: 5MG\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path, plugins=PLUGINS, overrides=["limits.page=x"])
    for fault in caught.value.faults:
        assert str(fault).removeprefix(f"{tmp_path}/") in PAGE


def keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        arguments = [inner, *getattr(inner, "__args__", ())]
        sections = [each for each in arguments if isinstance(each, type) and issubclass(each, BaseModel)]
        if sections:
            yield from keys(sections[0], f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}"


@pytest.mark.parametrize(
    ("model", "prefix"),
    [
        (EmbeddedBus, "bus"),
        (KafkaBus, "bus"),
        (WebListenerSettings, "listeners.*"),
        (AuthConfig, "auth"),
        (Limits, "limits"),
        (TopicConfig, "topics.NAME"),
        (WorkflowConfig, "workflows.NAME"),
        (TelemetryConfig, "telemetry"),
    ],
)
def test_every_key_is_documented(model: type[BaseModel], prefix: str) -> None:
    assert [key for key in keys(model, prefix) if f"`{key}`" not in PAGE] == []
    assert all(f"`{name}`" in PAGE for name in Config.model_fields)


def test_the_documented_limits_are_the_defaults() -> None:
    limits = Limits()
    documented = dict(re.findall(r"^\| `limits\.(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE))
    shown = {
        name: str(value) if name in ("batch", "page", "connections")
        else format_duration(value) if isinstance(value, float) else format_size(value)
        for name, value in limits
    }  # fmt: skip
    assert documented == shown


def test_the_documented_admin_pages_and_metrics_exist() -> None:
    pages = re.findall(r"^\| `GET (/\S+)` \|", OPERATIONS, re.MULTILINE)
    rendered = Metrics().render().decode()
    assert "/health/ready" in pages
    assert all(f'"{page}"' in Path(AdminServer.start.__code__.co_filename).read_text() for page in pages)
    process = set(re.findall(r"`(process_\w+)`", OPERATIONS))
    assert all(name in rendered for name in process)
    sources = "".join(path.read_text() for path in (ROOT / "gateway").rglob("*.py"))
    assert all(f'"{name}"' in sources for name in re.findall(r"`(linkspan_\w+)[`{]", OPERATIONS))


def test_the_configuration_for_compose_has_no_faults() -> None:
    config = load(ROOT / "compose" / "linkspan.yaml", plugins=PLUGINS, environment={}).config
    assert isinstance(config.bus, KafkaBus)
