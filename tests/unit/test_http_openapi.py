"""The description is served, and true."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.config.model import Limits
from protocols.http.openapi import document
from protocols.http.plugin import HttpSettings
from protocols.http.server import Door
from tests.unit.http_support import House, client, house

pytestmark = pytest.mark.timeout(20)
METHODS = ("get", "put", "post", "patch", "delete")


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for member in value.values() for found in references(member)]
    return [found for member in value for found in references(member)] if isinstance(value, list) else []


async def test_it_names_the_paths_and_methods_that_are_served() -> None:
    served = {
        path: {method.lower() for method in handlers if method != "HEAD"}
        for path, handlers in Door(HttpSettings(), House(Limits())).table.items()
    }
    described = {path: {name for name in item if name in METHODS} for path, item in document()["paths"].items()}
    assert described == served


async def test_it_names_the_parameters_that_are_understood() -> None:
    async with house() as made, client(made) as web:
        for path, item in document()["paths"].items():
            for method in METHODS:
                operation = item.get(method)
                if operation is None or path == "/v1/docs":
                    continue
                url = path.replace("{topic}", "t").replace("{id}", "none")
                answer = await web.request(method, url, params={"no-such-parameter": "1"})
                told = await answer.json(content_type=None)
                assert (answer.status, told["code"]) == (400, "invalid_request"), (method, path)
                understood = set(re.findall(r"there (?:is|are) (.*)$", told["detail"])) or {""}
                listed = {name for text in understood for name in text.split(", ") if name}
                named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
                assert listed == named, (method, path)


def test_every_reference_leads_somewhere() -> None:
    described = document()
    for reference in references(described):
        place: Any = described
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    operations = [
        item[method]["operationId"] for item in described["paths"].values() for method in METHODS if method in item
    ]
    assert len(operations) == len(set(operations))
