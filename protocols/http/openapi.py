"""The description of the door, OpenAPI 3.1: what `/v1/openapi.json` serves and `/v1/docs` is made of.

A test holds it to what is served: the same paths, methods and parameters.
"""

from __future__ import annotations

from typing import Any

from gateway.plugin import KINDS, LEVELS, ON_INVALID, PROBLEM
from protocols.http.binding import BATCH, STRUCTURED
from protocols.http.sse import CONTENT_TYPE as STREAM
from protocols.http.topics import CLEANUP, COMPRESSION, LATER, READ_ONLY

Json = dict[str, Any]

CODES: dict[str, str] = {
    "invalid_request": "The request itself is wrong; faults says where.",
    "invalid_event": "A malformed CloudEvent, or one that a validator refuses. Nothing of the request was stored.",
    "invalid_address": "An illegal topic name, subject or pattern.",
    "invalid_position": "A start position or cursor that cannot be read.",
    "invalid_setting": "Settings of a topic or schema that cannot hold.",
    "invalid_filter": "A filter, or an expression of one, that cannot be used; caret shows the place.",
    "invalid_transform": "A transform that cannot be used; faults says which step.",
    "invalid_schema": "A schema that cannot be used; position and caret show the place, where it is known.",
    "not_available": "A part that this version does not have yet (400 for a parameter, 501 for a path).",
    "unauthenticated": "Credentials are missing or cannot be verified.",
    "forbidden": "The client may not do this.",
    "host_not_allowed": "The Host header names a host that this listener does not answer to.",
    "origin_not_allowed": "Pages of this origin may not use this listener.",
    "not_found": "There is no such path or connection.",
    "unknown_topic": "The topic does not exist.",
    "unknown_schema": "The schema, or this version of it, does not exist.",
    "method_not_allowed": "The path has no such method; see Allow.",
    "not_acceptable": "None of the answer's media types is acceptable.",
    "request_timeout": "The request did not arrive in time.",
    "conflict": "It exists already, or changed meanwhile.",
    "topic_exists": "The topic exists already.",
    "incompatible_schema": "The version breaks the schema's level of compatibility; faults say where.",
    "cursor_expired": "The cursor's topic was deleted and made anew.",
    "offset_out_of_range": "The position is outside of what the log holds.",
    "too_large": "A body, batch or event above its limit.",
    "unsupported_content": "A media type, event format, charset or content encoding that is not understood.",
    "expectation_failed": "An Expect header other than 100-continue.",
    "limit_exceeded": "Over a rate or a bound; try again after Retry-After.",
    "headers_too_large": "The request line and headers are above their limit.",
    "internal": "A defect in the gateway; its log says what happened.",
    "corrupt_data": "Stored data failed its checksum and is not served.",
    "unavailable": "The gateway cannot serve this now; try again after Retry-After.",
    "bus_unavailable": "The log is out of reach; nothing was stored.",
    "disk_full": "The log has no room; nothing was stored.",
    "draining": "The gateway is shutting down; go to another instance, or come back.",
    "outcome_unknown": "The log failed half way: positions holds what is known to be stored (null where unknown).",
}


def _parameter(name: str, where: str, description: str, schema: Json, required: bool = False) -> Json:
    return {"name": name, "in": where, "description": description, "required": required, "schema": schema}


def _ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def _json(schema: Json, media: str = "application/json") -> Json:
    return {media: {"schema": schema}}


_TEXT: Json = {"type": "string"}
_NUMBERS: Json = {"type": "array", "items": {"type": "integer", "minimum": 1}}
_LEVEL: Json = {"enum": list(LEVELS)}
_PLACE: Json = {"type": "array", "items": {"type": "integer"}, "description": "[partition, offset]"}
_SHOWN = "May be given as GET shows it, and is not changed."
_TOPIC = _parameter("topic", "path", "A topic name.", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}$"}, True)
_START = _parameter(
    "start", "query", "latest, earliest, an RFC 3339 time with Z, -5m, last:10, or a cursor. "
    "Pages start at earliest, streams at latest.", _TEXT,
)  # fmt: skip
_FILTER = _parameter("filter", "query", "An expression; not available in this version.", _TEXT)
_LIMIT = _parameter(
    "limit",
    "query",
    "How many matching events. A page has 100 by default, and may end earlier, at about 4 MiB; "
    "a stream ends after so many, and without a limit never.",
    {"type": "integer", "minimum": 1},
)
_WAIT = _parameter(
    "wait",
    "query",
    "Pages only: how long to wait for the first event when there is none, such as 30s; at most 60s.",
    _TEXT,
)
_RESUME = _parameter("Last-Event-ID", "header", "Streams only: the cursor to resume after. It wins over start.", _TEXT)
_READING = [_START, _FILTER, _LIMIT, _WAIT, _RESUME]
_EVENTS: Json = {
    "description": "A page of events, or a live stream, as Accept says.",
    "headers": {
        "Linkspan-Cursor": {"description": "Pages: the start of the next page.", "schema": _TEXT},
        "Link": {"description": "Pages: the next page, rel=next.", "schema": _TEXT},
        "Linkspan-Gap": {"description": "Pages: events that will not come, as a JSON array.", "schema": _TEXT},
    },
    "content": {
        BATCH: {"schema": {"type": "array", "items": _ref("schemas", "CloudEvent")}},
        STREAM: {"schema": {"type": "string", "description": "One CloudEvent in data, its cursor in id."}},
        "application/json": {"schema": {"type": "array", "items": _ref("schemas", "CloudEvent")}},
    },
}


