"""What a test cannot have here: skipped with the reason on a developer's machine, a failure in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lack(reason: object) -> NoReturn:
    """End the test. In CI nothing is skipped for want of a program: `.ci/system` installs them all."""
    if os.environ.get("CI"):
        pytest.fail(f"this cannot be tested here: {reason}", pytrace=False)
    pytest.skip(str(reason))
