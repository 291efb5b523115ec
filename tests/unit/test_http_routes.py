"""Paths to handlers."""

from __future__ import annotations

import pytest
from aiohttp.web import BaseRequest

from gateway.plugin import Principal
from protocols.http.problem import NoSuchPath, NotBuilt
from protocols.http.reply import Reply
from protocols.http.routes import _MAX_KNOWN, LATER, Routes


async def handler(request: BaseRequest, principal: Principal, query: str, path: tuple[str, ...]) -> Reply:
    return Reply(204)


@pytest.fixture
def routes() -> Routes:
    return Routes({"/v1/a": {"GET": handler}, "/v1/a/{name}": {"PUT": handler}, "/v1/a/{name}/b": {"POST": handler}})


def test_a_path_is_found_with_its_parameters(routes: Routes) -> None:
    route, parameters = routes.find("/v1/a/x%2Fy")
    assert (route.name, parameters) == ("/v1/a/{name}", ("x/y",))
    assert routes.find("/v1/a/x/b")[1] == ("x",)
    assert routes.find("/v1/a/x%2Fy") == (route, parameters), "from memory"


def test_head_comes_with_get(routes: Routes) -> None:
    assert routes.find("/v1/a")[0].methods == ["GET", "HEAD", "OPTIONS"]
    assert routes.find("/v1/a/x")[0].methods == ["OPTIONS", "PUT"]


@pytest.mark.parametrize(
    "path", ["/", "", "/v1", "/v1/", "/v1/a/", "/v1/a/x/c", "/v2/a", "/a", "//v1/a", "/v1/a/%FF", "*"]
)
def test_other_paths_do_not_exist(routes: Routes, path: str) -> None:
    if path == "/v1/a/":
        assert routes.find(path)[1] == ("",), "an empty name is the topic service's to refuse"
        return
    with pytest.raises(NoSuchPath):
        routes.find(path)


@pytest.mark.parametrize("name", LATER)
def test_what_comes_later_is_not_available(routes: Routes, name: str) -> None:
    for path in (f"/v1/{name}", f"/v1/{name}/x/y"):
        with pytest.raises(NotBuilt) as error:
            routes.find(path)
        assert (error.value.code, error.value.status) == ("not_available", 501)


def test_the_root_can_have_a_handler() -> None:
    routes = Routes({"/": {"GET": handler}, "/v1/": {"GET": handler}})
    assert [routes.find(path)[0].name for path in ("/", "/v1/")] == ["/", "/v1/"]
    with pytest.raises(NoSuchPath):
        routes.find("/v1")


def test_the_memory_of_paths_is_bounded(routes: Routes) -> None:
    for number in range(_MAX_KNOWN + 10):
        routes.find(f"/v1/a/{number}")
    assert len(routes._known) <= _MAX_KNOWN
