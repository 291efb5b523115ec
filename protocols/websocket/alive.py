"""Whether the other machine still answers, when the program on it does not."""

from __future__ import annotations

import socket
import struct
from asyncio import BaseTransport

# struct tcp_info of Linux: eight bytes, then numbers of 32 bits; the thirteenth of them is
# tcpi_last_ack_recv, in milliseconds.
_LAST_ACK = struct.Struct("=56xI")


def seconds_since_ack(transport: BaseTransport) -> float | None:
    """How long ago the peer's TCP acknowledged something; None where the system does not tell.

    A peer that is asked (a ping is under way) and whose machine is gone acknowledges nothing; one
    whose program merely stopped reading still does.
    """
    option = getattr(socket, "TCP_INFO", None)
    sock = transport.get_extra_info("socket")
    if option is None or sock is None:
        return None
    try:
        told: bytes = sock.getsockopt(socket.IPPROTO_TCP, option, _LAST_ACK.size)
    except OSError:
        return None  # closed meanwhile, or no TCP
    if len(told) < _LAST_ACK.size:
        return None
    (milliseconds,) = _LAST_ACK.unpack(told)
    return float(milliseconds) / 1000
