"""The house itself: locks, links, the compose file, and what the pages promise."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from gateway.config.load import PluginInfo, load
from gateway.config.model import WebListenerSettings
from gateway.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    pins = re.finditer(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE)
    return {found[1].lower(): found[2] for found in pins}


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.txt", PROJECT["project"]["dependencies"]),
        ("requirements-dev.txt", PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]),
    ],
)
def test_every_requirement_is_locked_within_its_bounds(lock: str, wanted: list[str]) -> None:
    versions = locked(lock)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(versions[requirement.name.lower()]), requirement


def test_both_locks_agree_and_every_line_has_hashes_and_no_host() -> None:
    runtime, dev = locked("requirements.txt"), locked("requirements-dev.txt")
    assert runtime.items() <= dev.items()
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert text.count("--hash=sha256:") >= len(locked(name))


def test_the_locks_were_made_from_this_pyproject() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "lock.py"), "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_changed_requirement_is_noticed(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    for name in (".ci/lock.py", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    text = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(text.replace('"msgspec>=', '"msgspec>=0.0,>='))
    command = [sys.executable, str(tmp_path / ".ci" / "lock.py"), "check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "run `make lock`" in done.stderr


def test_there_is_one_version() -> None:
    assert PROJECT["project"]["version"] == VERSION


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_folder_says_what_it_holds() -> None:
    for folder in ("gateway", "protocols", "auth", "routing", "protos", "tests", "compose", "protocols/websocket"):
        held = [entry for entry in (ROOT / folder).iterdir() if entry.suffix in (".py", ".md") or entry.is_dir()]
        assert held, folder
    for empty in ("routing", "protos", "protocols/mqtt", "protocols/amqp", "protocols/grpc"):
        assert (ROOT / empty / "README.md").read_text().startswith(f"# {empty}\n")


def test_the_compose_file_is_well_formed_and_its_parts_are_there() -> None:
    compose = yaml.safe_load((ROOT / "compose" / "compose.yaml").read_text())
    gateway = compose["services"]["linkspan"]
    assert set(compose["services"]) == {"kafka", "linkspan"}
    assert gateway["depends_on"] == ["kafka"]
    # The configuration serves anonymous clients: nothing is published beyond loopback.
    assert all(port.startswith("127.0.0.1:") for port in gateway["ports"])
    assert (ROOT / "compose" / gateway["build"]["context"] / gateway["build"]["dockerfile"]).is_file()
    for mount in gateway["volumes"]:
        assert (ROOT / "compose" / mount.split(":")[0]).is_file()


def test_the_gateway_of_the_compose_file_has_a_good_configuration() -> None:
    loaded = load(ROOT / "compose" / "linkspan.yaml", plugins={"http": PluginInfo(WebListenerSettings, 8080)})
    assert loaded.config.listeners["http"][0].port == 8080
    assert loaded.config.auth.anonymous


def test_the_image_copies_what_exists() -> None:
    for line in (ROOT / "compose" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source


@pytest.mark.parametrize("script", [".ci/run", ".ci/venv", ".ci/system"])
def test_the_scripts_are_executable_and_parse(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True, timeout=30)


def test_a_python_that_is_too_old_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "id"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tools / name).symlink_to(found)
    command = [str(tools / "bash"), str(ROOT / ".ci" / "venv"), str(old), str(tmp_path / "venv")]
    done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_what_the_tests_need_is_named_when_it_cannot_be_installed(tmp_path: Path) -> None:
    for name in ("bash", "curl"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / name).symlink_to(found)
    (tmp_path / "id").write_text("#!/bin/bash\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    command = [str(tmp_path / "bash"), str(ROOT / ".ci" / "system")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert "maven" in done.stderr
    assert "curl" not in done.stderr.splitlines()[0]
    assert "sudo apt-get install" in done.stderr
