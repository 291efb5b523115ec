"""Examples that a rule carries: an event (`given`) and what the rule does with it (`expect`). Pure.

They run when a configuration is checked and when it is tested, with nothing but the rule itself.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from routing.attributes import Value, attribute_fault
from routing.batch import Decode, Plain
from routing.filters.faults import kind_of, suggestion
from routing.routes import Outcome, Route, RouteStats, Sent, run

#: What an example need not say.
DEFAULTS: Final[Mapping[str, Value]] = {"specversion": "1.0", "id": "example", "source": "/example", "type": "example"}
_KEYS: Final = ("name", "at", "given", "expect")
_EXPECT: Final = ("matched", "to", "stays", "attributes", "error")
_PAYLOAD: Final = ("data", "data_base64")


class Tried(msgspec.Struct, frozen=True):
    """What a route does with one event. `to` are addresses, `events` what is there: (address, attributes).

    `failed` is the part of the route that failed, such as `when` or `to[0].subject`, and `error` why.
    """

    matched: bool
    stays: bool
    to: list[str]
    events: list[tuple[str, dict[str, Value]]]
    attributes: dict[str, Value]
    failed: str = ""
    error: dict[str, Any] | None = None


class ExampleResult(msgspec.Struct, frozen=True):
    """How one example went; `faults` say what is not as expected, nothing when all is."""

    route: str
    number: int
    name: str
    at: str
    got: str
    faults: list[str]

    @property
    def passed(self) -> bool:
        return not self.faults


def shape_faults(example: object) -> list[tuple[tuple[str | int, ...], str]]:
    """What is wrong with an example as it is written, without running it."""
    if not isinstance(example, Mapping):
        return [((), f"expected a mapping with given and expect, not {kind_of(example)}")]
    faults = _unknown(example, _KEYS, ())
    for key in ("name", "at"):
        if example.get(key) is not None and not isinstance(example[key], str):
            faults.append(((key,), f"expected a text, not {kind_of(example[key])}"))
    for key in ("given", "expect"):
        if key not in example:
            faults.append(((key,), "is required"))
        elif not isinstance(example[key], Mapping):
            faults.append(((key,), f"expected a mapping, not {kind_of(example[key])}"))
    if not faults:
        faults = _given_faults(example["given"]) + _expect_faults(example["expect"])
    return faults


def _unknown(given: Mapping[Any, Any], keys: tuple[str, ...], where: tuple[str, ...]) -> list[Any]:
    return [((*where, str(key)[:80]), f"unknown key{suggestion(str(key), keys)}") for key in given if key not in keys]


def _given_faults(given: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    return [(("given", name), message) for name, message in read_event(given)[2]]


def _expect_faults(expect: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    faults = _unknown(expect, _EXPECT, ("expect",))
    checks = {"matched": bool, "stays": bool, "attributes": Mapping, "error": str}
    for key, type_ in checks.items():
        if key in expect and not isinstance(expect[key], type_):
            words = {bool: "true or false", Mapping: "a mapping", str: "a text"}
            faults.append((("expect", key), f"expected {words[type_]}, not {kind_of(expect[key])}"))
    to = expect.get("to", [])
    if not isinstance(to, str) and not (isinstance(to, list | tuple) and all(isinstance(each, str) for each in to)):
        faults.append((("expect", "to"), "expected a list of addresses"))
    if not expect:
        faults.append((("expect",), f"expects nothing: say one of {', '.join(_EXPECT)}"))
    return faults


def read_event(given: Mapping[str, Any]) -> tuple[dict[str, Value], bytes | None, list[tuple[str, str]]]:
    """Attributes, data and faults of an event as a person writes it: in the JSON format of CloudEvents,
    without what does not matter. Numbers with a fraction are attributes too: they become text."""
    attributes = dict(DEFAULTS)
    faults = []
    for name, value in given.items():
        if name in _PAYLOAD or value is None:
            continue
        read = repr(value) if isinstance(value, float) else value
        fault = attribute_fault(str(name), read)
        if fault:
            faults.append((str(name)[:80], fault))
        else:
            attributes[name] = read
    data, broken = _data(given, attributes)
    if broken:
        faults.append(broken)
    return attributes, data, faults


def _data(given: Mapping[str, Any], attributes: dict[str, Value]) -> tuple[bytes | None, tuple[str, str] | None]:
    if given.get("data_base64") is not None:
        if given.get("data") is not None:
            return None, ("data_base64", "excludes data: only one of the two may be there")
        try:
            return a2b_base64(str(given["data_base64"]).encode("ascii"), strict_mode=True), None
        except (Base64Error, UnicodeError):
            return None, ("data_base64", "is not a string in base64")
    if "data" not in given:
        return None, None
    kind = str(attributes.setdefault("datacontenttype", "application/json"))
    if isinstance(given["data"], str) and not kind.partition(";")[0].strip().endswith("json"):
        return given["data"].encode("utf-8", "replace"), None
    try:
        return msgspec.json.encode(given["data"]), None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return None, ("data", f"cannot be written as JSON: {error}")


def home_of(route: Route) -> str:
    """The topic of an example that does not say where its event is."""
    return next((source.topic for source in route.sources if source.topic not in ("*", "**")), "example")  # type: ignore[return-value]  # what is read has no holes


def try_route(
    route: Route, topic: str, attributes: dict[str, Value], data: bytes | None, decode: Decode | None = None
) -> Tried:
    """One event, which is in `topic`, through one route; nothing is counted but in the route's own filter."""
    subject = attributes.get("subject")
    if not route.covers(topic, None if subject is None else str(subject)):
        return Tried(False, True, [], [], attributes, "from", None)
    event = Plain(attributes, data)
    outcome = run([(route, None, RouteStats())], [event], topic, None, decode)
    stays = bool(outcome.kept)
    if outcome.failed:
        failed = outcome.failed[0][1]
        error = {"kind": "generic", "message": failed.reason, "position": None}
        return Tried(True, stays, [], [], attributes, failed.at, error)
    if not outcome.sent and not outcome.changed:
        return Tried(False, True, [], [], attributes, "when", _when_error(route, event, decode))
    events = [(_address(sent), sent.attributes) for _, sent in outcome.sent]
    return Tried(True, stays, [at for at, _ in events], events, _shown(outcome, attributes))