def _operation(id: str, summary: str, ok: Json, **more: Any) -> Json:
    return {"operationId": id, "summary": summary, "responses": {**ok, "default": _ref("responses", "Problem")}, **more}


def _ok(description: str, schema: Json) -> Json:
    return {"200": {"description": description, "content": _json(schema)}}


def _topic_answer(description: str) -> Json:
    return {"description": description, "content": _json(_ref("schemas", "Topic"))}


def _settings_body() -> Json:
    return {"content": _json(_ref("schemas", "TopicSettings"))}


def _paths() -> Json:
    listed = {"type": "object", "properties": {"topics": {"type": "array", "items": _ref("schemas", "Topic")}}}
    connections = {
        "type": "object",
        "properties": {"connections": {"type": "array", "items": _ref("schemas", "Connection")}},
    }
    stored = {"200": {"description": "The bus has them.", "content": _json(_ref("schemas", "Published"))}}
    gone = {"204": {"description": "Done."}}
    event = _ref("schemas", "CloudEvent")
    body: Json = {
        "description": "Structured, batch, binary (ce- headers), or any other content as the data of a new event.",
        "content": {
            STRUCTURED: {"schema": event},
            BATCH: {"schema": {"type": "array", "items": event}},
            "*/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    subject = _parameter("subject", "query", "Supplies a missing subject, and must equal a present one.", _TEXT)
    pattern = _parameter("subject", "query", "A pattern: * is one segment, ** any number.", _TEXT)
    sources = _parameter(
        "from",
        "query",
        "An address pattern such as signals/**; may be repeated.",
        {"type": "array", "items": _TEXT},
        True,
    )
    id = _parameter("id", "path", "A connection's identifier.", _TEXT, True)
    name = _parameter("name", "path", "A schema's name.", _TEXT, True)
    version = _parameter("version", "path", "A version's number, or latest.", _TEXT, True)
    schemas = {"type": "object", "properties": {"schemas": {"type": "array", "items": _ref("schemas", "SchemaInfo")}}}
    numbers = {"type": "object", "properties": {"name": _TEXT, "versions": _NUMBERS}}
    one = _ref("schemas", "SchemaVersion")
    return {
        "/v1/topics": {
            "get": _operation("listTopics", "All topics.", _ok("Topics.", listed)),
        },
        "/v1/topics/{topic}": {
            "parameters": [_TOPIC],
            "get": _operation("getTopic", "One topic.", {"200": _topic_answer("The topic.")}),
            "put": _operation(
                "putTopic", "Make a topic, or bring it to these settings.",
                {"200": _topic_answer("It existed."), "201": _topic_answer("It was made.")},
                requestBody=_settings_body(),
            ),
            "patch": _operation(
                "patchTopic", "Change what is named.", {"200": _topic_answer("Changed.")}, requestBody=_settings_body()
            ),
            "delete": _operation("deleteTopic", "Delete a topic with all its events.", gone),
        },
        "/v1/topics/{topic}/events": {
            "parameters": [_TOPIC],
            "post": _operation(
                "publish", "Publish events: all or none of a request is valid; answered when they are stored.", stored,
                parameters=[subject], requestBody=body,
            ),
            "get": _operation("readTopic", "Read a topic.", {"200": _EVENTS}, parameters=[pattern, *_READING]),
        },
        "/v1/events": {
            "get": _operation("readEvents", "Read several topics.", {"200": _EVENTS}, parameters=[sources, *_READING])
        },
        "/v1/schemas": {"get": _operation("listSchemas", "All schemas.", _ok("Schemas.", schemas))},
        "/v1/schemas/{name}": {
            "parameters": [name],
            "get": _operation("getSchema", "One schema.", _ok("The schema.", _ref("schemas", "SchemaInfo"))),
            "patch": _operation(
                "patchSchema", "Set the level of compatibility.", _ok("Changed.", _ref("schemas", "SchemaInfo")),
                requestBody={"content": _json({"type": "object", "properties": {"compatibility": _LEVEL}})},
            ),
            "delete": _operation("deleteSchema", "Delete a schema that no topic uses, with all versions.", gone),
        },
        "/v1/schemas/{name}/versions": {
            "parameters": [name],
            "get": _operation("listVersions", "The numbers of its versions.", _ok("Versions.", numbers)),
            "post": _operation(
                "addVersion", "Add a version, if it is compatible with the latest one.",
                {**_ok("It is the latest one.", one), "201": {"description": "Added.", "content": _json(one)}},
                requestBody={"content": _json(_ref("schemas", "NewVersion"))},
            ),
        },
        "/v1/schemas/{name}/versions/{version}": {
            "parameters": [name, version],
            "get": _operation("getVersion", "One version.", _ok("The version.", one)),
        },
        **_routing(),
        "/v1/connections": {
            "get": _operation("listConnections", "Clients of every protocol.", _ok("Connections.", connections))
        },
        "/v1/connections/{id}": {
            "parameters": [id],
            "delete": _operation("disconnect", "Cut a connection.", gone),
        },
        "/v1/openapi.json": {"get": _operation("openapi", "This description.", _ok("OpenAPI 3.1.", {}))},
        "/v1/docs": {"get": _operation("docs", "The same for people.", {"200": {"description": "A page."}})},
    }  # fmt: skip


def _routing() -> Json:
    several: Json = {"type": "array", "items": {"type": ["object", "string"]}}
    event = {"type": "object", "description": "A CloudEvent; nothing of it is required."}
    expression: Json = {
        "type": "object",
        "properties": {"dialect": {"enum": ["cesql", "expr"]}, "expression": _TEXT, "event": event},
        "required": ["expression"],
        "additionalProperties": False,
    }
    rules: Json = {
        "type": "object",
        "properties": {
            "event": event,
            "filters": several,
            "transform": several,
            "route": {"type": "object"},
            "topic": {"type": "string", "description": "Where the event is, for a route that reads from several."},
        },
        "required": ["event"],
        "additionalProperties": False,
    }
    listed = {
        name: {"type": "object", "properties": {name: {"type": "array", "items": _ref("schemas", schema)}}}
        for name, schema in (("routes", "Route"), ("workflows", "Workflow"))
    }
    return {
        "/v1/routes": {"get": _operation("listRoutes", "All routes, with counters.", _ok("Routes.", listed["routes"]))},
        "/v1/workflows": {
            "get": _operation(
                "listWorkflows", "All workflows, with counters.", _ok("Workflows.", listed["workflows"])
            )
        },
        "/v1/routing/evaluate": {
            "post": _operation(
                "evaluate", "The value of an expression for an event. What is wrong with it is an answer as well.",
                _ok("The value, or false and the error.", _ref("schemas", "Evaluated")),
                requestBody={"content": _json(expression)},
            )
        },
        "/v1/routing/try": {
            "post": _operation(
                "tryRules", "One event through filters, a transform, a route; nothing is stored.",
                _ok("What comes out, or where it ends.", _ref("schemas", "Tried")),
                requestBody={"content": _json(rules)},
            )
        },
    }  # fmt: skip


def _routing_schemas() -> Json:
    error: Json = {
        "type": "object",
        "properties": {
            "kind": _TEXT,
            "message": _TEXT,
            "position": {"type": ["integer", "null"], "description": "Characters from the start of the text."},
            "caret": {"type": "string", "description": "The text, and a caret under the place."},
        },
    }
    counters = {"type": "object", "additionalProperties": {"type": "number"}}
    return {
        "Route": {"type": "object", "properties": {"name": _TEXT, "from": {}, "to": {}, "counters": counters}},
        "Workflow": {
            "type": "object",
            "properties": {
                "name": _TEXT,
                "topic": _TEXT,
                "description": _TEXT,
                "routes": {"type": "array", "items": _TEXT},
                "counters": counters,
            },
        },
        "Evaluated": {
            "type": "object",
            "properties": {"value": {}, "error": {"anyOf": [error, {"type": "null"}]}},
            "required": ["value", "error"],
        },
        "Tried": {
            "type": "object",
            "properties": {
                "passed": {"type": "boolean"},
                "event": {"anyOf": [_ref("schemas", "CloudEvent"), {"type": "null"}]},
                "to": {"type": "array", "items": _TEXT, "description": "Addresses that a route sends it to."},
                "stays": {"type": "boolean", "description": "Whether it stays in its topic under a route."},
                "failed_step": {"type": "string", "examples": ["filters[0]", "transform[1].mask", "route.when"]},
                "error": error,
            },
            "required": ["passed", "event"],
        },
    }


def _schemas() -> Json:
    retention = {
        "type": "object",
        "properties": {
            "time": {"type": ["string", "integer"], "examples": ["7d", "unlimited", -1]},
            "bytes": {"type": ["string", "integer"], "examples": ["10GiB", "unlimited", -1]},
        },
    }
    settings: Json = {
        "partitions": {"type": "integer", "minimum": 1},
        "replication": {"type": "integer", "minimum": 1},
        "retention": retention,
        "cleanup": {"enum": list(CLEANUP)},
        "compression": {"enum": list(COMPRESSION)},
        "defaults": {"type": "object", "properties": {"type": {"type": ["string", "null"]}}},
        "schema": {
            "type": "object",
            "description": "What the data of events must be; {} takes it away.",
            "properties": {
                "name": _TEXT,
                "version": {"oneOf": [{"const": "latest"}, {"type": "integer", "minimum": 1}]},
                "on_invalid": {"enum": list(ON_INVALID)},
                "divert_to": {"type": "string", "description": "The topic that takes invalid events."},
            },
        },
    }
    required = ("id", "source", "type")
    text: Json = {"type": "string", "minLength": 1}
    return {
        "TopicSettings": {
            "type": "object",
            "properties": {
                **settings,
                **{name: {"description": "Not available yet."} for name in LATER},
                **{name: {"type": "string", "readOnly": True, "description": _SHOWN} for name in READ_ONLY},
            },
            "additionalProperties": False,
        },
        "Topic": {"type": "object", "properties": {"name": _TEXT, **settings, "max_event": _TEXT, "epoch": _TEXT}},
        "Published": {
            "type": "object",
            "properties": {
                "count": {"type": "integer"},
                "positions": {
                    "type": "array",
                    "items": {
                        "type": ["array", "null"],
                        "items": {"type": "integer"},
                        "description": "[partition, offset]; null where the event was diverted, or moved by a route.",
                    },
                },
                "diverted": {"type": "array", "items": _ref("schemas", "Diverted")},
            },
            "required": ["count", "positions"],
        },
        "Diverted": {
            "type": "object",
            "description": "An event that is not what the topic's schema says, and where it went.",
            "properties": {
                "index": {"type": "integer"}, "topic": _TEXT, "position": _PLACE, "reason": _TEXT,
            },
        },
        "SchemaInfo": {
            "type": "object",
            "properties": {"name": _TEXT, "compatibility": _LEVEL, "versions": _NUMBERS},
        },
        "NewVersion": {
            "type": "object",
            "properties": {
                "kind": {"enum": list(KINDS)},
                "schema": {"description": "The schema itself, or its text as a string."},
                "message": {"type": "string", "description": "Protobuf: the message, where there are several."},
                "compatibility": _LEVEL,
            },
            "required": ["kind", "schema"],
            "additionalProperties": False,
        },
        "SchemaVersion": {
            "type": "object",
            "properties": {
                "name": _TEXT, "version": {"type": "integer"}, "kind": {"enum": list(KINDS)}, "message": _TEXT,
                "schema": {}, "created": _TEXT,
            },
        },
        "CloudEvent": {
            "type": "object",
            "description": "CloudEvents 1.0.2, JSON format.",
            "properties": {
                "specversion": {"const": "1.0"},
                **dict.fromkeys(required, text),
                "data": {},
                "data_base64": {"type": "string", "contentEncoding": "base64"},
            },
            "required": ["specversion", *required],
            "additionalProperties": {"type": ["string", "integer", "boolean", "null"]},
        },
        "Connection": {
            "type": "object",
            "properties": dict.fromkeys(("id", "protocol", "peer", "principal", "since"), _TEXT),
        },
        **_routing_schemas(),
        "Problem": {
            "type": "object",
            "description": "RFC 9457.",
            "properties": {
                "type": _TEXT,
                "title": _TEXT,
                "status": {"type": "integer"},
                "detail": _TEXT,
                "code": {"enum": sorted(CODES)},
                "retriable": {"type": "boolean"},
                "faults": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"where": _TEXT, "message": _TEXT, "index": {"type": "integer"}},
                    },
                },
            },
            "required": ["type", "title", "status", "detail", "code", "retriable"],
        },
    }  # fmt: skip


def document() -> Json:
    """The OpenAPI document."""
    problem = {"description": "An error; code says which.", "content": _json(_ref("schemas", "Problem"), PROBLEM)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Linkspan HTTP",
            "version": "1",
            "description": "One durable log of CloudEvents: publish, read pages, follow live streams.",
        },
        "servers": [{"url": "/"}],
        "paths": _paths(),
        "components": {"schemas": _schemas(), "responses": {"Problem": problem}},
    }
