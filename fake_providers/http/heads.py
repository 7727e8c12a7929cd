"""The head of an answer, as bytes.

Its headers are trusted: they are ours, or were validated by the control API.
"""

from __future__ import annotations

import http
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

Headers = Sequence[tuple[bytes, bytes]]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSES: Final = b"connection: close\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n"

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


def head(status: int, headers: Headers, wall_s: float, *, more: bytes = b"") -> bytes:
    """Status line, date and headers. ``more``: complete lines that follow them."""
    lines = map(b": ".join, headers)
    return b"\r\n".join((_beginning(status, int(wall_s)), *lines, more + b"\r\n"))


def bare(status: int) -> bytes:
    """An answer without a body, after which the connection is closed."""
    return _status_line(status) + b"content-length: 0\r\n" + CLOSES + b"\r\n"


@lru_cache(64)
def _beginning(status: int, second: int) -> bytes:
    return _status_line(status) + b"date: " + date(second).encode()


def date(second: int) -> str:
    """The Date header at this second since 1970, in no language but HTTP's."""
    at = time.gmtime(second)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year} {time.strftime('%H:%M:%S', at)} GMT"


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase.encode()
    except ValueError:
        phrase = b""
    return b"HTTP/1.1 %d %b\r\n" % (status, phrase)
