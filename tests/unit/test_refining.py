"""Filters and transforms as clients write them: made, refused with the place, and failures kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from auth.principal import ANONYMOUS, Principal
from gateway.bus.contract import TopicSettings
from gateway.errors import Forbidden, InvalidFilter, InvalidInput, InvalidTransform, UnknownTopic
from gateway.event import Event
from gateway.refining import Refiner, transform_functions
from tests.unit.http_support import House, house
from tests.unit.live_support import until
from tests.unit.parts_support import permitted


@pytest.fixture
async def there() -> AsyncIterator[House]:
    from gateway.config.model import Limits

    async with house(Limits()) as made:
        yield made


def stored(data: bytes, **attributes: str) -> Event:
    told: dict[str, str | int | bool] = {"id": "1", "source": "/", "type": "t", "specversion": "1.0", **attributes}
    told["datacontenttype"] = "application/json"
    return Event(told, data, b"k", "t", 0, 5)


async def make(
    there: House,
    *,
    filters: Sequence[Mapping[str, Any] | str] = (),
    transform: Sequence[Mapping[str, Any]] = (),
    errors: str | None = None,
) -> Any:
    return await there.refiner.make(filters, transform, errors, ANONYMOUS)


async def test_nothing_asked_is_nothing_made(there: House) -> None:
    assert await make(there) is None


async def test_an_expression_says_where_it_is_wrong(there: House) -> None:
    refinement = await there.refiner.expression("data.price > 1")
    assert len(refinement.passing([stored(b'{"price": 2}')])) == 1
    with pytest.raises(InvalidFilter) as caught:
        await there.refiner.expression("data.price >> 1")
    detail = caught.value.detail
    assert detail["position"] == 12
    assert detail["caret"] == "data.price >> 1\n            ^"


async def test_large_rules_are_compiled_beside_the_loop_and_bounded(there: House) -> None:
    long = " AND ".join(f"data.price <> {n}" for n in range(300))
    refinement = await there.refiner.expression(long)
    assert len(refinement.passing([stored(b'{"price": 1000}')])) == 1
    with pytest.raises(InvalidFilter):
        await there.refiner.expression(f"{long} AND")
    with pytest.raises(InvalidInput, match="at most 65,536"):
        await make(there, filters=[{"exact": {"type": "x" * 4000}} for _ in range(20)])


async def test_faults_name_their_place_within_the_object(there: House) -> None:
    with pytest.raises(InvalidFilter) as filters:
        await make(there, filters=[{"exact": {"type": "a"}}, {"sql": "a ="}])
    assert filters.value.faults[0].where == "filters[1].sql"
    with pytest.raises(InvalidTransform) as transform:
        await make(there, transform=[{"mask": {"data": ["a"], "with": "nothing"}}])
    assert transform.value.faults[0].where.startswith("transform[0]")
    with pytest.raises(InvalidTransform):
        await make(there, transform=["no step", {"enrich": 1}])  # type: ignore[list-item]


async def test_an_event_that_fails_goes_to_the_topic_for_errors_with_the_reason(there: House) -> None:
    with pytest.raises(UnknownTopic):
        await make(there, transform=[{"keep": {"data": ["price"]}}], errors="failed")
    await there.bus.create_topic("failed", TopicSettings(partitions=1))
    refinement = await make(there, transform=[{"keep": {"data": ["price"]}}], errors="failed")
    assert refinement.transformed([stored(b"no json")]) == []
    await until(lambda: b"linkspan_published_events_total 1.0" in there.metrics.render())
    [batch] = await there.bus.read("failed", 0, 0, 10**6)
    [kept] = batch.events
    assert kept.data == b"no json"
    assert kept.attributes["id"] == "1"
    assert str(kept.attributes["errorreason"]).startswith("step 1 (keep)")
    assert b"linkspan_transform_failed_events_total 1.0" in there.metrics.render()


async def test_a_failed_event_that_cannot_be_kept_is_counted(there: House) -> None:
    await there.bus.create_topic("failed", TopicSettings(partitions=1))
    refinement = await make(there, transform=[{"keep": {"data": ["price"]}}], errors="failed")
    await there.ingress.drain(0)
    assert refinement.transformed([stored(b"no json")]) == []
    assert b"linkspan_transform_errors_lost_total 1.0" in there.metrics.render()


async def test_an_event_that_failed_before_is_not_kept_again(there: House) -> None:
    await there.bus.create_topic("failed", TopicSettings(partitions=1))
    refinement = await make(there, transform=[{"keep": {"data": ["price"]}}], errors="failed")
    assert refinement.transformed([stored(b"no json", errorreason="step 1 (keep)")]) == []
    assert b"linkspan_transform_errors_lost_total 1.0" in there.metrics.render()
    assert b"linkspan_ingress_waiting_bytes 0.0" in there.metrics.render()


async def test_failures_without_a_topic_are_counted(there: House) -> None:
    refinement = await make(there, transform=[{"keep": {"data": ["price"]}}])
    assert refinement.transformed([stored(b"no json")]) == []
    assert b"linkspan_transform_failed_events_total 1.0" in there.metrics.render()


async def test_tables_are_loaded_before_the_transform_is_made(there: House) -> None:
    await there.bus.create_topic("instruments", TopicSettings(partitions=1))
    row = Event({"id": "r", "source": "/", "type": "row", "specversion": "1.0"}, b'{"sector": "tech"}', b"AAPL")
    await there.bus.append("instruments", [row])
    steps = [{"enrich": {"table": "instruments", "key": "symbol", "into": {"data": {"sector": "sector"}}}}]
    refinement = await make(there, transform=steps)
    [event] = refinement.transformed([stored(b"{}", symbol="AAPL")])
    assert b"tech" in (event.data or b"")


async def test_what_a_principal_may_not_touch_is_refused(there: House) -> None:
    def allowed(principal: Principal, topic: str) -> bool:
        return topic != "secret"

    refiner = Refiner(there.ingress, there.topics, there.lookups, there.metrics, allowed, functions={})
    with pytest.raises(Forbidden):
        await refiner.make([], [{"enrich": {"table": "secret"}}], None, ANONYMOUS)
    with pytest.raises(Forbidden):
        await refiner.make([], [], "secret", ANONYMOUS)
    assert permitted(ANONYMOUS, "secret")


def test_functions_of_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> Any:
            if self.name == "broken":
                raise ImportError(self.name)
            return max

    monkeypatch.setattr("gateway.refining.entry_points", lambda group: [Point("good"), Point("broken")])
    assert list(transform_functions()) == ["good"]
