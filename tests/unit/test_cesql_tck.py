"""CESQL v1 against its technology compatibility kit, which lies beside the checkout and is not part of it.

The case `NOT 10` is decided by the specification's cast table (3.7: an integer is a boolean):
false, without an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from routing.batch import Batch, Plain
from routing.errors import InvalidFilter
from routing.filters.compile import compile_cesql
from tests.conftest import CONFORMANCE

FOLDER = Path(os.environ.get("LINKSPAN_CONFORMANCE", CONFORMANCE)) / "cesql_tck"
CASES = 275
BASE = {"specversion": "1.0", "id": "1", "source": "/tck", "type": "tck"}


def _cases() -> Iterator[Any]:
    for file in sorted(FOLDER.glob("*.yaml")):
        text = file.read_text()
        # As it is written, too: `TRUE` is an expression, and a time a string.
        for case, plain in zip(yaml.safe_load(text)["tests"], yaml.load(text, yaml.BaseLoader)["tests"], strict=True):
            yield pytest.param(case, plain, id=f"{file.stem}: {case['name']}")


def _values(case: dict[str, Any], plain: dict[str, Any], key: str) -> dict[str, str | int | bool]:
    values = case.get(key) or {}
    return {name: value if isinstance(value, str | int) else plain[key][name] for name, value in values.items()}


if not FOLDER.is_dir():
    told = f"the CESQL compatibility kit is not at {FOLDER}: NOT TESTED (LINKSPAN_CONFORMANCE names its folder)"
    print(f"WARNING: {told}")  # noqa: T201
    pytest.skip(told, allow_module_level=True)


def test_all_cases_are_there() -> None:
    assert len(list(_cases())) == CASES


@pytest.mark.parametrize(("case", "plain"), list(_cases()))
def test_case(case: dict[str, Any], plain: dict[str, Any]) -> None:
    attributes = {**(_values(case, plain, "event") or BASE), **_values(case, plain, "eventOverrides")}
    result, error = case.get("result"), case.get("error")
    if plain["expression"] == "NOT 10":
        result, error = False, None
    if type(result) not in (str, int, bool, type(None)):
        result = plain["result"]
    if error in ("parse", "missingFunction"):
        with pytest.raises(InvalidFilter) as refused:
            compile_cesql(plain["expression"], strict=False)
        assert (refused.value.kind, result or False) == (error, False)
        return
    expression = compile_cesql(plain["expression"], strict=False)
    value, failed = expression.one(attributes)
    assert (failed.kind if failed else None) == error
    if result is not None:
        assert (value, type(value)) == (result, type(result))
    # A batch says the same.
    places, errors = expression.places(Batch([Plain(attributes)] * 3))
    assert (places, errors) == ([0, 1, 2] if value is True and failed is None else [], 0 if failed is None else 3)
