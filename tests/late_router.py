"""The reference router with a wait in front of every request; run as a process.

    python late_router.py PORT WAIT_S        (settings: ROUTER_* variables)

The wait is asleep, not at work: it costs the processor nothing, as a slow look-up does.
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from reference_router.app import create_app
from reference_router.settings import from_environment


def late(app: ASGIApp, wait_s: float) -> ASGIApp:
    """``app``, which waits and then answers as ever."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if wait_s and scope["type"] == "http":
            await asyncio.sleep(wait_s)
        await app(scope, receive, send)

    return answer


if __name__ == "__main__":
    port, wait_s = int(sys.argv[1]), float(sys.argv[2])
    app = late(create_app(from_environment(os.environ)), wait_s)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
