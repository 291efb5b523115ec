"""Filters and transforms as clients write them, made into refinements, for every door.

What is wrong with one is told as the door's own error, with the place and a caret under it. An
event that a transform fails on goes to the topic that the subscription names for errors, as it
was, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from typing import Any, TypeVar

import msgspec
import structlog

from auth.principal import Principal
from gateway.address import check_topic
from gateway.delivery.refine import DecodeOf, Refinement
from gateway.errors import Fault, Forbidden, InvalidFilter, InvalidInput, InvalidTransform, LinkspanError
from gateway.event import Event
from gateway.ingress import Authorise, Ingress, Outcome
from gateway.lookups import Lookups
from gateway.operate.metrics import Metrics
from gateway.topics import Topics
from routing import errors
from routing.filters.filter import compile_expr_filter, compile_filters
from routing.transforms.failure import StepFailed
from routing.transforms.spec import Call, Schemas
from routing.transforms.transform import Transform, compile_transform

T = TypeVar("T")
GROUP = "linkspan.transforms"
#: Bytes of filters and transform together, as JSON; up to QUICK bytes are compiled at once, in
#: about a millisecond.
MAX_RULES, QUICK = 64 * 1024, 512
#: Characters of a reason that go along with a failed event.
_REASON = 500

_log = structlog.get_logger("linkspan.routing")


def transform_functions() -> dict[str, Call]:
    """The Python callables that packages offer. One that cannot be loaded is told and left out."""
    found: dict[str, Call] = {}
    for point in entry_points(group=GROUP):
        try:
            found[point.name] = point.load()
        except Exception as error:  # noqa: BLE001  # a package of somebody else's
            _log.error("transform_not_loaded", name=point.name, error=repr(error))
    return found


class Refiner:
    """See the module. One for a gateway process."""

    def __init__(
        self,
        ingress: Ingress,
        topics: Topics,
        lookups: Lookups,
        metrics: Metrics,
        authorise: Authorise,
        *,
        schemas: Schemas | None = None,
        functions: Mapping[str, Call] | None = None,
        decode_of: DecodeOf = lambda topic: None,
    ) -> None:
        self._ingress, self._topics, self._lookups, self._authorise = ingress, topics, lookups, authorise
        self._schemas, self._decode_of = schemas, decode_of
        self._compiling = asyncio.Semaphore(1)
        self._functions = transform_functions() if functions is None else functions
        self._failed = metrics.counter(
            "linkspan_transform_failed_events_total", "Events that a transform could not be applied to, and left out."
        )
        self._lost = metrics.counter(
            "linkspan_transform_errors_lost_total", "Failed events that could not be stored in their error topic."
        )

    async def expression(self, text: str) -> Refinement:
        """The filter that `filter=` holds, an `expr`. Raises InvalidFilter."""
        chosen = await self._compiled(partial(compile_expr_filter, text), len(text), text)
        return Refinement(chosen, None, self._count, decode_of=self._decode_of)

    async def make(
        self,
        filters: Sequence[Mapping[str, Any] | str],
        transform: Sequence[Mapping[str, Any]],
        errors_to: str | None,
        principal: Principal,
    ) -> Refinement | None:
        """What a subscription object asks for; None for nothing. Tables that it names are loaded first.

        Raises InvalidFilter, InvalidTransform, UnknownTopic, Forbidden, Unavailable.
        """
        if errors_to is not None:
            await self._check_errors(errors_to, principal)
        if not filters and not transform:
            return None
        size = len(msgspec.json.encode((filters, transform)))
        if size > MAX_RULES:
            raise InvalidInput(f"filters and transform have {size:,} bytes together; at most {MAX_RULES:,} are taken")
        chosen = await self._compiled(partial(compile_filters, filters), size) if filters else None
        return Refinement(
            chosen,
            await self._transform(transform, principal, size) if transform else None,
            self._count if errors_to is None else partial(self._divert, errors_to, principal),
            (errors_to, principal.tenant, principal.id) if errors_to is not None else None,
            self._decode_of,
        )

    async def _transform(self, steps: Sequence[Mapping[str, Any]], principal: Principal, size: int) -> Transform:
        for table in _tables(steps):
            check_topic(table)
            if not self._authorise(principal, table):
                raise Forbidden(f"{principal.id} may not read topic {table!r}", topic=table)
            await self._lookups.open(table)
        made = partial(compile_transform, steps, tables=self._lookups, schemas=self._schemas, callables=self._functions)
        return await self._compiled(made, size)

    async def _compiled(self, make: Callable[[], T], size: int, text: str | None = None) -> T:
        """Large rules take their time: they are compiled one after the other, beside the loop."""
        if size <= QUICK:
            return _told(make, text)
        async with self._compiling:
            return await asyncio.to_thread(_told, make, text)

    async def _check_errors(self, topic: str, principal: Principal) -> None:
        if not self._authorise(principal, topic):
            raise Forbidden(f"{principal.id} may not publish to {topic!r}", topic=topic)
        if self._topics.known(topic) is None:
            await self._topics.ensure(topic, principal)

    # Failures

    def _count(self, event: Event, failure: StepFailed) -> None:
        self._failed.inc()
        _log.debug("transform_failed", topic=event.topic, reason=str(failure)[:_REASON])

    def _divert(self, topic: str, principal: Principal, event: Event, failure: StepFailed) -> None:
        self._count(event, failure)
        if "errorreason" in event.attributes:
            # It failed before: subscriptions that read each other's error topics would go round for ever.
            self._lost.inc()
            return
        told = dict(event.attributes)
        told["errorreason"] = _printable(str(failure))
        told["errorstep"] = failure.step
        try:
            self._ingress.publish(topic, [Event(told, event.data, event.key)], principal, self._diverted)
        except LinkspanError as error:
            self._diverted(error)

    def _diverted(self, outcome: Outcome) -> None:
        if isinstance(outcome, LinkspanError):
            self._lost.inc()
            _log.warning("failed_event_not_kept", reason=outcome.message)


def _tables(steps: Sequence[Any]) -> list[str]:
    """The tables that steps name, as far as they are well-formed: the rest is the compiler's to refuse."""
    if isinstance(steps, str | bytes) or not isinstance(steps, Sequence):
        return []
    named = (step["enrich"].get("table") for step in steps if _enriches(step))
    return [table for table in named if isinstance(table, str)]


def _enriches(step: Any) -> bool:
    return isinstance(step, Mapping) and isinstance(step.get("enrich"), Mapping)


def _told(make: Callable[[], T], text: str | None) -> T:
    """What `make` makes; its errors as the gateway's."""
    try:
        return make()
    except errors.Invalid as error:
        raise _refusal(error, text) from None


def _refusal(error: errors.Invalid, text: str | None) -> InvalidInput:
    detail: dict[str, Any] = {"faults": (Fault(error.where or "filter", error.message),)}
    if error.position is not None:
        detail["position"] = error.position
    shown = error.caret(text) if text is not None else ""
    if shown:
        detail["caret"] = shown
    kind = InvalidTransform if isinstance(error, errors.InvalidTransform) else InvalidFilter
    return kind(str(error), **detail)


def _printable(reason: str) -> str:
    return "".join(char if char.isprintable() else " " for char in reason)[:_REASON]
