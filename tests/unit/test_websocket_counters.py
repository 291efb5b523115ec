"""What the door counts."""

from __future__ import annotations

from gateway.operate.metrics import Metrics
from protocols.websocket.closing import Code
from protocols.websocket.counters import CODES, Counters


def test_series_are_shared_by_all_listeners_and_labels_are_bounded() -> None:
    metrics = Metrics(process=False)
    for counters in (Counters(metrics), Counters(metrics)):
        for code in (1000, 1012, 3999, 4999):
            counters.closed(code)
        counters.handshake(101)
        counters.received("ping")
        counters.sent("ok")
        counters.open["linkspan.v1"].inc()
    text = metrics.render().decode()
    for line in (
        'linkspan_websocket_closes_total{code="1012"} 2.0',
        'linkspan_websocket_closes_total{code="other"} 4.0',
        'linkspan_websocket_handshakes_total{status="101"} 2.0',
        'linkspan_websocket_messages_received_total{kind="ping"} 2.0',
        'linkspan_websocket_messages_sent_total{kind="ok"} 2.0',
        'linkspan_websocket_connections{subprotocol="linkspan.v1"} 2.0',
        'linkspan_websocket_connections{subprotocol="cloudevents.json"} 0.0',
    ):
        assert line in text


def test_every_code_of_ours_is_told_apart() -> None:
    assert {int(code) for code in Code} <= set(CODES)
