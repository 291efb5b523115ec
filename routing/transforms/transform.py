"""Transforms: an ordered list of steps, compiled once, applied to each event. Pure.

A step sees the event as the steps before it left it. An event that a step cannot be applied to
fails as a whole: it is given back nowhere, the original is untouched, and the reason is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final

import msgspec

from routing.attributes import Value
from routing.batch import EventLike
from routing.schemas.schema import short
from routing.transforms.assign import enrich, set_
from routing.transforms.document import Document
from routing.transforms.exchange import call, convert, validate
from routing.transforms.failure import Refusal, StepFailed
from routing.transforms.mask import mask
from routing.transforms.shape import drop, flatten, keep, rename
from routing.transforms.spec import Call, Context, Schemas, Step, Tables, hint, named, refuse

MAX_STEPS: Final = 50
#: Events of a batch that are decoded at the same time.
_CHUNK: Final = 256
#: Of events that come one by one one in so many is timed: two clock readings a step cost as much as a step.
_SAMPLE: Final = 16

STEPS: Final[dict[str, Callable[[Any, str, Context], Step]]] = {
    "keep": keep,
    "drop": drop,
    "rename": rename,
    "set": set_,
    "mask": mask,
    "enrich": enrich,
    "convert": convert,
    "validate": validate,
    "flatten": flatten,
    "call": call,
}
_NO_CALLABLES: Final[Mapping[str, Call]] = MappingProxyType({})


class StepStats(msgspec.Struct):
    """What one step has done: events passed and failed, and seconds.

    Decoding counts for the step that first needs it, encoding for none. A payload that cannot be
    written after all fails the last step. Of events that come one by one the first sixteen are
    timed, and then every sixteenth for all of them.
    """

    name: str
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0


class Transform:
    """The compiled steps. Transforms with equal keys make equal events of equal ones.

    The key holds within this process only: secrets have gone into it.
    """

    __slots__ = ("_calls", "_runs", "_stats", "_through", "key")

    def __init__(self, steps: Sequence[Step]) -> None:
        text = msgspec.json.encode([(step.name, step.canonical) for step in steps], order="sorted")
        self.key = hashlib.blake2b(text, digest_size=16).hexdigest()
        self._runs = tuple(enumerate(step.run for step in steps))
        self._stats = tuple(StepStats(step.name) for step in steps)
        self._calls = self._through = 0

    @property
    def stats(self) -> tuple[StepStats, ...]:
        """The figures of each step until now."""
        for stats in self._stats:
            stats.passed += self._through
        self._through = 0
        return self._stats

    def apply(self, attributes: dict[str, Value], data: bytes | None) -> tuple[dict[str, Value], bytes | None]:
        """The event that comes out. Neither argument is changed. Raises StepFailed."""
        document = Document(attributes.copy(), data, data)
        self._calls = calls = self._calls + 1
        weight = 1 if calls <= _SAMPLE else 0 if calls % _SAMPLE else _SAMPLE
        before = perf_counter() if weight else 0.0
        place = 0
        try:
            for place, run in self._runs:
                run(document)
                if weight:
                    now = perf_counter()
                    self._stats[place].seconds += (now - before) * weight
                    before = now
            result = document.payload() if document.changed else document.data
        except Exception as error:  # noqa: BLE001
            # An event that nobody thought of must not stop those after it.
            for stats in self._stats[:place]:
                stats.passed += 1
            raise self._failed(place, error) from None
        self._through += 1
        return document.attributes, result

    def apply_batch(
        self, events: Sequence[EventLike]
    ) -> tuple[list[tuple[dict[str, Value], bytes | None]], list[tuple[int, StepFailed]]]:
        """What comes of the events that pass, in their order, and the places of the others with the reason."""
        passed: list[tuple[dict[str, Value], bytes | None]] = []
        failed: list[tuple[int, StepFailed]] = []
        for start in range(0, len(events), _CHUNK):
            chunk = [(place, _document(event)) for place, event in enumerate(events[start : start + _CHUNK], start)]
            faults: list[tuple[int, StepFailed]] = []
            for step in range(len(self._runs)):
                chunk = self._step(step, chunk, faults)
            for place, document in chunk:
                try:
                    passed.append((document.attributes, document.payload()))
                except Refusal as error:
                    self._stats[-1].passed -= 1
                    faults.append((place, self._failed(len(self._runs) - 1, error)))
            failed += sorted(faults, key=lambda fault: fault[0])
        return passed, failed

    def _step(
        self, step: int, chunk: list[tuple[int, Document]], faults: list[tuple[int, StepFailed]]
    ) -> list[tuple[int, Document]]:
        """The documents that one step could be applied to."""
        run, stats = self._runs[step][1], self._stats[step]
        before = perf_counter()
        known = len(faults)
        failed: set[int] = set()
        for place, document in chunk:
            try:
                run(document)
            except Exception as error:  # noqa: BLE001
                # As in `apply`.
                failed.add(place)
                faults.append((place, self._failed(step, error)))
        stats.seconds += perf_counter() - before
        stats.passed += len(chunk) - (len(faults) - known)
        return [entry for entry in chunk if entry[0] not in failed] if failed else chunk

    def _failed(self, step: int, error: Exception) -> StepFailed:
        stats = self._stats[step]
        stats.failed += 1
        reason = str(error) if isinstance(error, Refusal) else f"failed unexpectedly: {type(error).__name__}"
        return StepFailed(step, stats.name, short(reason))


def _document(event: EventLike) -> Document:
    data = event.data
    return Document(event.attributes.copy(), data, data)


def compile_transform(
    steps: Sequence[Mapping[str, Any]],
    *,
    tables: Tables | None = None,
    schemas: Schemas | None = None,
    callables: Mapping[str, Call] = _NO_CALLABLES,
    where: str = "transform",
) -> Transform:
    """Each step is a mapping of its name to what it needs, as in `{keep: {data: [price]}}`.

    Raises InvalidTransform, its `where` being such as `transform[2].mask.with`.
    """
    if isinstance(steps, str | bytes) or not isinstance(steps, Sequence):
        refuse("expected a list of steps", where)
    if not steps:
        refuse("has no steps", where)
    if len(steps) > MAX_STEPS:
        refuse(f"has {len(steps)} steps, more than {MAX_STEPS}", where)
    context = Context(tables, schemas, callables)
    return Transform([_compiled(step, f"{where}[{place}]", context) for place, step in enumerate(steps)])


def _compiled(step: object, where: str, context: Context) -> Step:
    if type(step) is str and step in STEPS:
        step = {step: None}  # a step that needs nothing, such as `flatten`
    if not isinstance(step, Mapping) or len(step) != 1:
        refuse("a step is a mapping with one key, its name", where)
    ((name, value),) = step.items()
    if name not in STEPS:
        refuse(f"there is no step {named(name)}{hint(name, STEPS)}; there are {', '.join(STEPS)}", where)
    return STEPS[name](value, f"{where}.{name}", context)
