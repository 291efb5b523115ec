"""Why connections end: our own close codes, beside those of RFC 6455 (7.4.1).

4000 to 4499: the same again will end the same way. 4500 to 4999: reconnect, after a while, and
resume with the last cursor.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

#: Messages in a row that may be beyond understanding.
MAX_BAD: Final = 10


class Code(IntEnum):
    UNSUPPORTED = 1003
    """A binary message."""
    NOT_UTF8 = 1007
    INTERNAL = 1011
    RESTART = 1012
    """The gateway is shutting down."""

    BAD_MESSAGES = 4400
    """MAX_BAD messages in a row could not be understood."""
    NOTHING_LEFT = 4401
    """The topic of the one subscription was deleted, or made anew."""
    REFUSED = 4402
    """The one subscription failed, and will again."""
    FAILED = 4500
    """The one subscription failed, or was ended by the gateway."""
    DISCONNECTED = 4501
    """An operator ended the connection."""
    NO_ANSWER = 4502
    """No answer to a ping."""
    TOO_SLOW = 4503
    """Took nothing of what was sent for too long."""
