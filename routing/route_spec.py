"""Reading routes as people write them: everything that is wrong, each with its path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from routing.addresses import Address, parse_address, topic_fault
from routing.attributes import CHECKS, Value, attribute_fault, name_fault
from routing.errors import InvalidFilter, InvalidRoute
from routing.examples import shape_faults
from routing.filters.faults import kind_of, suggestion
from routing.filters.filter import Filter, compile_expr_filter
from routing.routes import HOPS, Action, Route, Target
from routing.templates import Template, Use, parse_template, split_address

Where: TypeAlias = tuple[str | int, ...]

KEYS: Final = ("name", "from", "when", "to", "action", "set", "tags", "on_error", "examples", "description")
ACTIONS: Final[tuple[Action, ...]] = ("copy", "move", "divert")
MAX_LIST: Final = 100
MAX_TAGS: Final = 50
_NAME_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
#: Attributes that say what an event is, or that the gateway sets itself: no tags.
RESERVED: Final = frozenset((*CHECKS, "priority", "authid", "authtype", HOPS, "routename", "routeerror", "routefrom"))


class RouteFault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a route; `where` is the path within it, `position` the place in that text."""

    where: Where
    message: str
    position: int | None = None
    text: str | None = None
    """The text that the position is in."""
    kind: str = "parse"


