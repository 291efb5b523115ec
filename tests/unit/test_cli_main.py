"""gateway/cli/main.py, later.py, version.py, check_config.py: the command as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.later import LATER
from gateway.cli.main import main
from tests.unit.cli_support import run

HEAVY = ("aiohttp", "aiokafka", "pydantic", "psutil", "uvloop", "structlog", "rich")


def test_help_lists_the_commands_and_hides_what_is_to_come(capsys: Any) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("up", "demo", "check-config", "publish", "subscribe", "topics", "routes", "log", "bench", "version"):
        assert f"\n  {name} " in out
    for name in LATER:
        assert f"\n  {name} " not in out


@pytest.mark.parametrize("words", [[name] for name in LATER] + [["policy", "explain", "f.yaml", "--flag", "--json"]])
def test_what_is_to_come_says_so(capsys: Any, words: list[str]) -> None:
    code, _, err = run(capsys, *words)
    assert code == 1
    assert "does not have" in err
    if "--json" in words:
        assert json.loads(err)["error"]["code"] == "not_available"


@pytest.mark.parametrize("words", [["nonsense"], ["publish"], ["topics", "nonsense"], ["subscribe", "t", "-n", "0"]])
def test_wrong_use_is_exit_code_2(capsys: Any, words: list[str]) -> None:
    assert run(capsys, *words)[0] == 2


def test_nobody_there_is_exit_code_3(capsys: Any) -> None:
    code, _, err = run(capsys, "topics", "ls", "--url", "http://127.0.0.1:1")
    assert code == 3
    assert "cannot connect to http://127.0.0.1:1" in err


def test_the_url_comes_from_the_environment(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINKSPAN_URL", "http://127.0.0.1:2")
    assert "http://127.0.0.1:2" in run(capsys, "topics", "ls")[2]


def test_starting_loads_nothing_that_is_slow() -> None:
    code = f"import sys, gateway.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_the_module_runs_as_a_program() -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", "gateway.cli.main", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    assert time.monotonic() - began < 10


def test_main_is_the_console_script(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["linkspan", "version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("linkspan ")


def test_the_version_names_the_installed_doors(capsys: Any) -> None:
    told = json.loads(run(capsys, "version", "--json")[1])
    assert "http" in told["doors"]
    assert told["aiokafka"] == "0.14.0"


def test_a_faulty_configuration_lists_all_its_faults(capsys: Any, tmp_path: Path) -> None:
    file = tmp_path / "linkspan.yaml"
    file.write_text("naem: x\nbus: {kind: embeded}\nlimits: {body: 1 apple}\n")
    code, _, err = run(capsys, "check-config", str(file))
    assert code == 2
    assert "3 faults" in err
    for number, hint in ((1, "name"), (2, "embedded"), (3, "body")):
        assert f"linkspan.yaml:{number}: " in err
        assert hint in err


def test_a_good_configuration_says_what_is_off(capsys: Any, tmp_path: Path) -> None:
    file = tmp_path / "linkspan.yaml"
    file.write_text("name: x\n")
    code, out, _ = run(capsys, "check-config", str(file))
    assert code == 0
    assert "no faults" in out
    told = json.loads(run(capsys, "check-config", str(file), "--json")[1])
    assert told["ok"] is True


def test_a_missing_file_is_a_fault_too(capsys: Any, tmp_path: Path) -> None:
    code, _, err = run(capsys, "check-config", str(tmp_path / "none.yaml"))
    assert code == 2
    assert "none.yaml" in err
