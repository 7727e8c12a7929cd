"""The server of a router that drains on SIGTERM and reads its settings again on SIGHUP.

Decides what a signal leads to. Refuses to know how a request ends, or what a setting changes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from reference_router.drain import Drain
from reference_router.guarded import GuardedFront
from reference_router.router import Router
from reference_router.settings import SettingsError, from_environment


class SignalledServer(uvicorn.Server):
    """See uvicorn.Server. ``status`` is what the process exits with."""

    status = 0

    def __init__(self, config: uvicorn.Config, router: Router) -> None:
        super().__init__(config)
        self._router = router

    @property
    def _drain(self) -> Drain | None:
        front = self._router.front
        return front.drain if isinstance(front, GuardedFront) else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server. No request is accepted before a signal would be heard."""
        if self._router.settings.config:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A drained router ends by itself, and not by the signal."""
        if sig == signal.SIGTERM and self._drain is not None:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no longer, and wait for what was accepted."""
        if self._drain is not None:
            self._drain.begin(self)
        await super().shutdown(sockets)
        if self._drain is not None:
            self.status = self._drain.status

    def _reload(self) -> None:
        try:
            settings = from_environment(os.environ)
        except SettingsError as error:  # the router goes on as it was
            sys.stderr.write(f"reference_router: nothing is reloaded: {error}\n")
            return
        self._router.front.reload(settings)
