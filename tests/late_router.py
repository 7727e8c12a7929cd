"""The reference router with a wait in front of every request; run as a process.

    python late_router.py PORT WAIT_S      (settings: ROUTER_* variables)

The wait is asleep, not at work: it costs the processor nothing, as a slow look-up does.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvicorn

from reference_router.app import create_app
from reference_router.settings import from_environment

PORT, WAIT_S = int(sys.argv[1]), float(sys.argv[2])
app = create_app(from_environment(os.environ))


async def late(scope: Any, receive: Any, send: Any) -> None:
    """Wait, then as ever."""
    if WAIT_S and scope["type"] == "http":
        await asyncio.sleep(WAIT_S)
    await app(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(late, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
