"""What follows the end of an answer on its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from reference_router.answer import ApiError

LINGER_S = 0.5
"""How long the end of a connection's answer is waited for, once the answer itself is whole."""


async def read_to_the_end(rest: AsyncIterator[bytes]) -> None:
    """Read what is left, so that the connection can be used again."""
    with suppress(ApiError, TimeoutError):
        async with asyncio.timeout(LINGER_S):
            async for _ in rest:
                pass
