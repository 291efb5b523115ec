"""Who is asking: the result of authentication, the input of every decision."""

from __future__ import annotations

from typing import Any

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """`id` is unique within `tenant`; `claims` are the verified token's."""

    id: str
    tenant: str = ""
    roles: tuple[str, ...] = ()
    claims: dict[str, Any] = {}

    @property
    def anonymous(self) -> bool:
        return self is ANONYMOUS


#: The principal of a client that presented nothing, where that is permitted.
ANONYMOUS = Principal("anonymous")
