"""Connections that clients keep for their next request, as the pools of SDKs do."""

from __future__ import annotations

from typing import Final

import gevent.select
import gevent.socket

ONE_IN: Final = 4
"""One request in four of the mixed load is sent on a kept connection, and keeps it."""


class KeptConnections:
    """The idle connections to one router, the latest used first."""

    def __init__(self) -> None:
        self._idle: list[gevent.socket.socket] = []

    def take(self) -> gevent.socket.socket | None:
        """An idle connection; None: there is none.

        One on which anything has come, if only its end, is closed: no client sends on it.
        """
        while self._idle:
            sock = self._idle.pop()
            if not gevent.select.select([sock], [], [], 0)[0]:
                return sock
            sock.close()
        return None

    def give(self, sock: gevent.socket.socket) -> None:
        """Keep a connection whose last answer was read to its end."""
        self._idle.append(sock)

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop().close()
