"""The reference router with a wait in front of every request; run as a process.

    python tests/routers/late.py PORT WAIT_S [busy]      (settings: ROUTER_* variables)

The wait is asleep and costs the processor nothing, as a slow look-up does. Busy, it is work of the
one event loop, as it is in a router that does much for every request: nobody else is served then.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from reference_router.app import create_app
from reference_router.settings import from_environment


def late(app: ASGIApp, wait_s: float, *, busy: bool = False) -> ASGIApp:
    """``app``, which waits and then answers as ever."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if wait_s and scope["type"] == "http":
            if busy:
                time.sleep(wait_s)  # noqa: ASYNC251 - that it blocks is what it is for
            else:
                await asyncio.sleep(wait_s)
        await app(scope, receive, send)

    return answer


if __name__ == "__main__":
    port, wait_s = int(sys.argv[1]), float(sys.argv[2])
    app = late(create_app(from_environment(os.environ)), wait_s, busy=sys.argv[3:] == ["busy"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
