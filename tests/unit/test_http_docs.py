"""The page for people: it says all that the description says, and its examples are true."""

from __future__ import annotations

import re
import shlex
from html import unescape

import pytest

from gateway.query import Query
from protocols.http.docs import EXAMPLES, STARTS, html
from protocols.http.openapi import CODES, document
from tests.unit.http_support import client, house

pytestmark = pytest.mark.timeout(20)


async def test_it_is_served_for_machines_and_people() -> None:
    async with house() as made, client(made) as web:
        told = await web.get("/v1/openapi.json")
        assert (told.status, (await told.json())["openapi"]) == (200, "3.1.0")
        page = await web.get("/v1/docs")
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        text = await page.text()
        assert all(f'id="{code}"' in text for code in CODES), "the type of every problem leads to its explanation"


def test_the_page_escapes_what_it_shows() -> None:
    odd = {"info": {"description": "<script>"}, "paths": {"/<b>": {"get": {"operationId": "<u>", "summary": "<i>"}}}}
    assert not re.search(r"<script>|<b>|<i>|<u>", html(odd))


def test_every_operation_and_parameter_stands_on_it() -> None:
    described = document()
    text = html(described)
    for path, item in described["paths"].items():
        for operation in (found for name, found in item.items() if name != "parameters"):
            assert f'id="{operation["operationId"]}"' in text
            assert f'href="#{operation["operationId"]}"' in text
            for each in operation.get("parameters", ()):
                assert f"<code>{each['name']}</code>" in text, path
    assert "401" in text[text.index('id="unauthenticated"') :][:100]
    assert all(unescape(start) in text for start, _ in STARTS)


def test_examples_belong_to_operations_and_use_parameters_that_exist() -> None:
    described = document()
    operations = {
        operation["operationId"]: operation
        for item in described["paths"].values()
        for name, operation in item.items()
        if name != "parameters"
    }
    assert set(EXAMPLES) <= set(operations)
    for id, example in EXAMPLES.items():
        names = [each["name"] for each in operations[id].get("parameters", ())]
        for word in shlex.split(example.replace("{url}", "http://h"), comments=True):
            if word.startswith("http://h/"):
                Query(word.partition("?")[2], names, repeated=("from",))