def _shown(outcome: Outcome, attributes: dict[str, Value]) -> dict[str, Value]:
    """The event as it is afterwards: where it is, or at its first target."""
    if outcome.changed:
        return outcome.changed[0]
    return outcome.sent[0][1].attributes if outcome.sent else attributes


def _when_error(route: Route, event: Plain, decode: Decode | None) -> dict[str, Any] | None:
    if route.when is None:
        return None
    error = route.when.explain(event, decode)[0].get("error")
    return error if isinstance(error, dict) else None


def _address(sent: Sent) -> str:
    subject = sent.attributes.get("subject")
    return sent.topic if subject is None else f"{sent.topic}/{subject}"


def run_example(route: Route, number: int) -> ExampleResult:
    """Run one of the route's own examples, whose shape was checked."""
    example = route.examples[number]
    attributes, data, _ = read_event(example["given"])
    topic, slash, subject = str(example.get("at") or home_of(route)).partition("/")
    if slash:
        attributes["subject"] = subject
    tried = try_route(route, topic, attributes, data)
    at = topic if "subject" not in attributes else f"{topic}/{attributes['subject']}"
    name = str(example.get("name") or f"example {number + 1}")
    return ExampleResult(route.name, number, name, at, _told(route, tried), _differences(example["expect"], tried))


def run_examples(route: Route) -> list[ExampleResult]:
    """All examples of a route, in their order."""
    return [run_example(route, number) for number in range(len(route.examples))]


def _told(route: Route, tried: Tried) -> str:
    """What happened, in a few words."""
    if tried.error is not None:
        return f"error in {tried.failed}: {tried.error['message']}"
    if not tried.matched:
        return "not matched" if tried.failed == "when" else f"not matched: not under {tried.failed}"
    if not tried.to:
        return "set " + ", ".join(f"{name}={tried.attributes[name]}" for name in route.sets)
    return f"{route.action} to {', '.join(tried.to)}"


def _differences(expect: Mapping[str, Any], tried: Tried) -> list[str]:
    """What is not as expected. A `when` that fails is no match, which is an error unless none is expected."""
    found = []
    matched = expect.get("matched", True if "to" in expect or "attributes" in expect else tried.matched)
    if tried.matched != matched:
        found.append(f"expected {'a match' if matched else 'no match'}, got {'one' if tried.matched else 'none'}")
    if "to" in expect:
        to = [expect["to"]] if isinstance(expect["to"], str) else list(expect["to"])
        if sorted(to) != sorted(tried.to):
            found.append(f"expected to: {', '.join(to) or 'nowhere'}; got {', '.join(tried.to) or 'nowhere'}")
    if "stays" in expect and expect["stays"] != tried.stays:
        found.append(f"expected that it {'stays' if expect['stays'] else 'leaves'} its topic, it does not")
    for name, value in expect.get("attributes", {}).items():
        wanted = repr(value) if isinstance(value, float) else value
        got = tried.attributes.get(name)
        if got != wanted:
            found.append(f"expected {name}: {wanted}; got {'none' if got is None else got}")
    return found + _error_differences(expect, tried)


def _error_differences(expect: Mapping[str, Any], tried: Tried) -> list[str]:
    message = None if tried.error is None else str(tried.error["message"])
    if "error" in expect:
        if message is None or expect["error"] not in message:
            return [f"expected an error with {expect['error']!r}; got {message or 'none'}"]
    elif message is not None and (tried.matched or expect.get("matched") is not False):
        return [f"error in {tried.failed}: {message}"]
    return []
