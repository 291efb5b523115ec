"""A bench for people: what an expression, a filter, a transform or a route does with one event.

Nothing is stored, sent or counted. What is wrong with what is tried is the answer, not an error:
the step that failed, why, and the place with a caret under it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from auth.principal import Principal
from gateway.envelope import encode_event
from gateway.errors import Fault, InvalidInput, InvalidTransform, LinkspanError, NotFound
from gateway.event import Event
from gateway.formats import decode_sketch
from gateway.refining import Refiner
from gateway.routes import Router
from routing.attributes import Value
from routing.errors import Invalid, RoutingError
from routing.examples import DEFAULTS, home_of, try_route
from routing.filters.compile import compile_cesql, compile_expr
from routing.filters.filter import compile_filters
from routing.route_spec import RouteFault, path_text, read_route
from routing.transforms.failure import StepFailed

Told: TypeAlias = dict[str, Any]
"""An error as `{kind, message, position, caret?}`."""

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class _Evaluate(msgspec.Struct, forbid_unknown_fields=True):
    expression: str
    dialect: Literal["cesql", "expr"] = "expr"
    event: msgspec.Raw = msgspec.Raw(b"{}")


class _Try(msgspec.Struct, forbid_unknown_fields=True):
    event: msgspec.Raw
    filters: list[dict[str, Any] | str] = []
    transform: list[dict[str, Any]] = []
    route: dict[str, Any] | None = None
    topic: str | None = None


class _Stopped(Exception):
    """The event goes no further."""

    def __init__(self, step: str, error: Told | None) -> None:
        super().__init__(step)
        self.step, self.error = step, error


class Trial:
    """See the module. Bodies are JSON as the requests have it."""

    def __init__(self, refiner: Refiner, router: Router) -> None:
        self._refiner = refiner
        self._workflows = {workflow.name: workflow.topic for workflow in router.workflows}

    def evaluate(self, body: bytes) -> bytes:
        """The value of one expression for one event. Raises InvalidInput and InvalidEvent for the request alone."""
        wanted = _read(body, _Evaluate)
        event = decode_sketch(bytes(wanted.event))
        value: object = False
        # As the language is specified: what a filter refuses because it reads otherwise than it looks is evaluated.
        compile_ = compile_cesql if wanted.dialect == "cesql" else compile_expr
        error: RoutingError | None
        try:
            value, error = compile_(wanted.expression, strict=False).one(event.attributes, event.data)
        except RoutingError as refused:
            error = refused
        told = None
        if error is not None:
            told = {"kind": error.kind, "message": error.message, "position": error.position}
        if isinstance(value, float) and not math.isfinite(value):
            value = str(value)  # JSON has no place for it
        return msgspec.json.encode({"value": value, "error": told}, enc_hook=str)

    async def try_out(self, body: bytes, principal: Principal) -> bytes:
        """One event through filters, then a transform, then a route. Raises InvalidInput, InvalidEvent,
        Forbidden and Unavailable for the request alone."""
        wanted = _read(body, _Try)
        sketch = decode_sketch(bytes(wanted.event))
        attributes, data = {**DEFAULTS, **sketch.attributes}, sketch.data
        answer: dict[str, Any] = {"passed": True, "event": None}
        try:
            _filter(wanted.filters, attributes, data)
            attributes, data = await self._transform(wanted.transform, attributes, data, principal)
            if wanted.route is not None:
                attributes = self._route(wanted.route, wanted.topic, attributes, data, answer)
        except _Stopped as stopped:
            answer |= {"passed": False, "failed_step": stopped.step}
            if stopped.error is not None:
                answer["error"] = stopped.error
        else:
            answer["event"] = msgspec.Raw(encode_event(Event(attributes, data)))
        return msgspec.json.encode(answer)

    async def _transform(
        self, steps: Sequence[Mapping[str, Any]], attributes: dict[str, Value], data: bytes | None, principal: Principal
    ) -> tuple[dict[str, Value], bytes | None]:
        if not steps:
            return attributes, data
        try:
            refinement = await self._refiner.make([], steps, None, principal)
        except (InvalidInput, NotFound) as error:
            raise _Stopped(*_refused(error, {"transform": steps}, "transform")) from None
        assert refinement is not None
        assert refinement.transform is not None
        try:
            return refinement.transform.apply(attributes, data)
        except StepFailed as failure:
            raise _Stopped(
                f"transform[{failure.step}].{failure.name}", _error(failure.reason, "generic", None, None)
            ) from None

    def _route(
        self, spec: dict[str, Any], topic: str | None, attributes: dict[str, Value], data: bytes | None, answer: Told
    ) -> dict[str, Value]:
        """The attributes at the first target; says in the answer where the event goes."""
        route, faults = read_route({"name": "tried", **spec}, self._workflows)
        if route is None:
            raise _Stopped(*_fault(faults[0]))
        tried = try_route(route, topic or home_of(route), attributes, data)
        if not tried.matched or tried.error is not None:
            error = tried.error
            if error is not None:
                text = route.written.get("when") if tried.failed == "when" else None
                error = _error(error["message"], error["kind"], error["position"], text)
            raise _Stopped(f"route.{tried.failed}", error)
        answer["to"], answer["stays"] = tried.to, tried.stays
        return tried.attributes


def _read(body: bytes, type_: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        fault = Fault(where.rstrip("`").removeprefix("$.") or "body", message)
        raise InvalidInput(f"the request is not as it should be: {error}", faults=(fault,)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}", faults=(Fault("body", str(error)),)) from None


def _filter(filters: Sequence[Mapping[str, Any] | str], attributes: dict[str, Value], data: bytes | None) -> None:
    if not filters:
        return
    try:
        compiled = compile_filters(filters)
    except Invalid as error:
        text = _text_at({"filters": filters}, error.where)
        raise _Stopped(error.where, _error(error.message, error.kind, error.position, text)) from None
    for part in compiled.explain(Event(attributes, data)):
        if not part["passed"]:
            raise _Stopped(str(part["where"]), _cause(part))


def _cause(part: Mapping[str, Any]) -> Told | None:
    """The evaluation that failed, of a filter or one inside it; None when it is just not true."""
    error = part.get("error")
    inner = [told for each in part.get("parts", ()) if (told := _cause(each)) is not None]
    if inner or error is None:
        return inner[0] if inner else None
    return _error(error["message"], error["kind"], error["position"], _only_text(part["filter"]))


def _only_text(written: object) -> str | None:
    """The text of a filter that is one: `{expr: "..."}`, or the text alone."""
    if isinstance(written, Mapping) and len(written) == 1:
        (written,) = written.values()
    return written if isinstance(written, str) else None


def _refused(error: LinkspanError, root: Mapping[str, Any], step: str) -> tuple[str, Told]:
    fault = error.faults[0] if error.faults else Fault(step, error.message)
    kind = "parse" if isinstance(error, InvalidTransform) else "generic"
    return fault.where, _error(fault.message, kind, error.detail.get("position"), _text_at(root, fault.where))


def _fault(fault: RouteFault) -> tuple[str, Told]:
    where = path_text(fault.where)
    return f"route.{where}" if where else "route", _error(fault.message, fault.kind, fault.position, fault.text)


def _error(message: str, kind: str, position: int | None, text: str | None) -> Told:
    told: Told = {"kind": kind, "message": message, "position": position}
    if position is not None and text is not None:
        told["caret"] = RoutingError(message, position=position).caret(text)
    return told


def _text_at(root: object, where: str) -> str | None:
    """The text at a path such as `filters[1].expr`, if there is one."""
    for name, number in _STEP.findall(where):
        if isinstance(root, Mapping):
            root = root.get(name)
        elif isinstance(root, Sequence) and not isinstance(root, str) and number and int(number) < len(root):
            root = root[int(number)]
        else:
            return None
    return root if isinstance(root, str) else _only_text(root)
