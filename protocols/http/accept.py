"""Content negotiation (RFC 9110, 12.5.1): which of the offered media types a client prefers."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.http.problem import NotAcceptable


def choose(accept: str | None, offers: Sequence[str]) -> str:
    """The best offer; the first one when the client does not care. Raises NotAcceptable."""
    if accept is None or not accept.strip():
        return offers[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    best, best_rank = "", (0.0, 0)
    for offer in offers:
        rank = _rank(offer, ranges)
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = offer, rank
    if not best:
        raise NotAcceptable(f"Accept: {accept[:100]} leaves nothing to answer with", offered=list(offers))
    return best


def _range(text: str) -> tuple[str, float]:
    """A media range and its weight; unreadable weights count as 1."""
    name, *parameters = text.split(";")
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                weight = min(1.0, max(0.0, float(value)))
            except ValueError:
                weight = 1.0
    return name.strip().lower(), weight


def _rank(offer: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """(weight, specificity) of the most specific range that covers the offer."""
    found = (0.0, 0)
    for name, weight in ranges:
        if name == offer:
            return weight, 3
        if name.endswith("/*") and offer.startswith(name[:-1]) and found[1] < 2:
            found = (weight, 2)
        elif name == "*/*" and found[1] < 1:
            found = (weight, 1)
    return found
