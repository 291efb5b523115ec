"""What the door counts. Labels are from fixed sets: no client can invent series."""

from __future__ import annotations

from gateway.plugin import Counter, Gauge, Metrics
from protocols.websocket.handshake import SUBPROTOCOLS

#: Close codes that are told apart; 1005: closed without a code, 1006: without a close frame.
CODES = (
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012,
    4400, 4401, 4402, 4500, 4501, 4502, 4503,
)  # fmt: skip
_OTHER = "other"


class Counters:
    """One for each listener; listeners of the same gateway share the series."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._received: dict[str, Counter] = {}
        self._sent: dict[str, Counter] = {}
        self._closes: dict[str, Counter] = {}
        self._handshakes: dict[int, Counter] = {}
        self.open: dict[str, Gauge] = {
            name: metrics.gauge("linkspan_websocket_connections", "Connections open.", subprotocol=name)
            for name in SUBPROTOCOLS
        }
        self.subscriptions = metrics.gauge("linkspan_websocket_subscriptions", "Subscriptions of all connections.")
        self.events = metrics.counter("linkspan_websocket_published_events_total", "Events stored for clients.")
        self.pings = metrics.counter("linkspan_websocket_pings_total", "Clients asked whether they are there.")
        self.faults = metrics.counter(
            "linkspan_websocket_protocol_errors_total", "Connections ended since the client broke RFC 6455 or a bound."
        )

    def received(self, kind: str) -> None:
        """`kind` is one of the codec's, or `event` or `invalid`."""
        counter = self._received.get(kind)
        if counter is None:
            counter = self._received[kind] = self._metrics.counter(
                "linkspan_websocket_messages_received_total", "Messages of clients.", kind=kind
            )
        counter.value += 1

    def sent(self, kind: str) -> None:
        """Answers and notices: `ok`, `error`, `end`. Blocks of events are counted where they are made."""
        counter = self._sent.get(kind)
        if counter is None:
            counter = self._sent[kind] = self._metrics.counter(
                "linkspan_websocket_messages_sent_total", "Answers and notices to clients.", kind=kind
            )
        counter.value += 1

    def closed(self, code: int) -> None:
        label = str(code) if code in CODES else _OTHER
        counter = self._closes.get(label)
        if counter is None:
            counter = self._closes[label] = self._metrics.counter(
                "linkspan_websocket_closes_total", "Connections that ended, by close code.", code=label
            )
        counter.value += 1

    def handshake(self, status: int) -> None:
        counter = self._handshakes.get(status)
        if counter is None:
            counter = self._handshakes[status] = self._metrics.counter(
                "linkspan_websocket_handshakes_total", "Handshakes answered, by status.", status=str(status)
            )
        counter.value += 1
