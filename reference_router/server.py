"""The server that runs the router. Decides how it is set up; refuses to know routes."""

from __future__ import annotations

import uvicorn

from reference_router.app import create_app
from reference_router.settings import Settings


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until told to stop."""
    uvicorn.Server(server_config(settings, host, port)).run()


def server_config(settings: Settings, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Config:
    """How the router is served. At a signal, open requests get one second to finish."""
    return uvicorn.Config(
        create_app(settings),
        host=host,
        port=port,
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
