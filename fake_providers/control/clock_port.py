"""The clock of this process, for another host to ask over UDP: when was it there, between my asking
and your answer?

It is served beyond loopback only, on the number of the control port; on one machine every process
has the same clock. A question is ``QUESTION`` and eight bytes of the asker's; the answer has those
eight bytes and the clock's nanoseconds, and is no longer than the question.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final, cast

QUESTION: Final = b"rs-clock"
_NUMBER: Final = 8
_LENGTH: Final = len(QUESTION) + _NUMBER


def question(number: int) -> bytes:
    """What is sent to ask; ``number`` tells its answer from others."""
    return QUESTION + number.to_bytes(_NUMBER, "big")


def answer(asked: bytes, at_ns: int) -> bytes:
    """The answer to a question; empty where it is none."""
    if len(asked) != _LENGTH or not asked.startswith(QUESTION):
        return b""
    return asked[len(QUESTION) :] + at_ns.to_bytes(_NUMBER, "big")


def told(answered: bytes, number: int) -> int | None:
    """When it was at the clock that answered; None: it is no answer to this question."""
    if len(answered) != 2 * _NUMBER or not answered.startswith(number.to_bytes(_NUMBER, "big")):
        return None
    return int.from_bytes(answered[_NUMBER:], "big")


class ClockPort(asyncio.DatagramProtocol):
    """Answers every question at once."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is served from now on."""
        # That of uvloop is none by its type.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question; anything else is left alone."""
        at_ns = self._clock_ns()
        if self._transport is not None and (answered := answer(data, at_ns)):
            self._transport.sendto(answered, addr)


async def serve(bound: socket.socket) -> asyncio.DatagramTransport:
    """Answer questions on this socket until the transport is closed."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(ClockPort, sock=bound)
    return transport
