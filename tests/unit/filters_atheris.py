"""`python -m tests.unit.filters_atheris SECONDS`: atheris looks for texts that reach new branches."""

from __future__ import annotations

import importlib
import sys
from typing import Any

atheris: Any = importlib.import_module("atheris")  # it has no types

with atheris.instrument_imports(include=["routing"]):
    from tests.unit.filters_fuzz import check_bytes


def main(seconds: str) -> None:
    flags = [f"-max_total_time={seconds}", "-max_len=600", "-timeout=20", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *flags], check_bytes)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1])
