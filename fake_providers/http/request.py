"""A request as it arrived, complete and uninterpreted."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import unquote

MAX_CACHED_TARGETS: Final = 256
"""Targets whose parts are cached: clients use the same few again and again."""


class HttpRequest:
    """One request."""

    __slots__ = (
        "accepted_ns",
        "body",
        "headers",
        "keep_alive",
        "method",
        "path",
        "query",
        "target",
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
        self.target = target
        self.path, self.query = split_target(target)
        self.version = version
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive
        """Whether another request may follow on the connection."""
        self.accepted_ns = accepted_ns
        """When the request's head was read."""


@lru_cache(MAX_CACHED_TARGETS)
def split_target(target: bytes) -> tuple[str, bytes]:
    """The path, unquoted, and the query, as it is. Raises UnicodeDecodeError unless ASCII.

    The absolute form (``http://host/path``), as sent to proxies, is accepted too.
    """
    place = target.partition(b"#")[0]
    if not place.startswith(b"/") and b"://" in place:
        _, slash, rest = place.partition(b"://")[2].partition(b"/")
        place = slash + rest or b"/"
    path, _, query = place.partition(b"?")
    return unquote(path.decode("ascii")), query
