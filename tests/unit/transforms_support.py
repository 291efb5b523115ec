"""Events, tables and schemas that the tests of transforms share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from routing.attributes import Value
from routing.errors import InvalidTransform
from routing.schemas.schema import Schema
from routing.transforms import StepFailed, Transform, compile_transform

ATTRIBUTES: dict[str, Value] = {
    "id": "1",
    "source": "/desk",
    "type": "trade",
    "specversion": "1.0",
    "datacontenttype": "application/json",
    "subject": "equities/AAPL",
    "symbol": "AAPL",
}
TRADE = (
    b'{"symbol":"AAPL","price":187.50,"volume":12345678901234567890,"account":"ACC-1",'
    b'"legs":[{"px":1.10,"q":5},{"px":2}]}'
)


class Rows:
    """A table `instruments`."""

    def __init__(self, rows: Mapping[str, dict[str, Any]]) -> None:
        self.rows = dict(rows)

    def known(self, table: str) -> bool:
        return table == "instruments"

    def get(self, table: str, key: str) -> dict[str, Any] | None:
        assert table == "instruments"
        return self.rows.get(key)


class Catalogue:
    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self._schemas = schemas

    def get(self, name: str) -> Schema | None:
        return self._schemas.get(name)


def transform(*steps: Any, **context: Any) -> Transform:
    return compile_transform(steps, **context)


def data_of(data: bytes, *steps: Any, content_type: str = "application/json", **context: Any) -> bytes:
    """The payload that comes out."""
    _, result = transform(*steps, **context).apply({**ATTRIBUTES, "datacontenttype": content_type}, data)
    assert result is not None
    return result


def json_of(value: Any, *steps: Any, **context: Any) -> Any:
    return msgspec.json.decode(data_of(msgspec.json.encode(value), *steps, **context))


def attributes_of(*steps: Any, data: bytes | None = TRADE, **context: Any) -> dict[str, Value]:
    return transform(*steps, **context).apply(ATTRIBUTES, data)[0]


def failure(data: bytes | None, *steps: Any, content_type: str = "application/json", **context: Any) -> str:
    """The reason why the only failing step fails; the event stays as it was."""
    attributes = {**ATTRIBUTES, "datacontenttype": content_type}
    before = dict(attributes)
    with pytest.raises(StepFailed) as caught:
        transform(*steps, **context).apply(attributes, data)
    assert attributes == before
    return caught.value.reason


def fault(*steps: Any, **context: Any) -> InvalidTransform:
    with pytest.raises(InvalidTransform) as caught:
        transform(*steps, **context)
    return caught.value
