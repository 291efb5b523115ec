"""Readiness says why not."""

from __future__ import annotations

from gateway.operate.health import Health, Phase, Reason


def test_a_gateway_is_ready_only_while_it_serves() -> None:
    health = Health()
    assert health.readiness().reasons == (Reason("gateway", "starting"),)
    health.phase = Phase.SERVING
    assert health.readiness().ready
    health.phase = Phase.DRAINING
    assert health.readiness().reasons == (Reason("gateway", "draining"),)
    assert not health.readiness().ready


def test_every_part_may_have_reasons() -> None:
    health = Health()
    health.phase = Phase.SERVING
    reasons = ["unreachable", "lagging"]
    health.watch("bus", lambda: reasons)
    health.watch("tables", list)
    assert health.readiness().reasons == (Reason("bus", "unreachable"), Reason("bus", "lagging"))
    reasons.clear()
    assert health.readiness().ready


def test_a_part_that_cannot_answer_is_not_well() -> None:
    health = Health()
    health.phase = Phase.SERVING
    health.watch("bus", lambda: [str(1 // 0)])
    health.watch("tables", lambda: ["loading"])
    assert health.readiness().reasons == (
        Reason("bus", "its health check failed: ZeroDivisionError"),
        Reason("tables", "loading"),
    )
    health.unwatch("bus")
    health.unwatch("bus")
    assert [reason.part for reason in health.readiness().reasons] == ["tables"]


def test_what_is_degraded_is_told_and_does_not_stand_in_the_way() -> None:
    health = Health()
    health.phase = Phase.SERVING
    health.watch("bus", list, lambda: ["topic 'a' is damaged"])
    readiness = health.readiness()
    assert readiness.ready
    assert readiness.degraded == (Reason("bus", "topic 'a' is damaged"),)
    health.unwatch("bus")
    assert health.readiness().degraded == ()
