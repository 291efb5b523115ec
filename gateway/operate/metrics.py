"""Metrics: plain counters in slots, collected when somebody asks.

A hot path holds the `Counter` object and adds to its slot; names, labels and text exist only
when `/metrics` is read. Names are `linkspan_*` with their unit (`_seconds`, `_bytes`), counters
end in `_total`. All calls are made on the event loop's thread.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias, TypeVar

import structlog
from prometheus_client import ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

#: A family holds at most so many label sets; further ones are counted together under
#: `OTHER`, so that a client who invents names cannot fill the memory.
MAX_LABEL_SETS: Final = 2000
OTHER: Final = "_other"

LATENCY_BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Seconds, for whatever is waited for."""

CONTENT_TYPE_TEXT: Final = CONTENT_TYPE_PLAIN_0_0_4
CONTENT_TYPE_OPENMETRICS: Final = openmetrics.CONTENT_TYPE_LATEST

Type: TypeAlias = Literal["counter", "gauge", "histogram"]
_log: Any = structlog.get_logger("linkspan.metrics")
_NAME = re.compile(r"linkspan_[a-z0-9_]*[a-z0-9]\Z")
_LABEL = re.compile(r"[a-z][a-z0-9_]*\Z")


class Counter:
    """Only grows. `value` may be added to directly where even a call costs too much."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Gauge:
    """Goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        self.value = value

    def inc(self, amount: float = 1) -> None:
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        self.value -= amount


class Histogram:
    """How often what was observed fell at or below each bound."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_BUCKETS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum: float = 0

    def observe(self, value: float, times: int = 1) -> None:
        """`times` counts the same value for a whole batch at the cost of one."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


class _Function:
    __slots__ = ("read",)

    def __init__(self, read: Callable[[], float]) -> None:
        self.read = read


_Child: TypeAlias = Counter | Gauge | Histogram | _Function
_C = TypeVar("_C", Counter, Gauge, Histogram, _Function)


class _Family:
    def __init__(self, name: str, type_: Type, help_: str, labels: tuple[str, ...]) -> None:
        self.name, self.type, self.help, self.labels = name, type_, help_, labels
        self.children: dict[tuple[str, ...], _Child] = {}

    def add_samples(self, metric: Metric) -> int:
        """Put every child into `metric`, as Prometheus wants it; return how many could not be read."""
        failed = 0
        suffix = "_total" if self.type == "counter" else ""
        for values, child in self.children.items():
            labels = dict(zip(self.labels, values, strict=True))
            if isinstance(child, Histogram):
                _add_histogram(metric, labels, child)
            elif isinstance(child, _Function):
                try:
                    value = float(child.read())
                except Exception as error:  # noqa: BLE001
                    # One broken source must not hide all other metrics; it is counted and told.
                    failed += 1
                    _log.warning("metric_failed", metric=self.name, labels=labels, error=repr(error))
                    continue
                metric.add_sample(metric.name + suffix, labels, value)
            else:
                metric.add_sample(metric.name + suffix, labels, child.value)
        return failed