def path_text(where: Sequence[str | int]) -> str:
    """`("to", 0, "topic")` -> `to[0].topic`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_route(spec: object, workflows: Mapping[str, str]) -> tuple[Route | None, list[RouteFault]]:
    """A route, or all that is wrong with it. `workflows`: their topics by name."""
    reader = _Reader(workflows)
    route = reader.route(spec)
    return (None if reader.faults else route), reader.faults


def compile_route(spec: object, workflows: Mapping[str, str] | None = None, where: str = "route") -> Route:
    """As `read_route`. Raises InvalidRoute with the first fault."""
    route, faults = read_route(spec, workflows or {})
    if route is None:
        fault = faults[0]
        path = f"{where}.{path_text(fault.where)}" if fault.where else where
        raise InvalidRoute(fault.message, position=fault.position, where=path)
    return route


def workflow_name_fault(name: str) -> str | None:
    """Say what is wrong with the name of a route or workflow, or None."""
    if not 1 <= len(name) <= 100 or not _NAME_CHARACTERS.issuperset(name):
        return "a name has 1 to 100 of the characters A-Z a-z 0-9 . _ -"
    return None


class _Reader:
    def __init__(self, workflows: Mapping[str, str]) -> None:
        self._workflows = workflows
        self.faults: list[RouteFault] = []

    def fault(self, where: Where, message: str, position: int | None = None, text: str | None = None) -> None:
        self.faults.append(RouteFault(where, message, position, text))

    def route(self, spec: object) -> Route | None:
        given = self._mapping(spec, (), KEYS)
        if given is None:
            return None
        name = self._text(given, "name", required=True)
        if name and (fault := workflow_name_fault(name)):
            self.fault(("name",), fault)
        sources = self._sources(given.get("from"))
        when = self._when(given.get("when"))
        to = self._targets(given.get("to"))
        action = self._action(given.get("action"), has_targets=given.get("to") is not None)
        sets = self._sets(given)
        if given.get("to") is None and not sets and not self.faults:
            self.fault((), "does nothing: it has neither `to` nor anything to set")
        on_error = self._on_error(given.get("on_error"))
        examples = self._examples(given.get("examples"))
        return Route(name or "", sources, when, to, action, sets, on_error, examples, given)

    def _mapping(self, value: object, where: Where, keys: Sequence[str] | None) -> Mapping[str, Any] | None:
        if not isinstance(value, Mapping):
            self.fault(where, f"expected a mapping, not {kind_of(value)}")
            return None
        for key in value:
            if not isinstance(key, str):
                self.fault(where, "a key is a text")
            elif keys is not None and key not in keys:
                self.fault((*where, key[:80]), f"unknown key{suggestion(key, keys)}")
        return value

    def _text(self, given: Mapping[str, Any], key: str, where: Where = (), *, required: bool = False) -> str | None:
        value = given.get(key)
        if isinstance(value, str) and value:
            return value
        if value is not None:
            self.fault((*where, key), "is empty" if value == "" else f"expected a text, not {kind_of(value)}")
        elif required:
            self.fault((*where, key), "is required")
        return None

    def _list(self, value: object, where: Where) -> Sequence[Any]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.fault(where, f"expected a list, not {kind_of(value)}")
            return ()
        if len(value) > MAX_LIST:
            self.fault(where, f"has more than {MAX_LIST} entries")
            return ()
        return value

    def _sources(self, value: object) -> tuple[Address, ...]:
        if value is None or value == []:
            self.fault(("from",), "is required: address patterns such as signals/**")
            return ()
        sources = []
        for number, text in enumerate([value] if isinstance(value, str) else self._list(value, ("from",))):
            try:
                if not isinstance(text, str):
                    raise ValueError(f"expected an address pattern, not {kind_of(text)}")
                sources.append(parse_address(text))
            except ValueError as error:
                self.fault(("from",) if isinstance(value, str) else ("from", number), str(error))
        return tuple(sources)

    def _when(self, value: object) -> Filter | None:
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault(("when",), f"expected an expression, not {kind_of(value)}")
            return None
        try:
            return compile_expr_filter(value, "when")
        except InvalidFilter as error:
            self.faults.append(RouteFault(("when",), error.message, error.position, value, error.kind))
            return None

    def _targets(self, value: object) -> tuple[Target, ...]:
        if value is None:
            return ()
        if value == []:
            self.fault(("to",), "is empty: leave it out, or name a target")
            return ()
        if isinstance(value, str | Mapping):
            found = [self._target(value, ("to",))]
        else:
            found = [self._target(each, ("to", number)) for number, each in enumerate(self._list(value, ("to",)))]
        return tuple(target for target in found if target is not None)

    def _target(self, value: object, where: Where) -> Target | None:
        if isinstance(value, str):
            topic, subject = split_address(value)
            return self._made(topic, subject, where, where, value)
        given = self._mapping(value, where, ("topic", "subject", "workflow"))
        if given is None:
            return None
        subject = self._text(given, "subject", where)
        if "workflow" in given:
            return self._workflow(given, subject, where)
        topic_text = self._text(given, "topic", where, required=True)
        if topic_text is None:
            return None
        return self._made(topic_text, subject, (*where, "topic"), (*where, "subject"))

    def _workflow(self, given: Mapping[str, Any], subject: str | None, where: Where) -> Target | None:
        name = self._text(given, "workflow", where, required=True)
        if "topic" in given:
            self.fault((*where, "topic"), "a target is a topic or a workflow, not both")
        if name is None:
            return None
        topic = self._workflows.get(name)
        if topic is None:
            near = suggestion(name, sorted(self._workflows)) if self._workflows else "; there are no workflows"
            self.fault((*where, "workflow"), f"there is no workflow {name[:80]!r}{near}")
            return None
        made = self._made(topic, subject, (*where, "workflow"), (*where, "subject"))
        return None if made is None else Target(made.topic, made.subject, name)

    def _made(
        self, topic: str, subject: str | None, topic_at: Where, subject_at: Where, address: str | None = None
    ) -> Target | None:
        """`address`: what both are parts of, with one slash between them."""
        before = len(self.faults)
        name = self._template(topic, "topic", topic_at, address or topic, 0)
        rest = None
        if subject is not None:
            rest = self._template(subject, "subject", subject_at, address or subject, len(topic) + 1 if address else 0)
        for template, check, at in ((name, topic_fault, topic_at), (rest, CHECKS["subject"], subject_at)):
            if template is not None and (fault := _literal_fault(template, check)):
                self.fault(at, fault)
        return None if name is None or len(self.faults) > before else Target(name, rest)

    def _template(self, text: str, use: Use, where: Where, whole: str, offset: int) -> Template | None:
        try:
            return parse_template(text, use)
        except InvalidRoute as error:
            position = None if error.position is None else error.position + offset
            self.faults.append(RouteFault(where, error.message, position, whole))
            return None

    def _action(self, value: object, *, has_targets: bool) -> Action:
        if value is None:
            return "copy"
        if not isinstance(value, str) or value not in ACTIONS:
            self.fault(("action",), f"expected copy, move or divert, not {str(value)[:40]!r}")
        elif not has_targets:
            self.fault(("action",), f"{value} needs a target: `to` is missing")
        return next((action for action in ACTIONS if action == value), "copy")

    def _sets(self, given: Mapping[str, Any]) -> dict[str, Value | Template]:
        sets: dict[str, Value | Template] = {}
        if given.get("set") is not None:
            values = self._mapping(given["set"], ("set",), ("priority",)) or {}
            priority = values.get("priority")
            if type(priority) is int and 0 <= priority <= 9:
                sets["priority"] = priority
            elif "priority" in values:
                self.fault(("set", "priority"), "expected a whole number from 0 to 9")
        if given.get("tags") is not None:
            tags = self._mapping(given["tags"], ("tags",), None) or {}
            if len(tags) > MAX_TAGS:
                self.fault(("tags",), f"has more than {MAX_TAGS} entries")
            for name, value in list(tags.items())[:MAX_TAGS]:
                self._tag(name, value, sets)
        return sets

    def _tag(self, name: object, value: object, sets: dict[str, Value | Template]) -> None:
        if not isinstance(name, str):
            return  # told already
        where = ("tags", name)
        fault = name_fault(name)
        if name in RESERVED:
            fault = "use `set` for the priority" if name == "priority" else "cannot be set by a route"
        if fault is None and not isinstance(value, str | int):
            fault = f"expected a text, an integer or a boolean, not {kind_of(value)}"
        if fault is not None:
            self.fault(where, fault)
        elif isinstance(value, str):
            template = self._template(value, "text", where, value, 0)
            if template is not None:
                literal = template.literal
                if literal is not None and (fault := attribute_fault(name, literal)):
                    self.fault(where, fault)
                sets[name] = template if literal is None else literal
        elif isinstance(value, int):
            if fault := attribute_fault(name, value):
                self.fault(where, fault)
            sets[name] = value

    def _on_error(self, value: object) -> str | None:
        if value is None:
            return None
        given = self._mapping(value, ("on_error",), ("topic",))
        topic = None if given is None else self._text(given, "topic", ("on_error",), required=True)
        if topic is not None and (fault := topic_fault(topic)):
            self.fault(("on_error", "topic"), fault)
        return topic

    def _examples(self, value: object) -> tuple[Mapping[str, Any], ...]:
        if value is None:
            return ()
        found = []
        for number, example in enumerate(self._list(value, ("examples",))):
            faults = shape_faults(example)
            for where, message in faults:
                self.fault(("examples", number, *where), message)
            if not faults:
                found.append(example)
        return tuple(found)


def _literal_fault(template: Template, check: Callable[[str], str | None]) -> str | None:
    """What is wrong with the texts of a template whatever its fields hold."""
    if template.literal is not None:
        return check(template.literal)
    # A letter in place of each field: what is illegal now is illegal with any value.
    return check("".join(part if isinstance(part, str) else "x" for part in template.parts))
