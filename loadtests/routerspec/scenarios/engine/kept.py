"""Connections that clients keep for their next request, as the pools of SDKs do."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import gevent.select
import gevent.socket

ONE_IN: Final = 4
"""One request in four of the mixed load is sent on a kept connection, and keeps it."""


class KeptConnections:
    """The idle connections to a router, or to each of its replicas, the latest used first."""

    def __init__(self) -> None:
        self._idle: defaultdict[str, list[gevent.socket.socket]] = defaultdict(list)

    def take(self, host: str) -> gevent.socket.socket | None:
        """An idle connection to the server at this URL; None: there is none.

        One on which anything has come, if only its end, is closed: no client sends on it.
        """
        while idle := self._idle[host]:
            sock = idle.pop()
            if not gevent.select.select([sock], [], [], 0)[0]:
                return sock
            sock.close()
        return None

    def give(self, host: str, sock: gevent.socket.socket) -> None:
        """Keep a connection whose last answer was read to its end."""
        self._idle[host].append(sock)

    def close(self) -> None:
        """Close all idle connections."""
        for idle in self._idle.values():
            while idle:
                idle.pop().close()
