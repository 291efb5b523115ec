"""Keep the locked requirement files in step with pyproject.toml.

`lock.py write` stamps each lock with a digest of what it was made from; `lock.py check`
compares the digests and needs no network. `make lock` makes the locks and stamps them.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.txt", "requirements-dev.txt")
MARK = "# made from: sha256:"


def digest() -> str:
    """A digest of every requirement that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        project["project"]["requires-python"],
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        project["dependency-groups"],
    ]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def write() -> int:
    head = f"# Locked by `make lock`; do not edit.\n{MARK}{digest()}\n"
    for name in LOCKS:
        path = ROOT / name
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        path.write_text(head + "\n".join(lines) + "\n")
    return 0


def check() -> int:
    stale = [name for name in LOCKS if f"{MARK}{digest()}\n" not in (ROOT / name).read_text()]
    for name in stale:
        print(f"{name} was not made from this pyproject.toml: run `make lock`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit({"write": write, "check": check}[sys.argv[1]]())
