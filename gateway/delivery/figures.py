"""What is counted of live delivery, for each set of topics."""

from __future__ import annotations

from gateway.operate.metrics import Metrics


class ScopeFigures:
    """The counters of one label; scopes with the same label share them."""

    def __init__(self, metrics: Metrics, label: str) -> None:
        self._deliveries = metrics.counter(
            "linkspan_deliveries_total", "Events written to subscribers, counted for each of them.", topic=label
        )
        self._bytes = metrics.counter("linkspan_delivered_bytes_total", "Bytes written to subscribers.", topic=label)
        self._encoded = metrics.counter(
            "linkspan_encoded_events_total",
            "Events put into blocks for live subscribers; deliveries by this is the sharing ratio.",
            topic=label,
        )
        self._caught_up = metrics.counter(
            "linkspan_catch_up_deliveries_total", "Events written to subscribers that caught up.", topic=label
        )
        self._seconds = metrics.histogram(
            "linkspan_delivery_seconds", "From the append to the write, of live deliveries.", topic=label
        )

    def served(self, deliveries: int, latency_ms: float) -> None:
        """Events of one slice times the members that want them, and the age of the slice."""
        self._seconds.observe(max(0.0, latency_ms / 1000), deliveries)

    def wrote(self, events: int, members: int, size: int) -> None:
        """A block of so many bytes went to the members of a view."""
        self._encoded.value += events
        self._deliveries.value += events * members
        self._bytes.value += size * members

    def caught_up(self, events: int, size: int) -> None:
        """A block that was read from the log went to one subscriber."""
        self._caught_up.value += events
        self._deliveries.value += events
        self._bytes.value += size
