"""The bytes of a response as they come in: searched for keys, and bounded.

What a router sends may be endless, and what it leaks may stand anywhere: in a head, a trailer, a
body, or across two pieces of either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
import gevent.socket
from geventhttpclient.response import HTTPSocketResponse

MAX_BYTES: Final = 8 * 1024 * 1024
"""A client reads this much of one response, head and framing included."""
MAX_TEXT: Final = 1024 * 1024
"""Characters of content that are kept of one answer."""

_MAX_TOGETHER: Final = 256 * 1024 * 1024
_LITTLE: Final = 256 * 1024
"""A response up to this size is read to its end, whatever the others take."""
_BLOCK: Final = 64 * 1024

_ESCAPED: Final = re.compile(rb"(?:\\u00|%)([0-9a-fA-F]{2})")
_LONGEST_ESCAPE: Final = len(rb"\u002d")


class BoundReached(Exception):  # noqa: N818 - it names what happened
    """The response is longer than a client reads."""


@dataclass(slots=True)
class Memory:
    """How many bytes the open exchanges of one start hold together."""

    used: int = 0


@dataclass(slots=True)
class SecretSearch:
    """The names of the secrets that stand in bytes which come in pieces.

    A secret is found across pieces, and where JSON or a URL escapes characters of it.
    """

    secrets: Mapping[str, str]
    found: set[str] = field(default_factory=set)
    _tail: bytes = b""

    def add(self, piece: bytes) -> None:
        """Search the next piece, together with the end of those before it."""
        if not self.secrets:
            return
        searched = self._tail + piece
        self._search(searched)
        if b"\\u00" in searched or b"%" in searched:
            self._search(_ESCAPED.sub(lambda escape: bytes.fromhex(escape[1].decode()), searched))
        longest = max(len(secret.encode()) for secret in self.secrets.values())
        self._tail = searched[-longest * _LONGEST_ESCAPE :]

    def _search(self, received: bytes) -> None:
        for name, secret in self.secrets.items():
            if secret.encode() in received:
                self.found.add(name)


@dataclass(slots=True)
class Intake:
    """A connection as the parser reads it. Raises BoundReached once too much has come."""

    sock: gevent.socket.socket
    search: SecretSearch
    memory: Memory
    taken: int = 0
    status: int | None = None
    """The status of the response, once its first line was read."""

    def recv(self, size: int) -> bytes:
        """The next bytes, at most ``size``."""
        data: bytes = self.sock.recv(size)
        self.search.add(data)
        before, self.taken = self.taken, self.taken + len(data)
        self.memory.used += len(data)
        if before // _BLOCK != self.taken // _BLOCK:
            gevent.sleep(0)  # A router that is always ready must not keep the others from running.
        crowded = self.taken > _LITTLE and self.memory.used > _MAX_TOGETHER
        if self.taken > MAX_BYTES or crowded:
            raise BoundReached(f"no end after {self.taken} bytes: cut at the client's bound")
        return data

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()

    def forget(self) -> None:
        """What came in is not held any longer."""
        self.memory.used -= self.taken
        self.taken = 0


class Response(HTTPSocketResponse):
    """A response, whose body is searched without its framing as well."""

    def __init__(self, intake: Intake, method: str) -> None:
        """Read the head."""
        self._intake = intake
        self._search = SecretSearch(intake.search.secrets, intake.search.found)
        super().__init__(intake, block_size=_BLOCK, method=method)

    def field(self, name: str) -> str:
        """The value of a field, the first of several; empty where there is none."""
        value: Any = self.get(name, "")
        return str(value[0] if isinstance(value, list) else value)

    def _on_status(self, msg: str) -> None:
        super()._on_status(msg)
        self._intake.status = self.get_code()

    def _on_body(self, buf: bytearray) -> None:
        self._search.add(bytes(buf))
        super()._on_body(buf)
