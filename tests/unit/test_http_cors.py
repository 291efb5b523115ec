"""Which pages are told that they may."""

from __future__ import annotations

import pytest

from protocols.http.cors import Cors


@pytest.mark.parametrize(
    ("allowed", "origin", "permitted"),
    [
        (("https://a.example",), "https://a.example", True), (("https://A.example/",), "https://a.example", True),
        (("https://a.example",), "http://a.example", False), (("https://a.example",), "https://a.example.evil", False),
        (("https://*.example",), "https://a.b.example", True), (("https://*.example",), "https://example", False),
        (("https://*.example",), "https://evilexample", False), (("https://*.example",), "http://a.example", False),
        (("*",), "https://any", True), ((), "http://localhost:3000", False), (("null",), "null", True),
    ],
)  # fmt: skip
def test_only_named_origins_get_headers(allowed: tuple[str, ...], origin: str, permitted: bool) -> None:
    headers = dict(Cors(allowed).headers(origin))
    assert bool(headers) is permitted
    if permitted:
        assert headers["Access-Control-Allow-Origin"] == origin
        assert headers["Vary"] == "Origin"
        assert "Linkspan-Cursor" in headers["Access-Control-Expose-Headers"]


def test_a_preflight_says_which_methods_and_headers() -> None:
    told = dict(Cors(("*",)).preflight(["GET", "POST"], "content-type, ce-id").headers)
    assert told["Access-Control-Allow-Methods"] == "GET, POST"
    assert told["Access-Control-Allow-Headers"] == "content-type, ce-id"
    assert "Access-Control-Allow-Headers" not in dict(Cors(()).preflight(["GET"], None).headers)
