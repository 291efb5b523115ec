"""The parser and compiler of expressions against texts made by chance."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.unit.filters_fuzz import PIECES, check, check_bytes

SECONDS = 240
dialects = st.sampled_from(["cesql", "expr"])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30), dialects, st.booleans(), st.sampled_from(["", " "]))
def test_pieces_in_any_order_are_refused_with_a_place_or_evaluated(
    pieces: list[str], dialect: str, strict: bool, between: str
) -> None:
    check(between.join(pieces), "expr" if dialect == "expr" else "cesql", strict)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), dialects, st.booleans())
def test_any_text_is_refused_with_a_place_or_evaluated(text: str, dialect: str, strict: bool) -> None:
    check(text, "expr" if dialect == "expr" else "cesql", strict)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_the_bytes_of_the_fuzzer_find_nothing_here(data: bytes) -> None:
    check_bytes(data)


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 120)
def test_a_coverage_guided_fuzzer_finds_nothing() -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: NOT FUZZED by coverage (pip install atheris)")
    command = [sys.executable, "-m", "tests.unit.filters_atheris", str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 100, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
