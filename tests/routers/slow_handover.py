"""The reference router with a queue that polls for a free slot every half minute only.

python slow_handover.py --port PORT        (settings: ROUTER_* variables)
"""

from __future__ import annotations

import asyncio
import os
import sys

import uvicorn

from reference_router.app import create_app
from reference_router.limiter import Limiter
from reference_router.settings import from_environment

SNAPSHOTS_APART_S = 30.0


class Polling(Limiter):
    """No client is handed a slot: a waiting client polls for one later."""

    async def __aenter__(self) -> None:
        """Sleep until one happens to be free."""
        assert self._free is not None
        while not self._free:  # noqa: ASYNC110 - the very defect
            await asyncio.sleep(SNAPSHOTS_APART_S)
        self._free -= 1

    async def __aexit__(self, *_: object) -> None:
        """Free again, without waking a waiter."""
        assert self._free is not None
        self._free += 1


if __name__ == "__main__":
    settings = from_environment(os.environ)
    app = create_app(settings, Polling(settings.max_concurrency))
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
