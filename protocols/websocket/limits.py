"""How fast a client may send: a bucket of bytes. Pure: the caller brings the time."""

from __future__ import annotations


class Bucket:
    """Fills with `rate` bytes a second, holds those of one second; who takes more waits for it.

    What was read already is never refused: the bucket goes below nothing, and the reader rests
    until it is full enough again.
    """

    __slots__ = ("_at", "_level", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._level, self._at = rate, rate, now

    def take(self, size: int, now: float) -> float:
        """Take `size` bytes; the seconds to wait before more is read, 0 for none."""
        self._level = min(self._rate, self._level + (now - self._at) * self._rate) - size
        self._at = now
        return 0.0 if self._level >= 0 else -self._level / self._rate
