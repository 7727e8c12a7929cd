"""``python -m reference_router``: words, settings, and the server that runs the router.

Decides how the server is set up and what ends in exit 2. Refuses to know routes.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from importlib.metadata import version

import uvicorn

from reference_router.app import create_app
from reference_router.flaws import FLAWS
from reference_router.settings import Settings, SettingsError, from_environment

USAGE = 2


def main(words: list[str] | None = None) -> int:
    """Serve until told to stop; 2 where the words or the environment cannot be used."""
    parser = argparse.ArgumentParser(
        prog="reference_router",
        description="A small LLM router that keeps its promises. Settings: ROUTER_* variables.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--flaw", metavar="NAME", help="break one promise: " + ", ".join(FLAWS))
    parser.add_argument("--version", action="version", version=version("routerspec"))
    asked = parser.parse_args(words)
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        return _refuse(str(error))
    if asked.flaw is not None:
        settings = replace(settings, flaw=asked.flaw)
    if settings.flaw and settings.flaw not in FLAWS:
        return _refuse(f"There is no flaw {settings.flaw!r}. There are: {', '.join(FLAWS)}.")
    uvicorn.Server(server_config(settings, asked.host, asked.port)).run()
    return 0


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


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"reference_router: {sentence}\n")
    return USAGE


if __name__ == "__main__":
    sys.exit(main())
