"""Metrics: plain slots on the hot path, Prometheus text when somebody asks."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from gateway.operate.metrics import MAX_LABEL_SETS, OTHER, Metrics


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    for family in parse(metrics.render().decode()):
        for found in family.samples:
            if found.name == sample and found.labels == labels:
                return float(found.value)
    return None


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(process=False)


def test_a_counter_counts_and_the_same_labels_give_the_same_object(metrics: Metrics) -> None:
    counter = metrics.counter("linkspan_events_total", "Events.", topic="a", way="in")
    counter.inc()
    counter.inc(5)
    counter.value += 1
    assert metrics.counter("linkspan_events_total", "Events.", way="in", topic="a") is counter
    metrics.counter("linkspan_events_total", "Events.", topic="b", way="in").inc(2)
    assert value(metrics, "linkspan_events_total", topic="a", way="in") == 7
    assert value(metrics, "linkspan_events_total", topic="b", way="in") == 2


def test_a_gauge_goes_up_and_down(metrics: Metrics) -> None:
    gauge = metrics.gauge("linkspan_sessions", "Sessions.")
    gauge.set(5)
    gauge.inc()
    gauge.dec(2)
    assert value(metrics, "linkspan_sessions") == 4


def test_a_histogram_is_cumulative_and_takes_batches(metrics: Metrics) -> None:
    histogram = metrics.histogram("linkspan_wait_seconds", "Waits.", (0.1, 1.0), door="http")
    histogram.observe(0.1)
    histogram.observe(0.5, times=3)
    histogram.observe(7)
    labels = {"door": "http"}
    assert value(metrics, "linkspan_wait_seconds_bucket", le="0.1", **labels) == 1
    assert value(metrics, "linkspan_wait_seconds_bucket", le="1.0", **labels) == 4
    assert value(metrics, "linkspan_wait_seconds_bucket", le="+Inf", **labels) == 5
    assert value(metrics, "linkspan_wait_seconds_count", **labels) == 5
    assert value(metrics, "linkspan_wait_seconds_sum", **labels) == pytest.approx(8.6)


def test_functions_are_asked_when_metrics_are_read_and_can_be_replaced(metrics: Metrics) -> None:
    metrics.gauge_function("linkspan_size_bytes", "Size.", lambda: 1)
    metrics.gauge_function("linkspan_size_bytes", "Size.", lambda: 2)
    metrics.counter_function("linkspan_writes_total", "Writes.", lambda: 3)
    assert value(metrics, "linkspan_size_bytes") == 2
    assert value(metrics, "linkspan_writes_total") == 3


def test_a_function_that_fails_hides_nothing_else_and_is_counted(metrics: Metrics) -> None:
    metrics.gauge_function("linkspan_broken", "Broken.", lambda: 1 / 0)
    metrics.gauge("linkspan_whole", "Whole.").set(1)
    assert value(metrics, "linkspan_broken") is None
    assert value(metrics, "linkspan_whole") == 1
    assert value(metrics, "linkspan_metrics_failed_total") == 2


def test_label_sets_are_bounded_and_the_rest_is_counted_together(metrics: Metrics) -> None:
    for number in range(MAX_LABEL_SETS + 3):
        metrics.counter("linkspan_events_total", "Events.", topic=f"t{number}").inc()
    assert value(metrics, "linkspan_events_total", topic="t0") == 1
    assert value(metrics, "linkspan_events_total", topic=OTHER) == 3
    assert value(metrics, "linkspan_metrics_folded_total") == 3
    assert metrics.render().count(b"\nlinkspan_events_total{") == MAX_LABEL_SETS + 1


def test_what_is_gone_can_be_forgotten(metrics: Metrics) -> None:
    metrics.counter("linkspan_events_total", "Events.", topic="a", way="in").inc()
    metrics.counter("linkspan_events_total", "Events.", topic="a", way="out").inc()
    metrics.counter("linkspan_events_total", "Events.", topic="b", way="in").inc()
    metrics.gauge("linkspan_topics", "Topics.").set(1)
    metrics.forget(topic="a")
    assert value(metrics, "linkspan_events_total", topic="a", way="in") is None
    assert value(metrics, "linkspan_events_total", topic="b", way="in") == 1
    assert value(metrics, "linkspan_topics") == 1


def test_label_values_cannot_break_out_of_their_line(metrics: Metrics) -> None:
    nasty = 'a"} 1\nforged 2\\'
    metrics.counter("linkspan_events_total", "Events.", topic=nasty).inc()
    assert value(metrics, "linkspan_events_total", topic=nasty) == 1
    assert b"\nforged" not in metrics.render()


@pytest.mark.parametrize("name", ["events_total", "linkspan_Events_total", "linkspan_", "linkspan_a-b_total"])
def test_names_follow_the_house(metrics: Metrics, name: str) -> None:
    with pytest.raises(ValueError, match="linkspan_"):
        metrics.gauge(name, "x")


def test_misuse_is_refused(metrics: Metrics) -> None:
    metrics.gauge("linkspan_a", "A.", topic="x")
    metrics.gauge_function("linkspan_f", "F.", lambda: 0)
    with pytest.raises(ValueError, match="'_total'"):
        metrics.counter("linkspan_a", "A.")
    with pytest.raises(ValueError, match="'_total'"):
        metrics.counter_function("linkspan_a", "A.", lambda: 0)
    with pytest.raises(ValueError, match="exists already"):
        metrics.gauge("linkspan_a", "A.", other="x")
    with pytest.raises(ValueError, match="exists already"):
        metrics.histogram("linkspan_a", "A.", topic="x")
    with pytest.raises(ValueError, match="read by a function"):
        metrics.gauge("linkspan_f", "F.")
    with pytest.raises(ValueError, match="illegal label"):
        metrics.gauge("linkspan_b", "B.", le="x")
    with pytest.raises(ValueError, match="ascend"):
        metrics.histogram("linkspan_c", "C.", (1.0, 0.5))


def test_both_formats_are_what_prometheus_reads() -> None:
    metrics = Metrics()
    metrics.counter("linkspan_events_total", "Events.", topic="a").inc()
    metrics.histogram("linkspan_wait_seconds", "Waits.").observe(1)
    text = {family.name for family in parse(metrics.render().decode())}
    rendered = metrics.render(openmetrics_format=True).decode()
    opened = {family.name for family in parse_openmetrics(rendered)}  # type: ignore[no-untyped-call]
    assert {"linkspan_events", "linkspan_wait_seconds", "process_resident_memory_bytes", "process_open_fds"} <= text
    assert text == opened
