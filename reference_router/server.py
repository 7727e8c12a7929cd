"""The server that runs the router. Decides how it is set up; refuses to know routes."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
from functools import partial

import uvicorn
from fastapi import FastAPI

from reference_router.app import create_app
from reference_router.lending import LentLimiter
from reference_router.limiter import Limiter
from reference_router.settings import Settings
from reference_router.workers import Crew, listening


def serve(settings: Settings, host: str, port: int) -> int:
    """Serve until stopped; returns the exit status."""
    if settings.drain_s or settings.config:
        return _signalled(settings, host, port)
    if settings.workers == 1:
        uvicorn.Server(server_config(settings, host, port)).run()
        return 0
    try:
        listener = listening(host, port)
    except OSError as error:
        sys.stderr.write(f"reference_router: {host}:{port} cannot be listened on: {error}\n")
        return 1
    crew = Crew(listener, settings.max_concurrency or 0, partial(_work, settings))
    return crew.run(settings.workers)


def _signalled(settings: Settings, host: str, port: int) -> int:
    from reference_router.signals import SignalledServer  # noqa: PLC0415 - most need none of it

    config = server_config(settings, host, port)
    assert isinstance(config.app, FastAPI)
    server = SignalledServer(config, config.app.state.router)
    server.run()
    return server.status


def _work(settings: Settings, listener: socket.socket, line: socket.socket) -> None:
    lent = LentLimiter()
    limiter = Limiter(None) if settings.max_concurrency is None else lent
    Worker(server_config(settings, limiter=limiter), lent, line).run(sockets=[listener])


class Worker(uvicorn.Server):
    """A server that listens to its parent too, and ends when that does."""

    def __init__(self, config: uvicorn.Config, lent: LentLimiter, line: socket.socket) -> None:
        super().__init__(config)
        self._lent = lent
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """No request is accepted before permits can be requested."""
        await self._lent.connect(self._line, lambda: os.kill(os.getpid(), signal.SIGTERM))
        await super().startup(sockets)
        self._lent.tell_ready()


def server_config(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 0,
    limiter: Limiter | None = None,
) -> uvicorn.Config:
    """How the router is served. At a signal, open requests get one second to finish.

    Where they are drained, they get it when all have been ended.
    """
    return uvicorn.Config(
        create_app(settings, limiter),
        host=host,
        port=port,
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1 + math.ceil(settings.drain_s),
        server_header=False,
        proxy_headers=False,
        ws="none",
    )
