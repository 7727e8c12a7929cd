"""The listening socket of one port, which can be closed and opened again: a server that is down.

Between the two a bound socket that does not listen keeps the port, so that connections to it are
refused, and nobody else gets it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from fake_providers.http.protocol import HttpProtocol, Service

BACKLOG: Final = 4096


class Listener:
    """A service on a bound socket. Nothing is accepted before ``start``."""

    def __init__(self, service: Service, bound: socket.socket) -> None:
        self._service = service
        self._bound = bound
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        service = self._service
        self._server = await loop.create_server(
            lambda: HttpProtocol(service), sock=self._bound, backlog=BACKLOG
        )

    @property
    def on(self) -> bool:
        """Connections are accepted."""
        return self._service.listening

    def turn(self, *, on: bool) -> None:
        """Refuse connections from now on, or accept them again.

        What is being answered is answered, on a connection that is closed afterwards; idle
        connections are closed at once.
        """
        if on is self._service.listening:
            return
        self._service.listening = on
        address, family = self._bound.getsockname(), self._bound.family
        if on:
            kept, self._bound = self._bound, _bound_to(family, address)
            # The kernel queues connections from here on, so that none is refused any more.
            self._bound.listen(BACKLOG)
            kept.close()
            self._starting = asyncio.get_running_loop().create_task(self.start())
            return
        self.close()
        self._bound = _bound_to(family, address)
        for connection in tuple(self._service.connections):
            connection.close_if_idle()

    def close(self) -> None:
        """Accept nothing any more, and give the port up."""
        if self._starting is not None:
            self._starting.cancel()
        if self._server is not None:
            self._server.close()
        self._bound.close()


def _bound_to(family: int, address: tuple[str, int]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(address)
    return one
