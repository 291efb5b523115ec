"""JavaScript clients for tests: Node.js runs them, npm fetches their libraries once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "node"
PACKAGE = FOLDER / "package.json"


class NodeMissing(Exception):
    """No JavaScript can be run here; the message says what to install."""


def modules() -> Path:
    """The folder with `node_modules`, fetched with npm on first use. Raises NodeMissing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NodeMissing(f"{program} is missing: apt-get install nodejs npm")
    wanted = json.loads(PACKAGE.read_text())["dependencies"]
    name = "-".join(["node", *(f"{package}-{version}" for package, version in wanted.items())])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "linkspan" / name
    if cache.is_dir():
        return cache
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as work:
        shutil.copy(PACKAGE, work)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise NodeMissing(f"npm could not fetch {wanted}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
        if not cache.is_dir():  # another run may have been quicker
            shutil.copytree(work, cache)
    return cache


def run(script: str, *arguments: str, timeout: float = 30.0) -> Any:
    """Run a script of the folder `node`; what it prints, as JSON. Raises NodeMissing."""
    environment = os.environ | {"MODULES": str(modules())}
    command = ["node", str(FOLDER / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)
    if done.returncode:
        raise AssertionError(f"{script} failed: {done.stderr}")
    return json.loads(done.stdout)
