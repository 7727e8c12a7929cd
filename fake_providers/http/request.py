"""A request as it arrived, whole, before anybody has looked into it.

Decides what of a request's target is its path and what its query. Refuses to know what they mean.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import unquote

MOST_TARGETS: Final = 256
"""So many are remembered as they were split: clients ask for the same few again and again."""


class Arrival:
    """One request, as the protocol hands it over."""

    __slots__ = (
        "accepted_ns",
        "body",
        "headers",
        "keep_alive",
        "method",
        "path",
        "query",
        "version",
    )

    def __init__(
        self,
        *,
        method: str,
        target: bytes,
        version: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes | None,
        keep_alive: bool,
        accepted_ns: int,
    ) -> None:
        """``headers`` in order, names in lower case; ``body`` None: longer than the limit."""
        self.method = method
        self.path, self.query = split_target(target)
        self.version = version
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        """Whether another request may follow on the connection."""
        self.accepted_ns = accepted_ns
        """The request's head was there."""


@lru_cache(MOST_TARGETS)
def split_target(target: bytes) -> tuple[str, bytes]:
    """Path, unquoted, and query, as it is. Raises UnicodeDecodeError when it is no ASCII.

    The absolute form (``http://host/path``), which proxies are asked in, has its path too.
    """
    place = target.partition(b"#")[0]
    if not place.startswith(b"/") and b"://" in place:
        _, slash, rest = place.partition(b"://")[2].partition(b"/")
        place = slash + rest or b"/"
    path, _, query = place.partition(b"?")
    return unquote(path.decode("ascii")), query
