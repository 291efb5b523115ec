"""`/v1/docs`: the description for people, one page that loads nothing; and the root that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import msgspec
from aiohttp.web import BaseRequest

from gateway.plugin import (
    STATUS,
    LinkspanError,
    Principal,
    Query,
)
from protocols.http.openapi import CODES, document
from protocols.http.reply import Reply

Json = dict[str, Any]

METHODS = ("get", "put", "post", "patch", "delete")
#: What each operation looks like on a command line.
EXAMPLES = {
    "putTopic": """curl -X PUT {url}/v1/topics/signals -H 'Content-Type: application/json' \\
     -d '{"partitions": 2, "retention": {"time": "7d"}}'""",
    "patchTopic": """curl -X PATCH {url}/v1/topics/signals -H 'Content-Type: application/json' \\
     -d '{"retention": {"time": "30d"}}'""",
    "listTopics": "curl {url}/v1/topics",
    "publish": """# any content is data; say what it is, or curl calls it a form
curl '{url}/v1/topics/signals/events?subject=equities/AAPL' \\
     -H 'Content-Type: application/json' -d '{"price": 189.5}'
# a CloudEvent
curl {url}/v1/topics/signals/events -H 'Content-Type: application/cloudevents+json' \\
     -d '{"specversion": "1.0", "id": "1", "source": "/desk/7", "type": "signal", "data": {"price": 411}}'""",
    "readTopic": """# a page, and the next one by its Link
curl -i '{url}/v1/topics/signals/events?subject=equities/*&limit=10'
# wait for the next event
curl '{url}/v1/topics/signals/events?start=latest&wait=30s'
# a live stream
curl -N -H 'Accept: text/event-stream' '{url}/v1/topics/signals/events?start=-5m'""",
    "readEvents": "curl '{url}/v1/events?from=signals/**&from=news/*&start=-5m'",
    "listRoutes": "curl {url}/v1/routes",
    "evaluate": """curl {url}/v1/routing/evaluate -H 'Content-Type: application/json' \\
     -d '{"expression": "data.price > 100", "event": {"data": {"price": 189.5}}}'""",
    "tryRules": """curl {url}/v1/routing/try -H 'Content-Type: application/json' \\
     -d '{"event": {"data": {"price": 189.5}}, "filters": ["data.price > 200"]}'""",
    "listConnections": "curl {url}/v1/connections",
}
STARTS = (
    ("earliest, latest", "pages begin at earliest, streams at latest"),
    ("2026-01-31T12:00:00Z", "appended at that time or later"),
    ("-5m", "so long ago"),
    ("last:10", "the last ten that match"),
    ("a cursor", "after what was read: Linkspan-Cursor of a page, id of a stream's message"),
)
_URL = "http://127.0.0.1:8080"
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font:14px/1.45 ui-monospace,monospace}"
    "pre{background:#8882;padding:.8rem;border-radius:.4rem;overflow-x:auto}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1rem}td,th{text-align:left;vertical-align:top;"
    "padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884}h2{margin-top:2.5rem}h3{margin:2rem 0 .3rem}"
    "h3 a{color:inherit;text-decoration:none}h4{margin:.8rem 0 0}nav li{margin:.1rem 0}:target{background:#fd03}"
)


def html(document: Json) -> str:
    """The page of an OpenAPI document."""
    operations = list(_operations(document))
    contents = "".join(
        f'<li><a href="#{escape(id)}"><code>{method} {escape(path)}</code></a> {escape(operation["summary"])}</li>'
        for id, method, path, operation, _ in operations
    )
    starts = "".join(_row(f"<code>{escape(start)}</code>", escape(meaning)) for start, meaning in STARTS)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Linkspan HTTP</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>Linkspan HTTP</h1><p>{escape(document['info']['description'])} "
        'For machines: <a href="/v1/openapi.json">openapi.json</a>.</p>'
        f'<nav><ul>{contents}<li><a href="#starts">Start positions and patterns</a></li>'
        '<li><a href="#errors">Errors</a></li></ul></nav>'
        f"{''.join(_section(*each) for each in operations)}"
        f'<h2 id="starts">Start positions and patterns</h2><table>{starts}</table>'
        "<p>In patterns <code>*</code> is one segment and <code>**</code> any number. "
        "A <code>+</code> in a query is a blank.</p>"
        '<h2 id="errors">Errors</h2><p>Errors are problem details (RFC 9457). <code>code</code> is stable, '
        "<code>faults</code> says what is wrong where, and where <code>retriable</code> is true the same request "
        "may succeed after <code>Retry-After</code> seconds.</p><table><tr><th>code<th>status<th>meaning</tr>"
        f"{''.join(_codes())}</table></html>"
    )


def _operations(document: Json) -> Iterator[tuple[str, str, str, Json, list[Json]]]:
    """(anchor, method, path, operation, parameters) of each."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                operation = item[method]
                parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
                yield operation.get("operationId", ""), method.upper(), path, operation, parameters


def _section(id: str, method: str, path: str, operation: Json, parameters: list[Json]) -> str:
    told = "".join(
        _row(
            f"<code>{escape(each['name'])}</code>",
            each["in"] + (", required" if each["required"] else ""),
            escape(each["description"]),
        )
        for each in parameters
    )
    body = operation.get("requestBody", {})
    taken = f"<p>Takes {_media(body)}. {escape(body.get('description', ''))}</p>" if body else ""
    given = "".join(
        _row(f"<code>{escape(status)}</code>", escape(answer["description"]), _media(answer))
        for status, answer in operation.get("responses", {}).items()
        if status != "default"
    )
    example = EXAMPLES.get(id)
    return (
        f'<h3 id="{escape(id)}"><a href="#{escape(id)}"><code>{method} {escape(path)}</code></a></h3>'
        f"<p>{escape(operation['summary'])}</p>"
        + (f"<h4>Parameters</h4><table>{told}</table>" if told else "")
        + taken
        + (f"<h4>Answers</h4><table>{given}</table>" if given else "")
        + (f"<pre>{escape(example.replace('{url}', _URL))}</pre>" if example else "")
    )


def _media(part: Json) -> str:
    return ", ".join(f"<code>{escape(name)}</code>" for name in part.get("content", {}))


def _row(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _codes() -> Iterator[str]:
    statuses: dict[str, set[int]] = {}
    waiting: list[type[LinkspanError]] = [LinkspanError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        statuses.setdefault(kind.code, set()).add(getattr(kind, "status", STATUS[kind.kind]))
    for code, text in CODES.items():
        shown = ", ".join(map(str, sorted(statuses.get(code, ()))))
        yield f'<tr id="{code}"><td><code>{code}</code></td><td>{shown}</td><td>{escape(text)}</td></tr>'


class DocumentPages:
    """The handlers; both documents are made once."""

    def __init__(self) -> None:
        described = document()
        self._json = msgspec.json.encode(described)
        self._html = html(described).encode()

    async def openapi(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        Query(query, ())
        return Reply(200, self._json)

    async def lead(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        return Reply(307, b"", "text/plain", [("Location", "/v1/docs")])

    async def page(self, request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
        policy = ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        return Reply(200, self._html, "text/html; charset=utf-8", [policy])