class Metrics(Collector):
    """The registry of one gateway. The same name and labels always give the same object."""

    def __init__(self, *, process: bool = True) -> None:
        self._families: dict[str, _Family] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        if process:
            ProcessCollector(registry=self._registry)
        self._folded = self.counter(
            "linkspan_metrics_folded_total", "Label sets beyond the bound of their family, counted under _other."
        )
        self._failed = self.counter(
            "linkspan_metrics_failed_total", "Values that could not be read when metrics were collected."
        )

    def counter(self, name: str, help: str, /, **labels: str) -> Counter:
        """A counter; `name` ends in `_total`."""
        if not name.endswith("_total"):
            raise ValueError(f"the name of counter {name!r} does not end in '_total'")
        return self._child(name, "counter", help, labels, Counter, Counter)

    def gauge(self, name: str, help: str, /, **labels: str) -> Gauge:
        return self._child(name, "gauge", help, labels, Gauge, Gauge)

    def histogram(
        self, name: str, help: str, /, buckets: Sequence[float] = LATENCY_BUCKETS, **labels: str
    ) -> Histogram:
        """A histogram with the upper bounds `buckets`, ascending, without +Inf."""
        if not buckets or list(buckets) != sorted(set(buckets)):
            raise ValueError(f"the buckets of {name!r} do not ascend")
        return self._child(name, "histogram", help, labels, lambda: Histogram(buckets), Histogram)

    def gauge_function(self, name: str, help: str, read: Callable[[], float], /, **labels: str) -> None:
        """A gauge that is asked for when metrics are read; registering it again replaces the function."""
        self._child(name, "gauge", help, labels, lambda: _Function(read), _Function).read = read

    def counter_function(self, name: str, help: str, read: Callable[[], float], /, **labels: str) -> None:
        """A counter that is kept elsewhere and asked for when metrics are read."""
        if not name.endswith("_total"):
            raise ValueError(f"the name of counter {name!r} does not end in '_total'")
        self._child(name, "counter", help, labels, lambda: _Function(read), _Function).read = read

    def forget(self, **labels: str) -> None:
        """Drop every series that carries all of these labels, as when a topic was deleted.

        Who still holds such an object may go on counting into it; nobody sees it any more.
        """
        for family in self._families.values():
            if not labels.keys() <= set(family.labels):
                continue
            places = [(family.labels.index(label), value) for label, value in labels.items()]
            for values in [v for v in family.children if all(v[place] == value for place, value in places)]:
                del family.children[values]

    def render(self, *, openmetrics_format: bool = False) -> bytes:
        """Everything as Prometheus text 0.0.4, or as OpenMetrics (see the CONTENT_TYPE constants)."""
        if openmetrics_format:
            return bytes(openmetrics.generate_latest(self._registry))  # type: ignore[no-untyped-call]
        return bytes(generate_latest(self._registry))

    def collect(self) -> Iterable[Metric]:
        """For prometheus_client: a metric for each family."""
        for family in list(self._families.values()):
            metric = Metric(family.name.removesuffix("_total"), family.help, family.type)
            self._failed.value += family.add_samples(metric)
            yield metric

    def _child(
        self, name: str, type_: Type, help_: str, labels: dict[str, str], make: Callable[[], _C], kind: type[_C]
    ) -> _C:
        family = self._family(name, type_, help_, tuple(labels))
        values = tuple(str(labels[label]) for label in family.labels)
        child = family.children.get(values)
        if child is None and len(family.children) >= MAX_LABEL_SETS:
            self._folded.value += 1
            values = (OTHER,) * len(values)
            child = family.children.get(values)
        if child is None:
            child = family.children[values] = make()
        if not isinstance(child, kind):
            raise ValueError(f"metric {name!r} exists already, and one of the two is read by a function")
        return child

    def _family(self, name: str, type_: Type, help_: str, labels: tuple[str, ...]) -> _Family:
        family = self._families.get(name)
        if family is None:
            if not _NAME.match(name):
                raise ValueError(f"metric name {name!r} is not 'linkspan_' and lower case words")
            if bad := [label for label in labels if not _LABEL.match(label) or label == "le"]:
                raise ValueError(f"metric {name!r} has the illegal label {bad[0]!r}")
            family = self._families[name] = _Family(name, type_, help_, labels)
        elif family.type != type_ or set(family.labels) != set(labels):
            raise ValueError(f"metric {name!r} exists already as a {family.type} with the labels {family.labels}")
        return family


def _add_histogram(metric: Metric, labels: dict[str, str], histogram: Histogram) -> None:
    below = 0
    for bound, count in zip((*map(_bound, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, below)
    metric.add_sample(f"{metric.name}_count", labels, below)
    metric.add_sample(f"{metric.name}_sum", labels, histogram.sum)


def _bound(value: float) -> str:
    return repr(float(value))
