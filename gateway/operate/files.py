"""Raises the open-file limit: every connection and every segment file is a descriptor."""

from __future__ import annotations

import resource
from typing import Final

import msgspec

#: More than any gateway holds; some systems call their hard limit infinite and then refuse it.
ENOUGH: Final = 2**20


class OpenFiles(msgspec.Struct, frozen=True):
    """The soft limit before and after."""

    before: int
    after: int


def raise_open_files(wanted: int = ENOUGH) -> OpenFiles:
    """Raise the soft limit of open files to `wanted`, or as far as the hard limit allows; never lower it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    goal = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= goal:
        return OpenFiles(soft, soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (goal, hard))
    except (ValueError, OSError):
        # Some kernels refuse a legal value; the gateway runs with what it has, and `after` says so.
        return OpenFiles(soft, soft)
    return OpenFiles(soft, goal)
