"""One cap over several processes: the parent has the permits and lends them to its workers.

Decides which worker may begin next, first come first served over all of them, and that what a
worker held is there again when it is gone. Refuses to know how processes are started.

One byte a message: a worker is ready, requests and gives back; the parent grants. A
client that leaves the queue takes nothing back: the permit that was asked for on its behalf goes
to the next in the worker's queue, or back to the parent.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from reference_router.limiter import Limiter

READY, ASK, GIVE_BACK, GRANT = b".", b"+", b"-", b"!"


class Borrower:
    """A worker as the lender knows it."""

    def __init__(self) -> None:
        self.holds = 0
        self.granted = 0
        """Permits granted to it but not yet sent to it."""


class Lender:
    """The permits of all workers."""

    def __init__(self, permits: int) -> None:
        self.free = permits
        self._asking: deque[Borrower] = deque()

    def hear(self, borrower: Borrower, words: bytes) -> None:
        """Handle a worker's messages, in the order it sent them."""
        for word in words:
            if word == ASK[0]:
                self._asking.append(borrower)
            elif word == GIVE_BACK[0]:
                borrower.holds -= 1
                self.free += 1
        self._hand_out()

    def gone(self, borrower: Borrower) -> None:
        """The worker is gone: permits that it held or requested go to the others."""
        self.free += borrower.holds
        borrower.holds = 0
        self._asking = deque(other for other in self._asking if other is not borrower)
        self._hand_out()

    def _hand_out(self) -> None:
        while self.free and self._asking:
            borrower = self._asking.popleft()
            self.free -= 1
            borrower.holds += 1
            borrower.granted += 1


class LentLimiter(Limiter):
    """A worker's limiter: it has no permit but those that it is lent."""

    def __init__(self) -> None:
        super().__init__(0)
        self._line: asyncio.WriteTransport | None = None

    async def connect(self, line: socket.socket, when_lost: Callable[[], object]) -> None:
        """Speak to the lender over ``line``. ``when_lost``: it is gone."""
        loop = asyncio.get_running_loop()
        self._line, _ = await loop.create_connection(
            lambda: _Hearing(self._granted, when_lost), sock=line
        )

    def tell_ready(self) -> None:
        """Say that clients are served from now on."""
        self._say(READY)

    async def __aenter__(self) -> None:
        self._say(ASK)
        await super().__aenter__()

    def _granted(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._give_back()

    def _give_back(self) -> None:
        self._say(GIVE_BACK)

    def _say(self, word: bytes) -> None:
        assert self._line is not None
        self._line.write(word)


class _Hearing(asyncio.Protocol):
    def __init__(self, granted: Callable[[], None], when_lost: Callable[[], object]) -> None:
        self._granted = granted
        self._when_lost = when_lost

    def data_received(self, data: bytes) -> None:
        for _ in data:
            self._granted()

    def connection_lost(self, _why: Exception | None) -> None:
        self._when_lost()
